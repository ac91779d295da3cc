"""One whole run of configs/gs.py through the engine, everything recorded; prints its timings as JSON."""

import time

START = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402

import mlgym_jax as mg  # noqa: E402
import mlgym_jax.experiment  # noqa: E402  (imports jax, flax, optax and orbax, timed apart)

IMPORTED = time.perf_counter()


class Clock:
    """A sink of the log that notes when things happened."""

    def __init__(self):
        self.compiled = self.first = self.last = None
        self.seconds = 0.0

    def __call__(self, _first_event_id, events):
        now = time.perf_counter()
        kinds = {event["event_type"] for event in events}
        if "group_compiled" in kinds:
            self.compiled = now
        if "evaluation_result" in kinds:
            self.first = self.first or now
            self.last = now


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--num_epochs", type=int, default=20)
    parser.add_argument("--plan", default="auto")
    options = parser.parse_args()
    config = mg.load_config("configs/gs.py", overrides={"num_epochs": options.num_epochs})
    config.early_stopping = None  # the hand-written program trains every experiment to the end
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        result = mg.run(config, folder, plan=options.plan, sinks=[clock])
        end = time.perf_counter()
        timings = {
            "import": IMPORTED - START,
            "compile": clock.compiled - IMPORTED,
            "epoch": (clock.last - clock.first) / (options.num_epochs - 1),
            "run": end - clock.compiled,
            "wall": end - START,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "best": result.best("val/accuracy").best_score("val/accuracy")[1],
        }
    json.dump(timings, sys.stdout)


if __name__ == "__main__":
    main()

"""One whole run of a workload through the engine, everything recorded; prints its timings as JSON."""

import time

START = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402

import mlgym_jax as mg  # noqa: E402

mg.run  # noqa: B018  (imports jax, flax and optax, timed apart)
IMPORTED = time.perf_counter()

from benchmarks.studies import config_of  # noqa: E402
from benchmarks.workloads import WORKLOADS  # noqa: E402


class Clock:
    """A sink of the log that notes when things happened."""

    def __init__(self):
        self.compiled = self.last = 0.0
        self.plan = ""

    def __call__(self, _first_event_id, events):
        now = time.perf_counter()
        for event in events.others:  # an epoch's results are not looked at one by one, which would build them
            if event["event_type"] == "group_compiled":
                self.compiled, self.plan = now, event["payload"]["plan"]
        if events.results:
            self.last = now


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--num_epochs", type=int, required=True)
    parser.add_argument("--plan", default="auto")
    parser.add_argument("--evaluation_splits", default="train,val")
    options = parser.parse_args()
    config = config_of(WORKLOADS[options.workload], options.num_epochs, options.data)
    config.evaluation_splits = tuple(options.evaluation_splits.split(","))
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        result = mg.run(config, folder, plan=options.plan, sinks=[clock])
        end = time.perf_counter()
        timings = {
            "import": IMPORTED - START,
            "compile": clock.compiled - IMPORTED,
            "run": end - clock.compiled,
            "epoch": (end - clock.compiled) / options.num_epochs,
            "wall": end - START,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "best": result.best("val/accuracy").best_score("val/accuracy")[1],
            "plan": clock.plan,
        }
    json.dump(timings, sys.stdout)


if __name__ == "__main__":
    main()

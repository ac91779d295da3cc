"""What other trackers cost a run: the processor time of a training with and without them, in turns.

    python -m benchmarks.sinks [--rounds=5] [--epochs=100] [--sinks=tensorboard,wandb,mlflow] [--workload=images6]

64 small MLPs, or another workload's experiments, are trained again and again by one process that has compiled them
before, in each round once without and once with each sink. "training" is what the training process worked, beside a run
without sinks of the same round; the median of the rounds, and their least and greatest. "beside it" is what the sink's
own process worked, at the lowest priority, most of which is its start and the import of the tracker's package. Sinks
that are not installed are passed over.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from importlib.util import find_spec

import mlgym_jax as mg
from benchmarks.studies import config_of
from benchmarks.workloads import WORKLOADS, write_data

_MOST_SECONDS = 120.0


def once(workload: str, epochs: int, data: str, sink: str | None) -> tuple[float, float]:
    """Train once; return the processor seconds of this process, and of those that it started."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        before, others = time.process_time(), os.times()
        mg.run(
            config_of(WORKLOADS[workload], epochs, data),
            folder,
            log_to=sink,
            log_out=os.path.join(folder, "logs") if sink else None,
        )
        own = time.process_time() - before
        until = time.monotonic() + _MOST_SECONDS
        with contextlib.suppress(ChildProcessError):  # which are none any more
            while time.monotonic() < until:  # a sink that had not written all by the end of the run
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(0.1)
        after = os.times()
    return own, after.children_user + after.children_system - others.children_user - others.children_system


def main() -> None:
    """Measure and print a row a sink."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--sinks", default="tensorboard,wandb,mlflow,aim")
    parser.add_argument("--workload", default="digits64", choices=WORKLOADS)
    options = parser.parse_args()
    epochs, workload = options.epochs, options.workload
    sinks = [name for name in options.sinks.split(",") if find_spec(name) is not None]
    alone: list[float] = []
    again: list[float] = []
    more: dict[str, list[float]] = {name: [] for name in sinks}
    beside: dict[str, list[float]] = {name: [] for name in sinks}
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data.npz")
        write_data(WORKLOADS[workload], data)
        once(workload, epochs, data, None)  # compiles
        for number in range(options.rounds):
            own, _ = once(workload, epochs, data, None)
            alone.append(own)
            for name in sinks if number % 2 else reversed(sinks):
                with_it, others = once(workload, epochs, data, name)
                more[name].append(100 * (with_it / own - 1))
                beside[name].append(others)
            last, _ = once(workload, epochs, data, None)
            again.append(100 * (last / own - 1))
    print(f"{workload} x {epochs} epochs: {statistics.median(alone):.2f} s of processor without a sink")
    rows = {"none, once more": again, **more}
    for name, found in rows.items():
        least, middle, most = min(found), statistics.median(found), max(found)
        told = f"   beside it {statistics.median(beside[name]):.2f} s" if name in beside else ""
        print(f"{name:16s} training {middle:+5.1f} % ({least:+.1f} to {most:+.1f}){told}", flush=True)


if __name__ == "__main__":
    main()

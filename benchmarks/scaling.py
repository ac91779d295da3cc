"""What an experiment costs beside how many others, and what stopping saves: one process, a warm compilation cache.

    python -m benchmarks.scaling [--numbers=1,4,16,64,256,1024] [--num_epochs=20] [--rounds=3]

MLPs 64-32-32-10 on digits that differ in learning rate and seed. Then 64 of them, of which 3 of 4 stop early, and
successive halving, against the same grid trained to its end: whole studies, recorded as always.
"""

import argparse
import dataclasses
import pathlib
import statistics
import tempfile
import time

import mlgym_jax as mg
from benchmarks.engine_run import Clock
from benchmarks.studies import config_of
from benchmarks.workloads import WORKLOADS, write_data
from mlgym_jax import component, grid, register


@register("early_stopping", "slow_ones_at")
def slow_ones_at(*, epoch: int):
    """Stop after `epoch` what has not come below a loss of 1.5 by then: three of the four learning rates below."""
    return lambda history: len(history) == epoch and history[-1]["train/loss"] > 1.5


def trained(config, folder):
    clock = Clock()
    started = time.perf_counter()
    result = mg.run(config, folder, sinks=[clock])
    return result, clock, time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numbers", default="1,4,16,64,256,1024")
    parser.add_argument("--num_epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    numbers = sorted({64, *map(int, options.numbers.split(","))})
    epochs: dict[int, list[float]] = {number: [] for number in numbers}
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data.npz"
        write_data(WORKLOADS["digits64"], data)
        for _ in range(options.rounds):
            for number in numbers:
                rates = min(number, 16)
                workload = dataclasses.replace(WORKLOADS["digits64"], num_rates=rates, num_seeds=number // rates)
                _, clock, _ = trained(config_of(workload, options.num_epochs, data), folder)
                epochs[number].append((clock.last - clock.compiled) / options.num_epochs / number)
        print("experiments   an experiment's epoch   to that of 64")
        for number in numbers:
            share = statistics.median(one / other for one, other in zip(epochs[number], epochs[64], strict=True))
            print(f"{number:>11} {1e3 * statistics.median(epochs[number]):>17.3f} ms {share:>14.2f}x")
        workload = dataclasses.replace(WORKLOADS["digits15"], num_seeds=16)
        whole = config_of(workload, 5 * options.num_epochs, data)
        whole.optimizer = component("adam", learning_rate=grid(1e-6, 2e-6, 4e-6, 1e-3))
        early = whole.copy_and_resolve_references()
        early.early_stopping = component("slow_ones_at", epoch=options.num_epochs)
        halved = whole.copy_and_resolve_references()
        halved.search = component("successive_halving", min_epochs=2, monitor="val/loss", mode="min")
        ratios = {"early stopping": [], "successive halving": []}
        for number in range(options.rounds + 1):
            _, clock, all_of_it = trained(whole, folder)
            training = clock.last - clock.compiled
            for name, config in (("early stopping", early), ("successive halving", halved)):
                result, clock, seconds = trained(config, folder)
                if number:  # the first round compiles
                    ratios[name].append(((clock.last - clock.compiled) / training, seconds / all_of_it))
                if number == options.rounds:
                    share = sum(item.num_epochs for item in result.experiments) / (64 * whole.num_epochs)
                    train, study = (statistics.median(values) for values in zip(*ratios[name], strict=True))
                    print(
                        f"{name}: {share:.2f}x of the epochs, {train:.2f}x of the training, {study:.2f}x of the study"
                    )


if __name__ == "__main__":
    main()

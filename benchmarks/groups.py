"""One program for a group against the same experiments one after the other: 15 learning rates of an MLP on digits.

    python -m benchmarks.groups [--num_epochs=40] [--rounds=3]

Both are whole studies, recorded as always, in one process whose compilation cache is warm after the first round; the
rounds interleave them. Printed are medians of the seconds that a study took, all of its effects included.
"""

import argparse
import statistics
import tempfile
import time

import numpy as np
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid

RATES = [float(rate) for rate in np.geomspace(1e-4, 1e-1, 15)]


def config_of(rate, num_epochs):
    config = ConfigDict()
    config.num_epochs = num_epochs
    config.dataset = component("digits")
    config.loader = component("in_memory", batch_size=50)
    config.model = component("mlp", features=(128, 128))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=rate)
    config.metrics = dict(accuracy=component("accuracy"))
    return config


def seconds(rates, num_epochs, folder):
    before = time.perf_counter()
    losses = []
    for rate in rates:
        result = mg.run(config_of(rate, num_epochs), folder)
        losses += [item.history["train/loss"] for item in result.experiments]
    return time.perf_counter() - before, np.array(losses)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_epochs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds, difference = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds + 1):
            together, losses = seconds([grid(*RATES)], options.num_epochs, folder)
            alone, losses_alone = seconds(RATES, options.num_epochs, folder)
            difference = max(difference, float(np.abs(losses - losses_alone).max()))
            if number:
                rounds.append((together, alone))
    together, alone = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = statistics.median(one / other for other, one in rounds)
    print(
        f"15 experiments, {options.num_epochs} epochs: as one group {together:.2f} s, one after the other {alone:.2f} s"
    )
    print(f"the group is {ratio:.2f}x as fast; greatest difference of a loss: {difference:g}")


if __name__ == "__main__":
    main()

"""What the benchmarks train: grids, and their data as arrays; nothing of the engine."""

import dataclasses
import math
import pathlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """A grid of learning rates and seeds over one network, trained with Adam.

    Attributes:
        features: widths of the hidden layers, of 3x3 convolutions where there are `images`.
        images: how many images 28x28 of 10 patterns there are, a fifth of them for `val`; 0: handwritten digits 8x8.
        valid: whether convolutions are not padded, pooled once, and followed by a hidden layer of 128.
        floor: the plans of `benchmarks.handwritten` that may be the fastest.
    """

    num_rates: int
    num_seeds: int
    features: tuple[int, ...]
    num_epochs: int
    batch_size: int = 50
    images: int = 0
    valid: bool = False
    floor: tuple[str, ...] = ("map", "vmap", "processes+map", "processes+vmap")

    @property
    def rates(self):
        return [float(rate) for rate in np.geomspace(1e-4, 1e-1 if self.num_rates > 6 else 1e-2, self.num_rates)]

    @property
    def experiments(self):
        return [(rate, seed) for rate in self.rates for seed in range(self.num_seeds)]


_OF_IMAGES = ("step", "processes+step", "im2col")

WORKLOADS = {
    "digits12": Workload(4, 3, (128, 128), 20),
    "digits15": Workload(5, 3, (128, 128), 20),
    "digits64": Workload(16, 4, (32, 32), 20),
    "images6": Workload(6, 1, (32, 64, 128), 5, 64, 800, False, _OF_IMAGES),
    "valid6": Workload(6, 1, (32, 64), 3, 50, 1250, True, _OF_IMAGES),
}


def write_data(workload, path):
    """Write x, y, x_val and y_val: the digits, or noisy images."""
    if workload.images:
        random = np.random.default_rng(0)
        patterns = random.normal(size=(10, 28, 28, 1))
        y = random.permutation(np.arange(workload.images) % 10).astype(np.int32)
        x = (patterns[y] + 2 * random.normal(size=(workload.images, 28, 28, 1))).astype(np.float32)
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        x = (digits.data[order] / 16).astype(np.float32)
        y = digits.target[order].astype(np.int32)
    cut = math.ceil(0.8 * len(y))
    np.savez(pathlib.Path(path), x=x[:cut], y=y[:cut], x_val=x[cut:], y_val=y[cut:])

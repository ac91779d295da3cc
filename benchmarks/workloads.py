"""What the benchmarks train: the studies, and their data as arrays for programs that are not ours."""

import dataclasses
import math
import pathlib

import numpy as np
from ml_collections import ConfigDict

from mlgym_jax import component, grid


@dataclasses.dataclass(frozen=True)
class Workload:
    """A grid of learning rates and seeds over one network, trained with Adam.

    Attributes:
        features: widths of the hidden layers, of 3x3 convolutions where `images`.
    """

    num_rates: int
    num_seeds: int
    features: tuple[int, ...]
    num_epochs: int
    batch_size: int = 50
    images: bool = False

    @property
    def rates(self):
        return [float(rate) for rate in np.geomspace(1e-4, 1e-1 if self.num_rates > 6 else 1e-2, self.num_rates)]

    @property
    def experiments(self):
        return [(rate, seed) for rate in self.rates for seed in range(self.num_seeds)]


WORKLOADS = {
    "digits12": Workload(4, 3, (128, 128), 20),
    "digits15": Workload(5, 3, (128, 128), 20),
    "digits64": Workload(16, 4, (32, 32), 20),
    "images6": Workload(6, 1, (32, 64, 128), 5, batch_size=64, images=True),
}


def config_of(workload, num_epochs, data):
    """Return the engine's config; `data` is the archive that `write_data` made."""
    config = ConfigDict()
    config.num_epochs = num_epochs
    config.seed = grid(*range(workload.num_seeds))
    names = {"train": dict(inputs="x", targets="y"), "val": dict(inputs="x_val", targets="y_val")}
    config.dataset = component("npz", path=str(data), arrays=names)
    config.loader = component("in_memory", batch_size=workload.batch_size)
    config.model = component("mlp", features=workload.features)
    if workload.images:
        config.model = component("cnn", features=workload.features, dense_features=())
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(*workload.rates))
    config.metrics = dict(accuracy=component("accuracy"), f1=component("f1", average="macro"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max", num_keep=1)
    return config


def write_data(workload, path):
    """Write x, y, x_val and y_val: the digits, or 800 noisy images of 10 patterns 28x28."""
    if workload.images:
        random = np.random.default_rng(0)
        patterns = random.normal(size=(10, 28, 28, 1))
        y = random.permutation(np.arange(800) % 10).astype(np.int32)
        x = (patterns[y] + 2 * random.normal(size=(800, 28, 28, 1))).astype(np.float32)
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        x = (digits.data[order] / 16).astype(np.float32)
        y = digits.target[order].astype(np.int32)
    cut = math.ceil(0.8 * len(y))
    np.savez(pathlib.Path(path), x=x[:cut], y=y[:cut], x_val=x[cut:], y_val=y[cut:])

"""Three tasks, one network: which digit, whether it is even, and how much ink it took, with weights that are swept.

    python -m mlgym_jax.run --config=configs/multitask.py

A network with three outputs by name; each loss and each metric says which output and which field of the data it reads.
The scores of the parts, `val/loss/digit` and so on, are those before their weights, so that they compare across the
sweep. 2 weights x 2 rates = 4 experiments in one program. Expected: best val/digit about 0.97, in about 15 s on two
cores.
"""

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict
from sklearn.datasets import load_digits

import mlgym_jax as mg
from mlgym_jax import component, grid, register


@register("dataset", "digits_with_ink")
def digits_with_ink():
    """Read scikit-learn's digits with three targets: the digit, 1 where it is even, and its mean darkness."""
    digits = load_digits()
    fields = {
        "inputs": digits.data.astype(np.float32) / 16,
        "digit": digits.target.astype(np.int32),
        "even": (digits.target % 2 == 0).astype(np.int32),
        "ink": digits.data.mean(axis=1).astype(np.float32) / 16,
    }
    return mg.Dataset(splits={"train": fields})


class Heads(nn.Module):
    """A shared trunk, and a head for each task."""

    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(self.width)(x))
        return {"digit": nn.Dense(10)(x), "even": nn.Dense(1)(x)[:, 0], "ink": nn.Dense(1)(x)[:, 0]}


@register("model", "heads")
def heads(*, width: int = 64):
    """Build a network with the outputs `digit`, `even` and `ink`."""
    return Heads(width)


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "multitask"
    config.num_epochs = 25
    config.dataset = component("digits_with_ink")
    config.validation = component("holdout", val=0.2)
    config.loader = component("in_memory", batch_size=64)
    config.model = component("heads", width=64)
    config.loss = component(
        "sum",
        losses=dict(
            digit=component("softmax_cross_entropy", output="digit", target="digit"),
            even=component("sigmoid_binary_cross_entropy", output="even", target="even", weight=grid(0.1, 1.0)),
            ink=component("squared_error", output="ink", target="ink", weight=10.0),
        ),
    )
    config.optimizer = component("adam", learning_rate=grid(3e-3, 1e-2))
    config.metrics = dict(
        digit=component("accuracy", output="digit", target="digit"),
        even=component("accuracy", output="even", target="even"),
        ink=component("r2", output="ink", target="ink"),
    )
    config.checkpointing = component("best", monitor="val/digit", mode="max")
    return config

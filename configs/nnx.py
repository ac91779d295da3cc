"""A Flax NNX network of one's own, with batch normalisation and dropout, written in the config file.

    python -m mlgym_jax.run --config=configs/nnx.py

The module knows nothing of this engine. Expected: best val/accuracy about 0.97, in about 6 s on two cores.
"""

import jax
from flax import nnx
from ml_collections import ConfigDict

from mlgym_jax import component, grid, register


class Net(nnx.Module):
    def __init__(self, num_inputs: int, width: int, num_outputs: int, dropout_rate: float, *, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(num_inputs, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.output = nnx.Linear(width, num_outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.output(self.dropout(nnx.relu(self.norm(self.hidden(x)))))


@register("model", "normalised_net", needs=("dataset",))
def normalised_net(dataset, *, width: int = 64, dropout_rate: float = 0.2):
    """Build a hidden layer with batch normalisation and dropout."""
    num_inputs = dataset.splits["train"]["inputs"].shape[-1]
    return lambda rngs: Net(num_inputs, width, dataset.num_classes, dropout_rate, rngs=rngs)


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "digits-nnx"
    config.seed = grid(0, 1)
    config.num_epochs = 15
    config.dataset = component("digits")
    config.validation = component("holdout", val=0.2, stratified=True)
    config.loader = component("in_memory", batch_size=50)
    config.model = component("normalised_net", width=128)
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adamw", learning_rate=grid(1e-3, 3e-3))
    config.metrics = dict(accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
    return config

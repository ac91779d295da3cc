"""Fully connected networks."""

from __future__ import annotations

from typing import Any, Literal, cast

import jax
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.core.outputs import paths
from mlgym_jax.errors import ConfigError, listed

Activation = Literal["relu", "gelu", "silu", "tanh", "elu", "leaky_relu", "sigmoid", "softplus"]


class MLP(nn.Module):
    """Dense layers with an activation and dropout between them; inputs of any rank are flattened."""

    features: tuple[int, ...]
    num_outputs: int
    activation: str = "relu"
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = one_input("mlp", x)
        x = x.reshape(x.shape[0], -1)
        for width in self.features:
            x = getattr(nn, self.activation)(nn.Dense(width)(x))
            if isinstance(self.dropout_rate, jax.Array) or self.dropout_rate > 0:
                x = nn.Dropout(cast(Any, self.dropout_rate), deterministic=not train)(x)
        return nn.Dense(self.num_outputs)(x)


def one_input(name: str, inputs: Any) -> jax.Array:
    """Refuse inputs that are several arrays."""
    if isinstance(inputs, dict | tuple):
        raise ConfigError("model", f"{name} takes one array of inputs, the dataset has {listed(paths(inputs))}")
    return inputs


def output_size(dataset: Any, num_outputs: int | None) -> int:
    """Return the width of the last layer: as given, else the dataset's number of classes, else 1."""
    if num_outputs is None:
        return dataset.num_classes or 1
    if num_outputs < 1:
        raise ConfigError("model.num_outputs", f"at least 1 is expected, found {num_outputs}")
    return num_outputs


def checked_rate(rate: float, name: str = "dropout_rate") -> float:
    """Return a rate, such as of dropout, unless it is a number outside of [0, 1)."""
    if isinstance(rate, int | float) and not 0 <= rate < 1:
        raise ConfigError(f"model.{name}", f"a number in [0, 1) is expected, found {rate}")
    return rate


@register("model", "mlp", needs=("dataset",), dynamic=("dropout_rate",))
def mlp(
    dataset: Any,
    *,
    features: tuple[int, ...] = (128, 128),
    activation: Activation = "relu",
    dropout_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build a multi-layer perceptron with hidden layers of the given widths.

    The last layer has `num_outputs` units, by default the dataset's number of classes (1 for a regression).
    """
    if any(width < 1 for width in features):
        raise ConfigError("model.features", f"layer widths are at least 1, found {features}")
    return MLP(features, output_size(dataset, num_outputs), activation, checked_rate(dropout_rate))


@register("model", "linear", needs=("dataset",))
def linear(dataset: Any, *, num_outputs: int | None = None) -> nn.Module:
    """Build one dense layer: linear or, with a softmax loss, logistic regression."""
    return MLP((), output_size(dataset, num_outputs))

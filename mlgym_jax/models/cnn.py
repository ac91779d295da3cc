"""Convolutional networks."""

from __future__ import annotations

from typing import Any, cast

import jax
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.models.mlp import Activation, checked_rate, one_input, output_size


class CNN(nn.Module):
    """Convolutions, each with an activation and 2x2 max pooling while the image allows, then dense layers."""

    features: tuple[int, ...]
    dense_features: tuple[int, ...]
    num_outputs: int
    kernel_size: int = 3
    activation: str = "relu"
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        activation = getattr(nn, self.activation)
        x = one_input("cnn", x)
        if x.ndim != 4:
            raise ConfigError(
                "model",
                f"a cnn takes images [batch, height, width, channels], found {x.shape}; "
                "for digits write config.dataset = component('digits', flat=False)",
            )
        for width in self.features:
            x = activation(nn.Conv(width, (self.kernel_size, self.kernel_size))(x))
            if min(x.shape[1:3]) >= 2:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        for width in self.dense_features:
            x = activation(nn.Dense(width)(x))
            if isinstance(self.dropout_rate, jax.Array) or self.dropout_rate > 0:
                x = nn.Dropout(cast(Any, self.dropout_rate), deterministic=not train)(x)
        return nn.Dense(self.num_outputs)(x)


@register("model", "cnn", needs=("dataset",), dynamic=("dropout_rate",))
def cnn(
    dataset: Any,
    *,
    features: tuple[int, ...] = (32, 64),
    dense_features: tuple[int, ...] = (128,),
    kernel_size: int = 3,
    activation: Activation = "relu",
    dropout_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build a convolutional network for images [batch, height, width, channels].

    Each of `features` is a same-padded convolution, an activation and 2x2 max pooling; `dense_features` follow.
    """
    if any(width < 1 for width in (*features, *dense_features, kernel_size)):
        raise ConfigError("model", f"widths and kernel_size are at least 1, found {features}, {dense_features}")
    rate = checked_rate(dropout_rate)
    return CNN(features, dense_features, output_size(dataset, num_outputs), kernel_size, activation, rate)

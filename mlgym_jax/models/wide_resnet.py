"""Wide residual networks: Zagoruyko and Komodakis 2016, arXiv:1605.07146."""

from __future__ import annotations

import functools
from typing import Any

import jax
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.models.inputs import at_least, dropped, images
from mlgym_jax.models.mlp import checked_rate, output_size
from mlgym_jax.models.resnet import padded

_conv = functools.partial(
    nn.Conv, use_bias=False, kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal")
)


class WideResidual(nn.Module):
    """Norm, ReLU and a 3x3 convolution twice, dropout between them, added to the input or its 1x1 projection."""

    width: int
    stride: int
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
        strides = (self.stride, self.stride)
        y = nn.relu(norm(name="norm_0")(x))
        if x.shape[-1] != self.width:  # the projection is of what is activated, as in the authors' code
            x = _conv(self.width, (1, 1), strides, name="projection")(y)
        y = _conv(self.width, (3, 3), strides, padding=padded(3), name="conv_0")(y)
        y = dropped(nn.relu(norm(name="norm_1")(y)), self.dropout_rate, train)
        return x + _conv(self.width, (3, 3), padding=padded(3), name="conv_1")(y)


class WideResNet(nn.Module):
    """A 3x3 convolution, three stages of residual blocks, norm, ReLU, the mean, and a dense layer."""

    blocks_per_stage: int
    widen_factor: int
    num_outputs: int
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = _conv(16, (3, 3), padding=padded(3), name="stem")(images("wide_resnet", x))
        for stage in range(3):
            for place in range(self.blocks_per_stage):
                stride = 2 if stage > 0 and place == 0 else 1
                width = 16 * 2**stage * self.widen_factor
                x = WideResidual(width, stride, self.dropout_rate, name=f"stage_{stage}_{place}")(x, train)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name="norm")(x)
        return nn.Dense(self.num_outputs, name="head")(nn.relu(x).mean(axis=(1, 2)))


@register("model", "wide_resnet", needs=("dataset",), dynamic=("dropout_rate",))
def wide_resnet(
    dataset: Any,
    *,
    depth: int = 16,
    widen_factor: int = 2,
    dropout_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build a WRN-depth-widen_factor for images float[batch, height, width, channels] of about 32 pixels.

    Args:
        dataset: says the number of classes.
        depth: 6 n + 4 layers, such as 16, 28 or 40; the paper's best is WRN-28-10.
        widen_factor: stages have 16, 32 and 64 channels times this.
        dropout_rate: between the two convolutions of a block, in [0, 1).
        num_outputs: by default the number of classes, or 1.

    Raises:
        ConfigError: another depth, sizes below 1; when traced, inputs that are no images.
    """
    at_least(1, widen_factor=widen_factor)
    if depth < 10 or (depth - 4) % 6:
        near = max(10, 6 * round((depth - 4) / 6) + 4)
        raise ConfigError("model.depth", f"6 n + 4 layers are expected, such as 10, 16, 28; found {depth}; try {near}")
    rate = checked_rate(dropout_rate)
    return WideResNet((depth - 4) // 6, widen_factor, output_size(dataset, num_outputs), rate)

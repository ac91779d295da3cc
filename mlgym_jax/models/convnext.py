"""ConvNeXt: Liu et al. 2022, arXiv:2201.03545."""

from __future__ import annotations

from typing import Any, Literal

import jax
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.models.inputs import at_least, images, with_path_dropped
from mlgym_jax.models.mlp import checked_rate, output_size

# size -> (channels, blocks of each stage): section 3 of the paper
_SIZES = {
    "tiny": ((96, 192, 384, 768), (3, 3, 9, 3)),
    "small": ((96, 192, 384, 768), (3, 3, 27, 3)),
    "base": ((128, 256, 512, 1024), (3, 3, 27, 3)),
    "large": ((192, 384, 768, 1536), (3, 3, 27, 3)),
}
_INIT = nn.initializers.truncated_normal(0.02)


class ConvNextBlock(nn.Module):
    """A 7x7 convolution of each channel, a norm, two dense layers and a scale a channel, added to the input."""

    width: int
    layer_scale: float
    drop_path_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = nn.Conv(self.width, (7, 7), feature_group_count=self.width, kernel_init=_INIT, name="depthwise")(x)
        y = nn.Dense(4 * self.width, kernel_init=_INIT, name="up")(nn.LayerNorm(1e-6, name="norm")(y))
        y = nn.Dense(self.width, kernel_init=_INIT, name="down")(nn.gelu(y, approximate=False))
        scale = self.param("layer_scale", nn.initializers.constant(self.layer_scale), (self.width,))
        return x + with_path_dropped(y * scale.reshape(1, 1, 1, -1), self.drop_path_rate, train)


class ConvNext(nn.Module):
    """Patches, stages of blocks with a halving of the image between them, the mean, a norm, and a dense layer."""

    features: tuple[int, ...]
    depths: tuple[int, ...]
    patch_size: int
    layer_scale: float
    num_outputs: int
    drop_path_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = images("convnext", x)
        smallest, total, number = self.patch_size * 2 ** (len(self.features) - 1), sum(self.depths), 0
        if min(x.shape[1:3]) < smallest:
            raise ConfigError(
                "model.patch_size",
                f"{len(self.features)} stages that begin with patches of {self.patch_size}x{self.patch_size} take "
                f"images of at least {smallest}x{smallest} pixels, found {x.shape[1]}x{x.shape[2]}; write a smaller "
                "patch_size, or fewer features and depths",
            )
        for stage, (width, depth) in enumerate(zip(self.features, self.depths, strict=True)):
            size = (self.patch_size,) * 2 if stage == 0 else (2, 2)
            if stage:
                x = nn.LayerNorm(1e-6, name=f"halving_norm_{stage}")(x)
            name = f"halving_{stage}" if stage else "stem"
            x = nn.Conv(width, size, size, padding="VALID", kernel_init=_INIT, name=name)(x)
            if not stage:
                x = nn.LayerNorm(1e-6, name="stem_norm")(x)
            for place in range(depth):
                rate = self.drop_path_rate * (number / max(total - 1, 1))
                x = ConvNextBlock(width, self.layer_scale, rate, name=f"stage_{stage}_{place}")(x, train)
                number += 1
        x = nn.LayerNorm(1e-6, name="norm")(x.mean(axis=(1, 2)))
        return nn.Dense(self.num_outputs, kernel_init=_INIT, name="head")(x)


@register("model", "convnext", needs=("dataset",), dynamic=("drop_path_rate",))
def convnext(
    dataset: Any,
    *,
    size: Literal["tiny", "small", "base", "large"] | None = None,
    features: tuple[int, ...] | None = None,
    depths: tuple[int, ...] | None = None,
    patch_size: int | None = None,
    layer_scale: float = 1e-6,
    drop_path_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build a ConvNeXt for images float[batch, height, width, channels]; ConvNeXt-T is size="tiny".

    Args:
        dataset: says the number of classes.
        size: that of the paper, whose patches are of 4 pixels; or None: features (32, 64, 128), depths (2, 2, 2),
            patches of 2 pixels. What is given beside it counts.
        features: channels of each stage; depths: blocks of each stage.
        patch_size: pixels along the side of what the first convolution makes one position of.
        layer_scale: what scales of branches begin with.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        num_outputs: by default the number of classes, or 1.

    Raises:
        ConfigError: sizes below 1, features and depths of different lengths; when traced, inputs that are no images, or
            are too small.
    """
    at_least(1, features=features, depths=depths, patch_size=patch_size)
    usual = ((32, 64, 128), (2, 2, 2)) if size is None else _SIZES[size]
    features, depths = usual[0] if features is None else features, usual[1] if depths is None else depths
    if len(features) != len(depths) or not features:
        raise ConfigError(
            "model.depths", f"one number a stage is expected: {len(features)} features {features}, found {depths}"
        )
    patch_size = patch_size or (2 if size is None else 4)
    rate = checked_rate(drop_path_rate, "drop_path_rate")
    return ConvNext(features, depths, patch_size, layer_scale, output_size(dataset, num_outputs), rate)

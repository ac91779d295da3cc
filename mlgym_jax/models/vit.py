"""Vision Transformers: Dosovitskiy et al. 2020, arXiv:2010.11929."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.models.attention import Block
from mlgym_jax.models.inputs import at_least, divided, dropped, images
from mlgym_jax.models.mlp import checked_rate, output_size

# size -> (width, depth, heads): table 1 of the paper; tiny and small: Touvron et al. 2020, arXiv:2012.12877
_SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
_exact_gelu = functools.partial(nn.gelu, approximate=False)


def patches(name: str, x: Any, size: int, width: int) -> jax.Array:
    """Return a vector for each square of an image: float[batch, rows * columns, width].

    Raises:
        ConfigError: at `model.patch_size`, the image is no whole number of patches.
    """
    x = images(name, x)
    height, breadth = x.shape[1:3]
    if height % size or breadth % size:
        fit = [number for number in range(1, size + 1) if height % number == breadth % number == 0]
        raise ConfigError(
            "model.patch_size",
            f"images of {height}x{breadth} pixels are no whole number of patches of {size}x{size}; write "
            f"patch_size={fit[-1]}",
        )
    x = nn.Conv(width, (size, size), (size, size), padding="VALID", name="patches")(x)
    return x.reshape(x.shape[0], -1, width)


class ViT(nn.Module):
    """Patches with learned positions, blocks of attention, a norm, and a dense layer of one vector."""

    patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_width: int
    pool: str
    num_outputs: int
    dropout_rate: Any = 0.0
    drop_path_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = patches("vit", x, self.patch_size, self.width)
        if self.pool == "first":
            token = self.param("class_token", nn.initializers.zeros, (1, 1, self.width)).astype(x.dtype)
            x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], axis=1)
        positions = self.param("positions", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        x = dropped(x + positions.astype(x.dtype), self.dropout_rate, train)
        for number in range(self.depth):
            x = Block(
                self.num_heads,
                self.mlp_width,
                _exact_gelu,
                dropout_rate=self.dropout_rate,
                drop_path_rate=self.drop_path_rate * (number / max(self.depth - 1, 1)),
                epsilon=1e-6,
                name=f"block_{number}",
            )(x, train=train)
        x = nn.LayerNorm(1e-6, name="norm")(x)
        x = x[:, 0] if self.pool == "first" else x.mean(axis=1)
        return nn.Dense(self.num_outputs, kernel_init=nn.initializers.zeros, name="head")(x)


@register("model", "vit", needs=("dataset",), dynamic=("dropout_rate", "drop_path_rate"))
def vit(
    dataset: Any,
    *,
    size: Literal["tiny", "small", "base", "large"] | None = None,
    patch_size: int = 4,
    width: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_width: int | None = None,
    pool: Literal["first", "mean"] = "first",
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build a Vision Transformer for images float[batch, height, width, channels]; ViT-S/16 is size="small", 16.

    Args:
        dataset: says the number of classes.
        size: that of the papers, or None: width 64, depth 4, 4 heads. What is given beside it counts.
        patch_size: pixels along the side of a patch, which divide height and width.
        width: of the vectors; depth: blocks; num_heads: heads of attention, which divide the width; mlp_width: of the
            dense layers in blocks, by default 4 widths.
        pool: what is classified: a class token that comes `first`, or the `mean` of the patches.
        dropout_rate: after positions, branches and the activation, in [0, 1).
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first.
        num_outputs: by default the number of classes, or 1.

    Raises:
        ConfigError: sizes below 1, heads or patches that do not divide; when traced, inputs that are no images.
    """
    at_least(1, patch_size=patch_size, width=width, depth=depth, num_heads=num_heads, mlp_width=mlp_width)
    standard = (64, 4, 4) if size is None else _SIZES[size]
    width, depth, num_heads = width or standard[0], depth or standard[1], num_heads or standard[2]
    divided(width, num_heads)
    return ViT(
        patch_size=patch_size,
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_width=mlp_width or 4 * width,
        pool=pool,
        num_outputs=output_size(dataset, num_outputs),
        dropout_rate=checked_rate(dropout_rate),
        drop_path_rate=checked_rate(drop_path_rate, "drop_path_rate"),
    )

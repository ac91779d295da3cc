"""MLP-Mixers: Tolstikhin et al. 2021, arXiv:2105.01601."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.models.attention import FeedForward
from mlgym_jax.models.inputs import at_least, dropped
from mlgym_jax.models.mlp import checked_rate, output_size
from mlgym_jax.models.vit import patches

# size -> (width, depth, width of the dense layers over patches, over channels): table 1 of the paper
_SIZES = {"small": (512, 8, 256, 2048), "base": (768, 12, 384, 3072), "large": (1024, 24, 512, 4096)}
_exact_gelu = functools.partial(nn.gelu, approximate=False)
_DEFAULT_INIT = nn.initializers.lecun_normal()


class Mixer(nn.Module):
    """Dense layers over the patches, then over the channels, each added to what goes in."""

    token_width: int
    channel_width: int
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        feed = functools.partial(FeedForward, activation=_exact_gelu, kernel_init=_DEFAULT_INIT, out_init=_DEFAULT_INIT)
        y = nn.LayerNorm(1e-6, name="tokens_norm")(x).swapaxes(1, 2)
        y = feed(self.token_width, name="tokens")(y).swapaxes(1, 2)
        x = x + dropped(y, self.dropout_rate, train)
        y = feed(self.channel_width, name="channels")(nn.LayerNorm(1e-6, name="channels_norm")(x))
        return x + dropped(y, self.dropout_rate, train)


class MlpMixer(nn.Module):
    """Patches, mixers, a norm, the mean, and a dense layer."""

    patch_size: int
    width: int
    depth: int
    token_width: int
    channel_width: int
    num_outputs: int
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = patches("mlp_mixer", x, self.patch_size, self.width)
        for number in range(self.depth):
            x = Mixer(self.token_width, self.channel_width, self.dropout_rate, name=f"block_{number}")(x, train)
        x = nn.LayerNorm(1e-6, name="norm")(x).mean(axis=1)
        return nn.Dense(self.num_outputs, kernel_init=nn.initializers.zeros, name="head")(x)


@register("model", "mlp_mixer", needs=("dataset",), dynamic=("dropout_rate",))
def mlp_mixer(
    dataset: Any,
    *,
    size: Literal["small", "base", "large"] | None = None,
    patch_size: int = 4,
    width: int | None = None,
    depth: int | None = None,
    token_width: int | None = None,
    channel_width: int | None = None,
    dropout_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build an MLP-Mixer for images float[batch, height, width, channels]; Mixer-B/16 is size="base", patch_size=16.

    Args:
        dataset: says the number of classes.
        size: that of the paper, or None: width 64, depth 4, 32 and 256. What is given beside it counts.
        patch_size: pixels along the side of a patch, which divide height and width.
        width: channels; depth: mixers; token_width, channel_width: of the dense layers over patches and channels.
        dropout_rate: of what each of them adds, in [0, 1).
        num_outputs: by default the number of classes, or 1.

    Raises:
        ConfigError: sizes below 1, patches that do not divide the image; when traced, inputs that are no images.
    """
    at_least(1, patch_size=patch_size, width=width, depth=depth, token_width=token_width, channel_width=channel_width)
    standard = (64, 4, 32, 256) if size is None else _SIZES[size]
    return MlpMixer(
        patch_size,
        width or standard[0],
        depth or standard[1],
        token_width or standard[2],
        channel_width or standard[3],
        output_size(dataset, num_outputs),
        checked_rate(dropout_rate),
    )

"""U-Nets, which classify every pixel: Ronneberger et al. 2015, arXiv:1505.04597."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.models.inputs import at_least, dropped, images
from mlgym_jax.models.mlp import checked_rate, output_size

_HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with a norm, if any, and ReLU."""

    width: int
    norm: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for number in range(2):
            x = nn.Conv(self.width, (3, 3), use_bias=self.norm is None, kernel_init=_HE, name=f"conv_{number}")(x)
            if self.norm is not None:
                x = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, name=f"norm_{number}")(x)
            x = nn.relu(x)
        return x


class UNet(nn.Module):
    """A path down that halves the image, a path up that joins what was on the way, and a 1x1 convolution."""

    features: tuple[int, ...]
    norm: str | None
    num_outputs: int
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = images("unet", x)
        whole = 2 ** (len(self.features) - 1)
        if x.shape[1] % whole or x.shape[2] % whole:
            raise ConfigError(
                "model.features",
                f"{len(self.features)} of them halve the image {len(self.features) - 1} times: height and width are "
                f"multiples of {whole}, found {x.shape[1]}x{x.shape[2]}; give fewer, or pad the images",
            )
        *others, deepest = self.features
        on_the_way = []
        for level, width in enumerate(others):
            x = DoubleConv(width, self.norm, name=f"down_{level}")(x, train)
            on_the_way.append(x)
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = DoubleConv(deepest, self.norm, name="bottom")(x, train)
        x = dropped(x, self.dropout_rate, train)
        for level, width in reversed([*enumerate(others)]):
            up = nn.ConvTranspose(width, (2, 2), (2, 2), kernel_init=_HE, name=f"doubled_{level}")
            x = jnp.concatenate([on_the_way[level], up(x)], axis=-1)
            x = DoubleConv(width, self.norm, name=f"up_{level}")(x, train)
        return nn.Conv(self.num_outputs, (1, 1), name="head")(x)


@register("model", "unet", needs=("dataset",), dynamic=("dropout_rate",))
def unet(
    dataset: Any,
    *,
    features: tuple[int, ...] = (16, 32, 64),
    norm: Literal["batch"] | None = "batch",
    dropout_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build a U-Net for images float[batch, height, width, channels]; outputs are [batch, height, width, num_outputs].

    Convolutions keep the image's size, which the paper's, without padding, do not.

    Args:
        dataset: says the number of classes of a pixel.
        features: channels from the top to the bottom; the paper's are (64, 128, 256, 512, 1024).
        norm: batch normalisation after each convolution, or None as in the paper.
        dropout_rate: at the bottom, in [0, 1).
        num_outputs: by default the number of classes, or 1.

    Raises:
        ConfigError: no features or some below 1; when traced, inputs that are no images, or cannot be halved so often.
    """
    at_least(1, features=features)
    if not features:
        raise ConfigError("model.features", "at least one number is expected, found ()")
    return UNet(features, norm, output_size(dataset, num_outputs), checked_rate(dropout_rate))

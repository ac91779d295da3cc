"""The colours of images: colour, grayscale, blur."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.augmentations import colours
from mlgym_jax.augmentations.fields import Augmentation, by_image
from mlgym_jax.augmentations.sampling import Padding, pad_places
from mlgym_jax.augmentations.strengths import (
    check_not_negative,
    check_number,
    check_order,
    check_positive,
    check_share,
    check_within,
    number,
)
from mlgym_jax.augmentations.value_range import Range, by_colours, check_range
from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError

_NEEDS = ("dataset", "encoding")


def _is_off(strength: Any) -> bool:
    return isinstance(strength, int | float) and strength == 0


def _check_rgb(name: str, image: jax.Array) -> None:
    if image.shape[-1] != 3:
        raise ConfigError(
            "augmentation", f"{name} is of red, green and blue; the images have {image.shape[-1]} channels, not 3"
        )


@register("augmentation", "colour", needs=_NEEDS, dynamic=("brightness", "contrast", "saturation", "hue"))
def colour(
    dataset: Any = None,
    encoding: Any = None,
    *,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.0,
    hue: float = 0.0,
    value_range: Range | None = None,
) -> Augmentation:
    """Change brightness, contrast, saturation and hue of each image at random, in this order.

    Brightness, contrast and saturation are multiplied by a factor uniform in [max(0, 1 - s), 1 + s], as Pillow's
    `ImageEnhance` does; the hue is turned by a share of the circle uniform in [-hue, hue].

    Args:
        brightness, contrast, saturation: at least 0; hue: in [0, 0.5]. The last two are for images of 3 channels.
        value_range: what is black and white; by default (0, 1), and (0, 255) for integers. Colours stay inside of it.

    Raises:
        ConfigError: a strength out of its range, or colours that are not in `value_range`; when traced, saturation or
            hue of images without colours.
    """
    check_not_negative(brightness=brightness, contrast=contrast, saturation=saturation)
    check_within(0, 0.5, hue=hue)
    check_range("colour", dataset, encoding, value_range)
    steps = [
        (colours.brightness, brightness),
        (colours.contrast, contrast),
        (colours.saturation, saturation),
    ]

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        drawn = jax.random.uniform(key, (4,), minval=-1.0, maxval=1.0)
        for place, (step, strength) in enumerate(steps):
            if not _is_off(strength):
                if step is colours.saturation:
                    _check_rgb("saturation", image)
                image = step(image, jnp.maximum(1 + drawn[place] * number(strength), 0))
        if not _is_off(hue):
            _check_rgb("hue", image)
            image = colours.hue(image, drawn[3] * number(hue))
        return image

    return by_colours("colour", change, value_range)


@register("augmentation", "grayscale", dynamic=("probability",))
def grayscale(*, probability: float = 0.2) -> Augmentation:
    """Replace an RGB image, with a probability, by its luminance (ITU-R 601) in all three channels.

    Raises:
        ConfigError: a probability outside of [0, 1]; when traced, images without three channels.
    """
    check_share(probability=probability)

    def change(key: jax.Array, image: jax.Array) -> tuple[jax.Array]:
        _check_rgb("grayscale", image)
        kind = image.dtype if jnp.issubdtype(image.dtype, jnp.floating) else jnp.float32
        grey = jnp.broadcast_to(colours.luminance(image.astype(kind)), image.shape)
        grey = grey if kind == image.dtype else jnp.round(grey)
        return (jnp.where(jax.random.uniform(key) < number(probability), grey.astype(image.dtype), image),)

    return by_image("grayscale", change)


@register("augmentation", "blur", dynamic=("min_sigma", "max_sigma"))
def blur(*, min_sigma: float = 0.1, max_sigma: float = 1.0, radius: int = 3, mode: Padding = "reflect") -> Augmentation:
    """Blur each image by a Gaussian whose standard deviation is uniform in [min_sigma, max_sigma] pixels.

    Args:
        radius: how far the kernel reaches, in pixels; 3 max_sigma holds nearly all of it.
        mode: what lies outside of the image, as in `numpy.pad`.

    Raises:
        ConfigError: a sigma or a radius that is not above 0, or `min_sigma` above `max_sigma`.
    """
    check_positive(min_sigma=min_sigma, max_sigma=max_sigma)
    check_order(("min_sigma", min_sigma), ("max_sigma", max_sigma))
    check_number(1, 64, radius=radius)

    def change(key: jax.Array, image: jax.Array) -> tuple[jax.Array]:
        sigma = jax.random.uniform(key, minval=number(min_sigma), maxval=number(max_sigma))
        kind = image.dtype if jnp.issubdtype(image.dtype, jnp.floating) else jnp.float32
        found = blurred(image.astype(kind), sigma, radius, mode)
        return ((found if kind == image.dtype else jnp.round(found)).astype(image.dtype),)

    return by_image("blur", change)


def blurred(image: jax.Array, sigma: Any, radius: int, mode: Padding) -> jax.Array:
    """Return an image [height, width, channels] under a Gaussian of 2 radius + 1 pixels a side, with the sum 1."""
    offsets = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-0.5 * jnp.square(offsets.astype(jnp.float32) / sigma))
    weights = (weights / weights.sum()).astype(image.dtype)
    for axis in (0, 1):
        size = image.shape[axis]
        total = jnp.zeros_like(image)
        for place, offset in enumerate(range(-radius, radius + 1)):
            found, inside = pad_places(jnp.arange(size) + offset, size, mode)
            tap = jnp.take(image, found, axis=axis, mode="clip")
            if mode == "constant":
                tap = jnp.where(jnp.expand_dims(inside, (1 - axis, 2)), tap, jnp.zeros_like(tap))
            total = total + weights[place] * tap
        image = total
    return image

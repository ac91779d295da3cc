"""What happens to the colours of an image [height, width, channels] of numbers in [0, 1], as Pillow has it.

Factors are those of Pillow's `ImageEnhance`: 1 leaves the image as it is, 0 gives black, grey, or a blur. Operations of
levels (posterise, solarise, equalise) are those of Pillow's `ImageOps`, on the 256 levels of a byte.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's mode L
_LEVELS = 255


def luminance(image: jax.Array) -> jax.Array:
    """Return [height, width, 1], how light each pixel is."""
    if image.shape[-1] == 1:
        return image
    return (image * jnp.asarray(_LUMA, image.dtype)[None, None]).sum(-1, keepdims=True)


def blended(other: Any, image: jax.Array, factor: Any) -> jax.Array:
    """Return `other` for the factor 0, the image for 1, and what lies between them or beyond, inside of [0, 1]."""
    factor = jnp.asarray(factor, image.dtype)
    return jnp.clip(other + factor * (image - other), 0, 1)


def brightness(image: jax.Array, factor: Any) -> jax.Array:
    """Multiply all numbers."""
    return blended(jnp.zeros_like(image), image, factor)


def contrast(image: jax.Array, factor: Any) -> jax.Array:
    """Spread an image around its mean luminance."""
    return blended(jnp.broadcast_to(luminance(image).mean(), image.shape), image, factor)


def saturation(image: jax.Array, factor: Any) -> jax.Array:
    """Take an image away from its grey version."""
    return blended(jnp.broadcast_to(luminance(image), image.shape), image, factor)


def sharpness(image: jax.Array, factor: Any) -> jax.Array:
    """Take an image away from its smooth version, Pillow's (1 1 1, 1 5 1, 1 1 1) / 13 inside of the border."""
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return image
    smooth = 4 * image[1:-1, 1:-1]
    for row in range(3):
        for column in range(3):
            smooth = smooth + image[row : height - 2 + row, column : width - 2 + column]
    inner = jnp.pad(smooth / 13, ((1, 1), (1, 1), (0, 0)))
    rows, columns = jnp.arange(height)[:, None, None], jnp.arange(width)[None, :, None]
    inside = (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
    return blended(jnp.where(inside, inner, image), image, factor)


def hue(image: jax.Array, turn: Any) -> jax.Array:
    """Turn the hue of an RGB image by a share of the circle, in HSV as `colorsys` has it; values stay in [0, 1]."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value, least = image.max(-1), image.min(-1)
    spread = value - least
    safe = jnp.where(spread > 0, spread, 1)
    # Never `value == red`: XLA may compute either twice, with other last digits.
    sector = jnp.where(
        red >= jnp.maximum(green, blue),
        (green - blue) / safe,
        jnp.where(green >= blue, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sector = (sector + 6 * jnp.asarray(turn, image.dtype)) % 6

    def channel(offset: int) -> jax.Array:
        """Return value - spread * max(0, min(k, 4 - k, 1)), k = offset + sector (mod 6): HSV to RGB in closed form."""
        k = (offset + sector) % 6
        return value - spread * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], axis=-1)


def _levels(image: jax.Array) -> jax.Array:
    return jnp.clip(jnp.round(image * _LEVELS), 0, _LEVELS).astype(jnp.int32)


def _of_levels(levels: jax.Array, image: jax.Array) -> jax.Array:
    return levels.astype(image.dtype) / _LEVELS


def posterise(image: jax.Array, bits: Any) -> jax.Array:
    """Keep the `bits` (1 … 8) highest bits of each number's level."""
    dropped = 8 - jnp.asarray(bits, jnp.int32)
    return _of_levels((_levels(image) >> dropped) << dropped, image)


def solarise(image: jax.Array, threshold: Any) -> jax.Array:
    """Invert the numbers from `threshold` on, in [0, 1]."""
    return jnp.where(image >= jnp.asarray(threshold, image.dtype), 1 - image, image)


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretch each channel to [0, 1]; one of a single number stays."""
    low, high = (reduce(image, axis=(0, 1), keepdims=True) for reduce in (jnp.min, jnp.max))
    spread = high - low
    return jnp.where(spread > 0, (image - low) / jnp.where(spread > 0, spread, 1), image)


def equalise(image: jax.Array) -> jax.Array:
    """Give each channel levels of equal frequency, by the table of Pillow's `ImageOps.equalize`."""
    return _of_levels(jax.vmap(_equalised, in_axes=-1, out_axes=-1)(_levels(image)), image)


def _equalised(levels: jax.Array) -> jax.Array:
    counts = jnp.zeros((_LEVELS + 1,), jnp.int32).at[levels.reshape(-1)].add(1)
    last = jnp.max(jnp.where(counts > 0, jnp.arange(_LEVELS + 1), 0))
    step = (levels.size - jnp.take(counts, last)) // _LEVELS
    below = jnp.cumsum(counts) - counts
    table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), _LEVELS)
    return jnp.where(step > 0, jnp.take(table, levels), levels)

"""Where the pixels of images are: flip, crop, random_resized_crop, translate, rotate.

They take `fields`, which are changed together: `fields=("inputs", "targets")` moves an image and its map of classes
alike. Between pixels, real numbers are interpolated and integers taken from the nearest one.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from mlgym_jax.augmentations.fields import Augmentation, by_image
from mlgym_jax.augmentations.sampling import Padding, resized, taken, transformed
from mlgym_jax.augmentations.strengths import (
    check_finite,
    check_order,
    check_positive,
    check_share,
    check_within,
    number,
)
from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError

Fields = tuple[str, ...]


@register("augmentation", "flip", dynamic=("probability",))
def flip(
    *,
    probability: float = 0.5,
    direction: Literal["horizontal", "vertical"] = "horizontal",
    fields: Fields = ("inputs",),
) -> Augmentation:
    """Mirror each image, left to right or upside down, with a probability.

    Raises:
        ConfigError: a probability outside of [0, 1]; when traced, fields that hold no images.
    """
    check_share(probability=probability)
    axis = 1 if direction == "horizontal" else 0

    def change(key: jax.Array, *images: jax.Array) -> tuple[jax.Array, ...]:
        mirrored = jax.random.uniform(key) < number(probability)
        return tuple(jnp.where(mirrored, jnp.flip(image, axis), image) for image in images)

    return by_image("flip", change, fields, moves=True)


@register("augmentation", "crop")
def crop(
    *,
    size: tuple[int, int] | None = None,
    padding: int = 4,
    mode: Padding = "constant",
    fill: float = 0.0,
    fields: Fields = ("inputs",),
) -> Augmentation:
    """Cut each image out of itself with a border around it, anywhere alike: He et al. 2015's "pad 4, crop".

    Args:
        size: (height, width) of what is cut; by default the image's. The model is called with it in training alone, so
            another one is for models that take any size.
        padding: pixels of the border on each side.
        mode: what the border is made of, as in `numpy.pad`; fill: its value where it is constant.

    Raises:
        ConfigError: a size below 1, or a padding below 0; when traced, a size larger than the padded image.
    """
    if padding < 0:
        raise ConfigError("augmentation.padding", f"at least 0 pixels are expected, found {padding}")
    if size is not None and min(size) < 1:
        raise ConfigError("augmentation.size", f"at least 1 pixel each is expected, found {size}")
    if size is None and padding == 0:
        raise ConfigError("augmentation.padding", "without a border or a size every crop is the whole image; write 4")
    check_finite(fill=fill)

    def change(key: jax.Array, *images: jax.Array) -> tuple[jax.Array, ...]:
        wanted = size or images[0].shape[:2]
        if padding > max(images[0].shape[:2]):
            raise ConfigError(
                "augmentation.padding", f"found {padding}, more than the images {images[0].shape[:2]}: border, mostly"
            )
        room = [have + 2 * padding - want for have, want in zip(images[0].shape[:2], wanted, strict=True)]
        if min(room) < 0:
            raise ConfigError(
                "augmentation.size",
                f"found {wanted}, images with their border are {images[0].shape[:2]} + 2 * {padding}",
            )
        starts = jax.random.randint(key, (2,), 0, jnp.asarray([more + 1 for more in room])) - padding
        rows, columns = (starts[i] + jnp.arange(want) for i, want in enumerate(wanted))
        return tuple(taken(image, rows, columns, mode, fill) for image in images)

    return by_image("crop", change, fields, moves=True)


@register("augmentation", "random_resized_crop", dynamic=("min_scale", "max_scale", "min_ratio", "max_ratio"))
def random_resized_crop(
    *,
    min_scale: float = 0.08,
    max_scale: float = 1.0,
    min_ratio: float = 3 / 4,
    max_ratio: float = 4 / 3,
    size: tuple[int, int] | None = None,
    fields: Fields = ("inputs",),
) -> Augmentation:
    r"""Cut a box of random area and shape out of each image and resize it: Szegedy et al. 2015, the ImageNet recipe.

    The share of the area is uniform in [min_scale, max_scale], the box's width over its height log-uniform in
    [min_ratio, max_ratio]; sides are at least a pixel and at most the image's. Real images are averaged over what a
    pixel covers, as Pillow does.

    Args:
        size: (height, width) of the result; by default the image's.

    Raises:
        ConfigError: scales outside of (0, 1], ratios that are not above 0, a lower end above its upper one.
    """
    check_positive(min_scale=min_scale, max_scale=max_scale, min_ratio=min_ratio, max_ratio=max_ratio)
    check_share(min_scale=min_scale, max_scale=max_scale)
    check_order(("min_scale", min_scale), ("max_scale", max_scale))
    check_order(("min_ratio", min_ratio), ("max_ratio", max_ratio))
    if size is not None and min(size) < 1:
        raise ConfigError("augmentation.size", f"at least 1 pixel each is expected, found {size}")

    def change(key: jax.Array, *images: jax.Array) -> tuple[jax.Array, ...]:
        height, width = images[0].shape[:2]
        of_scale, of_ratio, of_place = jax.random.split(key, 3)
        share = jax.random.uniform(of_scale, minval=number(min_scale), maxval=number(max_scale))
        low, high = (jnp.log(number(end)) for end in (min_ratio, max_ratio))
        ratio = jnp.exp(jax.random.uniform(of_ratio, minval=low, maxval=high))
        area = share * (height * width)
        tall, wide = jnp.clip(jnp.sqrt(area / ratio), 1, height), jnp.clip(jnp.sqrt(area * ratio), 1, width)
        down, right = jax.random.uniform(of_place, (2,))
        box = down * (height - tall), right * (width - wide), tall, wide
        return tuple(resized(image, *box, size or (height, width)) for image in images)

    return by_image("random_resized_crop", change, fields, moves=True)


@register("augmentation", "translate", dynamic=("vertical", "horizontal"))
def translate(
    *,
    vertical: float = 0.1,
    horizontal: float = 0.1,
    mode: Padding = "constant",
    fill: float = 0.0,
    fields: Fields = ("inputs",),
) -> Augmentation:
    """Shift each image by whole pixels, up to a share of its height and width either way.

    Args:
        vertical, horizontal: the largest shifts, in [0, 1]; what is drawn is rounded.
        mode: what comes in, as in `numpy.pad`; fill: its value where it is constant.

    Raises:
        ConfigError: a share outside of [0, 1].
    """
    check_share(vertical=vertical, horizontal=horizontal)
    check_finite(fill=fill)

    def change(key: jax.Array, *images: jax.Array) -> tuple[jax.Array, ...]:
        drawn = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        shifts = [
            jnp.round(drawn[i] * number(most) * images[0].shape[i]).astype(jnp.int32)
            for i, most in enumerate((vertical, horizontal))
        ]
        rows, columns = (jnp.arange(images[0].shape[i]) - shift for i, shift in enumerate(shifts))
        return tuple(taken(image, rows, columns, mode, fill) for image in images)

    return by_image("translate", change, fields, moves=True)


@register("augmentation", "rotate", dynamic=("degrees",))
def rotate(
    *, degrees: float = 15.0, mode: Padding = "constant", fill: float = 0.0, fields: Fields = ("inputs",)
) -> Augmentation:
    """Turn each image about its centre by an angle that is uniform in [-degrees, degrees]; its size stays.

    Args:
        degrees: in [0, 180].
        mode: what comes in, as in `numpy.pad`; fill: its value where it is constant.

    Raises:
        ConfigError: an angle outside of [0, 180].
    """
    check_within(0, 180, degrees=degrees)
    check_finite(fill=fill)

    def change(key: jax.Array, *images: jax.Array) -> tuple[jax.Array, ...]:
        angle = jnp.radians(jax.random.uniform(key, minval=-1.0, maxval=1.0) * number(degrees))
        return tuple(rotated(image, angle, mode, fill) for image in images)

    return by_image("rotate", change, fields, moves=True)


def rotated(image: jax.Array, angle: Any, mode: Padding, fill: Any) -> jax.Array:
    """Return an image [height, width, channels] turned anticlockwise by an angle in radians."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return transformed(image, ((cos, sin), (-sin, cos)), (0.0, 0.0), mode, fill)

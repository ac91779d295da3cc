"""Boxes of images: erase, and what cutmix cuts."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from mlgym_jax.augmentations.fields import Augmentation, by_image
from mlgym_jax.augmentations.strengths import check_finite, check_order, check_positive, check_share, number
from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError


def inside_box(shape: tuple[int, ...], top: Any, left: Any, bottom: Any, right: Any) -> jax.Array:
    """Return bool[height, width], the pixels of rows top … bottom - 1 and columns left … right - 1."""
    rows, columns = jnp.arange(shape[0])[:, None], jnp.arange(shape[1])[None, :]
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _start(drawn: jax.Array, room: jax.Array) -> jax.Array:
    """Return one of 0 … room, each alike, of a draw in [0, 1), which float32 may round up to the next place."""
    return jnp.minimum((drawn * (room + 1).astype(jnp.float32)).astype(jnp.int32), room)


@register("augmentation", "erase", dynamic=("probability", "min_area", "max_area", "min_ratio", "max_ratio"))
def erase(
    *,
    probability: float = 0.5,
    min_area: float = 0.02,
    max_area: float = 0.33,
    min_ratio: float = 0.3,
    max_ratio: float = 1 / 0.3,
    value: float | Literal["noise"] = 0.0,
) -> Augmentation:
    """Cover a box of each image, with a probability: random erasing, Zhong et al. 2017 (arXiv:1708.04896).

    The share of the area is uniform in [min_area, max_area], the box's width over its height log-uniform in
    [min_ratio, max_ratio]; sides are rounded to pixels, and at most the image's.

    Args:
        value: what covers it, or "noise": standard normal numbers a pixel (for images that are standardised).

    Raises:
        ConfigError: a probability or an area outside of [0, 1], a ratio that is not above 0, a lower end above its
            upper one.
    """
    check_share(probability=probability, min_area=min_area, max_area=max_area)
    check_positive(min_ratio=min_ratio, max_ratio=max_ratio)
    check_order(("min_area", min_area), ("max_area", max_area))
    check_order(("min_ratio", min_ratio), ("max_ratio", max_ratio))
    if value != "noise":
        check_finite(value=value)

    def change(key: jax.Array, image: jax.Array) -> tuple[jax.Array]:
        height, width, _ = image.shape
        of_area, of_ratio, of_place, of_noise = jax.random.split(key, 4)
        drawn, down, right = jax.random.uniform(of_place, (3,))
        area = jax.random.uniform(of_area, minval=number(min_area), maxval=number(max_area)) * (height * width)
        low, high = (jnp.log(number(end)) for end in (min_ratio, max_ratio))
        ratio = jnp.exp(jax.random.uniform(of_ratio, minval=low, maxval=high))
        tall = jnp.clip(jnp.round(jnp.sqrt(area / ratio)), 0, height).astype(jnp.int32)
        wide = jnp.clip(jnp.round(jnp.sqrt(area * ratio)), 0, width).astype(jnp.int32)
        top = _start(down, height - tall)
        left = _start(right, width - wide)
        covered = inside_box(image.shape, top, left, top + tall, left + wide) & (drawn < number(probability))
        if value == "noise":
            if not jnp.issubdtype(image.dtype, jnp.floating):
                raise ConfigError("augmentation.value", f"noise is of real numbers, the images are {image.dtype.name}")
            cover = jax.random.normal(of_noise, image.shape).astype(image.dtype)
        else:
            cover = jnp.full_like(image, value)
        return (jnp.where(covered[..., None], cover, image),)

    return by_image("erase", change)

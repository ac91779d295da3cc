"""RandAugment: a few of fourteen changes of an image, drawn at random, all of one strength."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.augmentations import colours
from mlgym_jax.augmentations.fields import Augmentation
from mlgym_jax.augmentations.sampling import transformed
from mlgym_jax.augmentations.strengths import check_number, check_share, check_within, number
from mlgym_jax.augmentations.value_range import Range, by_colours, check_range
from mlgym_jax.components.registry import register

# Geometric ones first: they are one transformation, whose numbers are chosen, and not five that are chosen from.
GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
OPERATIONS = (
    *GEOMETRIC,
    "identity",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
    "posterise",
    "solarise",
    "autocontrast",
    "equalise",
)
MAX_MAGNITUDE = 30
# What the largest magnitude is, as torchvision's RandAugment has it.
_SHEAR, _TRANSLATE, _DEGREES, _FACTOR, _BITS = 0.3, 150 / 331, 30.0, 0.9, 4


def operated(image: jax.Array, operation: Any, share: Any, sign: Any, fill: float) -> jax.Array:
    """Return an image of numbers in [0, 1] under one of `OPERATIONS`.

    Args:
        operation: int32[], its number there.
        share: float32[] in [0, 1], the magnitude as a part of the largest; sign: 1 or -1, the direction, where there
            is one.
    """
    signed = share * sign
    geometric = _moved(image, operation, signed, fill)
    factor = 1 + signed * _FACTOR
    bits = 8 - jnp.round(share * _BITS).astype(jnp.int32)
    others = {
        "brightness": colours.brightness(image, factor),
        "contrast": colours.contrast(image, factor),
        "sharpness": colours.sharpness(image, factor),
        "posterise": colours.posterise(image, bits),
        "solarise": colours.solarise(image, 1 - share),
        "autocontrast": colours.autocontrast(image),
        "equalise": colours.equalise(image),
    }
    if image.shape[-1] == 3:  # of one channel it is the identity
        others["saturation"] = colours.saturation(image, factor)
    found = jnp.where(operation < len(GEOMETRIC), geometric, image)
    for name, changed in others.items():
        found = jnp.where(operation == OPERATIONS.index(name), changed, found)
    return found


def _moved(image: jax.Array, operation: Any, signed: Any, fill: float) -> jax.Array:
    height, width, _ = image.shape

    def where(name: str, value: Any, other: float = 0.0) -> jax.Array:
        return jnp.where(operation == OPERATIONS.index(name), value, other)

    angle = where("rotate", jnp.radians(signed * _DEGREES))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    matrix = (cos, sin + where("shear_y", signed * _SHEAR)), (where("shear_x", signed * _SHEAR) - sin, cos)
    shift = where("translate_y", signed * _TRANSLATE * height), where("translate_x", signed * _TRANSLATE * width)
    return transformed(image, matrix, shift, "constant", fill)


@register("augmentation", "rand_augment", needs=("dataset", "encoding"), dynamic=("magnitude",))
def rand_augment(
    dataset: Any = None,
    encoding: Any = None,
    *,
    num_layers: int = 2,
    magnitude: float = 9.0,
    fill: float = 0.5,
    value_range: Range | None = None,
) -> Augmentation:
    """Change each image by `num_layers` operations, each drawn from fourteen: Cubuk et al. 2019 (arXiv:1909.13719).

    Identity, shears, translations, rotation, brightness, saturation, contrast, sharpness, posterise, solarise,
    autocontrast and equalise, with the strengths of torchvision's `RandAugment`.
    In a vectorised program all are computed for each layer, so that a layer costs what they do together.

    Args:
        magnitude: in [0, 30], also between whole numbers.
        fill: in [0, 1], what comes in where an image was moved; the authors' is grey.
        value_range: what is black and white; by default (0, 1), and (0, 255) for integers.

    Raises:
        ConfigError: fewer than one layer or more than fourteen, a magnitude outside of [0, 30], or colours that are not
            in `value_range`.
    """
    check_number(1, len(OPERATIONS), num_layers=num_layers)
    check_within(0, MAX_MAGNITUDE, magnitude=magnitude)
    check_share(fill=fill)
    check_range("rand_augment", dataset, encoding, value_range)

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        share = number(magnitude) / MAX_MAGNITUDE
        for layer in range(num_layers):
            of_operation, of_sign = jax.random.split(jax.random.fold_in(key, layer))
            operation = jax.random.randint(of_operation, (), 0, len(OPERATIONS))
            sign = jnp.where(jax.random.bernoulli(of_sign), 1.0, -1.0)
            image = operated(image, operation, share, sign, fill)
        return image

    return by_colours("rand_augment", change, value_range)

"""Between the numbers that images are given in and [0, 1], in which colours are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.augmentations.fields import Augmentation, by_image
from mlgym_jax.augmentations.strengths import check_finite
from mlgym_jax.core.inputs import INPUTS
from mlgym_jax.errors import ConfigError

Range = tuple[float, float]
_NUM_SEEN = 64  # examples whose numbers are looked at before anything is traced
_TOLERANCE = 1e-3


def by_colours(
    name: str, change: Callable[[jax.Array, jax.Array], jax.Array], value_range: Range | None
) -> Augmentation:
    """Return the augmentation that changes images one by one: `change(key, image) -> image`, of numbers in [0, 1].

    Args:
        value_range: what stands for 0 and 1; by default (0, 1), and (0, 255) for integers.

    Raises:
        ConfigError: a range whose ends are not finite, or not in order.
    """
    for place, end in enumerate(value_range or ()):
        check_finite(**{f"value_range.{place}": end})
    if value_range is not None and not value_range[0] < value_range[1]:
        raise ConfigError("augmentation.value_range", f"found {value_range}; (low, high) with low < high is expected")

    def augment(key: jax.Array, image: jax.Array) -> tuple[jax.Array]:
        whole = jnp.issubdtype(image.dtype, jnp.integer)
        low, high = value_range or ((0.0, 255.0) if whole else (0.0, 1.0))
        kind = jnp.float32 if whole else image.dtype
        unit = (image.astype(kind) - jnp.asarray(low, kind)) / jnp.asarray(high - low, kind)
        found = change(key, jnp.clip(unit, 0, 1)) * jnp.asarray(high - low, kind) + jnp.asarray(low, kind)
        return ((jnp.round(found) if whole else found).astype(image.dtype),)

    return by_image(name, augment)


def check_range(name: str, dataset: Any, encoding: Any, value_range: Range | None) -> None:
    """Refuse images whose first ones have numbers outside of [0, 1], after the encoding, where no range is given.

    Raises:
        ConfigError: at `augmentation.value_range`, which would be cut off.
    """
    train = getattr(dataset, "splits", {}).get("train")
    images = train.get(INPUTS) if isinstance(train, Mapping) else None
    if value_range is not None or not isinstance(images, np.ndarray) or images.ndim != 4:
        return
    if encoding is not None:
        seen = {INPUTS: images[:_NUM_SEEN]}
        try:
            with jax.ensure_compile_time_eval():  # it may be asked again while a program is traced
                images = np.asarray(encoding.apply(encoding.fit(seen), seen)[INPUTS])
        except Exception:  # one that reads other fields, too
            return
    if images.dtype.kind != "f":
        return
    low, high = images[:_NUM_SEEN].min(), images[:_NUM_SEEN].max()
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        after = " after config.encoding" if encoding is not None else ""
        raise ConfigError(
            "augmentation.value_range",
            f"{name} takes colours from 0 to 1, and cuts off what is beyond; the inputs are {low:.4g} … {high:.4g}"
            f"{after}. "
            "Write config.encoding = component('min_max'), or say what black and white are: value_range=(low, high)",
        )

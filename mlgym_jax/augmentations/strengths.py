"""What an augmentation's numbers may be; swept ones are traced arrays inside of a program, and pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlgym_jax.errors import ConfigError

PATH = "augmentation"
# What 32 bits hold: a smaller number would be 0 in a program, a larger one infinite.
_LEAST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_MAX_CLASSES = 1 << 24  # more are a mistake in the numbers


def _is_known(value: Any) -> bool:
    return isinstance(value, int | float)


def check_share(**values: Any) -> None:
    """Refuse what is no number in [0, 1]."""
    for name, value in values.items():
        if _is_known(value) and not 0 <= value <= 1:
            raise ConfigError(f"{PATH}.{name}", f"a number in [0, 1] is expected, found {value}")


def check_within(low: float, high: float, **values: Any) -> None:
    """Refuse what is no number in [low, high]."""
    for name, value in values.items():
        if _is_known(value) and not low <= value <= high:
            raise ConfigError(f"{PATH}.{name}", f"a number in [{low:g}, {high:g}] is expected, found {value}")


def check_not_negative(**values: Any) -> None:
    """Refuse NaN, infinities and what is below 0."""
    for name, value in values.items():
        if _is_known(value) and not 0 <= value <= _LARGEST:
            raise ConfigError(f"{PATH}.{name}", f"a number of at least 0 is expected, found {value}")


def check_positive(**values: Any) -> None:
    """Refuse NaN, infinities and what is not above 0."""
    for name, value in values.items():
        if _is_known(value) and not _LEAST <= value <= _LARGEST:
            raise ConfigError(f"{PATH}.{name}", f"a number above 0 is expected, found {value}")


def check_finite(**values: Any) -> None:
    """Refuse NaN and infinities."""
    for name, value in values.items():
        if _is_known(value) and not -_LARGEST <= value <= _LARGEST:
            raise ConfigError(f"{PATH}.{name}", f"a finite number is expected, found {value}")


def check_number(low: int, high: int, **values: int) -> None:
    """Refuse a number of something outside of low … high."""
    for name, value in values.items():
        if not low <= value <= high:
            raise ConfigError(f"{PATH}.{name}", f"{low} … {high} are expected, found {value}")


def check_classes(name: str, value: int) -> int:
    """Return a number of classes, or of tokens, that can be one.

    Raises:
        ConfigError: fewer than 1, or far too many.
    """
    check_number(1, _MAX_CLASSES, **{name: value})
    return value


def check_order(low: tuple[str, Any], high: tuple[str, Any]) -> None:
    """Refuse a range whose lower end, (name, value), is above its upper one."""
    if _is_known(low[1]) and _is_known(high[1]) and low[1] > high[1]:
        raise ConfigError(f"{PATH}.{low[0]}", f"found {low[1]}, more than {high[0]}={high[1]}")


def check_weights(weights: Sequence[float] | None, number: int) -> tuple[float, ...]:
    """Return `number` weights with the sum 1, equal ones for None.

    Raises:
        ConfigError: another number of them, one below 0, or nothing but zeros.
    """
    found = (1.0,) * number if weights is None else tuple(weights)
    if len(found) != number:
        raise ConfigError(f"{PATH}.weights", f"found {len(found)} weights for {number} augmentations; write one each")
    for place, weight in enumerate(found):
        if not 0 <= weight <= _LARGEST / number:
            raise ConfigError(f"{PATH}.weights.{place}", f"a number of at least 0 is expected, found {weight}")
    if not sum(found) > 0:
        raise ConfigError(f"{PATH}.weights", "all of them are 0, so that none would ever be chosen")
    return tuple(weight / sum(found) for weight in found)


def number(value: Any, like: Any = jnp.float32) -> Any:
    """Return a strength, traced or not, as a scalar of the type that arrays are computed in."""
    return jnp.asarray(value, getattr(like, "dtype", like))

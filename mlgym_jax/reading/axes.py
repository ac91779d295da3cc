"""How values lie along the axis of a chart: numbers by their size or its logarithm, words at equal distances."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from mlgym_jax.events.influence import is_numeric

_GAP = 0.15  # of an axis, between what has no number and the smallest number
_APART = 0.06  # of an axis: ticks that are nearer would cover one another


def is_log(values: Sequence[Any]) -> bool:
    """Whether numbers are positive and span two decades or more, so that an axis of them is logarithmic."""
    return bool(values) and is_numeric(values) and min(values) > 0 and max(values) / min(values) >= 100


def words_along(values: Sequence[Any]) -> tuple[list[int], list[Hashable]]:
    """Return the place of each value among the different ones, and those, numbers first, in their order."""
    different = {_key(value): value for value in values}
    order = sorted(different)
    places = {key: place for place, key in enumerate(order)}
    return [places[_key(value)] for value in values], [different[key] for key in order]


def _key(value: Any) -> tuple[bool, float, str]:
    return (False, float(value), "") if is_numeric([value]) else (True, 0.0, str(value))


def along_unit(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, Any]]]:
    """Return the places of values from 0 to 1, and ticks: (place, value).

    Numbers lie by their size, or its logarithm (`is_log`), those that are None at 0; words at equal distances.
    """
    numbers = [value for value in values if value is not None]
    if not numbers or not is_numeric(numbers):
        places, different = words_along(values)
        width = max(len(different) - 1, 1)
        start = 0.0 if len(different) > 1 else 0.5
        ends = dict.fromkeys((0, len(different) - 1, *range(len(different))))
        return [start + place / width for place in places], _apart((start + i / width, different[i]) for i in ends)
    of = np.log10 if is_log(numbers) else np.asarray
    low, high = float(of(min(numbers))), float(of(max(numbers)))
    bottom = _GAP if len(numbers) < len(values) else 0.0

    def place(value: Any) -> float:
        if value is None:
            return 0.0
        return bottom + (1 - bottom) * ((float(of(value)) - low) / (high - low) if high > low else 0.5)

    different = sorted(set(numbers))
    shown = dict.fromkeys((*([None] * bool(bottom)), different[0], different[-1], *different))
    return [place(value) for value in values], _apart((place(value), value) for value in shown)


def _apart(ticks: Iterable[tuple[float, Any]]) -> list[tuple[float, Any]]:
    """Return those ticks that do not cover an earlier one."""
    found: list[tuple[float, Any]] = []
    for place, value in ticks:
        if all(abs(place - other) >= _APART for other, _ in found):
            found.append((place, value))
    return found

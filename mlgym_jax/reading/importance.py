"""How much a swept value alone explains of a score, as the board computes it; and how values lie along an axis.

Synopsis:

    >>> from mlgym_jax.reading.importance import share_explained
    >>> share_explained([1, 1, 1, 2, 2, 2], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    0.7142857142857143
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

_MOST_BINS = 8
_GAP = 0.15  # of an axis, between what has no number and the smallest number
_APART = 0.06  # of an axis: ticks that are nearer would cover one another


def share_explained(values: Sequence[Any], scores: Sequence[float]) -> float:
    """Return the share of the variance of the scores' ranks that a value explains, from 0 to 1; NaN of too few.

    It is corrected for the number of values, so that one that means nothing explains about 0: epsilon squared (Kelley
    1935), the adjusted form of eta squared. Ranks, because one diverged experiment must not decide. Numbers are binned
    as in `binned`. Interactions of two hyperparameters are not seen.
    """
    _, groups = np.unique(binned(values), return_inverse=True)
    number, ranked = len(scores), ranks(scores)
    counts = np.bincount(groups)
    total = float(((ranked - ranked.mean()) ** 2).sum()) if number else 0.0
    if len(counts) < 2 or number <= len(counts) or not total:
        return math.nan
    means = np.bincount(groups, ranked) / counts
    within = float(((ranked - means[groups]) ** 2).sum())
    return max(0.0, 1 - within / (number - len(counts)) / (total / (number - 1)))


def ranks(scores: Sequence[float]) -> np.ndarray:
    """Return float[scores]: ranks from 1, equal scores share the mean of theirs."""
    _, places, counts = np.unique(np.asarray(scores, np.float64), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def binned(values: Sequence[Any]) -> list[str]:
    """Return the bin of each value: more than eight different numbers in eight of about equal count, else its own."""
    numbers = [value for value in values if value is not None]
    if not is_numeric(numbers) or len(set(numbers)) <= _MOST_BINS:
        return [repr(float(value)) if is_numeric([value]) else str(value) for value in values]
    ranked = iter(ranks(numbers))
    last = _MOST_BINS - 1
    return [
        "None" if value is None else str(min(last, int((next(ranked) - 0.5) / len(numbers) * _MOST_BINS)))
        for value in values
    ]


def is_numeric(values: Sequence[Any]) -> bool:
    """Whether all are finite numbers."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)


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

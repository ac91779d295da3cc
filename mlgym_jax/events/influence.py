"""How much a swept value alone explains of a score, as the board's page computes it, too (`statistics.ts`).

Synopsis:

    >>> from mlgym_jax.events.influence import share_explained
    >>> share_explained([1, 1, 1, 2, 2, 2], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    0.7142857142857143
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import Any

_MOST_BINS = 8


def share_explained(values: Sequence[Any], scores: Sequence[float]) -> float:
    """Return the share of the variance of the scores' ranks that a value explains, from 0 to 1; NaN of too few.

    It is corrected for the number of values, so that one that means nothing explains about 0: epsilon squared (Kelley
    1935), the adjusted form of eta squared. Ranks, because one diverged experiment must not decide. Numbers are binned
    as in `binned`. Interactions of two hyperparameters are not seen.
    """
    return share_of_ranks(values, ranks(scores))


def share_of_ranks(values: Sequence[Any], ranked: Sequence[float]) -> float:
    """Return the same of scores whose `ranks` are known."""
    groups: dict[Hashable, list[float]] = {}
    for place, rank in zip(binned(values), ranked, strict=True):
        groups.setdefault(place, []).append(rank)
    number, middle = len(ranked), (len(ranked) + 1) / 2
    if len(groups) < 2 or number <= len(groups):
        return math.nan
    total = math.fsum((rank - middle) ** 2 for group in groups.values() for rank in group)
    if not total:
        return math.nan
    means = {place: math.fsum(group) / len(group) for place, group in groups.items()}
    within = math.fsum((rank - means[place]) ** 2 for place, group in groups.items() for rank in group)
    return max(0.0, 1 - within / (number - len(groups)) / (total / (number - 1)))


def ranks(scores: Sequence[float]) -> list[float]:
    """Return the rank of each score, from 1; equal scores share the mean of theirs."""
    found = [0.0] * len(scores)
    before = 0
    for _, places in groupby(sorted(range(len(scores)), key=scores.__getitem__), key=scores.__getitem__):
        equal = list(places)
        for place in equal:
            found[place] = before + (len(equal) + 1) / 2
        before += len(equal)
    return found


def binned(values: Sequence[Any]) -> list[Hashable]:
    """Return the bin of each value: more than eight different numbers in eight of about equal count, else its own.

    None is no word, and 0 and -0 are one number.
    """
    numbers = [value for value in values if value is not None]
    if not is_numeric(numbers) or len(set(numbers)) <= _MOST_BINS:
        return [value + 0.0 if _is_number(value) else None if value is None else str(value) for value in values]
    ranked = iter(ranks(numbers))
    last = _MOST_BINS - 1
    return [
        None if value is None else min(last, int((next(ranked) - 0.5) / len(numbers) * _MOST_BINS)) for value in values
    ]


def is_numeric(values: Sequence[Any]) -> bool:
    """Whether all are finite numbers."""
    return all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    return type(value) is not bool and isinstance(value, int | float) and abs(value) <= sys.float_info.max

"""Whether two means over a few seeds or folds can be told apart, by Student's t. Standard library alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping

from mlgym_jax.events.intervals import t_tail

_ROUNDING = 1e-12  # of the scores: a deviation below is one of rounding


def p_of_difference(
    first: Mapping[Hashable, float], second: Mapping[Hashable, float], *, overlap: float = 0.0
) -> float | None:
    """Return how likely means at least so different are if nothing but chance makes them so, two-sided.

    Scores of the same keys (seeds, folds) are compared pair by pair, others by Welch's test; None where one of them has
    one score only.

    Args:
        overlap: of pairs of folds, as `intervals.interval` takes it; 0 for seeds.
    """
    if min(len(first), len(second)) < 2:
        return None
    scale = _ROUNDING * max(map(abs, (*first.values(), *second.values())))
    if first.keys() == second.keys():
        differences = [score - second[key] for key, score in first.items()]
        number = len(differences)
        variance, freedom = statistics.variance(differences) * (1 / number + overlap), float(number - 1)
        difference = statistics.fmean(differences)
    else:
        parts = [statistics.variance(scores) / len(scores) for scores in (list(first.values()), list(second.values()))]
        variance, difference = sum(parts), statistics.fmean(first.values()) - statistics.fmean(second.values())
        below = sum(part**2 / (len(scores) - 1) for part, scores in zip(parts, (first, second), strict=True))
        freedom = variance**2 / below if below else 1.0
    if math.sqrt(variance) <= scale:  # all scores of each are equal
        return 1.0 if abs(difference) <= scale else 0.0
    return 2 * t_tail(abs(difference) / math.sqrt(variance), freedom)

"""How sure a mean over seeds or folds is: Student's t interval, and Welch's for a difference. Standard library alone.

Synopsis:

>>> from mlgym_jax.events.intervals import difference, interval
>>> found = interval([0.90, 0.92, 0.94])
>>> round(found.mean, 4), round(found.low, 4), round(found.high, 4)
(0.92, 0.8703, 0.9697)
>>> difference(interval([0.90, 0.92, 0.94]), interval([0.80, 0.82, 0.84])).low > 0
True
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it may lie.

    Attributes:
        mean: NaN where there is no finite score.
        std: the sample standard deviation (n - 1); None of fewer than two scores.
        low, high: ends of the confidence interval of the mean; None of fewer than two scores.
        num: of how many finite scores; others are left out.
        squared_error: squared standard error of the mean; freedom: degrees of freedom. None of fewer than two scores.
    """

    mean: float
    std: float | None
    low: float | None
    high: float | None
    num: int
    squared_error: float | None = None
    freedom: float | None = None


def interval(
    scores: Sequence[float],
    *,
    confidence: float = _CONFIDENCE,
    overlap: float = 0.0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Return the mean of scores with its confidence interval by Student's t distribution, n - 1 degrees of freedom.

    Args:
        scores: one a seed, or one a fold.
        confidence: from 0 to 1, both excluded.
        overlap: (test examples) / (training examples) of a fold, 1 / (k - 1) of k folds. Folds share training examples,
            so that their scores vary together and the plain interval is too narrow: the variance of the mean is then
            std² (1/n + overlap), the corrected resampled t interval of Nadeau and Bengio (2003), Machine Learning 52.
            0 for seeds.
        bounds: between which all scores lie, whatever is measured (`events.bounds`): so does their mean, and no end is
            told beyond. Errors and differences are those of the whole interval.

    Raises:
        ValueError: no such confidence or overlap.
    """
    if not 0 < confidence < 1 or not 0 <= overlap < math.inf:
        raise ValueError(f"confidence={confidence}, overlap={overlap}: from 0 to 1, and at least 0")
    finite = [float(score) for score in scores if math.isfinite(score)]
    if len(finite) < 2:
        return Interval(finite[0] if finite else math.nan, None, None, None, len(finite))
    mean, std = statistics.fmean(finite), statistics.stdev(finite)
    found = _around(mean, std, len(finite), std**2 * (1 / len(finite) + overlap), len(finite) - 1, confidence)
    least, greatest = bounds
    assert found.low is not None and found.high is not None
    # A score may lie beyond by its rounding; or it is another than its name says.
    least, greatest = min(least, *finite), max(greatest, *finite)
    return replace(found, low=max(found.low, least), high=min(found.high, greatest))


def difference(one: Interval, other: Interval, *, confidence: float = _CONFIDENCE) -> Interval:
    """Return the difference of two means, `one - other`, with Welch's interval, of unpaired scores of any variances.

    Without an interval where one of them has none. `num` counts the scores of both.
    """
    mean, num = one.mean - other.mean, one.num + other.num
    if one.squared_error is None or other.squared_error is None or one.freedom is None or other.freedom is None:
        return Interval(mean, None, None, None, num)
    squared = one.squared_error + other.squared_error
    if squared == 0:
        return Interval(mean, None, mean, mean, num, 0.0, one.freedom + other.freedom)
    # Welch and Satterthwaite.
    freedom = squared**2 / (one.squared_error**2 / one.freedom + other.squared_error**2 / other.freedom)
    return _around(mean, None, num, squared, freedom, confidence)


def _around(mean: float, std: float | None, num: int, squared: float, freedom: float, confidence: float) -> Interval:
    half = t_quantile((1 + confidence) / 2, freedom) * math.sqrt(squared)
    return Interval(mean, std, mean - half, mean + half, num, squared, freedom)


@functools.lru_cache(maxsize=256)  # a study asks for the same ones for each experiment
def t_quantile(probability: float, freedom: float) -> float:
    """Return the value below which a Student's t variable lies with this probability, from 0.5 to 1.

    By bisection of `t_tail`, to the last bits of a float.
    """
    wanted, low, high = 1 - probability, 0.0, 1.0
    while t_tail(high, freedom) > wanted and high < 1e300:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_tail(middle, freedom) > wanted else (low, middle)
    return (low + high) / 2


def t_tail(t: float, freedom: float) -> float:
    """Return the probability that a Student's t variable is larger than `t`, which is at least 0."""
    return 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(logarithm) / a * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """Return 1 / (1 + d1 / (1 + d2 / (1 + …))), evaluated from the front by Lentz's method."""
    tiny = 1e-300
    value, c, d = tiny, tiny, 0.0
    for number in range(10_000):
        m = number // 2
        if number == 0:
            step = 1.0
        elif number % 2:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / ((1.0 + step * d) or tiny)
        c = (1.0 + step / c) or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return value

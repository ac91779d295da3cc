"""Intervals of means against SciPy, and what has none."""

import math

import numpy as np
import pytest
from scipy import stats

from mlgym_jax.events.bounds import UNBOUNDED, bounds_of
from mlgym_jax.events.intervals import difference, interval, t_quantile


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 4.7, 9, 30, 200, 1e4])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.995, 0.9999])
def test_quantiles_are_scipys(freedom, probability):
    assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-10)


@pytest.mark.parametrize("number", [2, 3, 5, 40])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_interval_of_a_mean_is_scipys(number, confidence):
    scores = np.random.default_rng(number).normal(0.9137, 0.0213, number)
    found = interval(list(scores), confidence=confidence)
    expected = stats.t.interval(confidence, number - 1, scores.mean(), stats.sem(scores))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)
    assert (found.mean, found.std, found.num) == pytest.approx((scores.mean(), scores.std(ddof=1), number), rel=1e-12)


def test_folds_have_the_wider_interval_of_nadeau_and_bengio():
    scores = [0.91, 0.937, 0.884, 0.92, 0.905]  # of 5 folds: 1 / 4 of the training examples is tested
    spread = np.std(scores, ddof=1) * math.sqrt(1 / 5 + 1 / 4)
    found = interval(scores, overlap=1 / 4)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 4) * spread, rel=1e-12)
    assert found.high > 1.4 * (interval(scores).high - found.mean) + found.mean


@pytest.mark.parametrize("sizes", [(2, 2), (3, 9), (7, 4)])
def test_the_interval_of_a_difference_is_welchs(sizes):
    chance = np.random.default_rng(sizes[0])
    one, other = chance.normal(0.9, 0.02, sizes[0]), chance.normal(0.88, 0.05, sizes[1])
    found = difference(interval(list(one)), interval(list(other)))
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-10)
    assert found.mean == pytest.approx(one.mean() - other.mean(), rel=1e-12)


def test_one_score_has_no_interval_and_none_no_mean():
    assert interval([0.5]) == interval([0.5, math.nan, math.inf])
    assert (interval([0.5]).mean, interval([0.5]).std, interval([0.5]).low) == (0.5, None, None)
    assert math.isnan(interval([]).mean) and interval([]).num == 0
    assert difference(interval([0.5]), interval([0.1, 0.2])).low is None


def test_equal_scores_leave_no_doubt():
    found = difference(interval([0.5, 0.5]), interval([0.25, 0.25]))
    assert (found.low, found.mean, found.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("words", [{"confidence": 1}, {"confidence": 0}, {"overlap": -1}, {"overlap": math.inf}])
def test_what_is_no_confidence_is_refused(words):
    with pytest.raises(ValueError, match="confidence="):
        interval([1, 2], **words)


def test_no_end_lies_beyond_what_scores_can_be_and_differences_stay():
    config = {"metrics": {"acc": {"component": "accuracy"}, "own": {"component": "mine"}, "r": {"component": "r2"}}}
    scores = [0.98, 1.0, 1.0, 0.97]
    low, high = stats.t.interval(0.95, 3, np.mean(scores), stats.sem(scores))
    found = interval(scores, bounds=bounds_of("val/acc", config))
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-12), 1.0) and high > 1
    assert difference(found, interval([0.5, 0.6])) == difference(interval(scores), interval([0.5, 0.6]))
    assert interval([1.2, 1.3], bounds=(0, 1)).high == 1.3  # whatever it is, it is no accuracy
    assert bounds_of("val/r", config) == (-math.inf, 1.0)
    assert bounds_of("val/loss", {"loss": {"component": "softmax_cross_entropy"}}) == (0.0, math.inf)
    assert bounds_of("val/own", config) == bounds_of("val/loss", config) == bounds_of("loss", None) == UNBOUNDED

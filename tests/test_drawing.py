"""Weighted draws: how often each row comes is what its weight says, of however many rows."""

import jax
import numpy as np
import pytest
import scipy.stats

from mlgym_jax.core.drawing import MAX_DIRECT, draw


def counts_of(weights, num_epochs, dtype=np.float32):
    weights = np.asarray(weights, dtype)
    # Weights are no constant, which would be folded while compiling; of so many rows, what runs is worth optimizing.
    options = {"xla_backend_optimization_level": 3}
    once = jax.jit(lambda key, weights: draw(key, weights, weights > 0), compiler_options=options)
    drawn = (np.asarray(once(jax.random.key(epoch), weights)) for epoch in range(num_epochs))
    return sum(np.bincount(rows, minlength=len(weights)) for rows in drawn)


@pytest.mark.parametrize("num_rows", [MAX_DIRECT, 3_000_000])
def test_rows_of_equal_weight_come_as_often_as_chance_has_it(num_rows):
    num_epochs = 3 if num_rows > MAX_DIRECT else 12
    counts = counts_of(np.ones(num_rows), num_epochs)
    assert counts.sum() == num_rows * num_epochs
    never = scipy.stats.poisson(num_epochs).pmf(0) * num_rows
    assert abs((counts == 0).sum() - never) < 5 * np.sqrt(max(never, 1))
    # A multinomial's counts vary as much as their mean, within the error of a variance of so many.
    assert counts.var() == pytest.approx(num_epochs, rel=8 * np.sqrt(2 / num_rows))


def test_large_rows_do_not_hide_the_small_ones_and_those_of_no_weight_never_come():
    weights = np.where(np.arange(200_001) % 3 == 0, 0.0, 1.0)
    weights[:1000] = 50.0
    weights[-5000:] = 0.0
    counts = counts_of(weights, 20)
    assert not counts[weights == 0].any()
    expected = weights / weights.sum() * counts.sum()
    for part in (weights == 1.0, weights == 50.0):
        assert counts[part].sum() == pytest.approx(expected[part].sum(), abs=5 * np.sqrt(expected[part].sum()))
    large = scipy.stats.chisquare(counts[:1000], np.full(1000, counts[:1000].mean()))
    assert large.pvalue > 1e-4

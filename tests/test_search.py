"""Search strategies: random draws, linked fields and explicit lists."""

import math

import numpy as np
import pytest
import scipy.stats

from mlgym_jax.components.registry import lookup
from mlgym_jax.config.words import component, grid, int_uniform, log_uniform, plain, uniform
from mlgym_jax.errors import ConfigError
from mlgym_jax.search.sweep import expand


def study(**sections):
    return plain({"seed": 0, "optimizer": component("adam", learning_rate=0.1), **sections})


def drawn(number, **sections):
    found = expand(study(search=component("random", num_experiments=number, **sections.pop("search", {})), **sections))
    return [assignment.hyperparameters for assignment in found]


def test_random_draws_follow_their_distributions():
    found = drawn(
        2000,
        optimizer=component("adam", learning_rate=log_uniform(1e-4, 1e-1), b1=uniform(0.5, 0.9)),
        loader=component("in_memory", batch_size=int_uniform(3, 7)),
        seed=grid(4, 5, 6),
    )
    rates = np.log([item["optimizer.learning_rate"] for item in found])
    low, high = math.log(1e-4), math.log(1e-1)
    assert scipy.stats.kstest(rates, scipy.stats.uniform(low, high - low).cdf).pvalue > 0.01
    b1 = [item["optimizer.b1"] for item in found]
    assert scipy.stats.kstest(b1, scipy.stats.uniform(0.5, 0.4).cdf).pvalue > 0.01
    for name, values in (("loader.batch_size", [3, 4, 5, 6, 7]), ("seed", [4, 5, 6])):
        labels, counts = np.unique([item[name] for item in found], return_counts=True)
        assert labels.tolist() == values
        assert scipy.stats.chisquare(counts).pvalue > 0.01
    assert abs(scipy.stats.spearmanr(rates, b1).statistic) < 0.06  # independent


def test_more_experiments_or_fields_leave_the_drawn_ones_as_they_are():
    rate = component("adam", learning_rate=log_uniform(1e-4, 1e-1))
    few, many = drawn(5, optimizer=rate), drawn(9, optimizer=rate)
    assert many[:5] == few
    with_seed = drawn(5, optimizer=rate, seed=int_uniform(0, 9))
    assert [item["optimizer.learning_rate"] for item in with_seed] == [item["optimizer.learning_rate"] for item in few]
    assert drawn(5, optimizer=rate, search={"seed": 1}) != few


def test_linked_fields_vary_together():
    config = study(
        optimizer=component("adam", learning_rate=grid(0.1, 0.2), b1=grid(0.8, 0.9)),
        loader=component("in_memory", batch_size=grid(10, 20)),
        search=component("grid", linked=(("optimizer.learning_rate", "loader.batch_size"),)),
    )
    found = [
        (a.hyperparameters["optimizer.learning_rate"], a.hyperparameters["loader.batch_size"]) for a in expand(config)
    ]
    assert sorted(found) == [(0.1, 10), (0.1, 10), (0.2, 20), (0.2, 20)]
    assert all("search" not in a.config for a in expand(config))


def test_an_explicit_list_changes_any_field_and_multiplies_grids():
    config = study(
        seed=grid(0, 1),
        search=component(
            "list",
            experiments=(
                {"optimizer.learning_rate": 0.3, "optimizer.b1": 0.8},
                {"optimizer.learning_rate": 0.4, "optimizer.b1": 0.7},
            ),
        ),
    )
    found = expand(config)
    assert [a.hyperparameters for a in found] == [
        {"optimizer.b1": b1, "optimizer.learning_rate": rate, "seed": seed}
        for rate, b1 in ((0.3, 0.8), (0.4, 0.7))
        for seed in (0, 1)
    ]
    assert found[2].config["optimizer"] == {"component": "adam", "learning_rate": 0.4, "b1": 0.7}
    assert found[3].config["seed"] == 1


@pytest.mark.parametrize(
    ("search", "sections", "message"),
    [
        (component("random", num_experiments=0), {}, r"config\.search\.num_experiments: found 0"),
        (component("random", num_experiments=2), {}, r"config\.search: there is nothing to draw"),
        (component("rand", num_experiments=2), {}, r"unknown search 'rand'; did you mean 'random'"),
        (component("random"), {}, r"config\.search\.num_experiments: missing"),
        (
            component("grid", linked=(("sed", "seed"),)),
            {"seed": grid(1, 2)},
            r"'sed' is not swept; did you mean 'seed'",
        ),
        (
            component("grid", linked=(("seed", "optimizer.learning_rate"),)),
            {"seed": grid(1, 2), "optimizer": component("adam", learning_rate=grid(0.1, 0.2, 0.3))},
            "found 2 of seed, 3 of optimizer.learning_rate",
        ),
        (component("list", experiments=()), {}, "empty; list at least one experiment"),
        (
            component("list", experiments=({"sead": 1},)),
            {},
            r"experiments\.0\.sead: no such field; did you mean 'seed'",
        ),
        (
            component("list", experiments=({"seed": 1}, {"optimizer.b1": 1})),
            {},
            r"experiments\.1: it changes optimizer",
        ),
    ],
)
def test_what_cannot_be_searched_is_named(search, sections, message):
    with pytest.raises(ConfigError, match=message):
        expand(study(search=search, **sections))


def test_a_draw_is_pinned_so_that_old_runs_can_be_repeated():
    strategy = lookup("search", "random").factory(num_experiments=1, seed=3)
    [found] = strategy.propose(study(seed=int_uniform(0, 10**6)), ())
    # The first 64 bits of sha256("3/0/seed"), by coreutils and bc, as a share of the 1,000,001 numbers.
    assert found.hyperparameters == {"seed": 342924}

"""Early stopping and checkpoint strategies against cases worked by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgym_jax.checkpoint import policies
from mlgym_jax.errors import ConfigError
from mlgym_jax.search import early_stopping
from mlgym_jax.search.histories import Epochs

NAN, INF = math.nan, math.inf


def history(scores, monitor="val/s"):
    return [{"train/loss": 0.0, monitor: score} for score in scores]


@pytest.mark.parametrize(
    "scores, mode, window, relative, stops_at",
    [
        ([1, 2, 3, 4], "max", 2, 0.0, None),
        ([1, 3, 2, 2], "max", 2, 0.0, 4),
        ([1, 3, 3, 3], "max", 2, 0.0, 4),  # equal is no improvement
        ([3, 1, 2, 2], "min", 2, 0.0, 4),
        ([1.0, 1.05, 1.06], "max", 1, 0.1, 2),  # +5 % is less than the 10 % asked for
        ([1.0, 1.2, 1.5], "max", 1, 0.1, None),
        ([-1.0, -0.95], "max", 1, 0.1, 2),  # negative scores: relative to the magnitude
        ([-1.0, -0.8], "max", 1, 0.1, None),
        ([0.0, 0.0], "max", 1, 0.1, 2),
        ([0.0, 1e-9], "max", 1, 0.1, None),
        ([NAN, 1.0], "max", 1, 0.0, None),  # a first finite score is an improvement on none
        ([NAN, NAN], "min", 1, 0.0, 2),
        ([1.0, INF], "max", 1, 0.0, 2),  # an infinite score is a divergence, not a record
        ([5, 5, 5], "max", 3, 0.0, None),  # no epoch before the window
    ],
)
def test_no_improvement_stops_first_at(scores, mode, window, relative, stops_at):
    stop = early_stopping.no_improvement(monitor="val/s", mode=mode, window_epochs=window, min_relative=relative)
    epochs = range(1, len(scores) + 1)
    assert next((epoch for epoch in epochs if stop(history(scores[:epoch]))), None) == stops_at


def test_a_window_counts_the_epochs_that_have_the_score():
    """Of a score of every fifth epoch: the best, 0.5 in epoch 5, is not surpassed in epochs 10, 15 and 20."""
    stop = early_stopping.no_improvement(monitor="val/s", mode="max", window_epochs=3)
    scores = {5: 0.5, 10: 0.4, 15: 0.5, 20: 0.3}
    seldom = [{"train/loss": 1.0} | ({"val/s": scores[epoch]} if epoch in scores else {}) for epoch in range(1, 21)]
    assert [epoch for epoch in range(1, 21) if stop(seldom[:epoch])] == [20]


@pytest.mark.parametrize(
    "mode, value, scores, stops",
    [
        ("max", 0.9, [0.5, 0.9], True),
        ("max", 0.9, [0.95, 0.8], False),
        ("min", 0.1, [0.1], True),
        ("max", 0, [], False),
    ],
)
def test_threshold(mode, value, scores, stops):
    assert early_stopping.threshold(monitor="val/s", mode=mode, value=value)(history(scores)) is stops


@pytest.mark.parametrize("score, stops", [(0.5, False), (NAN, True), (-INF, True)])
def test_nan(score, stops):
    assert early_stopping.nan(monitor="val/s")(history([1.0, score])) is stops


@pytest.mark.parametrize(
    "scores, mode, num_keep, kept",
    [
        ([0.1, 0.3, 0.2], "max", 1, {2}),
        ([0.1, 0.3, 0.2], "min", 2, {1, 3}),
        ([0.3, 0.3, 0.3], "max", 2, {1, 2}),  # ties keep the earlier
        ([NAN, 0.1, INF], "max", 3, {2}),  # non-finite never counts as best
        ([NAN], "max", 1, set()),
        ([], "max", 1, set()),
    ],
)
def test_best(scores, mode, num_keep, kept):
    assert policies.best(monitor="val/s", mode=mode, num_keep=num_keep)(history(scores)) == kept


def test_every_k_all_and_last():
    epochs = history([0.0] * 7)
    assert policies.every_k(k=3)(epochs) == {3, 6}
    assert policies.keep_all()(epochs) == set(range(1, 8))
    assert policies.last()(epochs) == set()


@pytest.mark.parametrize(
    "make, path",
    [
        (lambda: policies.every_k(k=0), "config.checkpointing.k"),
        (lambda: policies.best(monitor="m", mode="max", num_keep=0), "config.checkpointing.num_keep"),
        (
            lambda: early_stopping.no_improvement(monitor="m", mode="max", window_epochs=0),
            "config.early_stopping.window_epochs",
        ),
        (
            lambda: early_stopping.no_improvement(monitor="m", mode="max", window_epochs=1, min_relative=-1.0),
            "config.early_stopping.min_relative",
        ),
    ],
)
def test_bad_parameters_name_their_path(make, path):
    with pytest.raises(ConfigError, match=path):
        make()


def test_policies_say_what_they_monitor():
    assert policies.best(monitor="val/f1", mode="max").monitor == "val/f1"
    assert early_stopping.threshold(monitor="val/f1", mode="max", value=1.0).monitor == "val/f1"


POLICIES = [
    early_stopping.no_improvement(monitor="s", mode="max", window_epochs=2, min_relative=0.1),
    early_stopping.no_improvement(monitor="s", mode="min", window_epochs=1),
    early_stopping.threshold(monitor="s", mode="min", value=0.5),
    early_stopping.nan(monitor="s"),
    policies.best(monitor="s", mode="min", num_keep=2),
    policies.best(monitor="s", mode="max", num_keep=3),
]
SCORES = st.one_of(st.none(), st.floats(-2, 2), st.sampled_from([0.0, math.nan, math.inf, -math.inf]))


@given(st.lists(SCORES, max_size=12))
def test_a_history_that_grows_is_judged_as_one_that_is_read_at_once(scores):
    grown = Epochs()
    for score in scores:
        grown.append({} if score is None else {"s": score})
        for policy in POLICIES:
            assert policy(grown) == policy(list(grown))


def test_what_grew_is_looked_at_once():
    class Counted(dict):
        looked_at = 0

        def get(self, *arguments):
            self.looked_at += 1
            return super().get(*arguments)

        def __getitem__(self, name):
            self.looked_at += 1
            return super().__getitem__(name)

    for policy in POLICIES:
        history = Epochs()
        for number in range(50):
            history.append(Counted(s=float(number % 7)))
            policy(history)
        assert max(scores.looked_at for scores in history) == 1

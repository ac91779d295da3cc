"""Validation on what comes later: the windows of scikit-learn's TimeSeriesSplit, and the last examples held out."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from sklearn.model_selection import TimeSeriesSplit

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.time_series import time_series
from mlgym_jax.data.validation import holdout
from mlgym_jax.errors import ConfigError
from mlgym_jax.events.selection import selected

WHEN = np.random.default_rng(0).permutation(23)


def dataset_of(when=WHEN):
    return Dataset({"train": {"inputs": np.zeros((len(when), 1)), "when": when}})


@pytest.mark.parametrize(
    ("how", "theirs"),
    [
        ({}, {}),
        ({"folds": 3, "gap": 2}, {"n_splits": 3, "gap": 2}),
        ({"folds": 4, "val_size": 2, "gap": 1}, {"n_splits": 4, "test_size": 2, "gap": 1}),
    ],
)
@pytest.mark.parametrize("by", [None, "when"])
def test_windows_are_those_of_scikit_learn(how, theirs, by):
    expected = list(TimeSeriesSplit(**theirs).split(WHEN))
    found = time_series(**how, by=by)(dataset_of(), 7)
    assert len(found) == len(expected)
    for fold, (train, val) in zip(found, expected, strict=True):
        for part, rows in (("train", train), ("val", val)):
            # In order of time, row number 4 is the one of which `when` is 4.
            numbers = fold[part] if by is None else np.sort(WHEN[fold[part]])
            np.testing.assert_array_equal(numbers, rows)


def test_rows_of_equal_times_stay_as_they_stand():
    [fold] = time_series(folds=1, val_size=2, by="when")(dataset_of(np.array([3, 1, 1, 1, 0])), 0)
    assert (fold["train"].tolist(), fold["val"].tolist()) == ([1, 2, 4], [0, 3])


@pytest.mark.parametrize("by", [None, "when"])
def test_a_hold_out_in_order_trains_before_it_validates_before_it_tests(by):
    [fold] = holdout(val=0.25, test=0.1, ordered=True, by=by)(dataset_of(), 7)
    numbers = {part: rows if by is None else np.sort(WHEN[rows]) for part, rows in fold.items()}
    assert [numbers[part].tolist() for part in ("train", "val", "test")] == [
        [*range(14)],
        [*range(14, 20)],  # of 23 a fourth, rounded up
        [*range(20, 23)],
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: time_series(folds=0), r"folds: found 0; at least 1"),
        (lambda: time_series(gap=-1), r"gap: found -1; at least 0"),
        (lambda: time_series(folds=23)(dataset_of(), 0), r"folds: of 23 examples, folds=23 of 1 and gap=0 leave none"),
        (
            lambda: time_series(val_size=5)(dataset_of(), 0),
            r"folds: of 23 examples, folds=5 of 5 .* leave none .* or val_size",
        ),
        (lambda: time_series(gap=8)(dataset_of(), 0), r"folds: .* folds=5 of 3 and gap=8 leave none"),
        (lambda: time_series(by="wen")(dataset_of(), 0), r"by: the dataset has no field 'wen'; did you mean 'when'\?"),
        (lambda: holdout(by="when"), r"by: found 'when', which says an order; write ordered=True beside it"),
        (
            lambda: holdout(ordered=True, stratified=True),
            r"ordered: the last .*; leave stratified=True or ordered=True out",
        ),
        (
            lambda: holdout(ordered=True, groups="when"),
            r"ordered: the last .*; leave groups='when' or ordered=True out",
        ),
    ],
)
def test_what_cannot_be_cut_by_time_is_named(make, message):
    with pytest.raises(ConfigError, match=r"config\.validation\." + message):
        make()


def test_folds_of_growing_parts_train_and_are_selected_among_and_refitted(tmp_path):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(40, 2)).astype(np.float32)
    config = ConfigDict({"num_epochs": 3, "seed": 0, "model": component("linear")}, type_safe=False)
    config.loader = component("in_memory", batch_size=4)
    config.validation = component("time_series", folds=3, gap=1)
    config.loss = component("squared_error")
    config.optimizer = component("sgd", learning_rate=grid(0.0, 0.1))
    config.refit = component("selected")
    result = mg.run(config, tmp_path, data=(inputs, inputs @ np.float32([1.0, -2.0])))
    kind, found = selected(result.view)
    best = [
        min(item.history["val/loss"]) for item in result.experiments if item.hyperparameters["optimizer.learning_rate"]
    ]
    assert kind == "cross_validation" and found["scores"] == best and len(best) == 3
    assert found["selected"] == {"optimizer.learning_rate": 0.1}
    # 9, 19 and 29 examples train, of which a batch has 4; of the refit all 40.
    assert [item.steps[-1] for item in result.experiments[:3]] == [9, 15, 24]
    assert [item.steps[-1] for item in result.refit] == [30]

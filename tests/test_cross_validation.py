"""Folds of cross validation and nested cross validation: partitions, strata, and no outer index in an inner fold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgym_jax.data.cross_validation import cross_validation, nested_cross_validation
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import ConfigError


def dataset_of(targets):
    targets = np.asarray(targets, np.int32)
    return Dataset(splits={"train": {"inputs": np.zeros((len(targets), 1), np.float32), "targets": targets}})


def labels(draw, folds):
    """Targets of one to four classes, each with at least as many examples as stratification needs."""
    counts = draw(st.lists(st.integers(folds, folds + 9), min_size=1, max_size=4))
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


@given(st.data(), st.integers(2, 5), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_each_example_validates_once(data, folds, stratified, seed):
    targets = labels(data.draw, folds)
    found = cross_validation(folds=folds, stratified=stratified)(dataset_of(targets), seed)
    rows = np.arange(len(targets))
    np.testing.assert_array_equal(np.sort(np.concatenate([fold["val"] for fold in found])), rows)
    sizes = [len(fold["val"]) for fold in found]
    assert max(sizes) - min(sizes) <= 1
    for fold in found:
        np.testing.assert_array_equal(np.sort(np.concatenate([fold["train"], fold["val"]])), rows)
    if stratified:
        share = np.array([np.bincount(targets[fold["val"]], minlength=4) for fold in found])
        exact = np.outer(sizes, np.bincount(targets, minlength=4) / len(targets))
        assert (np.abs(share - exact) < 2).all()


@given(st.data(), st.integers(2, 4), st.integers(2, 4), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_no_outer_test_index_ever_reaches_an_inner_fold(data, outer, inner, stratified, seed):
    targets = labels(data.draw, 2 * outer * inner)
    validation = nested_cross_validation(
        outer_folds=outer, inner_folds=inner, stratified=stratified, monitor="val/loss", mode="min"
    )
    found = validation(dataset_of(targets), seed)
    assert len(found) == outer * inner
    tests = [set(found[number * inner]["test"].tolist()) for number in range(outer)]
    assert sorted(row for test in tests for row in test) == list(range(len(targets)))
    for number, fold in enumerate(found):
        test = tests[validation.outer_of(number)]
        assert set(fold["test"].tolist()) == test
        train, val = set(fold["train"].tolist()), set(fold["val"].tolist())
        assert not test & (train | val)
        assert not train & val
        assert train | val | test == set(range(len(targets)))
    for number, test in enumerate(tests):
        validated = [row for fold in found[number * inner : (number + 1) * inner] for row in fold["val"].tolist()]
        assert sorted(validated) == sorted(set(range(len(targets))) - test)


def test_folds_are_a_pure_function_of_the_seed():
    dataset = dataset_of(np.arange(40) % 3)
    validation = cross_validation(folds=4)
    first, again, other = validation(dataset, 1), validation(dataset, 1), validation(dataset, 2)
    assert all((a["val"] == b["val"]).all() for a, b in zip(first, again, strict=True))
    assert any((a["val"] != b["val"]).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (lambda: cross_validation(folds=1), r"config\.validation\.folds: found 1; at least 2 parts"),
        (lambda: cross_validation(folds=11)(dataset_of(np.zeros(10)), 0), r"folds: found 11; there are only 10"),
        (
            lambda: cross_validation(folds=3, stratified=True)(dataset_of([0] * 8 + [5] * 2), 0),
            r"config\.validation\.stratified: class 5 has 2 examples to cut into folds=3",
        ),
        (
            lambda: nested_cross_validation(monitor="test/accuracy", mode="max"),
            r"config\.validation\.monitor: found 'test/accuracy'; selection reads a score of the inner folds",
        ),
    ],
)
def test_what_cannot_be_cut_is_named(validation, message):
    with pytest.raises(ConfigError, match=message):
        validation()

"""Rows that belong together are in one part: the parts of scikit-learn's splitters of groups, and no group in two."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, StratifiedGroupKFold

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data.cross_validation import cross_validation, nested_cross_validation
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.folds import make_folds
from mlgym_jax.data.grouped import cut_groups, hold_out_groups
from mlgym_jax.data.streams import to_stream
from mlgym_jax.data.validation import holdout
from mlgym_jax.errors import ConfigError
from mlgym_jax.execution.plan import Plan
from mlgym_jax.study.runners import make_runner, unread_beside

RANDOM = np.random.default_rng(0)


def dataset_of(groups, targets=None, **fields):
    groups = np.asarray(groups)
    targets = np.zeros(len(groups), np.int32) if targets is None else targets
    return Dataset({"train": {"inputs": np.zeros((len(groups), 1)), "targets": targets, "patient": groups, **fields}})


def parts_of(splits, number):
    """Number the rows by the part in which scikit-learn has them validate."""
    found = np.empty(number, int)
    for part, (_, held_out) in enumerate(splits):
        found[held_out] = part
    return found


@pytest.mark.parametrize("folds", [2, 5])
@pytest.mark.parametrize("number", [5, 40])
def test_groups_are_cut_as_scikit_learn_cuts_them(folds, number):
    groups = np.unique(RANDOM.integers(0, number, 200), return_inverse=True)[1]
    splits = GroupKFold(folds).split(groups, groups=groups)
    ties = -np.arange(groups.max() + 1)  # it turns the order of equal groups round
    np.testing.assert_array_equal(cut_groups(groups, folds, ties), parts_of(splits, 200))


@pytest.mark.parametrize("folds", [2, 3])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.1, 0.2, 0.7)])
def test_groups_of_classes_are_cut_as_scikit_learn_cuts_them(folds, shares):
    groups = np.unique(RANDOM.integers(0, 30, 300), return_inverse=True)[1]
    classes = RANDOM.choice(len(shares), 300, p=shares)
    splits = StratifiedGroupKFold(folds).split(groups, classes, groups)
    found = cut_groups(groups, folds, np.arange(groups.max() + 1), classes)
    np.testing.assert_array_equal(found, parts_of(splits, 300))


@given(
    groups=st.lists(st.integers(-3, 30), min_size=12, max_size=20),
    folds=st.integers(2, 3),
    val=st.sampled_from([0.1, 0.25, 0.4]),
    stratified=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=50)
def test_no_group_is_in_two_parts_and_each_row_validates_once(groups, folds, val, stratified, seed):
    groups = np.array([*groups, *range(100, 124)], np.float32)
    dataset = dataset_of(groups, np.arange(len(groups)) % 2)
    crossed = cross_validation(folds=folds, groups="patient", stratified=stratified)(dataset, seed)
    nested = nested_cross_validation(
        outer_folds=folds, inner_folds=2, stratified=stratified, groups="patient", monitor="val/loss", mode="min"
    )(dataset, seed)
    held_out = holdout(val=val, test=0.2, groups="patient", stratified=stratified)(dataset, seed)
    for fold in (*crossed, *nested, *held_out):
        rows = np.concatenate([*fold.values()])
        assert sorted(rows.tolist()) == [*range(len(groups))]
        alone = [set(groups[part].tolist()) for part in fold.values()]
        assert sum(map(len, alone)) == len(set.union(*alone))
        assert all(alone)
    assert sorted(np.concatenate([fold["val"] for fold in crossed]).tolist()) == [*range(len(groups))]
    if stratified:
        return
    [(_, expected)] = GroupShuffleSplit(1, test_size=val).split(groups, groups=groups)
    assert len(set(groups[held_out[0]["val"]])) == len(set(groups[expected]))


def test_equal_groups_are_drawn_by_the_seed():
    dataset = dataset_of(np.repeat(np.arange(20), 3))
    first, again, other = (cross_validation(folds=4, groups="patient")(dataset, seed) for seed in (1, 1, 2))
    assert all((a["val"] == b["val"]).all() for a, b in zip(first, again, strict=True))
    assert any((a["val"] != b["val"]).any() for a, b in zip(first, other, strict=True))
    assert {len(fold["val"]) for fold in first} == {15}


class Records:
    def __len__(self):
        return 6

    def __getitem__(self, place):
        assert place < 1, "it is read"
        return {"inputs": np.zeros(1), "patient": np.int32(place // 2)}


def test_of_arrays_that_are_streamed_the_groups_alone_are_read(monkeypatch):
    table = to_stream(dataset := dataset_of(np.arange(12) // 2))
    monkeypatch.setattr(type(table), "read", None)
    folds = make_folds(dataset, table, cross_validation(folds=3, groups="patient"), 0)
    assert folds.indices["val"].shape == (3, 4)
    assert (folds.indices["val"][:, ::2] // 2 == folds.indices["val"][:, 1::2] // 2).all()


def test_records_are_not_read_for_their_groups():
    dataset = Dataset({"train": Records()})
    with pytest.raises(ConfigError, match=r"validation\.groups: the field 'patient' stands in records.*'in_memory'"):
        make_folds(dataset, to_stream(dataset), holdout(groups="patient"), 0)


def test_groups_of_a_split_of_its_own_that_also_train_are_told_of(caplog):
    config = ConfigDict({"num_epochs": 1, "model": component("linear")}, type_safe=False)
    config.validation = component("cross_validation", folds=2, groups="patient")
    config.loss, config.optimizer = component("squared_error"), component("sgd", learning_rate=0.1)
    parts = {"train": [1, 1, 2, 3], "test": [3, 4, 4], "val": [1, 2]}  # of which `val` is not used
    data = {
        name: {"inputs": np.ones((len(own), 1)), "targets": np.ones(len(own)), "patient": np.array(own)}
        for name, own in parts.items()
    }
    mg.forecast(config, data=data)
    told = [record.getMessage() for record in caplog.records if "groups" in record.getMessage()]
    assert len(told) == 1 and "1 of 2 groups of the split 'test', by the field 'patient', are in the" in told[0]


TWO = [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("make", "groups", "message"),
    [
        (
            lambda: holdout(groups="patiens"),
            TWO,
            r"no field 'patiens'; did you mean 'patient'\? .*dict\(patiens='column'\)",
        ),
        (lambda: holdout(groups="patient"), np.zeros((6, 2)), r"'patient' is float64\[n, 2\]; one number"),
        (lambda: holdout(groups="patient"), [0, 1, np.nan, 2], r"'patient' is NaN in row 2 \(1 are\)"),
        (lambda: holdout(groups="patient"), np.float32([1, 2**25]), r"float32 numbers beyond 2\*\*24"),
        (lambda: holdout(groups="patient"), [7] * 6, r"'patient' has one value .* val=0\.2 needs 2 groups"),
        (lambda: holdout(val=0.9, groups="patient"), TWO, r"of 2 groups .* val=0\.9 leave none to train on"),
        (lambda: cross_validation(folds=3, groups="patient"), TWO, r"2 different values in the 6 .* folds=3 needs 3"),
        (
            lambda: nested_cross_validation(
                outer_folds=2, inner_folds=2, groups="patient", monitor="val/loss", mode="min"
            ),
            TWO,
            r"one value in the 3 rows that are cut, and inner_folds=2 needs 2",
        ),
    ],
)
def test_what_is_no_field_of_groups_is_named(make, groups, message):
    with pytest.raises(ConfigError, match=r"config\.validation\.groups: .*" + message):
        make()(dataset_of(groups), 0)


@pytest.mark.parametrize("parts", [2, 3])
def test_equal_parts_of_groups_of_classes_are_held_out_as_scikit_learn_cuts_them(parts):
    groups = RANDOM.permutation(np.repeat(np.arange(25), np.arange(25) // 3 + 2))
    classes = RANDOM.choice(3, len(groups), p=(0.1, 0.3, 0.6))
    fractions = dict(zip(("val", "test"), [1 / parts] * (parts - 1), strict=False))
    found = hold_out_groups(groups, fractions, np.arange(25), classes)
    expected = [part for _, part in StratifiedGroupKFold(parts).split(groups, classes, groups)]
    assert [[*found[name]] for name in (*fractions, "train")] == [[*part] for part in expected]


def test_a_hold_out_of_groups_keeps_the_shares_of_the_classes():
    groups = np.repeat(np.arange(200), 5)
    classes = (groups % 10 == 0).astype(np.int32)  # of a tenth of the patients all rows are of class 1
    [fold] = holdout(val=0.2, test=0.1, groups="patient", stratified=True)(dataset_of(groups, classes), 3)
    assert {name: np.bincount(classes[rows]).tolist() for name, rows in fold.items()} == {
        "train": [630, 70],
        "val": [180, 20],
        "test": [90, 10],
    }


def test_each_part_of_a_stratified_hold_out_gets_a_group():
    groups = np.repeat(np.arange(3), 4)
    [fold] = holdout(val=0.05, test=0.05, groups="patient", stratified=True)(dataset_of(groups, groups % 2), 0)
    assert {name: len(rows) for name, rows in fold.items()} == {"train": 4, "val": 4, "test": 4}


def test_fields_that_no_step_reads_stay_on_the_host(tmp_path):
    inputs = RANDOM.normal(size=(24, 3)).astype(np.float32)
    fields = {"inputs": inputs, "targets": np.arange(24) % 2, "weight": RANDOM.random(24).astype(np.float32)}
    config = ConfigDict(
        {
            "num_epochs": 2,
            "model": component("linear"),
            "loss": component("sample_weighted", loss=component("softmax_cross_entropy"), field="weight"),
            "optimizer": component("sgd", learning_rate=0.1),
            "loader": component("in_memory", batch_size=8),
        }
    )
    plain = mg.run(config, tmp_path, data={"train": fields})
    grouped = mg.run(config, tmp_path, data={"train": fields | {"patient": np.arange(24) // 3}})
    [job] = grouped._study.jobs
    assert unread_beside(job) == {"patient"}
    runner = make_runner(job, Plan("map", "scan", 1, "test"), jax.devices()[:1])
    assert {name: len(array) for name, array in runner._host[0].items()} == {
        "inputs": 24,
        "patient": 1,
        "targets": 24,
        "weight": 24,
    }
    assert grouped.experiments[0].last == plain.experiments[0].last

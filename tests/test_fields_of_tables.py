"""Columns that are no inputs: weights, by which examples count, and groups, which a validation keeps together."""

import datasets
import numpy as np
import pandas
import pytest
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data.arrow_tables import parquet
from mlgym_jax.data.csv_files import csv
from mlgym_jax.data.fields import field_values
from mlgym_jax.data.from_python import dataset_of
from mlgym_jax.data.huggingface import huggingface
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.other_data import other_table

ROWS = 30
RNG = np.random.default_rng(0)
FRAME = pandas.DataFrame(
    {
        "age": RNG.normal(50, 9, ROWS).round(3),
        "clinic": RNG.choice(["north", "south"], ROWS),
        "visit": 2**24 + np.arange(ROWS) // 2,  # of which float32 would make one, two by two
        "dose": RNG.normal(2, 1, ROWS).round(3),
        "weight": RNG.integers(1, 5, ROWS) / 4,
        "patient": RNG.choice(["ann", "bob", "eve", "joe", "kim", "lea"], ROWS),
        "outcome": RNG.normal(0, 1, ROWS).round(3),
    }
)
FIELDS = {"where": "weight", "who": "patient", "visits": "visit", "given": "dose"}
CODES = {name: pandas.factorize(FRAME[name], sort=True)[0] for name in ("patient", "visit", "clinic")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("fields")
    FRAME.to_csv(made / "table.csv", index=False)
    FRAME.to_parquet(made / "table.parquet", row_group_size=7)
    datasets.Dataset.from_pandas(FRAME).save_to_disk(made / "saved")
    return made


def made_of(kind, folder):
    how = {"target": "outcome", "task": "regression", "fields": FIELDS}
    if kind == "csv":
        return csv(path=str(folder / "table.csv"), **how)
    if kind == "parquet":
        return parquet(path=str(folder / "table.parquet"), **how)
    if kind == "huggingface":
        return huggingface(path=str(folder / "saved"), **how)
    return dataset_of({"inputs": FRAME.drop(columns="dose"), "targets": "outcome", **FIELDS, "given": FRAME["dose"]})


@pytest.mark.parametrize("kind", ["csv", "parquet", "huggingface", "frame"])
def test_a_column_is_a_field_and_no_input(kind, folder):
    dataset = made_of(kind, folder)
    train = dataset.splits["train"]
    assert dataset.feature_names == ("age", "clinic")
    np.testing.assert_array_equal(train["inputs"], np.stack([FRAME["age"], CODES["clinic"]], axis=1))
    np.testing.assert_array_equal(train["where"], FRAME["weight"])
    np.testing.assert_array_equal(train["given"], FRAME["dose"].astype(np.float32))
    np.testing.assert_array_equal(train["who"], CODES["patient"])
    np.testing.assert_array_equal(train["visits"], CODES["visit"])
    kinds = {name: train[name].dtype.name for name in FIELDS}
    assert kinds == {"where": "float32", "given": "float32", "who": "int32", "visits": "int32"}


@pytest.fixture(scope="module")
def weighed(folder, tmp_path_factory):
    config = ConfigDict({"num_epochs": 2, "split_seed": 3, "seed": 0, "model": component("linear")}, type_safe=False)
    fields = {"where": "weight", "patient": "patient"}
    config.dataset = component(
        "csv", path=str(folder / "table.csv"), target="outcome", task="regression", ignore=("visit",), fields=fields
    )
    config.validation = component("cross_validation", folds=2, groups="patient")
    config.loss = component("squared_error")
    config.optimizer = component("sgd", learning_rate=1e-4)
    return prepare(config).jobs[0], mg.run(config, tmp_path_factory.mktemp("runs"))


def test_a_run_weighs_by_a_column_and_keeps_the_rows_of_another_together(weighed):
    job, result = weighed
    inputs = np.stack([FRAME["age"], CODES["clinic"], FRAME["dose"]], axis=1)
    patients = [set()] * 2
    for fold, experiment in enumerate(result.experiments):
        held_out = job.folds.indices["val"][fold][job.folds.mask["val"][fold]]
        patients[fold] = set(FRAME["patient"][held_out])
        assert set(held_out) == set(np.flatnonzero(FRAME["patient"].isin(patients[fold])))
        errors = (experiment.predict(inputs[held_out])[:, 0] - FRAME["outcome"][held_out]) ** 2
        weights = FRAME["weight"][held_out]
        assert experiment.last["val/loss"] == pytest.approx((weights * errors).sum() / weights.sum(), rel=1e-4)
    assert patients[0].isdisjoint(patients[1]) and len(patients[0] | patients[1]) == 6


def test_other_data_need_weights_and_no_groups(weighed, folder):
    job, _ = weighed
    section = {"component": "csv", "path": str(folder / "table.csv"), "target": "outcome", "task": "regression"}
    section |= {"ignore": ("visit", "patient", "weight")}
    _, table, _ = other_table(job, section | {"fields": {"where": "weight"}})
    np.testing.assert_array_equal(table.arrays["where"], FRAME["weight"])
    with pytest.raises(ConfigError, match="it has no field 'where'"):
        other_table(job, section)


def test_words_are_numbered_over_all_splits_and_whole_numbers_by_size():
    parts = field_values("user", [np.array([2**53 + 1, 7]), np.array([2**53, 7])])
    assert [part.tolist() for part in parts] == [[2, 0], [1, 0]]
    days = [np.array(["2026-02-01", "2025-01-01"], "datetime64[us]")]
    assert field_values("day", days)[0].tolist() == [1, 0]


def test_numbers_that_are_names_are_numbered_where_one_says_so(folder):
    made = csv(
        path=str(folder / "table.csv"), target="outcome", task="regression", categorical=("dose",), fields={"d": "dose"}
    )
    np.testing.assert_array_equal(made.splits["train"]["d"], pandas.factorize(FRAME["dose"], sort=True)[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"targets": "dose"}, r"fields: the name 'targets' is taken, by the target"),
        ({"inputs": "dose"}, r"fields: the name 'inputs' is taken, by the inputs"),
        ({"a.b": "dose"}, r"fields: found the field 'a\.b'; names are words"),
        ({"who": "patients"}, r"fields: 'who': there is no column 'patients'; did you mean 'patient'\? Columns: age"),
        ({"y": "outcome"}, r"fields: 'y': 'outcome' is the target"),
        ({"age": "age"}, r"fields: 'age': 'age' is named as an input, too"),
        ({"who": "patient", "group": "patient"}, r"fields: 'who' and 'group' are both the column 'patient'"),
        ({"where": "patient"}, r"fields: 'where' weighs examples, by numbers of at least 0; its column holds words"),
    ],
)
@pytest.mark.parametrize("kind", [csv, parquet])
def test_what_is_no_field_is_named(fields, message, kind, folder):
    path = str(folder / ("table.csv" if kind is csv else "table.parquet"))
    with pytest.raises(ConfigError, match=r"config\.dataset\." + message):
        kind(path=path, target="outcome", task="regression", features=("age",), fields=fields)


@pytest.mark.parametrize("missing", ["error", "keep"])
def test_a_value_of_a_field_that_is_missing_is_named_with_its_row(missing, tmp_path):
    FRAME.assign(patient=FRAME["patient"].where(FRAME.index != 4)).to_csv(tmp_path / "gap.csv", index=False)
    pandas.read_csv(tmp_path / "gap.csv").to_parquet(tmp_path / "gap.parquet")
    how = {"target": "outcome", "task": "regression", "fields": {"who": "patient"}}
    with pytest.raises(ConfigError, match=r"gap\.csv, line 6, column 'patient': the value is missing") as told:
        csv(path=str(tmp_path / "gap.csv"), missing=missing, **how)
    assert "impute" not in str(told.value)
    with pytest.raises(ConfigError, match=r"split 'train', row 4, column 'patient': the value is missing") as told:
        parquet(path=str(tmp_path / "gap.parquet"), missing=missing, **how)
    assert "keep" not in str(told.value)
    for dropped in (
        csv(path=str(tmp_path / "gap.csv"), missing="drop", **how),
        parquet(path=str(tmp_path / "gap.parquet"), missing="drop", **how),
    ):
        np.testing.assert_array_equal(dropped.splits["train"]["who"], np.delete(CODES["patient"], 4))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patient": FRAME["patient"]}, r"field 'patient' is named as a column .* write 'patient': 'patient'"),
        ({"who": "patience"}, r"'who': there is no column 'patience'; did you mean 'patient'\?"),
        ({"who": None}, r"split 'train', who: a column or its name is expected, found None"),
        ({"who": [1, 2]}, r"columns of different lengths .* who: 2"),
    ],
)
def test_what_is_no_field_beside_a_frame_is_named(fields, message):
    with pytest.raises(MlgymError, match=message):
        dataset_of({"inputs": FRAME, "targets": "outcome", **fields})

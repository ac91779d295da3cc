"""Data given in Python: what becomes of arrays, lists and frames, and runs that keep them or do not."""

import shutil
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas
import pyarrow
import pytest
import scipy.sparse
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data.from_python import dataset_of
from mlgym_jax.errors import MlgymError
from mlgym_jax.reproduce import reproduce

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = np.arange(40) % 3
FRAME = pandas.DataFrame(
    {
        "age": RNG.integers(20, 80, 40),
        "sex": RNG.choice(["m", "f"], 40),
        "city": pandas.Categorical(RNG.choice(["Rome", "Oslo", "Bonn"], 40)),
        "smokes": RNG.random(40) < 0.5,
        "seen": pandas.date_range("2025-11-20 06:30", periods=40, freq="37h"),
        "outcome": RNG.choice(["ill", "well", "dead"], 40),
    }
)


class Graphs(NamedTuple):
    nodes: Any
    edges: Any


def config_of(**fields):
    plain = {
        "name": "own",
        "num_epochs": 2,
        "model": component("mlp", features=(4,)),
        "loss": component("softmax_cross_entropy_with_integer_labels"),
        "optimizer": component("sgd", learning_rate=0.1),
        "loader": component("in_memory", batch_size=8),
        "metrics": {"accuracy": component("accuracy")},
    }
    return ConfigDict({**plain, **fields}, type_safe=False)


def test_columns_of_a_frame_are_coded_as_pandas_does():
    found = dataset_of((FRAME, "outcome"))
    inputs = dict(zip(found.feature_names, found.splits["train"]["inputs"].T, strict=True))
    np.testing.assert_array_equal(inputs["age"], FRAME["age"])
    np.testing.assert_array_equal(inputs["smokes"], FRAME["smokes"].astype(float))
    for name in ("sex", "city"):
        codes, words = pandas.factorize(FRAME[name].astype(str), sort=True)
        np.testing.assert_array_equal(inputs[name], codes)
        assert found.categories[name] == tuple(words)
    codes, words = pandas.factorize(FRAME["outcome"], sort=True)
    np.testing.assert_array_equal(found.splits["train"]["targets"], codes)
    assert (found.num_classes, found.class_names) == (3, tuple(words))


def test_dates_are_what_pandas_says_they_are():
    for seen in (FRAME["seen"], FRAME["seen"].dt.tz_localize("UTC")):
        found = dataset_of((FRAME.assign(seen=seen), "outcome"))
        inputs = dict(zip(found.feature_names, found.splits["train"]["inputs"].T, strict=True))
        for part in ("year", "month", "day", "day_of_week"):
            np.testing.assert_array_equal(inputs[f"seen.{part}"], getattr(seen.dt, part))
        hours = seen.dt.hour + seen.dt.minute / 60
        np.testing.assert_allclose(inputs["seen.hour"], hours, rtol=1e-12)
        np.testing.assert_allclose(inputs["seen.hour_cos"], np.cos(2 * np.pi * hours / 24), atol=1e-12)
        np.testing.assert_allclose(inputs["seen.month_sin"], np.sin(2 * np.pi * (seen.dt.month - 1) / 12), atol=1e-12)
    days = FRAME["seen"].dt.floor("D").where(FRAME["age"] > 40)
    found = dataset_of((FRAME[["age"]].assign(day=days), Y * 1.0))
    assert "day.hour" not in found.feature_names
    np.testing.assert_array_equal(np.isnan(found.splits["train"]["inputs"][:, 1]), days.isna())


@pytest.mark.parametrize(
    ("targets", "num_classes", "names", "expected"),
    [
        ([0, 2, 1], 3, None, [0, 2, 1]),
        (np.uint8([0, 2, 1]), 3, None, [0, 2, 1]),
        ([5, 30, 7], 3, ("5", "7", "30"), [0, 2, 1]),
        ([-1, 1, 1], 2, ("-1", "1"), [0, 1, 1]),
        (["b", "a", "b"], 2, ("a", "b"), [1, 0, 1]),
        ([True, False, True], 2, ("False", "True"), [1, 0, 1]),
        (pandas.Series(["b", "a", "b"], dtype="category"), 2, ("a", "b"), [1, 0, 1]),
        ([0.5, 1, 2], None, None, [0.5, 1, 2]),
        ([["b"], ["a"], ["b"]], 2, ("a", "b"), [1, 0, 1]),
        (pandas.DataFrame({"y": [2, 0, 1]}), 3, None, [2, 0, 1]),
        ([[0, 4], [1, 1], [2, 0]], 5, None, [[0, 4], [1, 1], [2, 0]]),
        ([[True, False, False]] * 3, 3, None, [[1, 0, 0]] * 3),
        (np.array([5, 30, np.int64(7)], object), 3, ("5", "7", "30"), [0, 2, 1]),
        (np.array([True, False, True], object), 2, ("False", "True"), [1, 0, 1]),
        (jnp.array([1.5, 2.0, 3.0], jnp.bfloat16), None, None, [1.5, 2.0, 3.0]),
    ],
)
def test_targets_are_classes_or_numbers_by_their_type(targets, num_classes, names, expected):
    found = dataset_of((X[:3], targets))
    assert (found.num_classes, found.class_names) == (num_classes, names)
    np.testing.assert_array_equal(found.splits["train"]["targets"], expected)


@pytest.mark.parametrize("targets", ["names", "frame", "array"])
def test_several_targets_a_row_beside_a_frame(targets):
    values = np.stack([X[:, 0] - 1, X[:, 1] * 2], axis=1)
    frame = FRAME[["age", "sex"]]
    given = {
        "names": (frame.assign(u=values[:, 0], v=values[:, 1]), ["u", "v"]),
        "frame": (frame, pandas.DataFrame(values, columns=["u", "v"])),
        "array": (frame, values),
    }[targets]
    found = dataset_of(given)
    assert (found.num_classes, found.feature_names) == (None, ("age", "sex"))
    np.testing.assert_array_equal(found.splits["train"]["targets"], values)
    np.testing.assert_array_equal(found.splits["train"]["inputs"][:, 0], FRAME["age"])


def test_a_target_that_is_missing_among_objects_is_named():
    with pytest.raises(MlgymError, match=r"^data: split 'train', targets, row 1: the value is missing; fill it in"):
        dataset_of((X[:3], np.array(["a", None, "b"], object)))


def test_several_targets_are_numbers_in_all_splits():
    two = FRAME.assign(u=1.0)
    with pytest.raises(MlgymError, match=r"column 'outcome': several targets are numbers or truth values, found <U"):
        dataset_of((two, ["outcome", "u"]))
    with pytest.raises(MlgymError, match=r"some splits have several targets a row \(train\), and others one"):
        dataset_of({"train": (FRAME, X[:, :2]), "test": (FRAME, X[:, 0])})


def test_tables_of_pyarrow_are_frames_and_sparse_matrices_are_told_what_to_write():
    found, same = dataset_of((pyarrow.Table.from_pandas(FRAME), "outcome")), dataset_of((FRAME, "outcome"))
    for field in ("inputs", "targets"):
        np.testing.assert_array_equal(found.splits["train"][field], same.splits["train"][field])
    with pytest.raises(MlgymError, match=r"inputs: they are sparse \(csr_matrix\); write x\.toarray\(\)"):
        dataset_of((scipy.sparse.csr_matrix(X), Y))


def test_splits_share_their_codes():
    found = dataset_of({"train": (FRAME[:20], "outcome"), "test": (FRAME[20:], "outcome")})
    whole = dataset_of((FRAME, "outcome")).splits["train"]
    for field in ("inputs", "targets"):
        np.testing.assert_array_equal(
            np.concatenate([found.splits[split][field] for split in ("train", "test")]), whole[field]
        )
    several = dataset_of(
        {"train": ({"a": X, "b": X[:, :1]}, Y), "val": {"inputs": {"a": X, "b": X[:, :1]}, "targets": Y}}
    )
    assert several.splits["val"]["inputs"]["b"].shape == (40, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (FRAME, r"data: split 'train' is a frame; say which column is to be predicted: data=\(frame, 'outcome'\)"),
        ((FRAME, "outcom"), r"there is no column 'outcom'; did you mean 'outcome'\?"),
        ((FRAME.assign(age=[1, "a"] * 20), "outcome"), r"column 'age', row 0: found 1 among words"),
        (
            (FRAME.assign(outcome=[None, "a"] * 20), "outcome"),
            r"row 0, column 'outcome': the value is missing \(20 of 40",
        ),
        ((FRAME.assign(age=FRAME["seen"] - FRAME["seen"][0]), "outcome"), r"total_seconds\(\)"),
        ((FRAME, 3), r"there is no column '3'"),
        ((FRAME.rename(columns={"sex": "age"}), "outcome"), "two columns are named 'age'; rename one"),
        ((FRAME, Y[:9]), r"columns of different lengths \(age: 40, .*target: 9\)"),
        ((X, Y[:9]), r"fields of different lengths \(inputs: 40, targets: 9\)"),
        ((X.astype(object), Y), r"inputs: they are an array of objects \(float\), numbers are expected"),
        (([["a"], ["b"]], [0, 1]), "words become codes where they are columns of a frame"),
        (([[1, 2], [3]], [0, 1]), "inputs: they are no array"),
        ((Graphs(X, None), Y), r"inputs: found a Graphs; give what it holds by names, as a dict \{'nodes': x\.nodes\}"),
        ((X, np.where(Y, 1.0, np.nan)), r"row 0: the target is nan \(14 targets are not finite\)"),
        ((X, np.array(["2025-01-01"] * 40, "M8[D]")), "targets are numbers or words, found datetime64"),
        ((X, [[-1, 0]] * 40), "a target is -1; classes are counted from 0"),
        ((X, "outcome"), "'outcome' names a column, and the inputs are no frame"),
        ({"trian": (X, Y)}, r"no split 'train'; did you mean 'trian'\?"),
        ({"train": (FRAME, "age"), "test": (X, Y)}, r"others \(test\) are not"),
        ({"train": (X, Y), "test": (X, list("ab") * 20)}, "words in one split and numbers in another"),
        ({"train": {"input": X}}, r"no field 'inputs'; did you mean 'input'\?"),
        ([X, Y], "split 'train': found"),
        (7, "split 'train': found 7; write data="),
        ((X[:0], []), "split 'train' is empty"),
        ((X[:, :0], Y), r"split 'train', field 'inputs': \[40, 0\] has no number in an example"),
    ],
)
def test_what_is_no_data_is_told(data, message):
    with pytest.raises(mg.MlgymError, match=message):
        dataset_of(data)


def test_a_run_keeps_its_data(tmp_path):
    result = mg.run(config_of(), tmp_path, data=(X, Y), run_id="kept")
    expected = result.experiments[0].predict(X)
    moved = shutil.move(tmp_path / "kept", tmp_path / "moved")
    np.testing.assert_array_equal(mg.load_run(moved).experiments[0].predict(X), expected)
    assert mg.resume(moved, 3).mismatches == []
    assert reproduce(str(moved))[0] == []
    # Its config is a config, from which the same run is begun.
    same = mg.run(moved / "config.json", tmp_path)
    assert same.experiments[0].history == mg.load_run(moved).experiments[0].history
    archive = moved / "data" / "arrays.npz"
    with np.load(archive) as stored:
        np.testing.assert_array_equal(stored["array_0"], X)
        other = {name: stored[name] + 1 for name in stored}
    np.savez(archive, **other)
    with pytest.raises(mg.MlgymError, match=r"config\.dataset: the data in .*/moved/data are damaged"):
        mg.resume(moved, 4)


def test_data_that_a_run_does_not_keep_are_given_again_and_checked(tmp_path):
    inputs = X + 1
    result = mg.run(config_of(), tmp_path, data=(inputs, Y), run_id="bare", keep_data=False)
    expected = result.experiments[0].predict(X)
    assert not (tmp_path / "bare" / "data").exists()
    with pytest.raises(
        mg.MlgymError, match=r"no command line has them; give them again in Python: mg\.resume\('.*/bare', data=…\)"
    ):
        mg.resume(tmp_path / "bare", 3)
    with pytest.raises(mg.MlgymError, match="data= is not what the run was given"):
        mg.resume(tmp_path / "bare", 3, data=(inputs + 1, Y))
    again = mg.load_run(tmp_path / "bare", data=(inputs, Y)).experiments[0]
    np.testing.assert_array_equal(again.predict(X), expected)
    assert mg.resume(tmp_path / "bare", 3, data=(inputs, Y)).mismatches == []
    found = mg.reproduce(tmp_path / "bare", data=(inputs, Y))
    assert (found.differences, found.num_experiments) == ([], 1) and found.num_scores > 0
    scores = mg.evaluate(tmp_path / "bare", 0, split="val", data=(inputs, Y)).scores
    assert scores["val/loss"] == mg.load_run(tmp_path / "bare").experiments[0].last["val/loss"]
    for call in (mg.reproduce, mg.evaluate):
        with pytest.raises(mg.MlgymError, match="data= is not what the run was given"):
            call(tmp_path / "bare", data=(inputs + 1, Y))
        with pytest.raises(mg.MlgymError, match=r"mg\.resume\('.*/bare', data=…\)"):
            call(tmp_path / "bare")


def test_much_data_is_kept_only_where_that_is_said(tmp_path):
    much = np.broadcast_to(np.float32(0), (2, 40_000_000))
    with pytest.raises(mg.MlgymError, match=r"it has 305 MiB.*keep_data=True .*keep_data=False"):
        mg.run(config_of(), tmp_path, data=(much, [0, 1]))
    with pytest.raises(mg.MlgymError, match="keep_data: True, False or None is expected, found 'no'"):
        mg.run(config_of(), tmp_path, data=(X, Y), keep_data="no")
    assert not any(tmp_path.iterdir())


def test_data_take_the_place_of_a_dataset_or_of_the_given_one_inside(caplog):
    assert mg.build(config_of(dataset=component("digits")), data=(X, Y))["dataset"].num_classes == 3
    assert "config.dataset: 'digits' is left aside, as data= is given" in caplog.text
    inside = component("filter_labels", keep=(0, 2), dataset=component("given"))
    split = mg.build(config_of(dataset=inside), data=(X, Y))["dataset"].splits["train"]
    np.testing.assert_array_equal(split["inputs"], X[Y != 1])
    assert "2 experiments" in str(mg.forecast(config_of(seed=mg.grid(0, 1)), data=(X, Y)))
    with pytest.raises(mg.ConfigError, match=r"config\.dataset: it is given in Python, and nothing is given"):
        mg.build(config_of(dataset=component("given")))


def test_what_one_passes_is_not_changed():
    config, frame = config_of(), FRAME.copy()
    mg.build(config, data=(frame, "outcome"))
    assert "dataset" not in config
    pandas.testing.assert_frame_equal(frame, FRAME)


def test_a_series_that_names_the_rows_in_another_order_is_told(caplog):
    frame, backwards = pandas.DataFrame(X), pandas.Series(Y)[::-1]
    found = dataset_of((frame, backwards)).splits["train"]["targets"]
    assert np.array_equal(found, Y[::-1]) and "write (x, y.loc[x.index])" in caplog.text
    caplog.clear()
    dataset_of((frame[5:], pandas.Series(Y)[5:])), dataset_of((frame[5:], pandas.Series(Y[5:]))), dataset_of((frame, Y))
    assert not caplog.records


def test_what_is_masked_is_missing_and_columns_by_name_are_told():
    masked = np.ma.masked_array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]])
    assert np.array_equal(dataset_of((masked, [0, 1])).splits["train"]["inputs"], [[1, np.nan], [3, 4]], equal_nan=True)
    with pytest.raises(mg.MlgymError, match="row 1: the target is nan"):
        dataset_of((np.eye(2), np.ma.masked_array([0, 1], mask=[0, 1])))
    with pytest.raises(mg.MlgymError, match=r"structured array of the columns a, b; .*pandas\.DataFrame"):
        dataset_of((np.rec.fromarrays([[1, 2], [3, 4]], names="a,b"), [0, 1]))


def test_an_ordered_categorical_keeps_its_order_as_its_codes_have_it():
    sizes = pandas.Categorical(["low", "high", "mid", "low"], categories=["low", "mid", "high", "top"], ordered=True)
    found = dataset_of((pandas.DataFrame({"size": sizes, "y": [0, 1, 1, 0]}), "y"))
    assert found.splits["train"]["inputs"][:, 0].tolist() == sizes.codes.tolist()
    assert found.categories == {"size": ("low", "mid", "high")}

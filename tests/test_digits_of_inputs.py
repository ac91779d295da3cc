"""Numbers far from 0 for their spread: encodings see all their digits, as scikit-learn's in float64 do."""

import logging

import jax
import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.data.columns import table
from mlgym_jax.data.csv_files import csv
from mlgym_jax.data.dataset import to_arrays
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare

TIMES = 1_700_000_000 + np.arange(200) % 60
SMALL = np.linspace(0.0, 1.0, 200)


@register("dataset", "far_from_zero")
def far_from_zero(*, kind: str):
    columns = {
        "times": TIMES[:, None],
        "float_times": np.stack([TIMES.astype(float), SMALL], axis=1),
        "ids": 16777216 + np.arange(200)[:, None] % 4,
        "float_ids": 2.0**40 + np.arange(200)[:, None] % 4,
        "ids_far_apart": np.r_[16777216.0 + np.arange(190) % 4, 1e9 * np.arange(10)][:, None],
        "tiny": 1e-300 * np.arange(200.0)[:, None],
        "alike_but_for_rounding": np.tile([0.3, 0.1 + 0.2], 100)[:, None],
        "microseconds": 1.70000005e15 + np.arange(200)[:, None] % 60,
        "unsigned": (4_000_000_000 - 2**31 + np.arange(200)[:, None] % 60).astype(np.uint32) + np.uint32(2**31),
    }
    return mg.Dataset({"train": {"inputs": columns[kind], "targets": np.arange(200) % 2}}, 2)


def study(kind, encoding, **fields):
    return (
        {
            "num_epochs": 1,
            "dataset": component("far_from_zero", kind=kind),
            "validation": component("holdout", val=0.0),
            "model": component("linear"),
            "loss": component("softmax_cross_entropy"),
            "optimizer": component("sgd", learning_rate=0.1),
        }
        | ({"encoding": encoding} if encoding is not None else {})
        | fields
    )


def encoded(config):
    """Encode all rows, as a step of training and as a prediction of raw inputs do."""
    [job] = prepare(config).jobs
    encode = jax.jit(job.encoder_of(0))
    raw = job.components["dataset"].splits["train"]["inputs"]
    trained = np.asarray(encode(dict(job.table.arrays))["inputs"])
    np.testing.assert_array_equal(np.asarray(encode(job.raw_batch(raw))["inputs"]), trained)
    return raw, trained


@pytest.mark.parametrize("kind", ["times", "float_times", "unsigned"])
@pytest.mark.parametrize(("name", "scaler"), [("standardise", StandardScaler), ("min_max", MinMaxScaler)])
def test_scaled_inputs_are_those_of_float64(kind, name, scaler):
    raw, found = encoded(study(kind, component(name)))
    np.testing.assert_allclose(found, scaler().fit_transform(raw.astype(np.float64)), atol=1e-5)


@pytest.mark.parametrize("kind", ["ids", "float_ids", "ids_far_apart"])
def test_identifiers_are_categories_of_their_own(kind):
    raw, found = encoded(study(kind, component("one_hot")))
    np.testing.assert_array_equal(found, OneHotEncoder(sparse_output=False).fit_transform(raw))


def test_columns_encoded_apart_keep_their_digits():
    encoding = component("by_column", groups=(((0,), component("standardise")), ((1,), component("min_max"))))
    raw, found = encoded(study("float_times", encoding))
    np.testing.assert_allclose(found[:, :1], StandardScaler().fit_transform(raw[:, :1]), atol=1e-5)
    np.testing.assert_allclose(found[:, 1:], MinMaxScaler().fit_transform(raw[:, 1:]), atol=1e-6)


def of_column(number):
    return component("by_column", groups=(((number,), component("standardise")),))


@pytest.mark.parametrize(
    ("kind", "encoding", "said"),
    [
        ("float_times", None, 1),
        ("times", None, 1),
        ("ids_far_apart", None, 0),
        ("float_times", of_column(0), 0),
        ("float_times", of_column(1), 1),
    ],
)
def test_where_nothing_encodes_lost_digits_are_said(kind, encoding, said, caplog):
    with caplog.at_level(logging.WARNING), jax.numpy_dtype_promotion("standard"):
        prepare(study(kind, encoding))
    assert sum("lose their digits" in text for text in caplog.messages) == said


@pytest.mark.parametrize(("kind", "words"), [("microseconds", "subtract a constant"), ("tiny", "multiply them")])
def test_what_two_floats_do_not_hold_is_refused(kind, words):
    with pytest.raises(ConfigError, match=f"field 'inputs': .* {words}"):
        prepare(study(kind, component("standardise")))


def test_weights_that_are_all_0_in_32_bits_are_refused():
    arrays = {"inputs": SMALL[:, None], "targets": np.arange(200) % 2, "weights": np.full(200, 1e-50)}
    with pytest.raises(ConfigError, match="field 'weights': all values are too small for 32-bit floats; multiply them"):
        to_arrays(mg.Dataset({"train": arrays}, 2))


def test_rounding_is_no_digit_that_counts():
    prepare(study("alike_but_for_rounding", component("standardise")))


@pytest.mark.parametrize("far", ["inputs", "targets"])
def test_digits_that_are_lost_while_data_are_read_are_said_too(far, tmp_path, caplog):
    arrays = {"inputs": np.zeros((200, 1), np.float32), "targets": np.zeros(200, np.float32)}
    arrays[far] = 1e9 + (np.arange(200.0) % 30).reshape(arrays[far].shape)
    paths = {field: str(tmp_path / f"{field}.npy") for field in arrays}
    for field, array in arrays.items():
        np.save(paths[field], array)
    config = study(
        "times",
        None,
        dataset=component("memmap", splits={"train": paths}),
        loader=component("streaming", batch_size=50),
        model=component("linear", num_outputs=1),
        loss=component("squared_error"),
    )
    if far == "targets":
        with pytest.raises(ConfigError, match=r"field 'targets': .* subtract a constant"):
            prepare(config)
        return
    with caplog.at_level(logging.WARNING):
        prepare(config)
    assert sum("lose their digits; subtract" in text for text in caplog.messages) == 1


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_targets_that_would_become_one_number_are_refused(dtype, tmp_path):
    targets = (1e9 + np.arange(200) % 30).astype(dtype)
    np.savez(tmp_path / "far.npz", inputs=np.zeros((200, 1)), targets=targets)
    dataset = component("npz", path=str(tmp_path / "far.npz"), task="regression")
    with pytest.raises(ConfigError, match=r"config\.dataset: split 'train', field 'targets': .* subtract a constant"):
        prepare(
            study(
                "times",
                None,
                dataset=dataset,
                model=component("linear", num_outputs=1),
                loss=component("squared_error"),
            )
        )


def test_categories_of_17_digits_are_told_apart(tmp_path):
    rows = "".join(f"{9007199254740992 + number % 2},{number % 2}\n" for number in range(20))
    (tmp_path / "ids.csv").write_text("id,y\n" + rows)
    dataset = component("csv", path=str(tmp_path / "ids.csv"), target="y", task="classification", categorical=("id",))
    [job] = prepare(study("times", None, dataset=dataset)).jobs
    assert job.components["dataset"].categories == {"id": ("9007199254740992", "9007199254740993")}
    assert job.table.arrays["inputs"][:, 0].tolist() == [0.0, 1.0] * 10


def test_names_of_17_digits_are_no_numbers(tmp_path):
    names = 2**53 + np.arange(20)
    (tmp_path / "ids.csv").write_text("id,y\n" + "".join(f"{name},{name % 2}\n" for name in names))
    with pytest.raises(ConfigError, match=r"numbers such as 9007199254740993 .* categorical=\('id',\)"):
        csv(path=str(tmp_path / "ids.csv"), target="y", task="classification")
    with pytest.raises(ConfigError, match=r"column 'id': numbers such as 9007199254740993 .* frame.astype"):
        table({"train": {"id": names, "y": names % 2}}, "y", path="data")
    spread = names + 10**14 * np.arange(20)  # of which float64 loses digits that do not tell
    assert table({"train": {"id": spread, "y": names % 2}}, "y").splits["train"]["inputs"].shape == (20, 1)

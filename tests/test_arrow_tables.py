"""Parquet files and folders that the package datasets saved: values as pandas and Pillow have them."""

import io
import sys

import datasets
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from ml_collections import ConfigDict
from PIL import Image

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data.arrow_tables import parquet
from mlgym_jax.data.dataset import to_arrays
from mlgym_jax.data.huggingface import huggingface
from mlgym_jax.errors import ConfigError

RNG = np.random.default_rng(0)
FRAME = pandas.DataFrame(
    {
        "age": RNG.integers(20, 80, 30),
        "sex": pandas.Categorical(RNG.choice(["m", "f"], 30)),
        "weight": np.where(RNG.random(30) < 0.2, np.nan, RNG.normal(70, 9, 30)),
        "smokes": RNG.random(30) < 0.5,
        "day": pandas.date_range("2026-01-30", periods=30, freq="D"),
        "outcome": RNG.choice(["ill", "well"], 30),
    }
)


def test_a_table_is_what_pandas_wrote(tmp_path):
    (tmp_path / "parts").mkdir()
    FRAME[:20].to_parquet(tmp_path / "parts" / "a.parquet", row_group_size=7)
    FRAME[20:].to_parquet(tmp_path / "parts" / "b.parquet")
    found = parquet(path=str(tmp_path / "parts"), target="outcome", missing="keep")
    inputs = dict(zip(found.feature_names, found.splits["train"]["inputs"].T, strict=True))
    codes, words = pandas.factorize(FRAME["sex"].astype(str), sort=True)
    np.testing.assert_array_equal(inputs["sex"], codes)
    assert found.categories == {"sex": tuple(words)}
    for name in ("age", "weight", "smokes"):
        np.testing.assert_array_equal(inputs[name], FRAME[name].astype(float))
    np.testing.assert_array_equal(inputs["day.month"], FRAME["day"].dt.month)
    codes, words = pandas.factorize(FRAME["outcome"], sort=True)
    np.testing.assert_array_equal(found.splits["train"]["targets"], codes)
    assert found.class_names == tuple(words)
    dropped = parquet(path=str(tmp_path / "parts"), target="outcome", missing="drop")
    assert len(dropped.splits["train"]["inputs"]) == len(FRAME.dropna())
    paths = {"train": str(tmp_path / "parts" / "a.parquet"), "test": str(tmp_path / "parts" / "b.parquet")}
    parts = parquet(paths=paths, target="age", task="regression", features=("smokes", "sex"), categorical=("smokes",))
    np.testing.assert_array_equal(parts.splits["test"]["targets"], FRAME["age"][20:])
    assert (parts.feature_names, parts.num_classes) == (("sex", "smokes"), None)
    assert parts.categories["smokes"] == ("False", "True")


def test_kinds_of_columns(tmp_path):
    table = pyarrow.table(
        {
            "price": pyarrow.array(["1.5", "2.25", None], pyarrow.string()).cast(pyarrow.decimal128(9, 2)),
            "count": pyarrow.array([1, None, 3], pyarrow.int64()),
            "when": pyarrow.array([0, 86_400, None], pyarrow.timestamp("s", tz="Europe/Paris")),
            "y": pyarrow.array([0.5, 1.0, 2.0]),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "kinds.parquet")
    found = parquet(path=str(tmp_path / "kinds.parquet"), target="y", missing="keep")
    inputs = dict(zip(found.feature_names, found.splits["train"]["inputs"].T, strict=True))
    np.testing.assert_array_equal(inputs["price"], [1.5, 2.25, np.nan])
    np.testing.assert_array_equal(inputs["count"], [1, np.nan, 3])
    np.testing.assert_array_equal(inputs["when.day"], [1, 2, np.nan])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "outcom"}, r"dataset\.target: there is no column 'outcom'; did you mean 'outcome'\?"),
        ({}, r"row \d+, column 'weight': the value is missing \(\d of 30 are\).*missing='keep'"),
        ({"features": ("outcome",)}, r"dataset\.features: 'outcome' is the target"),
        ({"task": "regression", "ignore": ("weight",)}, "the targets are words, which are no numbers to predict"),
        ({"path": "nothing.parquet"}, r"dataset\.path: there is no file"),
        ({"paths": {"train": "x"}}, "give either path="),
        ({"path": None, "paths": {"test": "x"}}, "it has no split 'train'"),
    ],
)
def test_bad_parquet_parameters(tmp_path, options, message):
    FRAME.to_parquet(tmp_path / "frame.parquet")
    with pytest.raises(ConfigError, match=message):
        parquet(**{"path": str(tmp_path / "frame.parquet"), "target": "outcome", **options})


def test_bad_parquet_files(tmp_path, monkeypatch):
    (tmp_path / "text.parquet").write_text("age,sex\n1,m\n")
    with pytest.raises(ConfigError, match=r"text\.parquet' cannot be read: "):
        parquet(path=str(tmp_path / "text.parquet"), target="age")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"there is no file '\*\.parquet' in"):
        parquet(path=str(tmp_path / "empty"), target="age")
    FRAME.to_parquet(tmp_path / "empty" / "a.parquet")
    FRAME[["age"]].to_parquet(tmp_path / "empty" / "b.parquet")
    with pytest.raises(ConfigError, match=r"b\.parquet' has the columns age; the first file has age, sex"):
        parquet(path=str(tmp_path / "empty"), target="age")
    pyarrow.parquet.write_table(pyarrow.table({"x": [[1], [2]], "y": [0, 1]}), tmp_path / "lists.parquet")
    with pytest.raises(ConfigError, match="column 'x' holds list"):
        parquet(path=str(tmp_path / "lists.parquet"), target="y")
    # What is not asked for is not read, whatever it holds; of the rest a row group at a time.
    lists = pyarrow.table({"x": [[1], [2], [3], [4]], "z": [0.5, 1.5, None, 2.5], "y": [0, 1, 1, 0]})
    pyarrow.parquet.write_table(lists, tmp_path / "lists.parquet", row_group_size=2)
    for chosen in ({"ignore": ("x",)}, {"features": ("z",)}):
        found = parquet(path=str(tmp_path / "lists.parquet"), target="y", missing="keep", **chosen)
        assert found.feature_names == ("z",)
        np.testing.assert_array_equal(found.splits["train"]["inputs"][:, 0], [0.5, 1.5, np.nan, 2.5])
        np.testing.assert_array_equal(found.splits["train"]["targets"], [0, 1, 1, 0])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match=r'needs the package pyarrow; type: pip install "mlgym-jax\[parquet\]"'):
        parquet(path=str(tmp_path / "lists.parquet"), target="y")


def pictures(count):
    pixels = RNG.integers(0, 256, (count, 5, 4, 3), np.uint8)
    encoded = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        encoded.append({"bytes": file.getvalue(), "path": None})
    return pixels, encoded


def test_saved_images_and_labels(tmp_path):
    pixels, encoded = pictures(9)
    labels = [2, 0, 2, 0, 0, 2, 2, 0, 0]
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "cow", "dog"])})
    whole = datasets.Dataset.from_dict({"image": encoded, "label": labels}, features=kinds)
    datasets.DatasetDict({"train": whole.select(range(7)), "test": whole.select([8, 7])}).save_to_disk(
        tmp_path / "saved"
    )
    found = huggingface(path=str(tmp_path / "saved"), scale=False)
    assert (found.num_classes, found.class_names) == (3, ("cat", "cow", "dog"))
    table = to_arrays(found)
    np.testing.assert_array_equal(table.arrays["inputs"], pixels[[*range(7), 8, 7]])
    assert table.arrays["targets"].tolist() == [*labels[:7], labels[8], labels[7]]
    config = ConfigDict({"num_epochs": 1})
    config.dataset = component("huggingface", path=str(tmp_path / "saved"))
    config.loader = component("streaming", batch_size=4)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy_with_integer_labels")
    config.optimizer = component("sgd", learning_rate=0.1)
    assert mg.run(config, tmp_path / "runs").status == "DONE"


def test_saved_tables_and_arrays(tmp_path):
    columns = {"age": [3, 5, 4], "sex": ["m", "f", "m"], "label": [2, 0, 2], "vector": [[1.0, 2], [3, 4], [5, 6]]}
    kinds = {"age": "int32", "sex": "string", "label": None, "vector": None}
    features = {name: datasets.Value(kind) for name, kind in kinds.items() if kind}
    features |= {"label": datasets.ClassLabel(3), "vector": datasets.List(datasets.Value("float32"))}
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).save_to_disk(tmp_path / "saved")
    path = str(tmp_path / "saved")
    table = huggingface(path=path, inputs=("sex", "age"))
    np.testing.assert_array_equal(table.splits["train"]["inputs"], [[1, 3], [0, 5], [1, 4]])
    assert table.splits["train"]["targets"].tolist() == [2, 0, 2] and table.num_classes == 3
    vectors = huggingface(path=path, inputs="vector", target="age", task="regression")
    np.testing.assert_array_equal(vectors.splits["train"]["inputs"], columns["vector"])
    np.testing.assert_array_equal(vectors.splits["train"]["targets"], [3, 5, 4])
    assert vectors.num_classes is None
    for options, message in (
        ({}, r"dataset\.inputs: age, sex, vector are no columns of one table"),
        ({"inputs": "vectr"}, r"dataset\.inputs: there is no column 'vectr'; did you mean 'vector'\?"),
        ({"inputs": "label"}, "'label' is the target"),
        ({"path": str(tmp_path)}, "is no folder that datasets has saved by save_to_disk"),
    ):
        with pytest.raises(ConfigError, match=message):
            huggingface(**{"path": path, **options})


def test_bad_saved_data(tmp_path, monkeypatch):
    labels = datasets.Features({"x": datasets.Value("float32"), "y": datasets.ClassLabel(2)})
    datasets.Dataset.from_dict({"x": [1, 2], "y": [0, -1]}, features=labels).save_to_disk(tmp_path / "unlabelled")
    with pytest.raises(ConfigError, match=r"labels are 0 … 1, found -1 … 0; leave out unlabelled rows"):
        huggingface(path=str(tmp_path / "unlabelled"))
    datasets.Dataset.from_dict({"x": [[1, 2], [3]], "y": [0, 1]}).save_to_disk(tmp_path / "ragged")
    with pytest.raises(ConfigError, match=r"dataset\.target: say which column to predict; of class labels there are 0"):
        huggingface(path=str(tmp_path / "ragged"))
    with pytest.raises(ConfigError, match=r"dataset\.inputs: split 'train', column 'x': "):
        huggingface(path=str(tmp_path / "ragged"), target="y")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r'needs the package datasets; type: pip install "mlgym-jax\[huggingface\]"'):
        huggingface(path=str(tmp_path / "ragged"), target="y")

"""Datasets of tables, archives, texts and prepared folders: values as scikit-learn and pandas read them, bad files."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pandas
import pytest
import sklearn.datasets
from flax import linen as nn
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data.csv_files import csv
from mlgym_jax.data.dataset import to_arrays
from mlgym_jax.data.npz_files import npz
from mlgym_jax.data.sklearn_tables import breast_cancer, diabetes, wine
from mlgym_jax.data.text_files import text
from mlgym_jax.data.tfds import tfds
from mlgym_jax.data.tfds_builders import make_builder
from mlgym_jax.errors import ConfigError

# Tables that scikit-learn ships


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return str(tmp_path_factory.mktemp("prepared"))


@pytest.mark.parametrize("dataset", [breast_cancer, wine, diabetes])
def test_tables_equal_scikit_learns(dataset, prepared):
    options = {"scaled": False} if dataset is diabetes else {}
    expected = getattr(sklearn.datasets, f"load_{dataset.__name__}")(**options)
    for _ in range(2):  # generated, then read back
        found = dataset(data_dir=prepared)
        np.testing.assert_array_equal(found.splits["train"]["inputs"], expected.data.astype(np.float32))
        np.testing.assert_array_equal(found.splits["train"]["targets"], expected.target)
    assert list(found.feature_names) == list(expected.feature_names)
    if dataset is diabetes:
        assert found.num_classes is None
    else:
        assert list(found.class_names) == list(expected.target_names)
        assert found.num_classes == len(expected.target_names)
    to_arrays(found)


def test_the_scaled_diabetes_table_equals_scikit_learns(prepared):
    found = diabetes(data_dir=prepared, scale=True).splits["train"]["inputs"]
    np.testing.assert_allclose(found, sklearn.datasets.load_diabetes().data, atol=1e-7)


# Comma-separated values

IRIS = "id,length,colour,species\n1,5.1,red,setosa\n2,4.9,blue,virginica\n3, 4.7 ,red,setosa\n4,1e1,green,versicolor\n"


def written(folder, content, name="table.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_csv_reads_numbers_words_and_classes(tmp_path):
    found = csv(path=written(tmp_path, IRIS), target="species", task="classification", ignore=("id",))
    assert found.feature_names == ("length", "colour") and found.categories == {"colour": ("blue", "green", "red")}
    assert found.class_names == ("setosa", "versicolor", "virginica") and found.num_classes == 3
    np.testing.assert_array_equal(found.splits["train"]["inputs"], [[5.1, 2], [4.9, 0], [4.7, 2], [10, 1]])
    np.testing.assert_array_equal(found.splits["train"]["targets"], [0, 2, 0, 1])


@given(st.data())
def test_csv_equals_pandas(tmp_path_factory, data):
    number = st.floats(-1e6, 1e6, width=32)
    word = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "N", "Z")), min_size=2, max_size=5).map(
        lambda own: "w" + own
    )
    rows = data.draw(st.lists(st.tuples(number, word, number), min_size=1, max_size=8))
    delimiter = data.draw(st.sampled_from([",", ";", "\t"]))
    frame = pandas.DataFrame(rows, columns=["a", "b c", 'd"e'])
    path = tmp_path_factory.mktemp("frames") / "frame.csv"
    frame.to_csv(path, index=False, sep=delimiter)
    found = csv(path=str(path), target='d"e', task="regression", delimiter=delimiter)
    inputs = found.splits["train"]["inputs"]
    np.testing.assert_allclose(inputs[:, 0], frame["a"], rtol=1e-7)
    words = found.categories["b c"]
    assert [words[int(code)] for code in inputs[:, 1]] == list(frame["b c"])
    np.testing.assert_allclose(found.splits["train"]["targets"], frame['d"e'], rtol=1e-7)


def test_csv_codes_are_the_same_in_every_split(tmp_path):
    paths = {
        "train": written(tmp_path, "x,y\nb,10\na,9\n", "train.csv"),
        "test": written(tmp_path, "x,y\nc,2\na,10\n", "test.csv"),
    }
    found = csv(paths=paths, target="y", task="classification")
    assert found.categories == {"x": ("a", "b", "c")} and found.class_names == ("2", "9", "10")
    np.testing.assert_array_equal(found.splits["train"]["targets"], [2, 1])
    np.testing.assert_array_equal(found.splits["test"]["targets"], [0, 2])
    np.testing.assert_array_equal(found.splits["test"]["inputs"], [[2], [0]])


def test_csv_leaves_out_rows_with_missing_values(tmp_path):
    path = written(tmp_path, "x,z,y\n1,none,3\nNA,b,4\n2,,5\n3,b,\n4,b,6\n")
    found = csv(path=path, target="y", task="regression", missing="drop")
    np.testing.assert_array_equal(found.splits["train"]["inputs"], [[1, 1], [4, 0]])
    np.testing.assert_array_equal(found.splits["train"]["targets"], [3, 6])


def test_csv_takes_numbers_as_categories_and_files_without_a_header(tmp_path):
    found = csv(path=written(tmp_path, "7,1\n10,2\n9,1\n"), target="1", task="classification", header=False)
    assert found.feature_names == ("0",) and found.class_names == ("1", "2")
    path = written(tmp_path, "\ufeffcode,y\r\n10,1\r\n\r\n9,2\r\n")
    found = csv(path=path, target="y", task="regression", categorical=("code",))
    assert found.categories == {"code": ("9", "10")}
    np.testing.assert_array_equal(found.splits["train"]["inputs"], [[1], [0]])


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("x,y\n1,2\n1\n", {}, r"table\.csv, line 3: found 1 fields, the first line has 2"),
        ('x,y\n"1\n",2\n1\n', {}, r"line 4: found 1 fields, the first line has 2"),
        ("x,y\n1,2\n1.o,3\n", {}, r"line 3, column 'x': found '1\.o', which is no finite number, in a column of numb"),
        ("x,y\n1,2\n1_0,3\n", {}, "line 3, column 'x': found '1_0'"),
        ("x,y\n1,2\ninf,3\n", {}, "line 3, column 'x': found 'inf'"),
        ("x,y\n1,2\n1,nothing\n", {}, "line 3, column 'y': found 'nothing'"),
        (
            "x,y\n1,2\n,3\n",
            {},
            r"config\.dataset\.missing: .*line 3, column 'x': the value is missing \(''; 1 are missi",
        ),
        ("x,y\na,2\n,3\n", {}, "line 3, column 'x': the value is missing"),
        ("x,y\n,2\n1,?\n", {"missing": "drop"}, "every row misses a value"),
        ("x,Y\n1,2\n", {}, r"config\.dataset\.target: there is no column 'y'; did you mean 'Y'\? Columns: x, Y"),
        ("x,y\n1,2\n", {"features": ("xx",)}, r"config\.dataset\.features: there is no column 'xx'; did you mean 'x'"),
        ("x,y\n1,2\n", {"features": ("y",)}, "'y' is the target; it would predict itself"),
        ("x,y\n1,2\n", {"ignore": ("x",)}, "no column is left to predict 'y' from"),
        ("x,x,y\n1,2,3\n", {}, "line 1: two columns are named 'x'"),
        ("x;y\n1,5;2\n", {}, "line 2: found 2 fields, the first line has 1, as ';' delimits it: delimiter=';'"),
        ("x\n1,5\n", {}, "line 2: found 2 fields, the first line has 1; is ',' the delimiter"),
        ("x;y\n1,5;2\n1.234;2\n", {"delimiter": ";", "decimal": ","}, r"decimal: .*column 'x': found '1\.234'"),
        ("x;y\n1;2\n", {}, r"config\.dataset\.delimiter: the only column is named 'x;y', .*: delimiter=';'"),
        (
            "x,y\n1,a\n2,b\n",
            {},
            r"column 'y': found 'a', .*; correct it, or if its values are classes, write task='class",
        ),
        ("", {}, "is empty"),
        ("x,y\n", {}, "has no rows below its header"),
        ('x,y\n"1,2\n', {}, "line 2: unexpected end of data"),
        (b"x,y\n\xff,2\n", {}, "cannot be read: it is not UTF-8"),
        ("x,y\n1,2\n", {"delimiter": ",,"}, r"config\.dataset\.delimiter: found ',,'"),
    ],
)
def test_bad_csv_files(tmp_path, content, options, message):
    with pytest.raises(ConfigError, match=message):
        csv(path=written(tmp_path, content), **{"target": "y", "task": "regression", **options})


def test_csv_files_that_are_not_there_or_do_not_agree(tmp_path):
    path = written(tmp_path, "x,y\n1,2\n", "iris.csv")
    with pytest.raises(ConfigError, match=r"dataset\.path: there is no file '.*/irsi\.csv'; did you mean 'iris\.csv'"):
        csv(path=path.replace("iris", "irsi"), target="y", task="regression")
    with pytest.raises(ConfigError, match=r"config\.dataset\.path: '.*' cannot be read: Is a directory"):
        csv(path=str(tmp_path), target="y", task="regression")
    other = written(tmp_path, "x,z\n1,2\n", "other.csv")
    with pytest.raises(ConfigError, match=r"dataset\.paths\.test: .* has the columns x, z; expected x, y"):
        csv(paths={"train": path, "test": other}, target="y", task="regression")
    with pytest.raises(ConfigError, match="give either path"):
        csv(target="y", task="regression")


# NumPy's archives


def archive(folder, **arrays):
    path = folder / "arrays.npz"
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("separator", ["/", "_"])
def test_npz_reads_splits_by_name(tmp_path, separator):
    arrays = {
        f"{s}{separator}{f}": np.arange(3) + n for n, s in enumerate(("train", "test")) for f in ("inputs", "targets")
    }
    found = npz(path=archive(tmp_path, **arrays))
    assert set(found.splits) == {"train", "test"} and found.num_classes == 4
    np.testing.assert_array_equal(found.splits["test"]["inputs"], [1, 2, 3])


def test_npz_reads_plain_words_and_named_arrays(tmp_path):
    x, y = np.eye(3), np.array(["b", "a", "b"])
    plain = npz(path=archive(tmp_path, inputs=x, targets=y))
    assert plain.class_names == ("a", "b") and plain.splits["train"]["targets"].tolist() == [1, 0, 1]
    named = npz(path=archive(tmp_path, x_train=x, y=y), arrays={"train": {"inputs": "x_train", "targets": "y"}})
    np.testing.assert_array_equal(named.splits["train"]["inputs"], x)
    ages = archive(tmp_path, inputs=x, targets=np.array([30, 40, 50]))
    assert npz(path=ages).num_classes == 51 and npz(path=ages, task="regression").num_classes is None
    assert npz(path=archive(tmp_path, inputs=x, targets=np.array([0.5, 1, 2]))).num_classes is None


def test_bad_archives(tmp_path):
    with pytest.raises(
        ConfigError, match=r"has no array 'inputs' or 'train/inputs'; did you mean 'input'\? Arrays: in"
    ):
        npz(path=archive(tmp_path, input=np.zeros(3)))
    with pytest.raises(ConfigError, match=r"dataset\.arrays\.train\.inputs: .* no array 'y'\. Arrays: x"):
        npz(path=archive(tmp_path, x=np.zeros(3)), arrays={"train": {"inputs": "y"}})
    with pytest.raises(ConfigError, match=r"dataset\.arrays\.train: found 'x'; write dict"):
        npz(path=archive(tmp_path, x=np.zeros(3)), arrays={"train": "x"})
    with pytest.raises(ConfigError, match="classes are integers or strings, the targets are float64"):
        npz(path=archive(tmp_path, inputs=np.zeros(3), targets=np.zeros(3)), task="classification")
    with pytest.raises(ConfigError, match="cannot be read: Object arrays cannot be loaded"):
        npz(path=archive(tmp_path, inputs=np.array([{}, []], dtype=object)))
    for content in (b"", b"PK\x03\x04 broken", b"no archive"):
        with pytest.raises(ConfigError, match=r"config\.dataset\.path: '.*' cannot be read"):
            npz(path=written(tmp_path, content, "arrays.npz"))
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ConfigError, match=r"np\.savez\(path, inputs=…, targets=…\) writes several"):
        npz(path=str(tmp_path / "one.npy"))


# Text


def test_text_is_cut_into_sequences_of_bytes(tmp_path):
    (tmp_path / "b").mkdir()
    written(tmp_path, "wörld", "b/2.txt")
    written(tmp_path, "hello", "a.txt")
    data = "hello\nwörld".encode()
    train = text(path=str(tmp_path), length=4).splits["train"]
    assert train["inputs"].dtype == np.int32
    assert [bytes(row.tolist()) for row in train["inputs"]] == [data[:4], data[4:8]]
    assert [bytes(row.tolist()) for row in train["targets"]] == [data[1:5], data[5:9]]
    overlapping = text(path=str(tmp_path / "a.txt"), length=2, stride=1)
    assert [bytes(row.tolist()) for row in overlapping.splits["train"]["inputs"]] == [b"he", b"el", b"ll"]
    assert overlapping.num_classes == 256


def test_the_default_text_is_english():
    inputs = text().splits["train"]["inputs"]
    assert inputs.size > 400_000 and 0.1 < np.mean(inputs == ord(" ")) < 0.4
    assert b"assert" in bytes(inputs.reshape(-1)[:10_000].tolist())


@mg.register("model", "bigram")
def bigram():
    """Predict the next byte by the last one alone."""
    return nn.Embed(256, 256)


def test_a_language_model_trains_on_bytes(tmp_path):
    config = ConfigDict()
    config.num_epochs = 12
    config.dataset = component("view", stop=400, dataset=component("text"))
    config.model = component("bigram")
    config.loss = component("softmax_cross_entropy_with_integer_labels")
    config.optimizer = component("adam", learning_rate=0.1)
    config.metrics = dict(perplexity=component("perplexity"))
    result = mg.run(config, tmp_path)
    train = text().splits["train"]
    counts = np.zeros((256, 256))
    np.add.at(counts, (train["inputs"][:400], train["targets"][:400]), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    best = np.exp(-np.sum(counts * np.log(np.where(counts, shares, 1))) / counts.sum())  # of any table of pairs
    history = result.experiments[0].history["train/perplexity"]
    assert history[0] > 40 and best < history[-1] < 1.3 * best


def test_bad_texts(tmp_path):
    path = written(tmp_path, "abc", "a.txt")
    with pytest.raises(ConfigError, match=r"dataset\.length: the text has 3 tokens"):
        text(path=path, length=3)
    with pytest.raises(ConfigError, match=r"dataset\.pattern: no file in .* matches '\*\.md'"):
        text(path=str(tmp_path), pattern="*.md")
    with pytest.raises(ConfigError, match=r"dataset\.stride: found 0"):
        text(path=path, stride=0)
    with pytest.raises(ConfigError, match="there is no file"):
        text(path=str(tmp_path / "b.txt"))


# Folders that TFDS prepared


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A data set of images, labels and text, prepared by TFDS itself in a process of its own."""
    folder = tmp_path_factory.mktemp("tfds")
    code = """
import io
import sys
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(file, format="png")
    file.seek(0)
    return file

class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.2.0")
    code_path = None
    def _info(self):
        f = tfds.features
        features = f.FeaturesDict({"image": f.Image(shape=(4, 4, 1), encoding_format="png"),
            "label": f.ClassLabel(names=["cat", "dog"]), "size": np.float32, "title": f.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"),
                                     disable_shuffling=True)
    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(6), "test": self._generate_examples(2)}
    def _generate_examples(self, n):
        for i in range(n):
            yield i, {"image": png(51 * i), "label": i % 2, "size": i / 2, "title": "x"}

Tiny.name = "tiny"
Tiny(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, timeout=120)
    return folder


@pytest.mark.parametrize("by", ["name", "version", "folder"])
def test_tfds_reads_what_tfds_prepared(images, by):
    found = tfds(
        **{
            "name": dict(name="tiny", data_dir=str(images)),
            "version": dict(name="tiny:1.2.0", data_dir=str(images)),
            "folder": dict(name=str(images / "tiny/1.2.0")),
        }[by]
    )
    assert found.num_classes == 2 and found.class_names == ("cat", "dog")
    train = found.splits["train"]
    assert set(train) == {"inputs", "targets", "size"} and set(found.splits) == {"train", "test"}
    np.testing.assert_allclose(train["inputs"][:, 0, 0, 0], np.arange(6) / 5, rtol=1e-6)
    np.testing.assert_array_equal(train["targets"], [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(train["size"], np.arange(6) / 2)
    to_arrays(found)


def test_tfds_takes_slices_and_other_features(images):
    found = tfds(
        name="tiny",
        data_dir=str(images),
        splits={"train": "train[:4]", "val": "train[4:]"},
        inputs="size",
        targets="image",
        scale=False,
    )
    assert found.splits["train"]["targets"].dtype == np.uint8 and len(found.splits["val"]["inputs"]) == 2
    np.testing.assert_array_equal(found.splits["val"]["inputs"], [2.0, 2.5])
    assert found.num_classes is None


def test_tfds_reads_the_folder_of_a_builder_without_supervised_keys(tmp_path):
    builder = make_builder(
        "plain",
        features={"x": ((2,), "float32"), "y": ((), "int32")},
        examples=lambda: ({"x": np.full(2, i, np.float32), "y": np.int32(i)} for i in range(3)),
        folder=tmp_path,
    )
    builder.download_and_prepare()
    with pytest.raises(
        ConfigError, match=r"dataset\.inputs: plain does not say .* write inputs='…', targets='…'\. Features: x, y"
    ):
        tfds(name="plain", data_dir=str(tmp_path))
    found = tfds(name="plain", data_dir=str(tmp_path), inputs="x", targets="y")
    np.testing.assert_array_equal(found.splits["train"]["inputs"], [[0, 0], [1, 1], [2, 2]])


def test_bad_prepared_folders(images, tmp_path):
    here = dict(data_dir=str(images))
    with pytest.raises(
        ConfigError, match=r"'mnist' is not prepared\. .*; prepared there: tiny\. .*data_source\('mnist'"
    ):
        tfds(name="mnist", **here)
    with pytest.raises(ConfigError, match="'tini' is not prepared; did you mean 'tiny'"):
        tfds(name="tini", **here)
    with pytest.raises(ConfigError, match=r"'tiny:9\.0\.0' is not prepared"):
        tfds(name="tiny:9.0.0", **here)
    with pytest.raises(ConfigError, match=r"dataset\.targets: tiny has no feature 'lable'; did you mean 'label'"):
        tfds(name="tiny", targets="lable", **here)
    with pytest.raises(ConfigError, match=r"dataset\.splits\.train: tiny has no split 'trian'"):
        tfds(name="tiny", splits={"train": "trian"}, **here)
    with pytest.raises(ConfigError, match=r"dataset\.splits: .* say which to train on"):
        tfds(name="tiny", splits={"test": "test"}, **here)
    shutil.copytree(images / "tiny", tmp_path / "tiny")
    os.remove(tmp_path / "tiny/1.2.0/features.json")
    with pytest.raises(ConfigError, match="is no whole prepared data set"):
        tfds(name="tiny", data_dir=str(tmp_path))
    info = tmp_path / "tiny/1.2.0/dataset_info.json"
    shutil.copy(images / "tiny/1.2.0/features.json", tmp_path / "tiny/1.2.0")
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ConfigError, match="holds tfrecord files, which only TensorFlow reads; prepare array_record"):
        tfds(name="tiny", data_dir=str(tmp_path))
    shutil.rmtree(tmp_path / "tiny")
    shutil.copytree(images / "tiny", tmp_path / "tiny")
    for record in (tmp_path / "tiny/1.2.0").glob("*array_record*"):
        os.remove(record)
    with pytest.raises(ConfigError, match=r"dataset\.name"):
        tfds(name="tiny", data_dir=str(tmp_path))

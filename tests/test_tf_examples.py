"""Messages of tf.train.Example in ArrayRecord files: what was written, and what is no message."""

import io

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data.streams import UnreadableRecord, to_stream
from mlgym_jax.data.tf_examples import tf_examples
from mlgym_jax.errors import ConfigError

NOISE = np.random.default_rng(1).integers(0, 256, (8, 6, 3), np.uint8)


def example(**features):
    message = tf_example_pb2.Example()
    for name, values in features.items():
        kind = {bytes: "bytes_list", float: "float_list", int: "int64_list"}[type(values[0])]
        getattr(message.features.feature[name], kind).value.extend(values)
    return message.SerializeToString()


def encoded(pixels, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve images of 8 x 6 in two files, with labels, weights and raw bytes; what each holds."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 8, 6, 3), np.uint8)
    labels, weights = np.arange(12) % 3, rng.normal(size=(12, 4)).astype(np.float32)
    for number, rows in enumerate(np.array_split(np.arange(12), 2)):
        writer = ArrayRecordWriter(f"{folder}/train-{number}.array_record", "group_size:4")
        for row in rows:
            writer.write(
                example(
                    photo=[encoded(pixels[row])],
                    label=[int(labels[row])],
                    weights=weights[row].tolist(),
                    raw=[pixels[row].tobytes()],
                )
            )
        writer.close()
    return folder, pixels, labels, weights


FIELDS = {
    "inputs": ("image", (8, 6, 3), "photo"),
    "targets": ("int32", (), "label"),
    "weights": ("float32", (2, 2)),
    "bytes": ("uint8", (8, 6, 3), "raw"),
}


def table_of(folder, fields=FIELDS, **parameters):
    return to_stream(tf_examples(splits={"train": f"{folder}/train-*"}, fields=fields, num_classes=3, **parameters))


def test_features_become_fields(photos):
    folder, pixels, labels, weights = photos
    rows = np.array([11, 0, 5, 6, 5])
    read = table_of(folder).read(rows)
    np.testing.assert_array_equal(read["inputs"], pixels[rows].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(read["targets"], labels[rows])
    np.testing.assert_array_equal(read["weights"], weights[rows].reshape(-1, 2, 2))
    np.testing.assert_array_equal(read["bytes"], pixels[rows])
    grey = {"inputs": ("image", (4, 3, 1), "photo")}
    halved = table_of(folder, grey, scale=False).read(rows)["inputs"]
    expected = [Image.fromarray(pixels[row]).convert("L").resize((3, 4), Image.Resampling.BILINEAR) for row in rows]
    np.testing.assert_array_equal(halved[..., 0], np.stack([np.asarray(image) for image in expected]))


def test_it_trains_the_same_in_threads_in_processes_and_in_memory(photos, tmp_path):
    folder = photos[0]
    study = {
        "num_epochs": 2,
        "dataset": component("tf_examples", splits={"train": f"{folder}/*"}, fields=FIELDS, num_classes=3),
        "validation": component("holdout", val=0.0),
        "model": component("mlp", features=(4,)),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=0.1),
    }
    found = []
    for loader in (
        component("streaming", batch_size=4, shuffle=False),
        component("streaming", batch_size=4, shuffle=False, workers="processes"),
        component("in_memory", batch_size=4, shuffle=False),
    ):
        found.append(mg.run({**study, "loader": loader}, tmp_path, run_id=str(len(found))).experiments[0].history)
    assert found[0] == found[1]
    np.testing.assert_allclose(found[0]["train/loss"], found[2]["train/loss"], rtol=1e-6)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"no message", r"it is no tf\.train\.Example, or cut short"),
        (example(photo=[b"no image"], label=[1], weights=[0.0] * 4), r"its feature 'photo' cannot be read as an image"),
        (example(photo=[encoded(NOISE)[:100]], label=[1], weights=[0.0] * 4), "cannot be read as an image"),
        (example(photo=[b""], weights=[0.0] * 4), r"its feature 'photo' cannot be read|it has no feature 'label'"),
        (example(photo=[b"a", b"b"], label=[1], weights=[0.0] * 4), "'photo' holds 2 strings of bytes, one is"),
        (example(photo=[1.0], label=[1], weights=[0.0] * 4), "'photo' holds numbers, and the bytes of an image are"),
        (
            example(photo=[encoded(NOISE)], label=[2**40], weights=[0.0] * 4),
            "'label' has numbers that are no int32",
        ),
        (
            example(photo=[encoded(NOISE)], label=[1], weights=[0.0] * 3),
            r"'weights' has 3 numbers, and \(2, 2\) is expected",
        ),
    ],
    ids=["cut", "no image", "part of an image", "no bytes", "two images", "numbers", "too large", "too few"],
)
def test_a_damaged_record_is_named_with_its_file(tmp_path, record, message):
    writer = ArrayRecordWriter(str(tmp_path / "train-0.array_record"), "group_size:1")
    writer.write(example(photo=[encoded(NOISE)], label=[0], weights=[0.0] * 4))
    writer.write(record)
    writer.close()
    table = table_of(tmp_path, {name: form for name, form in FIELDS.items() if name != "bytes"})
    with pytest.raises(UnreadableRecord, match=message) as caught:
        table.read(np.array([0, 1]))
    assert caught.value.rows == [1]
    assert str(caught.value).startswith(f"split 'train', record 1 ('{tmp_path}/train-0.array_record', record 1): ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": ("image", (8, 6), "photo")}, r"fields\.inputs: found .*Write \('float32', \(28, 28\), 'feature'\)"),
        ({"inputs": ("imag", (8, 6, 3), "photo")}, r"fields\.inputs: found .*; did you mean 'image'\?"),
        (
            {"inputs": ("image", (8, 6, 3), "foto")},
            r"fields\.inputs: there is no feature 'foto'; did you mean 'photo'",
        ),
        ({"inputs": ("image", (8, 6, 2), "photo")}, r"dataset\.channels: found 2"),
    ],
)
def test_wrong_fields_are_named_before_anything_is_read(photos, fields, message):
    with pytest.raises(ConfigError, match=message):
        table_of(photos[0], fields)

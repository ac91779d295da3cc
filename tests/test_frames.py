"""Frames and streams as inputs, frames as outputs: probabilities as SciPy has them, columns by their names."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from study_files import small

import mlgym_jax as mg
from mlgym_jax.components.registry import lookup
from mlgym_jax.data.from_python import dataset_of
from mlgym_jax.errors import MlgymError
from mlgym_jax.reading.frames import to_frame
from mlgym_jax.reading.meaning import Meaning

TABLE = """
    config.num_epochs = 2
    config.dataset = component("csv", path={path!r}, target="outcome", task="classification", categorical=("ward",))
    config.validation = component("holdout", val=0.2)
    config.encoding = component(
        "by_column", groups=(("numeric", component("standardise")), ("categorical", component("one_hot"))))
    config.post_processors = dict(chosen=component("argmax"))
"""
SEX, WARD = ["f", "m"], ["7", "12"]


def rows(number=60):
    random = np.random.default_rng(0)
    age = random.normal(50, 10, number)
    sex, ward = random.choice(SEX, number), random.choice([7, 12], number)
    outcome = np.where(age + 5 * (sex == "m") > 52, "ill", "well")
    return pd.DataFrame({"sex": sex, "age": age, "ward": ward, "outcome": outcome})


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patients")
    rows().to_csv(folder / "patients.csv", index=False)
    edit = TABLE.format(path=str(folder / "patients.csv"))
    study = small(folder, edit)
    return mg.run(study, folder / "runs").best("val/accuracy")


def logits_of(experiment, frame):
    """Encode by scikit-learn, on the training rows, and multiply by NumPy."""
    job = experiment._run._study.jobs[0]
    train = rows().drop(columns="outcome").iloc[job.folds.indices["train"][0][job.folds.mask["train"][0]]]
    scaler = StandardScaler().fit(train[["age"]])
    words = OneHotEncoder(categories=[SEX, [7, 12]], sparse_output=False).fit(train[["sex", "ward"]])
    encoded = np.hstack([scaler.transform(frame[["age"]]), words.transform(frame[["sex", "ward"]])])
    (layer,) = experiment.restore().params.values()
    return encoded @ layer["kernel"] + layer["bias"]


def test_a_frame_is_taken_by_its_names_and_answered_with_classes_and_probabilities(patients):
    frame = rows(7).drop(columns="outcome")[["ward", "age", "sex"]].set_axis(list("abcdefg"))
    logits = logits_of(patients, frame)
    found = patients.predict(frame, as_frame=True, batch_size=3)
    assert [*found.columns] == ["prediction", "ill", "well", "chosen"] and [*found.index] == [*frame.index]
    np.testing.assert_allclose(found[["ill", "well"]], softmax(logits, axis=1), rtol=1e-4, atol=1e-6)
    assert [*found["prediction"]] == [("ill", "well")[place] for place in logits.argmax(axis=1)]
    assert [*found["chosen"]] == [*logits.argmax(axis=1)]
    np.testing.assert_allclose(patients.predict(frame)["outputs"], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("as_frame", [False, True])
def test_an_iterator_of_batches_gives_an_iterator_of_outputs(patients, as_frame):
    frame = rows(10).drop(columns="outcome")
    found = patients.predict((frame[at : at + 4] for at in range(0, 10, 4)), as_frame=as_frame)
    assert iter(found) is found
    parts = [part["chosen"] for part in found]
    assert [len(part) for part in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(parts), logits_of(patients, frame).argmax(axis=1))


def changed(**columns):
    return rows(3).drop(columns="outcome").assign(**columns)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (rows(3), "inputs: the model was not trained on the column 'outcome'; write inputs.drop(columns=['outcome'])"),
        (
            changed().rename(columns={"age": "Age"}),
            "inputs: the frame has no column 'age'; did you mean 'Age'? The model was trained on: sex, age, ward",
        ),
        (changed(sex=["f", "x", "m"]), "inputs: row 1, column 'sex': 'x' was not there in training. Known: f, m"),
        (changed(sex=["f", None, "m"]), "inputs: row 1, column 'sex': the value is missing; fill it in"),
        (changed(ward=[7, 12, 8]), "inputs: row 2, column 'ward': 8 was not there in training. Known: 7, 12"),
        (changed(age=[1.0, np.nan, 2.0]), "inputs: row 1, column 'age': the value is missing; fill it in"),
        (changed(age=["1", "old", "2"]), "inputs: row 1, column 'age': a number is expected, found 'old'"),
        (
            changed(age=pd.to_datetime(["2026-11-24"] * 3)),
            "inputs: row 0, column 'age': a number is expected, found '2",
        ),
        (changed(age=["1", "1_000", "2"]), "inputs: row 1, column 'age': a number is expected, found '1_000'"),
        (pd.concat([changed(), changed()[["age"]]], axis=1), "inputs: two columns are named 'age'"),
    ],
)
def test_columns_that_do_not_fit_are_said(patients, frame, message):
    with pytest.raises(MlgymError, match=f"^{re.escape(message)}"):
        patients.predict(frame)


def test_numbers_of_categories_may_be_floats_and_no_row_is_no_prediction(patients):
    whole, float_ = changed(), changed(ward=rows(3)["ward"].astype(float))
    np.testing.assert_array_equal(patients.predict(float_)["chosen"], patients.predict(whole)["chosen"])
    assert patients.predict(whole[:0], as_frame=True).shape == (0, 4)


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(
    ("edit", "columns", "of"),
    [
        ("config.loss = component('squared_error')", ["prediction"], lambda x: x),
        ("config.loss = component('sigmoid_binary_cross_entropy')", ["0", "1"], expit),
    ],
)
def test_single_outputs_are_numbers_or_the_probability_of_the_second_class(tmp_path, edit, columns, of):
    top = """
@register("dataset", "one_column")
def one_column():
    x = jax.random.normal(jax.random.key(0), (80, 4))
    return mg.Dataset({"train": {"inputs": np.asarray(x), "targets": np.asarray(x[:, 0] > 0).astype(np.float32)}})
"""
    edit += "; config.dataset = component('one_column'); config.model = component('mlp', features=(), num_outputs=1)"
    edit += "; config.metrics = dict(); config.validation = component('holdout', val=0.2)"
    study = small(tmp_path, edit, "import numpy as np\n" + top)
    experiment = mg.run(study, tmp_path / "runs").experiments[0]
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    (layer,) = experiment.restore().params.values()
    outputs = (x @ layer["kernel"] + layer["bias"])[:, 0]
    found = experiment.predict(pd.DataFrame(x), as_frame=True)
    assert [*found.columns][-len(columns) :] == columns
    np.testing.assert_allclose(found[columns[-1]], of(outputs), rtol=1e-5, atol=1e-6)
    if len(columns) == 2:
        np.testing.assert_array_equal(found["prediction"], outputs > 0)


def predicted_both_ways(study, folder):
    """Train a study of eight features; return what its first model predicts of five examples, as array and as frame."""
    experiment = mg.run(study, folder / "runs").experiments[0]
    x = np.random.default_rng(0).normal(size=(5, 8))
    return experiment.predict(x), experiment.predict(x, as_frame=True)


def test_probabilities_of_a_model_that_ends_in_softmax_are_left_as_they_are(tmp_path):
    top = """
@register("model", "soft")
class Soft(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.softmax(nn.Dense(3)(x))

@register("loss", "log_loss")
def log_loss():
    return lambda outputs, batch: -jnp.log(jnp.take_along_axis(outputs, batch["targets"][:, None], axis=1)[:, 0])
"""
    edit = "config.model = component('soft'); config.loss = component('log_loss')"
    outputs, found = predicted_both_ways(small(tmp_path, edit, top), tmp_path)
    np.testing.assert_array_equal(found[["0", "1", "2"]], outputs)


def test_single_probabilities_of_a_loss_of_ones_own_are_left_as_they_are(tmp_path):
    top = """
@register("model", "sure")
class Sure(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.sigmoid(nn.Dense(1)(x))[:, 0]

@register("loss", "own_bce")
def own_bce():
    return lambda outputs, batch: -jnp.log(jnp.where(batch["targets"] > 0, outputs, 1 - outputs) + 1e-6)
"""
    edit = "config.model = component('sure'); config.loss = component('own_bce'); config.metrics = dict()"
    edit += "; config.dataset = component('synthetic', num_examples=60, num_features=8, num_classes=2)"
    outputs, found = predicted_both_ways(small(tmp_path, edit, top), tmp_path)
    np.testing.assert_array_equal(found["1"], outputs)
    np.testing.assert_array_equal(found["prediction"].astype(int), outputs > 0.5)


def test_outputs_that_are_no_table_make_no_frame(tmp_path):
    top = """
@register("model", "two_heads")
class TwoHeads(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {"a": nn.Dense(3)(x), "b": nn.Dense(1)(x)}
"""
    edit = "config.model = component('two_heads'); config.loss = component('softmax_cross_entropy', output='a')"
    edit += "; config.metrics = dict(accuracy=component('accuracy', output='a'))"
    experiment = mg.run(small(tmp_path, edit, top), tmp_path / "runs").experiments[0]
    x = np.random.default_rng(0).normal(size=(5, 8))
    found = experiment.predict(x, as_frame=True)
    assert [*found.columns] == ["prediction", "0", "1", "2", "b"]
    np.testing.assert_allclose(found[["0", "1", "2"]], softmax(experiment.predict(x)["a"], axis=1), rtol=1e-5)


def test_a_frame_is_no_image(tmp_path):
    edit = """
    config.num_epochs = 1
    config.model = component("cnn", features=(2,), dense_features=())"""
    images = np.random.default_rng(0).normal(size=(60, 8, 8, 1)).astype(np.float32)
    experiment = mg.run(small(tmp_path, edit), tmp_path / "runs", data=(images, np.arange(60) % 3)).experiments[0]
    with pytest.raises(MlgymError, match="the model takes no table of columns; give it arrays"):
        experiment.predict(pd.DataFrame(np.zeros((2, 64))))


def test_dates_and_gaps_of_a_frame_are_read_as_in_training(tmp_path):
    """What was trained on holds dates and gaps; a frame that it predicts for does, too, as texts or as dates."""
    frame = rows().drop(columns="ward").assign(seen=pd.date_range("2026-01-30", periods=60))
    frame.loc[5, "age"] = np.nan
    encoding = 'component("chain", encodings=(component("impute"), component("standardise")))'
    config = small(tmp_path, f"\n    config.num_epochs = 2\n    config.encoding = {encoding}\n")
    best = mg.run(config, tmp_path / "runs", data=(frame, "outcome")).best("val/accuracy")
    (job,) = best._run._study.jobs
    expected = best.predict(np.asarray(job.table.arrays["inputs"], np.float64))
    given = frame.drop(columns="outcome")
    np.testing.assert_array_equal(best.predict(given[["seen", "age", "sex"]]), expected)
    texts = given.assign(seen=given["seen"].dt.strftime("%Y-%m-%d"))
    np.testing.assert_array_equal(best.predict(texts), expected)
    assert job.components["dataset"].feature_names[2:6] == ("seen.year", "seen.month", "seen.day", "seen.day_of_week")
    with pytest.raises(MlgymError, match=r"row 0, column 'seen': a date such as 2026-11-24 is expected, found 'today'"):
        best.predict(texts.assign(seen="today"))
    with pytest.raises(MlgymError, match=r"the frame has no column 'seen\.year'"):
        best.predict(given.drop(columns="seen"))
    assert np.isfinite(best.predict(given.assign(sex=None, seen=pd.NaT))).all()  # the encoding fills all of it in


def test_outputs_beside_the_one_that_tells_may_be_anything():
    told = np.array([[0.1, 0.7], [0.6, 0.2]], np.float32)
    outputs = {"logits": told, "none": None, "nested": (told, told.sum(1)), "score": told[:, 1]}
    frame = to_frame(outputs, Meaning("classes", False, "logits"), mg.Dataset({}, 2))
    assert frame.columns.tolist() == ["prediction", "0", "1", "score"] and frame["prediction"].tolist() == [1, 0]


@pytest.mark.parametrize(
    "targets",
    [
        [3, 1, 2, 1],
        np.int8([-1, 1, 1, -1]),
        [True, False, True, True],
        ["b", "a", "c", "a"],
        ["2", "10", "2", "10"],  # words that look like numbers stay words
        pd.Series([3, 1, 2, 1], dtype="category"),
        pd.Series([30, 10, 20, 10], dtype="Int64"),
        pd.Series([True, False, True, True], dtype="boolean"),
    ],
)
def test_predictions_are_of_the_type_of_the_targets(targets):
    dataset = dataset_of((np.zeros((4, 2)), targets))
    outputs = np.eye(dataset.num_classes)[dataset.splits["train"]["targets"]]
    found = to_frame(outputs, Meaning("classes", False, None), dataset)["prediction"]
    assert found.tolist() == list(targets) and np.array(found.tolist()).dtype.kind == np.array(list(targets)).dtype.kind


def test_predictions_of_a_csv_file_are_of_the_type_that_pandas_reads(tmp_path):
    for name, texts in {"ints": "3,1,2,10", "truths": "True,False,True,True", "words": "007,7,7,12"}.items():
        path = tmp_path / f"{name}.csv"
        path.write_text("x,y\n" + "".join(f"{row},{text}\n" for row, text in enumerate(texts.split(","))))
        dataset = lookup("dataset", "csv").factory(path=str(path), target="y", task="classification")
        outputs = np.eye(dataset.num_classes)[dataset.splits["train"]["targets"]]
        found = to_frame(outputs, Meaning("classes", False, None), dataset)["prediction"]
        expected = pd.read_csv(path, dtype=str if name == "words" else None)["y"]
        assert found.tolist() == expected.tolist()


def test_a_run_that_is_opened_again_knows_the_type_of_its_classes(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.integers(1, 4, 60)
    config = mg.load_config(small(tmp_path))
    del config.dataset
    again = mg.load_run(mg.run(config, tmp_path / "runs", data=(x, y)).run_dir).experiments[0]
    found = again.predict(x, as_frame=True)["prediction"]
    by_hand = again.predict(x).argmax(axis=1) + 1
    assert accuracy_score(y, found) == accuracy_score(y, by_hand)

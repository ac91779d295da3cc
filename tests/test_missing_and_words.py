"""Missing values, dates and texts in tables: as scikit-learn and pandas have them, fitted on the training part."""

import runpy

import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from ml_collections import ConfigDict
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.data.bag_of_words import bag_of_words
from mlgym_jax.data.csv_files import csv
from mlgym_jax.data.dataset import Dataset, to_arrays
from mlgym_jax.data.encodings import min_max, one_hot, standardise
from mlgym_jax.data.imputation import chain, impute
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare

RNG = np.random.default_rng(0)
X = RNG.normal(50, 20, (60, 4)).round()
X[RNG.random(X.shape) < 0.3] = np.nan
X[:, 3] = np.arange(60.0) * 0.1  # complete
TRAIN, OTHER = {"inputs": X[:40], "targets": np.zeros(40)}, {"inputs": X[40:], "targets": np.zeros(20)}
NAMES = ("a", "b", "c", "d")


def encoded(encoding, train, batch):
    def arrays(part):
        return dict(to_arrays(Dataset({"train": part}), missing=True).arrays)

    fitted = encoding.fit(arrays(train))
    return np.asarray(encoding.apply(fitted, {name: jnp.asarray(a) for name, a in arrays(batch).items()})["inputs"])


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
def test_missing_values_are_filled_in_as_scikit_learn_does(strategy):
    dataset = Dataset({"train": TRAIN, "test": OTHER}, feature_names=NAMES)
    reference = SimpleImputer(strategy=strategy, fill_value=-7.5, add_indicator=True).fit(X[:40])
    encoding = impute(dataset, strategy=strategy, fill_value=-7.5, indicator=True)
    np.testing.assert_allclose(encoded(encoding, TRAIN, OTHER), reference.transform(X[40:]), rtol=1e-6)


@pytest.mark.parametrize("scale, reference", [(standardise(), StandardScaler()), (min_max(), MinMaxScaler())])
def test_scales_are_learnt_of_what_is_there(scale, reference):
    """Before `impute`, too: scikit-learn's scalers pass over what is missing."""
    steps = chain(encodings=(scale, impute(Dataset({"train": TRAIN, "test": OTHER}))))
    scaled = [reference.fit(X[:40]).transform(part) for part in (X[:40], X[40:])]
    expected = SimpleImputer().fit(scaled[0]).transform(scaled[1])
    np.testing.assert_allclose(encoded(steps, TRAIN, OTHER), expected, atol=1e-5)


def test_a_missing_value_is_a_category():
    train, other = np.array([[1.0], [np.nan], [2.0]]), np.array([[np.nan], [2.0], [3.0]])
    reference = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train).transform(other)
    np.testing.assert_array_equal(encoded(one_hot(), {"inputs": train}, {"inputs": other}), reference)


def test_values_far_from_zero_keep_their_digits():
    """Times of one day, in seconds: float32 tells only those apart that are minutes from each other."""
    times = 1.79e9 + RNG.integers(0, 86_400, (50, 1)).astype(float)
    times[::7] = np.nan
    part = {"inputs": times, "targets": np.zeros(50)}
    steps = chain(encodings=(impute(Dataset({"train": part}), strategy="median"), standardise()))
    filled = SimpleImputer(strategy="median").fit_transform(times)
    np.testing.assert_allclose(encoded(steps, part, part), StandardScaler().fit_transform(filled), atol=1e-6)


def test_a_column_of_nothing_becomes_the_fill_value():
    part = {"inputs": np.array([[np.nan, 1.0], [np.nan, 3.0]]), "targets": np.zeros(2)}
    reference = SimpleImputer(keep_empty_features=True).fit_transform(part["inputs"])
    np.testing.assert_array_equal(encoded(impute(Dataset({"train": part})), part, part), reference)
    found = encoded(impute(Dataset({"train": part}), fill_value=5.0), part, part)
    np.testing.assert_array_equal(found, [[5, 1], [5, 3]])


@pytest.mark.parametrize(
    ("weights", "reference"),
    [
        ("tf_idf", TfidfVectorizer(max_features=9, ngram_range=(1, 2))),
        ("counts", CountVectorizer(max_features=9, ngram_range=(1, 2))),
        ("hashing", HashingVectorizer(n_features=9, ngram_range=(1, 2))),
    ],
)
def test_words_are_counted_as_scikit_learn_does(weights, reference):
    words = np.array(["red", "green", "blue", "ox", "Cat", "dog", "a", "the"])
    texts = [" ".join(RNG.choice(words, RNG.integers(1, 7))) + " the end" for _ in range(30)]
    distinct = sorted(set(texts))
    codes = np.array([[number, distinct.index(text)] for number, text in enumerate(texts)], float)
    part, other = ({"inputs": codes[rows], "targets": codes[rows, 0]} for rows in (slice(20), slice(20, 30)))
    dataset = Dataset({"train": part}, feature_names=("row", "note"), categories={"note": distinct})
    found = encoded(bag_of_words(dataset, column="note", weights=weights, max_features=9, ngrams=2), part, other)
    np.testing.assert_array_equal(found[:, 0], codes[20:, 0])
    np.testing.assert_allclose(found[:, 1:], reference.fit(texts[:20]).transform(texts[20:]).toarray(), atol=1e-6)
    missing = {"inputs": np.array([[1.0, np.nan]]), "targets": np.zeros(1)}
    encoding = bag_of_words(dataset, column="note", weights=weights, max_features=9, ngrams=2)
    assert not encoded(encoding, part, missing)[0, 1:].any()


TABLE = "age,day,note,y\n" + "".join(
    f"{row if row % 5 else ''},2026-0{1 + row % 9}-1{row % 10},{('bad cat', 'good dog')[row % 2]} {row},{row % 2}\n"
    for row in range(40)
)
CHAIN = component(
    "chain", encodings=(component("bag_of_words", column="note"), component("impute"), component("standardise"))
)


def config_of(folder, **fields):
    (folder / "table.csv").write_text(TABLE)
    config = ConfigDict({"num_epochs": 8}, type_safe=False)
    config.dataset = component(
        "csv", path=str(folder / "table.csv"), target="y", task="classification", dates=("day",), missing="keep"
    )
    config.validation = component("cross_validation", folds=3)
    config.encoding = CHAIN
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy_with_integer_labels")
    config.optimizer = component("adam", learning_rate=grid(0.05, 0.1))
    config.metrics = dict(accuracy=component("accuracy"))
    for name, value in fields.items():
        config[name] = value
    return config


def test_dates_of_csv_files_are_what_pandas_reads(tmp_path):
    (tmp_path / "dates.csv").write_text("when,y\n2026-11-24T10:30,1\n2026-11-25T00:30+01:00,2\n,3\n2026-01-01,4\n")
    found = csv(path=str(tmp_path / "dates.csv"), target="y", task="regression", dates=("when",), missing="keep")
    inputs = dict(zip(found.feature_names, found.splits["train"]["inputs"].T, strict=True))
    when = pandas.to_datetime(
        pandas.Series(["2026-11-24T10:30", "2026-11-24T23:30", None, "2026-01-01"]), format="ISO8601"
    )
    for part in ("year", "month", "day", "day_of_week"):
        np.testing.assert_array_equal(inputs[f"when.{part}"], getattr(when.dt, part))
    np.testing.assert_array_equal(inputs["when.hour"], [10.5, 23.5, np.nan, 0])
    for options, message in (
        ({"dates": ("when",)}, r"dataset\.missing: .*line 4, column 'when': the value is missing \(''"),
        ({"dates": ("y",)}, r"dataset\.dates: 'y' is no column to predict from"),
    ):
        with pytest.raises(ConfigError, match=message):
            csv(path=str(tmp_path / "dates.csv"), target="y", task="regression", **options)
    (tmp_path / "dates.csv").write_text("when,y\n24.11.2026,1\n")
    with pytest.raises(ConfigError, match=r"dataset\.dates: .*line 2, column 'when': found '24\.11\.2026', a date"):
        csv(path=str(tmp_path / "dates.csv"), target="y", task="regression", dates=("when",))


def test_a_study_of_missing_values_dates_and_texts(tmp_path):
    result = mg.run(config_of(tmp_path), tmp_path, run_id="one")
    assert result.best("val/accuracy").best_score("val/accuracy")[1] > 0.9  # the words tell the classes
    assert np.isfinite([item.last["val/loss"] for item in result.experiments]).all()
    assert mg.resume(tmp_path / "one", 9).mismatches == []
    # Texts that training did not have are encoded by its vocabulary: spelled otherwise, or with words that it lacks.
    best = mg.load_run(tmp_path / "one").best("val/accuracy")
    known = pandas.DataFrame(
        {"age": [1.0, 3.0], "day": ["2026-02-11", "2026-04-13"], "note": ["good dog 11", "bad cat 12"]}
    )
    spelled = known.assign(note=["Good, dog: 11!", "bad zebra cat 12"])
    np.testing.assert_array_equal(best.predict(spelled), best.predict(known))
    ensemble = mg.load_run(tmp_path / "one").ensemble("top 2 by val/accuracy")
    np.testing.assert_array_equal(ensemble.predict(spelled), ensemble.predict(known))
    ensemble.export(tmp_path / "model")
    spelled.to_csv(tmp_path / "spelled.csv", index=False)
    exported = runpy.run_path(str(tmp_path / "model/predict.py"))
    found = exported["predict"](exported["read"](str(tmp_path / "spelled.csv")))
    np.testing.assert_allclose(found, ensemble.predict(spelled), rtol=1e-6, atol=1e-6)
    (tmp_path / "other.csv").write_text("age,day,note,y\n1,2026-02-11,Good dog 11!,1\n,2026-04-13,a BAD bad cat,0\n")
    dataset = component("csv", path=str(tmp_path / "other.csv"), target="y", task="classification", dates=("day",))
    dataset["missing"] = "keep"
    found = mg.evaluate(tmp_path / "one", best.experiment_id, dataset=dataset)
    logits = best.predict(
        pandas.DataFrame({"age": [1.0, None], "day": known["day"], "note": ["Good dog 11!", "a BAD bad cat"]})
    )
    assert found.scores["train/accuracy"] == np.mean(logits.argmax(axis=1) == [1, 0])


def test_texts_by_themselves_are_predicted_by_the_vocabulary_of_training(tmp_path):
    words = ("red", "green", "blue", "ox")
    texts = [" ".join(RNG.choice(words, RNG.integers(1, 5))) for _ in range(24)]
    config = ConfigDict({"num_epochs": 2, "validation": component("holdout", val=0.25), "seed": 0}, type_safe=False)
    config.encoding = component("bag_of_words", column="note")
    config.model, config.loss = component("linear"), component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=0.1)
    own = tuple(pandas.DataFrame({"note": texts, "y": [text.count("red") > 0 for text in texts]})[name] for name in "y")
    result = mg.run(config, tmp_path, data=(pandas.DataFrame({"note": texts}), own[0].to_numpy().astype(int)))
    best = result.experiments[0]
    params = best.restore().params
    rows = result._trained.job_of(0).folds
    trained_on = [texts[row] for row in rows.indices["train"][0][rows.mask["train"][0]]]
    vectors = TfidfVectorizer().fit(trained_on)
    new = ["red RED ox", "no word of it", "blue, red, green and gold"]
    kernel, bias = (np.asarray(leaf) for leaf in (params["Dense_0"]["kernel"], params["Dense_0"]["bias"]))
    found = vectors.transform(new).toarray()
    wanted = found @ kernel[: found.shape[1]] + bias
    np.testing.assert_allclose(best.predict(new), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(best.predict(np.array(new)[:, None]), wanted, rtol=1e-5, atol=1e-6)
    best.export(tmp_path / "model")
    predict = runpy.run_path(str(tmp_path / "model/predict.py"))["predict"]
    np.testing.assert_allclose(predict(new), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(predict([{"note": text} for text in new]), wanted, rtol=1e-5, atol=1e-6)
    codes = np.array([[3.0], [0.0]])  # of texts that were there in training
    np.testing.assert_allclose(predict(codes), best.predict(codes), rtol=1e-6, atol=1e-6)


def test_what_is_left_missing_is_told(tmp_path):
    for encoding, message in (
        (None, r"dataset: split 'train', field 'inputs', row 0, column 0 \('age'\): found nan .*component\('impute'\)"),
        (component("standardise"), r"encoding: split 'train', row 0: values of 'age' are missing \(8 rows are such\)"),
        (
            component("by_column", groups=((("note",), component("impute")),)),
            r"encoding: split 'train', row 0: values of 'age' are missing",
        ),
        (component("chain", encodings=()), r"encoding\.encodings: it is empty"),
        (component("chain", encodings=("impute",)), r"encoding\.encodings\.0: a component of kind 'encoding'"),
        (component("bag_of_words", column="age"), r"encoding\.column: 'age' holds numbers; columns of words: note"),
        (
            component("bag_of_words", column="nota"),
            r"encoding\.column: there is no column 'nota'; did you mean 'note'",
        ),
        (component("bag_of_words", column="note", ngrams=0), r"encoding\.ngrams: found 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            prepare(config_of(tmp_path, encoding=encoding))
    with pytest.raises(ConfigError, match="'impute' fills in the columns of a table, and inputs are float32"):
        impute(Dataset({"train": {"inputs": np.zeros((4, 2, 2), np.float32)}}))

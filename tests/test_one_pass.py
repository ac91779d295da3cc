"""Encodings of data that are read while they train: what one pass learns, by scikit-learn, and what trains with it."""

import functools
import warnings

import jax
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from test_cadence import normed

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.data import one_pass
from mlgym_jax.data.bag_of_words import bag_of_words
from mlgym_jax.data.by_column import by_column
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.encodings import min_max, one_hot, standardise
from mlgym_jax.data.folds import make_folds
from mlgym_jax.data.imputation import chain, impute
from mlgym_jax.data.loaders import Stream
from mlgym_jax.data.medians import medians
from mlgym_jax.data.one_pass import fit_in_one_pass
from mlgym_jax.data.streams import to_stream
from mlgym_jax.data.validation import holdout
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare

ROWS = 101


@pytest.fixture(scope="module")
def table():
    """Columns far from 0, of few values, and constant."""
    rng = np.random.default_rng(0)
    inputs = np.stack([rng.normal(1e4, 3.0, ROWS), rng.integers(0, 4, ROWS), np.full(ROWS, 7.5), rng.random(ROWS)], 1)
    return {"inputs": inputs.astype(np.float32), "targets": rng.integers(0, 2, ROWS).astype(np.int32)}


class Damaged:
    def __init__(self, arrays):
        self.arrays = arrays

    def __len__(self):
        return ROWS

    def __getitem__(self, row):
        if row in (5, 60):
            raise ValueError("no record")
        return {field: array[row] for field, array in self.arrays.items()}


def thirds(dataset, seed):
    rows = np.random.default_rng(seed).permutation(ROWS)
    return [{"train": np.setdiff1d(rows, part), "val": np.sort(part)} for part in np.array_split(rows, 3)]


def learnt(encoding, split, validation=thirds, stream=Stream(), missing=False):  # noqa: B008 (frozen)
    columns = frozenset(range(split["inputs"].shape[1])) if missing else frozenset()
    table = to_stream(Dataset({"train": split}, 2), stream, missing=columns)
    folds = make_folds(Dataset({"train": split}, 2), table, validation, 0)
    rows = [indices[mask] for indices, mask in zip(folds.indices["train"], folds.mask["train"], strict=True)]
    return fit_in_one_pass(encoding, table, folds, repr(encoding)), rows


@pytest.fixture(autouse=True)
def in_small_parts(monkeypatch):
    monkeypatch.setattr("mlgym_jax.data.streams._READ_BYTES", 20 * 13)  # 13 rows at once, summed in fives
    monkeypatch.setattr(one_pass, "_SUMMED_BYTES", 8 * 5 * 5)
    monkeypatch.setattr(one_pass, "_LEARNT", {})


def test_moments_of_each_fold_are_those_of_scikit_learn(table):
    found, rows = learnt(standardise(), table)
    for fitted, mine in zip(found, rows, strict=True):
        expected = StandardScaler().fit(table["inputs"][mine].astype(np.float64))
        np.testing.assert_allclose(
            fitted["centre"].astype(np.float64) + fitted["centre_rest"], expected.mean_, rtol=1e-12
        )
        np.testing.assert_allclose(fitted["scale"], expected.scale_, rtol=1e-6)


def test_other_encodings_learn_what_scikit_learns_do(table):
    wanted = by_column(
        Dataset({"train": table}, 2), groups=(((1,), one_hot()), ((0, 3), min_max(low=-1.0)), ((2,), standardise()))
    )
    found, rows = learnt(wanted, table, holdout(val=0.3))
    inputs, mine = table["inputs"].astype(np.float64), rows[0]
    encoded = wanted.apply(found[0], table)["inputs"]
    expected = np.concatenate(
        [
            OneHotEncoder(sparse_output=False).fit(inputs[mine, 1:2]).transform(inputs[:, 1:2]),
            MinMaxScaler((-1, 1)).fit(inputs[mine][:, [0, 3]]).transform(inputs[:, [0, 3]]),
            StandardScaler().fit(inputs[mine, 2:3]).transform(inputs[:, 2:3]),
        ],
        axis=1,
    )
    np.testing.assert_allclose(encoded, expected, atol=1e-5)


def test_the_same_bits_whoever_reads_and_records_left_out_count_nothing(table):
    validation = holdout(val=0.3)
    (one,), ((mine), *_) = learnt(standardise(), Damaged(table), validation, Stream(num_workers=1, skips=True))
    one_pass._LEARNT.clear()
    (four,), _ = learnt(standardise(), Damaged(table), validation, Stream(num_workers=4, skips=True))
    jax.tree.map(np.testing.assert_array_equal, one, four)
    expected = StandardScaler().fit(table["inputs"][np.setdiff1d(mine, [5, 60])].astype(np.float64))
    np.testing.assert_allclose(one["centre"].astype(np.float64) + one["centre_rest"], expected.mean_, rtol=1e-12)
    with pytest.raises(ConfigError, match=r"dataset: split 'train', record (5|60): ValueError: no record"):
        learnt(standardise(), Damaged(table), validation)


def trained_alike(study, folder):
    """Train on a stream and in memory, and see that the scores are the same; return both results."""
    results = []
    for loader in ("streaming", "in_memory"):
        study["loader"] = component(loader, batch_size=16, shuffle=False)
        results.append(mg.run(dict(study), folder / loader))
    for own, other in zip(results[0].experiments, results[1].experiments, strict=True):
        for name, scores in own.history.items():
            np.testing.assert_allclose(scores, other.history[name], rtol=1e-5, atol=1e-6)
    return results


def test_a_stream_is_trained_and_predicted_as_what_is_in_memory(table, own_registry, tmp_path, monkeypatch):
    register("dataset", "far_columns")(lambda: Dataset({"train": table}, 2))
    study = normed(num_epochs=2, dataset=component("far_columns"), validation=component("cross_validation", folds=2))
    study["encoding"] = component("standardise")
    results = trained_alike(study, tmp_path)
    few = table["inputs"][:5]
    monkeypatch.setattr(one_pass, "_LEARNT", {})  # another process finds it in the run
    monkeypatch.setattr(one_pass, "_summed", None)
    np.testing.assert_allclose(
        results[0].experiments[1].predict(few), results[1].experiments[1].predict(few), rtol=1e-4, atol=1e-5
    )


def holes(table, share=0.3):
    """The same with values missing, in each column some."""
    inputs = table["inputs"].copy()
    inputs[np.random.default_rng(1).random(inputs.shape) < share] = np.nan
    return {**table, "inputs": inputs}


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
def test_missing_values_are_filled_in_as_scikit_learn_does(table, strategy):
    table = holes(table)
    found, rows = learnt(impute(Dataset({"train": table}, 2), strategy=strategy, fill_value=7.0), table, missing=True)
    for fitted, mine in zip(found, rows, strict=True):
        expected = SimpleImputer(strategy=strategy, fill_value=7.0).fit(table["inputs"][mine].astype(np.float64))
        np.testing.assert_allclose(
            fitted["fill"].astype(np.float64) + fitted["fill_rest"], np.asarray(expected.statistics_, np.float64)
        )


@pytest.mark.parametrize("rows", [1, 2, 3, 40, 41])
def test_medians_are_those_of_numpy_to_the_bit(rows):
    """Ties, both zeros, the ends of float32, numbers that are only just apart, columns without a value; integers."""
    rng = np.random.default_rng(rows)
    near = (1e4 + np.arange(rows) * 1e-3).astype(np.float32)  # neighbours in float32
    ends = rng.choice(np.array([-3e38, -1e-45, -0.0, 0.0, 1e-45, 3e38], np.float32), rows)
    floats = np.stack([near, -near, ends, rng.normal(size=rows), rng.integers(-2, 2, rows), np.full(rows, np.nan)], 1)
    floats[::3, 3:] = np.nan
    integers = rng.integers(-(2**31), 2**31, (rows, 3)).astype(np.int32)
    for inputs in (floats.astype(np.float32), integers, integers.view(np.uint32), integers.astype(np.uint8)):
        passes, found = medians(), []
        for _ in range(passes.number):
            learns = passes.next(found)
            parts = [learns.summed({"inputs": part}) for part in np.array_split(inputs, 3) if len(part)]
            found.append(learns.fitted(functools.reduce(learns.merged, parts)))
        with warnings.catch_warnings(action="ignore"):  # of no value
            expected = np.nanmedian(inputs.astype(np.float64), axis=0)
        np.testing.assert_array_equal(passes.fitted(found)["median"], expected)


def test_a_chain_learns_step_by_step_also_inside_of_groups(table):
    table = holes(table)
    dataset = Dataset({"train": table}, 2)
    first = chain(encodings=(impute(dataset), standardise()))
    wanted = by_column(dataset, groups=(((0, 3), first), ((1,), one_hot()), ((2,), chain(encodings=(min_max(),)))))
    found, rows = learnt(wanted, table, missing=True)
    for fitted, mine in zip(found, rows, strict=True):
        inputs = table["inputs"].astype(np.float64)
        steps = make_pipeline(SimpleImputer(), StandardScaler()).fit(inputs[mine][:, [0, 3]])
        hot = OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(inputs[mine, 1:2])
        expected = [steps.transform(inputs[:, [0, 3]]), hot.transform(inputs[:, 1:2])]
        expected.append(MinMaxScaler().fit(inputs[mine, 2:3]).transform(inputs[:, 2:3]))
        encoded = wanted.apply(fitted, {**table, "inputs": jax.numpy.asarray(table["inputs"])})["inputs"]
        np.testing.assert_allclose(encoded, np.concatenate(expected, axis=1), atol=2e-4)


def test_words_of_texts_are_counted_as_scikit_learn_does():
    texts = ("a green door", "the door", "green", "no door at all", "green green tea")
    codes = np.random.default_rng(0).integers(0, len(texts), (ROWS, 1)).astype(np.float32)
    codes[::7] = np.nan
    table = {"inputs": codes, "targets": np.zeros(ROWS, np.int32)}
    dataset = Dataset({"train": table}, 2, feature_names=("text",), categories={"text": texts})
    found, rows = learnt(bag_of_words(dataset, column="text", max_features=4), table, missing=True)
    for fitted, mine in zip(found, rows, strict=True):
        known = codes[mine, 0][~np.isnan(codes[mine, 0])].astype(int)
        expected = TfidfVectorizer(max_features=4).fit([texts[code] for code in known])
        np.testing.assert_allclose(fitted["vectors"], expected.transform(texts).toarray(), rtol=1e-6)


def test_values_may_be_missing_where_an_encoding_fills_them_in_alone(table, own_registry, tmp_path):
    table = holes(table, 0.05)
    register("dataset", "with_holes")(lambda: Dataset({"train": table}, 2))
    study = normed(num_epochs=2, dataset=component("with_holes"), validation=component("cross_validation", folds=2))
    study["encoding"] = component("chain", encodings=(component("impute"), component("standardise")))
    trained_alike(study, tmp_path)
    study["loader"] = component("streaming", batch_size=16)
    study["encoding"] = component("by_column", groups=(((0, 1), component("impute")),))
    with pytest.raises(ConfigError, match=r"dataset: split 'train', record .*: its inputs are not finite"):
        prepare(study)


def test_a_table_of_records_is_not_read_for_the_number_of_its_columns(table):
    class Counted(Damaged):
        def __getitem__(self, row):
            read.append(row)
            return super().__getitem__(row)

    read = []
    by_column(Dataset({"train": Counted(table)}, 2), groups=(((0,), standardise()),))
    assert read == [0]


def test_what_looks_at_all_examples_at_once_is_refused(table, own_registry):
    class Whole:
        def fit(self, arrays):
            return {}

        def apply(self, fitted, batch):
            return batch

    register("dataset", "far_columns_too")(lambda: Dataset({"train": table}, 2))
    register("encoding", "whole")(Whole)
    encoding = component("chain", encodings=(component("impute"), component("whole")))
    loader = component("streaming", batch_size=16)
    study = normed(num_epochs=1, dataset=component("far_columns_too"), loader=loader, encoding=encoding)
    with pytest.raises(
        ConfigError, match=r"encoding: 'chain' is fitted on all .*inside of it, has neither `in_one_pass`"
    ):
        prepare(study)

"""Encodings of data that are read while they train: what one pass learns, by scikit-learn, and what trains with it."""

import jax
import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from test_cadence import normed

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.data import one_pass
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.encodings import by_column, min_max, one_hot, standardise
from mlgym_jax.data.folds import make_folds
from mlgym_jax.data.loaders import Stream
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


def learnt(encoding, split, validation=thirds, stream=Stream()):  # noqa: B008 (frozen)
    table = to_stream(Dataset({"train": split}, 2), stream)
    folds = make_folds(Dataset({"train": split}, 2), table, validation, 0)
    rows = [indices[mask] for indices, mask in zip(folds.indices["train"], folds.mask["train"], strict=True)]
    return fit_in_one_pass(encoding, table, folds, repr(encoding)), rows


@pytest.fixture(autouse=True)
def in_small_parts(monkeypatch):
    monkeypatch.setattr(one_pass, "_READ_BYTES", 20 * 13)  # 13 rows at once, summed in fives
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


def test_a_stream_is_trained_and_predicted_as_what_is_in_memory(table, own_registry, tmp_path, monkeypatch):
    register("dataset", "far_columns")(lambda: Dataset({"train": table}, 2))
    study = normed(num_epochs=2, dataset=component("far_columns"), validation=component("cross_validation", folds=2))
    study["encoding"] = component("standardise")
    results = []
    for loader in ("streaming", "in_memory"):
        study["loader"] = component(loader, batch_size=16, shuffle=False)
        results.append(mg.run(dict(study), tmp_path / loader))
    for own, other in zip(results[0].experiments, results[1].experiments, strict=True):
        for name, scores in own.history.items():
            np.testing.assert_allclose(scores, other.history[name], rtol=1e-5, atol=1e-6)
    few = table["inputs"][:5]
    monkeypatch.setattr(one_pass, "_LEARNT", {})  # another process finds it in the run
    monkeypatch.setattr(one_pass, "_summed", None)
    np.testing.assert_allclose(
        results[0].experiments[1].predict(few), results[1].experiments[1].predict(few), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "encoding, words",
    [
        (
            component("chain", encodings=(component("standardise"),)),
            r"'chain' is fitted on all .*\(standardise, min_max",
        ),
        (component("by_column", groups=(((0,), component("impute")),)), "'by_column' is fitted on all"),
    ],
)
def test_what_looks_at_all_examples_at_once_is_refused(table, own_registry, encoding, words):
    register("dataset", "far_columns_too")(lambda: Dataset({"train": table}, 2))
    loader = component("streaming", batch_size=16)
    study = normed(num_epochs=1, dataset=component("far_columns_too"), loader=loader, encoding=encoding)
    with pytest.raises(ConfigError, match=f"encoding: {words}"):
        prepare(study)

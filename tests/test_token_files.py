"""The dataset `tokens`: windows of files as nanoGPT's `get_batch` cuts them, in memory and as they are read."""

import pickle

import numpy as np
import pytest

from mlgym_jax.components.registry import lookup
from mlgym_jax.data import token_files
from mlgym_jax.data.sources import source_of
from mlgym_jax.errors import ConfigError

TOKENS = np.random.default_rng(0).integers(0, 50_000, 103)
LENGTH = 10


def dataset(**parameters):
    return lookup("dataset", "tokens").factory(length=LENGTH, **parameters)


def get_batch(data, starts):
    """Karpathy's, of starts that are given."""
    x = np.stack([data[i : i + LENGTH].astype(np.int64) for i in starts])
    y = np.stack([data[i + 1 : i + 1 + LENGTH].astype(np.int64) for i in starts])
    return x, y


def write_bin(path, dtype="uint16"):
    TOKENS.astype(dtype).tofile(path)


def write_npy(path):
    np.save(path, TOKENS.astype(np.int64))


def write_llm_c(path):
    head = np.zeros(256, "<i4")
    head[:3] = 20240520, 1, len(TOKENS)
    path.write_bytes(head.tobytes() + TOKENS.astype("<u2").tobytes())


@pytest.mark.parametrize(("name", "write"), [("t.bin", write_bin), ("t.npy", write_npy), ("llm.bin", write_llm_c)])
@pytest.mark.parametrize("stride", [None, 4])
def test_windows_are_those_of_nanogpt(tmp_path, name, write, stride):
    write(tmp_path / name)
    found = dataset(path=str(tmp_path / name), stride=stride)
    starts = range(0, len(TOKENS) - LENGTH, stride or LENGTH)
    inputs, targets = get_batch(TOKENS, starts)
    split = found.splits["train"]
    np.testing.assert_array_equal(split["inputs"], inputs)
    np.testing.assert_array_equal(split["targets"], targets)
    assert found.num_classes == TOKENS.max() + 1
    elsewhere = pickle.loads(pickle.dumps(source_of(split)))  # as a process that reads is sent it
    assert len(pickle.dumps(source_of(split))) < 500 and len(elsewhere) == len(starts)
    np.testing.assert_array_equal(elsewhere.read(np.array([3, 0]))["targets"], targets[[3, 0]])
    assert elsewhere.read(np.array([1]))["inputs"].dtype == np.int32


def test_tokens_beyond_a_vocabulary_that_is_said_are_found_when_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(token_files, "_PART", 20)
    np.append(np.arange(100), 400).astype("uint16").tofile(tmp_path / "t.bin")
    source = source_of(dataset(path=str(tmp_path / "t.bin"), vocabulary_size=100).splits["train"])
    np.testing.assert_array_equal(source.read(np.array([8]))["inputs"], [np.arange(80, 90)])
    with pytest.raises(ConfigError, match="holds tokens that are not from 0 to below 100"):
        source.read(np.array([9]))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, r"dataset\.path: give either path='train\.bin' or paths=dict"),
        (
            {"path": "t.bin", "vocabulary_size": 100},
            r"holds the token \d+, and tokens are from 0 to below 100; is",
        ),
        (
            {"path": "t.bin", "dtype": "uint32"},
            r"'t\.bin' cannot be read: 206 bytes are no whole number of uint32",
        ),
        ({"path": "even.bin", "dtype": "uint32"}, r"from 0 to below 1048576; is dtype='uint32' what the file holds"),
        ({"path": "rows.npy"}, r"holds int64\[10, 10\]; one long row .* data=\(rows\[:, :-1\], rows\[:, 1:\]\)"),
        ({"path": "floats.npy"}, r"holds float64\[5\]; one long row of whole numbers"),
        ({"path": "short.npy"}, r"dataset\.length: 'short\.npy' has 10 tokens; sequences of 10 and a next one need"),
        ({"paths": {"val": "t.bin"}}, r"dataset\.paths: it has no split 'train'"),
    ],
)
def test_what_is_no_file_of_tokens_is_said(tmp_path, monkeypatch, parameters, said):
    monkeypatch.chdir(tmp_path)
    write_bin(tmp_path / "t.bin")
    TOKENS[:102].astype("uint16").tofile("even.bin")
    np.save("rows.npy", TOKENS[:100].reshape(10, 10))
    np.save("floats.npy", np.ones(5))
    np.save("short.npy", TOKENS[:10])
    with pytest.raises(ConfigError, match=said):
        dataset(**parameters)

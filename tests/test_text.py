"""Text as tokens: byte pairs as the library merges them, lines padded and packed, runs that keep their tokenizer."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import tokenizers
from conftest import ROOT
from flax import linen as nn
from ml_collections import ConfigDict
from scipy.special import log_softmax

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data.text_files import text
from mlgym_jax.data.tokenizers import Bytes, train_byte_pairs
from mlgym_jax.errors import ConfigError

LINES = "the cat sat\n\non the mat and sat and sat\nné [MASK] é\r\nend"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "lines.txt").write_bytes(LINES.encode())
    return str(tmp_path / "lines.txt")


def test_byte_pairs_are_merged_by_their_number():
    """Words "ab" and " ab", three times: the pair (a, b) comes 4 times, then (space, ab) 3 times."""
    found = train_byte_pairs(["ab ab ab ab"], 261)
    assert found.encode("ab ab").tolist() == [259, 260]  # behind three special tokens and 256 bytes
    assert (found.vocabulary_size, found.pad_token, found.mask_token, found.end_token) == (261, 0, 1, 2)


def test_byte_pairs_are_those_of_the_library(path):
    library = tokenizers.ByteLevelBPETokenizer()
    library.train_from_iterator([LINES], 300, min_frequency=0, special_tokens=["[PAD]", "[MASK]", "[END]"])
    found = text(path=path, tokenizer="byte_pairs", vocabulary_size=300, length=3).tokenizer
    for words in ("the mat sat on the cat", "né"):
        assert found.encode(words).tolist() == library.encode(words).ids
    for words in (LINES, "[MASK] [PAD]", "日本 \x00\t  x", ""):
        assert found.decode(found.encode(words)) == words
        assert not {*found.encode(words).tolist()} & {0, 1, 2}
    assert found.decode([found.mask_token, *found.encode("x"), found.end_token]) == "x"


def test_a_tokenizer_is_the_same_in_every_process(path):
    code = (
        "import hashlib, sys; from mlgym_jax.data.text_files import text; "
        "found = text(path=sys.argv[1], tokenizer='byte_pairs', vocabulary_size=290, length=2); "
        "print(hashlib.sha256(found.tokenizer.to_json().encode()).hexdigest())"
    )
    here = text(path=path, tokenizer="byte_pairs", vocabulary_size=290, length=2).tokenizer.to_json()
    env = {**os.environ, "PYTHONHASHSEED": "7", "TOKENIZERS_PARALLELISM": "false"}
    there = subprocess.check_output([sys.executable, "-c", code, path], text=True, cwd=ROOT, env=env).strip()
    assert there == hashlib.sha256(here.encode()).hexdigest()


def test_windows_of_masked_models_are_their_own_targets(path):
    found = text(path=path, length=5, targets="same")
    split = found.splits["train"]
    assert bytes(split["inputs"][1].tolist()) == LINES.encode()[5:10]
    np.testing.assert_array_equal(split["targets"], split["inputs"])
    assert len(split["inputs"]) == len(LINES.encode()) // 5
    assert (found.num_classes, found.pad_token, found.mask_token) == (259, 256, 257)
    plain = text(path=path, length=5)
    assert (plain.num_classes, plain.mask_token) == (256, None)


def test_lines_are_padded_continued_and_counted(path):
    found = text(path=path, length=12, sequences="lines")
    split = found.splits["train"]
    lines = [line for line in LINES.encode().splitlines() if line]
    pieces = [line[start : start + 12] for line in lines for start in range(0, len(line), 12)]
    assert [bytes(row[:n].tolist()) for row, n in zip(split["inputs"], split["lengths"], strict=True)] == pieces
    np.testing.assert_array_equal(split["where"].sum(axis=1), [*map(len, pieces)])
    assert {*split["inputs"][~split["where"]].tolist()} == {found.pad_token}
    # What follows each byte, and the end of its line.
    assert split["targets"][split["where"]].tolist() == [token for line in lines for token in (*line[1:], 258)]


def test_lines_are_packed(path):
    found = text(path=path, length=16, sequences="packed").splits["train"]
    lines = [line for line in LINES.encode().splitlines() if line]
    pieces = [line[start : start + 16] for line in lines for start in range(0, len(line), 16)]
    seen = []
    for row, segments, positions in zip(found["inputs"], found["segments"], found["positions"], strict=True):
        for number in range(1, segments.max() + 1):
            seen.append(bytes(row[segments == number].tolist()))
            assert positions[segments == number].tolist() == [*range(len(seen[-1]))]
    assert seen == pieces
    np.testing.assert_array_equal(found["where"], found["segments"] > 0)
    assert len(found["inputs"]) < len(pieces)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary_size": 258, "tokenizer": "byte_pairs"}, r"dataset\.vocabulary_size: found 258; at least 259"),
        ({"length": 99}, r"dataset\.length: the text has 58 tokens; sequences of 99 and a next one need more"),
        ({"length": 0}, r"dataset\.length: found 0"),
        ({"stride": 2, "sequences": "lines"}, r"dataset\.stride: found 2; it is of windows"),
        ({"paths": {"train": "a"}}, "give either path="),
        ({"path": None, "paths": {"val": "a"}}, "it has no split 'train'"),
        ({"path": None, "paths": {"train": "nothing.txt"}}, r"dataset\.paths\.train: there is no file"),
    ],
)
def test_bad_parameters(path, options, message):
    with pytest.raises(ConfigError, match=message):
        text(**{"path": path, "length": 8, **options})


def test_bytes_that_are_no_text_and_a_missing_package(tmp_path, monkeypatch):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 and more")
    with pytest.raises(ConfigError, match="split 'train', file 0: it is not UTF-8"):
        text(path=str(tmp_path), tokenizer="byte_pairs")
    (tmp_path / "empty.txt").write_bytes(b"\n \n")
    with pytest.raises(ConfigError, match="the text has no lines but empty ones"):
        text(path=str(tmp_path / "empty.txt"), sequences="lines")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r'needs the package tokenizers; type: pip install "mlgym-jax\[text\]"'):
        text(tokenizer="byte_pairs")


@mg.register("model", "bigram_of_tokens", needs=("dataset",))
def bigram_of_tokens(dataset):
    """Predict the next token by the last one alone."""
    return nn.Embed(dataset.num_classes, dataset.num_classes)


def test_a_run_on_lines_scores_real_tokens_and_keeps_its_tokenizer(tmp_path, path):
    config = ConfigDict({"num_epochs": 2})
    sizes = mg.grid(270, 280)
    config.dataset = component(
        "text", path=path, tokenizer="byte_pairs", vocabulary_size=sizes, sequences="lines", length=6
    )
    config.validation = component("holdout", val=0.0)
    config.loader = component("in_memory", batch_size=3)
    config.model = component("bigram_of_tokens")
    config.loss = component("softmax_cross_entropy_with_integer_labels")
    config.optimizer = component("adam", learning_rate=0.1)
    config.metrics = dict(perplexity=component("perplexity"))
    mg.run(config, tmp_path / "runs", run_id="one")
    for item, size in zip(mg.load_run(tmp_path / "runs" / "one").experiments, (270, 280), strict=True):
        assert item.tokenizer.vocabulary_size == size
        split = text(path=path, tokenizer="byte_pairs", vocabulary_size=size, sequences="lines", length=6).splits[
            "train"
        ]
        costs = -np.take_along_axis(
            log_softmax(np.float64(item.predict(split["inputs"])), axis=-1), split["targets"][..., None], axis=-1
        )[..., 0]
        expected = costs[split["where"]].mean()
        assert item.last["train/loss"] == pytest.approx(expected, rel=1e-5)
        assert item.last["train/perplexity"] == pytest.approx(np.exp(expected), rel=1e-5)
        assert item.tokenizer.decode(split["inputs"][0]) == LINES[: len(item.tokenizer.decode(split["inputs"][0]))]
    assert len([*(tmp_path / "runs/one/tokenizers").iterdir()]) == 2
    assert mg.resume(tmp_path / "runs/one", 3).mismatches == []
    (item,) = {type(item.tokenizer) for item in mg.load_run(tmp_path / "runs/one").experiments}
    assert item is not Bytes
    with pytest.raises(mg.MlgymError, match="was not trained on text"):
        mg.run(_of_numbers(), tmp_path / "runs", data=(np.eye(8), [0, 1] * 4)).experiments[0].tokenizer  # noqa: B018


def _of_numbers():
    config = ConfigDict({"num_epochs": 1})
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy_with_integer_labels")
    config.optimizer = component("sgd", learning_rate=0.1)
    return config

"""Tagged words of the CoNLL shared tasks: numbers by hand, sentences of every length, scores of real words alone."""

import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.data.conll_files import conll
from mlgym_jax.errors import ConfigError

TRAIN = "-DOCSTART- O\n\nAnn B-PER\nsaw O\nRome B-LOC\n\n\nAnn\tB-PER\nsaw O\nAnn B-PER\n"
TEST = "Bob B-PER\nsaw O\n"


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "train.txt").write_text(TRAIN)
    (tmp_path / "test.txt").write_text(TEST)
    return {"train": str(tmp_path / "train.txt"), "test": str(tmp_path / "test.txt")}


def test_words_and_tags_are_numbered(paths):
    found = conll(paths=paths, length=4, comment="-DOCSTART-")
    train, test = found.splits["train"], found.splits["test"]
    # Behind four special tokens: Ann (3 times), saw (2), Rome (1). Tags: B-LOC, B-PER, O.
    assert train["inputs"].tolist() == [[4, 5, 6, 0], [4, 5, 4, 0]]
    assert train["targets"][train["where"]].tolist() == [1, 2, 0, 1, 2, 1]
    assert (test["inputs"].tolist(), test["lengths"].tolist()) == ([[3, 5, 0, 0]], [2])
    assert (found.num_classes, found.class_names) == (3, ("B-LOC", "B-PER", "O"))
    assert found.tokenizer.encode("Ann met Rome").tolist() == [4, 3, 6]
    assert found.tokenizer.decode([4, 3, 6, 0]) == "Ann [UNK] Rome"
    cut = conll(paths=paths, length=2, comment="-DOCSTART-", min_count=2).splits["train"]
    assert cut["inputs"].tolist() == [[4, 5], [3, 0], [4, 5], [4, 0]]


def test_columns_are_chosen(tmp_path):
    (tmp_path / "u.txt").write_text("# a comment\n1 Ann NOUN x\n2 saw VERB y\n")
    found = conll(path=str(tmp_path / "u.txt"), word_column=1, tag_column=2, comment="#", length=3)
    assert found.class_names == ("NOUN", "VERB") and found.tokenizer.vocabulary == ("Ann", "saw")


def test_bad_files(tmp_path, paths):
    (tmp_path / "short.txt").write_text("Ann B-PER\nsaw\n")
    (tmp_path / "none.txt").write_text("\n\n")
    (tmp_path / "other.txt").write_text("Ann B-PRE\n")
    for options, message in (
        (
            {"path": str(tmp_path / "short.txt"), "tag_column": 1},
            r"short\.txt, line 2: found 1 columns, and columns 0, 1",
        ),
        ({"path": str(tmp_path / "none.txt")}, "has no sentences"),
        ({"paths": {**paths, "test": str(tmp_path / "other.txt")}}, "has the tag 'B-PRE', .*did you mean 'B-PER'"),
        ({"paths": {"test": paths["test"]}}, "it has no split 'train'"),
        ({"path": paths["train"], "length": 0}, r"dataset\.length: found 0"),
        ({}, "give either path="),
    ):
        with pytest.raises(ConfigError, match=message):
            conll(**options)


@mg.register("model", "tags_of_words", needs=("dataset",))
def tags_of_words(dataset):
    """Predict a word's tag by the word alone."""
    return nn.Embed(dataset.tokenizer.vocabulary_size, dataset.num_classes)


def test_a_tagger_learns_and_its_accuracy_is_that_of_words(tmp_path, paths):
    config = ConfigDict({"num_epochs": 40})
    config.dataset = component("conll", paths=paths, length=5, comment="-DOCSTART-")
    config.validation = component("holdout", val=0.0)
    config.model = component("tags_of_words")
    config.loss = component("softmax_cross_entropy_with_integer_labels")
    config.optimizer = component("adam", learning_rate=0.1)
    config.metrics = dict(accuracy=component("accuracy"))
    result = mg.run(config, tmp_path / "runs", run_id="one")
    (item,) = result.experiments
    assert item.last["train/accuracy"] == 1.0
    split = conll(paths=paths, length=5, comment="-DOCSTART-").splits["test"]
    right = (item.predict(split["inputs"]).argmax(-1) == split["targets"])[split["where"]]
    assert item.last["test/accuracy"] == pytest.approx(np.mean(right)) and right.size == 2
    again = mg.load_run(tmp_path / "runs/one").experiments[0].tokenizer
    assert again.encode("Ann saw Bob").tolist() == [4, 5, 3]

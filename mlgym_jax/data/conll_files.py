"""The dataset `conll`: sentences whose words have tags, a word a line."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.npz_files import file_at, unreadable
from mlgym_jax.data.sequences import padded
from mlgym_jax.data.tokenizers import Words
from mlgym_jax.errors import ConfigError, listed, nearest

Sentence = list[tuple[str, str]]


@register("dataset", "conll")
def conll(
    *,
    path: str | None = None,
    paths: Mapping[str, str] | None = None,
    length: int = 64,
    word_column: int = 0,
    tag_column: int = -1,
    comment: str = "",
    min_count: int = 1,
) -> Dataset:
    """Read sentences of tagged words, such as names or parts of speech, in the columns of the CoNLL shared tasks.

    A line is a word with its columns, between blanks or tabs; an empty line ends a sentence. `inputs` int32[n, length],
    words by number: 0 is [PAD], 3 is [UNK], a word that the split "train" does not have, and the others follow, the
    most frequent first. `targets` int32[n, length], the tags numbered in sorted order; `where` bool[n, length] tells
    what is a word, `lengths` int32[n] how many there are. `result.best(…).tokenizer` encodes words as here.

    Args:
        path: the file of the split "train", UTF-8.
        paths: instead of it, a file for each split: `dict(train="train.txt", test="test.txt")`.
        length: words of a sequence; longer sentences are continued in the next one.
        word_column, tag_column: counted from 0, or from the end, -1 is the last.
        comment: lines that begin so are passed over, such as "#" in CoNLL-U, or "-DOCSTART-".
        min_count: rarer words of "train" are unknown ones, so that training meets some.

    Raises:
        ConfigError: no such file, no sentences in it, a line without these columns, a tag that "train" does not have.
    """
    if (path is None) == (paths is None):
        raise ConfigError("dataset.path", "give either path='train.txt' or paths=dict(train='…', test='…')")
    for name, value in {"length": length, "min_count": min_count}.items():
        if value < 1:
            raise ConfigError(f"dataset.{name}", f"found {value}; at least 1 is expected")
    named = {"train": ("path", path)} if path is not None else {s: (f"paths.{s}", p) for s, p in (paths or {}).items()}
    if "train" not in named:
        raise ConfigError("dataset.paths", f"it has no split 'train'{nearest('train', named)} Splits: {listed(named)}")
    read = {
        split: _sentences(str(file), parameter, (word_column, tag_column), comment)
        for split, (parameter, file) in named.items()
    }
    counts = collections.Counter(word for sentence in read["train"] for word, _ in sentence)
    known = sorted(
        (word for word, count in counts.items() if count >= min_count), key=lambda word: (-counts[word], word)
    )
    tokenizer = Words(known)
    tags = tuple(sorted({tag for sentence in read["train"] for _, tag in sentence}))
    numbers = {tag: number for number, tag in enumerate(tags)}
    splits = {}
    for split, sentences in read.items():
        if unknown := {tag for sentence in sentences for _, tag in sentence} - {*tags}:
            tag = min(unknown)
            raise ConfigError(
                f"dataset.{named[split][0]}",
                f"split {split!r} has the tag {tag!r}, and 'train' does not{nearest(tag, tags)} Tags: {listed(tags)}",
            )
        words = [tokenizer.of_words(word for word, _ in sentence) for sentence in sentences]
        targets = [np.array([numbers[tag] for _, tag in sentence], np.int32) for sentence in sentences]
        splits[split] = padded({"inputs": words, "targets": targets}, length, tokenizer.pad_token)
    pad, mask = tokenizer.pad_token, tokenizer.mask_token
    return Dataset(splits, len(tags), class_names=tags, tokenizer=tokenizer, pad_token=pad, mask_token=mask)


def _sentences(path: str, parameter: str, columns: Sequence[int], comment: str) -> list[Sentence]:
    file = file_at(path, parameter)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error, parameter) from None
    found: list[Sentence] = [[]]
    for number, line in enumerate(lines, 1):
        if comment and line.startswith(comment):
            continue
        cells = line.split()
        if not cells:
            found.append([])
            continue
        try:
            word, tag = (cells[column] for column in columns)
        except IndexError:
            raise ConfigError(
                f"dataset.{parameter}",
                f"{path}, line {number}: found {len(cells)} columns, and columns {listed(columns)} are to be read",
            ) from None
        found[-1].append((word, tag))
    found = [sentence for sentence in found if sentence]
    if not found:
        raise ConfigError(f"dataset.{parameter}", f"{path!r} has no sentences")
    return found

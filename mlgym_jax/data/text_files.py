"""The dataset `text`: files of text as sequences of bytes or of byte pairs, for causal and masked language models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.npz_files import file_at, unreadable
from mlgym_jax.data.sequences import packed, padded
from mlgym_jax.data.tokenizers import Bytes, Tokenizer, train_byte_pairs
from mlgym_jax.errors import ConfigError

Arrays = dict[str, np.ndarray]


@register("dataset", "text")
def text(
    *,
    path: str | None = None,
    paths: Mapping[str, str] | None = None,
    pattern: str = "**/*",
    length: int = 128,
    stride: int | None = None,
    tokenizer: Literal["bytes", "byte_pairs"] = "bytes",
    vocabulary_size: int = 8192,
    sequences: Literal["windows", "lines", "packed"] = "windows",
    targets: Literal["next", "same"] = "next",
) -> Dataset:
    """Cut text into sequences of tokens; the targets are the tokens that follow, or the tokens themselves.

    `inputs` int32[n, length], `targets` int32[n, length]. The tokens are bytes, 0 … 255, so that a language model
    needs no tokenizer; or byte pairs, which a run trains and keeps: `result.best(…).tokenizer` encodes and decodes.

    Args:
        path: a file or a folder of files, read in the order of their names; by default the help texts that CPython
            ships (`pydoc_data.topics`, about 700 kB of English; they differ a little between Python versions).
        paths: instead of it, one for each split: `dict(train="books/", val="other.txt")`.
        pattern: which files of the folder, as `pathlib.Path.glob` takes it.
        length: tokens of a sequence.
        stride: of windows, tokens between the starts of two; by default `length`, so that none overlap and a random
            validation split holds no token that was an input in training.
        tokenizer: "bytes", or "byte_pairs" for a byte-level BPE, trained on the split "train" by the package
            tokenizers (`pip install "mlgym-jax[text]"`): the same text gives the same one.
        vocabulary_size: tokens of the BPE at most; text with fewer pairs gives fewer.
        sequences: "windows" cut the whole text, and leave out a remainder that is shorter. "lines" are one each (empty
            ones are left out), of which long ones are continued in the next sequence; they are filled up with [PAD],
            and `where` bool[n, length] tells what counts, `lengths` int32[n] how much. "packed" lays several lines in
            one sequence, first come first served: `segments` int32[n, length] numbers them from 1, 0 is filling,
            and `positions` int32[n, length] counts the tokens of each from 0; `where` as above.
        targets: "next" for a causal model: the inputs moved on by one; a line is followed by [END]. "same" for a masked
            one, of which a transform hides some inputs: they are `Dataset.mask_token`, [MASK].

    Raises:
        ConfigError: no such file, no file that matches, less text than one sequence, text that is no UTF-8 (byte
            pairs), or a package that is missing.
    """
    for name, value in {"length": length, "stride": stride}.items():
        if value is not None and value < 1:
            raise ConfigError(f"dataset.{name}", f"found {value}; at least 1 is expected")
    if path is not None and paths is not None:
        raise ConfigError("dataset.paths", "give either path='a.txt' or paths=dict(train='…', val='…')")
    if stride is not None and sequences != "windows":
        raise ConfigError("dataset.stride", f"found {stride}; it is of windows, and sequences={sequences!r} has none")
    if paths is not None and "train" not in paths:
        raise ConfigError("dataset.paths", "it has no split 'train'; write paths=dict(train='…', val='…')")
    of_splits = {"train": path} if paths is None else paths
    texts = {
        split: [_help_texts()]
        if file is None
        else _texts_at(file, pattern, "path" if paths is None else f"paths.{split}")
        for split, file in of_splits.items()
    }
    own: Tokenizer = Bytes()
    if tokenizer == "byte_pairs":
        _check_utf8(texts)
        own = train_byte_pairs(texts["train"], vocabulary_size)
    splits = {}
    for split, files in texts.items():
        if sequences == "windows":
            splits[split] = _windows(own.encode(b"\n".join(files)), length, stride or length, targets)
        else:
            splits[split] = _lines(b"\n".join(files), own, length, targets, as_packed=sequences == "packed")
    needs_special = tokenizer == "byte_pairs" or sequences != "windows" or targets == "same"
    return Dataset(
        splits,
        own.vocabulary_size if needs_special else 256,
        tokenizer=own,
        pad_token=own.pad_token if needs_special else None,
        mask_token=own.mask_token if needs_special else None,
    )


def _windows(tokens: np.ndarray, length: int, stride: int, targets: str) -> Arrays:
    size = length + (targets == "next")
    if len(tokens) < size:
        further = " and a next one" if targets == "next" else ""
        raise ConfigError(
            "dataset.length", f"the text has {len(tokens)} tokens; sequences of {length}{further} need more"
        )
    windows = np.lib.stride_tricks.sliding_window_view(tokens, size)[::stride]
    return {"inputs": windows[:, :length].copy(), "targets": windows[:, size - length :].copy()}


def _lines(data: bytes, tokenizer: Tokenizer, length: int, targets: str, *, as_packed: bool) -> Arrays:
    encoded = [tokenizer.encode(line) for line in re.split(rb"\r\n|\r|\n", data) if line.strip()]
    if not encoded:
        raise ConfigError("dataset.path", "the text has no lines but empty ones")
    form = packed if as_packed else padded
    if targets == "same":
        found = form({"inputs": encoded}, length, tokenizer.pad_token)
        return {**found, "targets": found["inputs"]}
    ended = [np.append(tokens, np.int32(tokenizer.end_token)) for tokens in encoded]
    both = {"inputs": encoded, "targets": [tokens[1:] for tokens in ended]}
    return form(both, length, tokenizer.pad_token)


def _check_utf8(texts: Mapping[str, Sequence[bytes]]) -> None:
    for split, files in texts.items():
        for number, file in enumerate(files):
            try:
                file.decode()
            except UnicodeDecodeError as error:
                raise ConfigError(
                    "dataset.path",
                    f"split {split!r}, file {number}: it is not UTF-8 ({error}); convert it, or use bytes",
                ) from None


def _help_texts() -> bytes:
    try:
        from pydoc_data.topics import topics  # Debian and others ship it apart from the interpreter
    except ImportError:
        raise ConfigError(
            "dataset.path", "this Python comes without its help texts (pydoc_data); name a file or a folder"
        ) from None
    return "\n".join(topics[name] for name in sorted(topics)).encode()


def _texts_at(path: str, pattern: str, parameter: str) -> list[bytes]:
    place = file_at(path, parameter)
    try:
        files = [place] if place.is_file() else sorted(file for file in place.glob(pattern) if file.is_file())
        found = [file.read_bytes() for file in files]
    except (OSError, ValueError, NotImplementedError) as error:  # the last two: a pattern that is none
        raise unreadable(place, error, parameter) from None
    if not files:
        raise ConfigError("dataset.pattern", f"no file in {path!r} matches {pattern!r}")
    return found

"""The dataset `tokens`: text that is numbers already, in one long row, as tokenisers of other programs write it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.npz_files import file_at, unreadable
from mlgym_jax.data.sources import Unread
from mlgym_jax.errors import ConfigError

_LLM_C = 20240520  # what a file of llm.c begins with; 256 int32 stand before its tokens
_LLM_C_TYPES = {1: np.dtype("<u2"), 7: np.dtype("<u4")}  # by its version
_PART = 1 << 24  # so many tokens are looked at at once
_MOST = 1 << 20  # no tokeniser has as many tokens unless somebody says so


class Windows:
    """Parts of equal length of a file of tokens as a source; `inputs` and `targets` overlap but for one token."""

    fields = ("inputs", "targets")

    def __init__(self, path: str, dtype: np.dtype | None, offset: int, length: int, stride: int, most: int):
        self._path, self._dtype, self._offset = path, dtype, offset  # of .npy files, which know it, no dtype
        self._length, self._stride, self._most = length, stride, most

    @functools.cached_property
    def tokens(self) -> np.ndarray:
        """The whole file, mapped into memory."""
        if self._dtype is None:
            return np.load(self._path, mmap_mode="r", allow_pickle=False)
        return np.memmap(self._path, self._dtype, "r", self._offset)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "tokens"}  # another process maps it itself

    def __len__(self) -> int:
        return max(0, (len(self.tokens) - self._length - 1) // self._stride + 1)

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        places = rows[:, None] * self._stride + np.arange(self._length + 1)[None]
        found = self.tokens[places]
        if found.size and not (found.min() >= 0 and found.max() < self._most):
            raise ConfigError("dataset", f"{self._path!r} holds tokens that are not from 0 to below {self._most}")
        found = found.astype(np.int32)
        return {"inputs": found[:, :-1], "targets": found[:, 1:]}


@register("dataset", "tokens")
def tokens(
    *,
    path: str | None = None,
    paths: Mapping[str, str] | None = None,
    length: int = 128,
    stride: int | None = None,
    dtype: Literal["uint16", "uint32", "int32", "int64"] = "uint16",
    vocabulary_size: int | None = None,
) -> Dataset:
    """Read files of tokens, one behind the other, as nanoGPT's and llm.c's `.bin` files or a `.npy` array of one axis.

    `inputs` int32[n, length] are windows of the file, `targets` int32[n, length] the tokens that follow. Files are
    mapped into memory: with `component("streaming")` only what a batch needs is read.

    Args:
        path: the file.
        paths: instead of it, one for each split: `dict(train="train.bin", val="val.bin")`.
        length: tokens of a sequence.
        stride: tokens between the starts of two; by default `length`, so that none overlap.
        dtype: what a `.bin` file holds, in little-endian order; `.npy` files, and those of llm.c, say it themselves.
        vocabulary_size: how many tokens the tokeniser has; by default one more than the largest that is found, for
            which all of the files is read once.

    Raises:
        ConfigError: no such file, one of another form, fewer tokens than one sequence, or tokens beyond the vocabulary.
    """
    for name, value in {"length": length, "stride": stride, "vocabulary_size": vocabulary_size}.items():
        if value is not None and value < 1:
            raise ConfigError(f"dataset.{name}", f"found {value}; at least 1 is expected")
    if (path is None) == (paths is None):
        raise ConfigError("dataset.path", "give either path='train.bin' or paths=dict(train='…', val='…')")
    if paths is not None and "train" not in paths:
        raise ConfigError("dataset.paths", "it has no split 'train'; write paths=dict(train='…', val='…')")
    splits, largest = {}, 0
    for split, file in ({"train": path} if paths is None else paths).items():
        parameter = "path" if paths is None else f"paths.{split}"
        source = _windows(str(file), parameter, np.dtype(dtype), length, stride or length, vocabulary_size or _MOST)
        # With a size that is said, the first ones tell a wrong type; the others are looked at when they are read.
        least, most = _ends(source.tokens[:_PART] if vocabulary_size else source.tokens)
        if least < 0 or most >= (vocabulary_size or _MOST):
            raise ConfigError(
                f"dataset.{parameter}",
                f"{str(file)!r} holds the token {least if least < 0 else most}, and tokens are from 0 to below "
                f"{vocabulary_size or _MOST}; is dtype={dtype!r} what the file holds, and "
                f"{'is' if vocabulary_size else 'must'} vocabulary_size {'right' if vocabulary_size else 'be said'}?",
            )
        largest = max(largest, most)
        splits[split] = Unread(source)
    return Dataset(splits, vocabulary_size or largest + 1)


def _windows(file: str, parameter: str, dtype: np.dtype, length: int, stride: int, most: int) -> Windows:
    place = file_at(file, parameter)
    try:
        with place.open("rb") as opened:
            head = opened.read(8)
        if head.startswith(b"\x93NUMPY"):
            found = Windows(os.fspath(place), None, 0, length, stride, most)
        elif len(head) == 8 and int.from_bytes(head[:4], "little") == _LLM_C:
            version = int.from_bytes(head[4:], "little")
            if version not in _LLM_C_TYPES:
                raise ValueError(f"it is a file of llm.c of version {version}; known are 1 and 7")
            found = Windows(os.fspath(place), _LLM_C_TYPES[version], 1024, length, stride, most)
        else:
            size = place.stat().st_size
            if size % dtype.itemsize:
                raise ValueError(f"{size} bytes are no whole number of {dtype.name}; say what it holds: dtype='…'")
            found = Windows(os.fspath(place), dtype.newbyteorder("<"), 0, length, stride, most)
        tokens = found.tokens
    except (OSError, ValueError, EOFError) as error:
        raise unreadable(place, error, parameter) from None
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise ConfigError(
            f"dataset.{parameter}",
            f"{file!r} holds {tokens.dtype.name}{list(tokens.shape)}; one long row of whole numbers is expected. "
            "Rows of sequences are given in Python: mg.run(config, data=(rows[:, :-1], rows[:, 1:]))",
        )
    if not len(found):
        raise ConfigError(
            "dataset.length", f"{file!r} has {len(tokens)} tokens; sequences of {length} and a next one need more"
        )
    return found


def _ends(tokens: np.ndarray) -> tuple[int, int]:
    """Return the least and the largest token."""
    parts = [tokens[start : start + _PART] for start in range(0, len(tokens), _PART)]
    return min(int(part.min()) for part in parts), max(int(part.max()) for part in parts)

"""Splits that are read batch by batch: arrays, also memory-mapped ones, and records behind random access.

Synopsis:

    >>> import numpy as np
    >>> source = source_of({"inputs": np.arange(12.0).reshape(6, 2), "targets": np.arange(6)})
    >>> len(source), source.read(np.array([4, 1]))["inputs"].tolist()
    (6, [[8.0, 9.0], [2.0, 3.0]])
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from mlgym_jax.data.dataset import flat_record, split_arrays
from mlgym_jax.errors import ConfigError, in_words, listed, with_article


class Source(Protocol):
    """One split: `len(source)` examples, of which any can be read, from several threads at once."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return field -> array[n, …] of these examples, in this order."""
        ...


class Place:
    """Where in a split a process reads, for whoever finds that it has died: it writes, another looks.

    Attributes:
        numbers: int64[4], in memory that both see: the split's number, the first row of the source that reads, a row of
            that source, and how many are read with it.
    """

    numbers = np.zeros(4, np.int64)


def one_by_one(rows: np.ndarray) -> Iterator[int]:
    """Iterate over the rows of a source that decodes one at a time, so that a decoder that ends the process is told."""
    for row in rows.tolist():
        Place.numbers[2:] = row, 1
        yield row


class Arrays:
    """Arrays as a source."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = dict(arrays)

    def __getstate__(self) -> dict[str, Any]:
        return {field: _Mapped.of(array) for field, array in self.arrays.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.arrays = {field: array.open() if isinstance(array, _Mapped) else array for field, array in state.items()}

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {field: array[rows] for field, array in self.arrays.items()}


class _Mapped(NamedTuple):
    """A memory-mapped array as another process maps it: its bytes stay in the file."""

    path: str
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    order: Literal["C", "F"]

    @classmethod
    def of(cls, array: np.ndarray) -> np.ndarray | _Mapped:
        whole = array.base
        if isinstance(whole, np.memmap) and (whole.ctypes.data, whole.shape, whole.strides, whole.dtype) == (
            array.ctypes.data,
            array.shape,
            array.strides,
            array.dtype,
        ):
            array = whole  # NumPy forgets what it is, not where it is
        if not isinstance(array, np.memmap) or array.filename is None or isinstance(array.base, np.memmap):
            return array  # a part of a map knows the offset of the whole
        order = "C" if array.flags.c_contiguous else "F"
        return cls(os.fspath(array.filename), array.dtype, array.offset, array.shape, order)

    def open(self) -> np.ndarray:
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)


class Unread(Mapping):
    """A split's arrays by field, all read when the first is asked for.

    Attributes:
        source: what reads parts of it; it names its `fields`, and may `forget` what it has kept of the file.
    """

    def __init__(self, source: Any):
        self.source = source

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        read = self.source.read(np.arange(len(self.source)))
        if hasattr(self.source, "forget"):
            self.source.forget()
        return read

    def __getitem__(self, field: str) -> np.ndarray:
        return self._arrays[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self.source.fields)

    def __len__(self) -> int:
        return len(self.source.fields)


class Records:
    """Whatever has `__len__` and `__getitem__(int) -> dict`; several at once by `__getitems__`, where it has that."""

    def __init__(self, records: Any):
        self._records = records
        self._several: Callable[[list[int]], Any] | None = getattr(records, "__getitems__", None)

    def __len__(self) -> int:
        return len(self._records)

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        order = np.argsort(rows, kind="stable")  # neighbours in a file are read together
        ascending = rows[order]
        found = (
            self._several(ascending.tolist())
            if self._several
            else map(self._records.__getitem__, one_by_one(ascending))
        )
        records: list[Any] = [flat_record(record) for record in found]
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        for record in records:
            if not isinstance(record, Mapping) or record.keys() != records[0].keys():
                what = listed(record) if isinstance(record, Mapping) else with_article(type(record).__name__)
                raise ValueError(f"found {what}, where others are a dict of {listed(records[0])}")
        return {field: np.stack([np.asarray(record[field]) for record in records])[back] for field in records[0]}


class Endless:
    """The beginning of a source without an end, as a source: as many examples as a training takes."""

    def __init__(self, records: Any, length: int):
        self._records, self._length = records, length

    def __len__(self) -> int:
        return self._length

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return self._records.read(rows) if hasattr(self._records, "read") else Records(self._records).read(rows)


def source_of(split: Any, name: str = "train", length: int | None = None) -> Source:
    """Return one split of a dataset as a source; nothing of it is read.

    Args:
        length: the examples that a training of `num_steps` takes of one without an end.

    Raises:
        ConfigError: at `dataset`, if it is neither arrays by field nor has random access, or is empty; at `num_steps`,
            if it has no end, and nothing says how much of it to take.
    """
    if (own := getattr(split, "source", None)) is not None:  # arrays that are read only where somebody asks for them
        return own
    if isinstance(split, Mapping):
        return Arrays(split_arrays(split, name))
    kind, has_access = with_article(type(split).__name__), hasattr(split, "read") or hasattr(split, "__getitem__")
    if hasattr(split, "__next__") or (hasattr(split, "__iter__") and not has_access):
        raise ConfigError(
            "dataset",
            f"split {name!r} is {kind}, which gives its examples in turn, so that a resume could not go on in it; "
            "write __getitem__(self, place: int) -> dict, which makes the example of a place, and no __len__",
        )
    if has_access and not hasattr(split, "__len__"):
        if name != "train":
            raise ConfigError(
                "dataset", f"split {name!r}, {kind}, has no end (no __len__), and all of it is evaluated; give it one"
            )
        if length is None:
            raise ConfigError(
                "num_steps",
                f"split 'train', {kind}, has no end (no __len__), and so has an epoch of it; in place of num_epochs "
                "write config.num_steps = 10_000, and config.evaluate_every_steps = 1_000",
            )
        return Endless(split, length)
    if not has_access:
        raise ConfigError(
            "dataset",
            f"split {name!r} is {kind}; component('streaming') reads {{'inputs': array[n, …], …}} or "
            "a random-access source with __len__ and __getitem__(int) -> dict",
        )
    if not len(split):
        raise ConfigError("dataset", f"split {name!r} is empty; leave it out or give it examples")
    return split if hasattr(split, "read") else Records(split)


def few_arrays(split: Any) -> Mapping[str, np.ndarray]:
    """Return a split's arrays where their forms are what counts: of one that is read by rows the first row alone.

    Raises:
        ConfigError: at `dataset`, as `split_arrays`.
    """
    by_rows = (
        not isinstance(split, Mapping) and hasattr(split, "__getitem__") and getattr(split, "__len__", lambda: 1)()
    )
    return split_arrays(split) if not by_rows else source_of(split, length=1).read(np.array([0]))


def faulty(read: Callable[[np.ndarray], Any], rows: np.ndarray) -> dict[int, str]:
    """Return which of these examples cannot be read by themselves, and why; what is found well is halved no further."""
    found: dict[int, str] = {}
    parts = [np.unique(rows)]
    while parts:
        part = parts.pop()
        try:
            read(part)
        except Exception as error:
            if len(part) == 1:
                found[int(part[0])] = in_words(error)
            else:
                parts += [part[len(part) // 2 :], part[: len(part) // 2]]
    return found

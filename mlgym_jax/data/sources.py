"""Splits that are read batch by batch: arrays, also memory-mapped ones, and records behind random access.

Synopsis:

    >>> import numpy as np
    >>> source = source_of({"inputs": np.arange(12.0).reshape(6, 2), "targets": np.arange(6)})
    >>> len(source), source.read(np.array([4, 1]))["inputs"].tolist()
    (6, [[8.0, 9.0], [2.0, 3.0]])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from mlgym_jax.data.dataset import flat_record, split_arrays
from mlgym_jax.errors import ConfigError, in_words, listed


class Source(Protocol):
    """One split: `len(source)` examples, of which any can be read, from several threads at once."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return field -> array[n, …] of these examples, in this order."""
        ...


class Arrays:
    """Arrays as a source."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = dict(arrays)

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {field: array[rows] for field, array in self._arrays.items()}


class Records:
    """Whatever has `__len__` and `__getitem__(int) -> dict`; several at once by `__getitems__`, where it has that."""

    def __init__(self, records: Any):
        self._records = records
        self._several: Callable[[list[int]], Any] | None = getattr(records, "__getitems__", None)

    def __len__(self) -> int:
        return len(self._records)

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        order = np.argsort(rows, kind="stable")  # neighbours in a file are read together
        ascending = [int(row) for row in rows[order]]
        found = self._several(ascending) if self._several else [self._records[row] for row in ascending]
        records: list[Any] = [flat_record(record) for record in found]
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        for record in records:
            if not isinstance(record, Mapping) or record.keys() != records[0].keys():
                what = listed(record) if isinstance(record, Mapping) else f"a {type(record).__name__}"
                raise ValueError(f"found {what}, where others are a dict of {listed(records[0])}")
        return {field: np.stack([np.asarray(record[field]) for record in records])[back] for field in records[0]}


def source_of(split: Any, name: str = "train") -> Source:
    """Return one split of a dataset as a source; nothing of it is read.

    Raises:
        ConfigError: at `dataset`, if it is neither arrays by field nor has random access, or is empty.
    """
    if (own := getattr(split, "source", None)) is not None:  # arrays that are read only where somebody asks for them
        return own
    if isinstance(split, Mapping):
        return Arrays(split_arrays(split, name))
    if not hasattr(split, "__len__") or not (hasattr(split, "read") or hasattr(split, "__getitem__")):
        raise ConfigError(
            "dataset",
            f"split {name!r} is a {type(split).__name__}; component('streaming') reads {{'inputs': array[n, …], …}} or "
            "a random-access source with __len__ and __getitem__(int) -> dict",
        )
    if not len(split):
        raise ConfigError("dataset", f"split {name!r} is empty; leave it out or give it examples")
    return split if hasattr(split, "read") else Records(split)


def faulty(read: Callable[[np.ndarray], Any], rows: np.ndarray) -> dict[int, str]:
    """Return which of these examples cannot be read by themselves, and why."""
    found = {}
    for row in np.unique(rows):
        try:
            read(np.array([row]))
        except Exception as error:
            found[int(row)] = in_words(error)
    return found

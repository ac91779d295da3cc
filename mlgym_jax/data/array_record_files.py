"""ArrayRecord files behind each other, of which any records are read, many in one call."""

from __future__ import annotations

import abc
import concurrent.futures
import contextlib
import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mlgym_jax.errors import ConfigError, in_words

_CALL = 1 << 16  # records in one call of a reader, of which each goes through the whole index of its file
_OPENED = 8  # files at once
_INDEX = 8192  # entries of that index that take longer than finding one record by itself; see `_few`


def paths_of(given: str | Sequence[str], split: str) -> list[str]:
    """Return the files that one or several patterns name, those of a pattern in order of their names.

    Raises:
        ConfigError: at `dataset.splits`: there are none.
    """
    found = []
    for path in [given] if isinstance(given, str) else given:
        some = sorted(glob.glob(os.path.expanduser(path)))
        if not some:
            raise ConfigError(f"dataset.splits.{split}", f"there is no file {path!r}")
        found += some
    return found


class ArrayRecordFiles:
    """The records of some files, numbered through. It may be read from several threads, and sent to processes.

    Raises:
        ConfigError: at `dataset.splits`: a file cannot be read.
    """

    def __init__(self, paths: Sequence[str], split: str):
        self._paths = list(paths)
        self._idle: list[list[Any]] = [[] for _ in self._paths]  # readers that no thread uses just now
        sizes, self._alone = [], []
        with concurrent.futures.ThreadPoolExecutor(_OPENED) as pool:
            opened = [pool.submit(self._described, number) for number in range(len(self._paths))]
            for path, one in zip(self._paths, opened, strict=True):
                try:
                    size, is_alone = one.result()
                except Exception as error:
                    pool.shutdown(cancel_futures=True)
                    where, why = f"dataset.splits.{split}", f"{path!r} cannot be read: {in_words(error)}"
                    raise ConfigError(where, why) from error
                sizes.append(size)
                self._alone.append(is_alone)
        self._starts = np.cumsum([0, *sizes])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_idle": [[] for _ in self._paths]}

    def name_of(self, row: int) -> str:
        """Say where a record lies: its file, and its number there."""
        number = int(np.searchsorted(self._starts, row, "right")) - 1
        return f"{self._paths[number]!r}, record {row - int(self._starts[number])}"

    def read(self, rows: np.ndarray) -> Iterator[tuple[list[bytes], np.ndarray]]:
        """Iterate over some of the wanted records and where in `rows` they stand, until all have been read."""
        ascending, order = _sorted(np.asarray(rows, np.int64))  # neighbours in a file are read together
        cuts = np.searchsorted(ascending, self._starts).tolist()
        for number, (first, stop) in enumerate(itertools.pairwise(cuts)):
            within = (ascending[first:stop] - self._starts[number]).tolist()
            for start in range(0, len(within), _CALL):
                wanted = within[start : start + _CALL]
                with self._reader(number) as reader:
                    records = self._few(reader, wanted) if self._are_few(number, wanted) else reader.read(wanted)
                yield records, order[first + start : first + start + len(records)]

    def _described(self, number: int) -> tuple[int, bool]:
        """Return how many records a file has, and whether each is compressed by itself."""
        with self._reader(number) as reader:
            options = (reader.writer_options_string() or "").split(",")
            return reader.num_records(), "group_size:1" in options

    def _are_few(self, number: int, wanted: Sequence[int]) -> bool:
        size = self._starts[number + 1] - self._starts[number]
        return self._alone[number] and len(wanted) * _INDEX < size

    @staticmethod
    def _few(reader: Any, wanted: Sequence[int]) -> list[bytes]:
        """Read records one by one, 6 us each; an index of a million takes 14 ms, and lets other threads run."""
        records = []
        for row in wanted:
            reader.seek(row)
            records.append(reader.read())
        return records

    @contextlib.contextmanager
    def _reader(self, number: int) -> Iterator[Any]:
        """Lend a reader of a file to one thread. To open one, the whole index of the file is read."""
        from array_record.python.array_record_module import ArrayRecordReader

        try:
            reader = self._idle[number].pop()
        except IndexError:
            reader = ArrayRecordReader(self._paths[number], "readahead_buffer_size:0,max_parallelism:0")
            if not reader.ok():  # it would have no records
                raise OSError(f"it was not written whole, or is no ArrayRecord file{_why(reader)}") from None
        yield reader
        self._idle[number].append(reader)  # not one that has failed


class DecodedRecords(abc.ABC):
    """A source (`data.sources`) whose examples are the records of files, decoded many at once."""

    def __init__(self, files: ArrayRecordFiles):
        self._files, self.name_of = files, files.name_of

    @abc.abstractmethod
    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the examples at `rows`, each field with a leading axis of them."""

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {field: array[0] for field, array in self.read(np.array([row])).items()}

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, np.ndarray]]:
        read = self.read(np.asarray(rows))
        return [{field: array[place] for field, array in read.items()} for place in range(len(rows))]


def _why(reader: Any) -> str:
    try:
        reader.read()
    except Exception as error:
        return f" ({error})" if str(error) else ""
    return ""


def _sorted(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int64[n] in ascending order, and where each stood; a place is kept in the low bits of what is sorted."""
    bits = max(1, len(rows) - 1).bit_length()
    if not len(rows) or int(rows.max()).bit_length() + bits > 63:
        order = np.argsort(rows)
        return rows[order], order
    both = rows << bits
    both |= np.arange(len(rows))
    both.sort()
    return both >> bits, both & ((1 << bits) - 1)

"""A dataset whose splits are read while it trains: what a `Table` is, with columns that read what is asked of them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlgym_jax.core.inputs import is_input
from mlgym_jax.core.targets import wrong_weights
from mlgym_jax.data.dataset import Dataset, Table, array_type, check_alike, compact
from mlgym_jax.data.loaders import Stream
from mlgym_jax.data.sources import Arrays, Endless, Place, Source, faulty, source_of
from mlgym_jax.errors import ConfigError, MlgymError, in_words, listed, nearest

_SAMPLED = 64  # examples a split, of which the fingerprint is made
_READ_BYTES = 32 * 2**20  # of examples that are read at once where all of them are read


class UnreadableRecord(MlgymError):
    """Examples that cannot be read or decoded.

    Attributes:
        rows: their rows in the table.
    """

    def __init__(self, message: str, rows: list[int]):
        super().__init__(message)
        self.rows = rows


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedTable(Table):
    """All splits of a dataset behind each other, none of them read.

    Attributes:
        arrays: field -> `Column`; sources: split -> what it is read from; stream: how.
        weights: fields by which examples, or positions of them, count.
        missing: the columns of `inputs` whose values may be missing, as the encoding fills them in.
    """

    sources: Mapping[str, Source] = dataclasses.field(default_factory=dict)
    stream: Stream = dataclasses.field(default_factory=Stream)
    weights: frozenset[str] = frozenset()
    missing: frozenset[int] = frozenset()

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return field -> array[n, …] of these rows, as `Table.arrays` would have them.

        Raises:
            UnreadableRecord: some of them cannot be read, hold what is no number, or a class that there is not.
        """
        rows = np.asarray(rows)
        parts, places = [], []
        for split, (start, stop) in self.offsets.items():
            inside = np.flatnonzero((rows >= start) & (rows < stop))
            if inside.size:
                parts.append(self._read_of(split, rows[inside] - start))
                places.append(inside)
        if len(parts) == 1:
            return parts[0]
        found = {field: np.empty((len(rows), *array.shape[1:]), array.dtype) for field, array in parts[0].items()}
        for inside, part in zip(places, parts, strict=True):
            for field, array in part.items():
                found[field][inside] = array
        return found

    def read_field(self, rows: np.ndarray, field: str) -> np.ndarray:
        """Return one field of these rows; where a source knows it without reading (`known`), it reads nothing.

        Whatever else their records hold is in memory for some of them at a time.

        Raises:
            UnreadableRecord: as `read`.
        """
        known = [getattr(source, "known", {}) for source in self.sources.values()]
        if all(field in fields for fields in known):
            found = np.concatenate([fields[field] for fields in known])[rows]
            return found.astype(self.arrays[field].dtype, copy=False)
        size = self.rows_at_once
        if len(rows) <= size:
            return self.read(rows)[field]
        order = np.argsort(rows, kind="stable")  # or each part would read here and there in all of a file
        found = np.empty((len(rows), *self.arrays[field].shape[1:]), self.arrays[field].dtype)
        for start in range(0, len(rows), size):
            places = order[start : start + size]
            found[places] = self.read(rows[places])[field]
        return found

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """Return these rows, with others of them in the place of those that cannot be read.

        Raises:
            ConfigError: at `dataset`: some cannot, and are not to be left out, or none can.
        """
        good = rows
        while good.size:
            try:
                self.read(good)
                return np.resize(good, rows.shape)
            except UnreadableRecord as error:
                if not self.stream.skips:
                    raise ConfigError("dataset", str(error)) from error
                good = good[~np.isin(good, error.rows)]
        raise ConfigError("dataset", f"none of its records {rows[:5].tolist()} … can be read")

    def name_of(self, split: int, row: int) -> str:
        """Say which record a row of the split of this number is: of which split, source and file."""
        split_name = [*self.offsets][split]
        own = getattr(self.sources[split_name], "name_of", None)
        return f"split {split_name!r}, record {row}{f' ({own(row)})' if own else ''}"

    def name_at(self, row: int) -> str:
        """Say the same of a row of the table."""
        spans = [*self.offsets.values()]
        split = next(number for number, (start, stop) in enumerate(spans) if start <= row < stop)
        return self.name_of(split, row - spans[split][0])

    def pickled(self) -> bytes:
        """Return what another process makes this table of, with the classes that its config, or `__main__`, defines.

        Raises:
            ConfigError: at `loader.workers`: it cannot be sent.
        """
        import cloudpickle

        # A config file: no other process could import it. What C code makes has no file, and may have two names.
        made = [one for one in [*sys.modules.values()] if getattr(one, "__spec__", True) is None]
        files = [one for one in made if getattr(one, "__file__", None) and one.__name__ in sys.modules]
        own = {one.__name__: one for one in files if one.__name__ != "__main__"}
        for module in own.values():
            cloudpickle.register_pickle_by_value(module)
        try:
            return cloudpickle.dumps(self)
        except Exception as error:
            raise ConfigError(
                "loader.workers",
                f"its dataset cannot be sent to processes ({in_words(error)}): open files and locks where records are "
                "read, or write workers='threads'",
            ) from error
        finally:
            for module in own.values():
                cloudpickle.unregister_pickle_by_value(module)

    def _read_of(self, split: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        Place.numbers[:] = [*self.offsets].index(split), 0, rows.min(), len(rows)
        try:
            found = self._as_expected(split, self.sources[split].read(rows))
        except Exception as error:
            faults = faulty(lambda one: self._as_expected(split, self.sources[split].read(one)), rows)
            raise self._unreadable(split, faults or {int(rows[0]): in_words(error)}) from error
        wrong: dict[int, str] = {}
        for field, array in found.items():
            if (is_input(field) or field == "targets") and array.dtype.kind in "fc":
                faulty_here = ~np.isfinite(array).reshape(len(array), -1)
                if field == "inputs" and self.missing:
                    columns = sorted(self.missing)
                    faulty_here[:, columns] = np.isinf(array[:, columns])
                bad = faulty_here.any(axis=1)
                wrong |= {int(row): f"its {field} are not finite" for row in rows[bad]}
        targets = found.get("targets")
        if targets is not None and self.num_classes is not None and targets.dtype.kind in "iu":
            outside = ((targets < 0) | (targets >= self.num_classes)).reshape(len(targets), -1).any(axis=1)
            wrong |= {int(row): f"its target is outside of 0 … {self.num_classes - 1}" for row in rows[outside]}
        for field in sorted(self.weights):
            bad = wrong_weights(found[field]).reshape(len(rows), -1).any(axis=1)
            wrong |= {int(row): f"its field {field!r} is no weight, a finite number of at least 0" for row in rows[bad]}
        if wrong:
            raise self._unreadable(split, wrong)
        return found

    def _as_expected(self, split: str, read: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if {*read} != {*self.arrays}:
            raise ValueError(f"found the fields {listed(read)}, expected {listed(self.arrays)}")
        found = {}
        for field, column in self.arrays.items():
            array = found[field] = compact(read[field], f"split {split!r}, field {field!r}")
            if array.shape[1:] != column.shape[1:] or array.dtype != column.dtype:
                raise ValueError(f"{field} is {array_type(array)}, expected {array_type(column)}")
        return found

    def _unreadable(self, split: str, faults: Mapping[int, str]) -> UnreadableRecord:
        number = [*self.offsets].index(split)
        said = "; ".join(f"{self.name_of(number, row)}: {why}" for row, why in list(faults.items())[:5])
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        start = self.offsets[split][0]
        return UnreadableRecord(
            f"{said}{more}; mend it, or leave such records out with "
            "config.loader = component('streaming', on_bad_record='skip', …)",
            [row + start for row in faults],
        )

    @functools.cached_property
    def example_bytes(self) -> int:
        """The bytes of one example, at least 1."""
        return max(1, sum(int(np.prod(one.shape[1:])) * one.dtype.itemsize for one in self.arrays.values()))

    @property
    def rows_at_once(self) -> int:
        """How many examples are read at once where all of them are read, as before training."""
        return max(1, _READ_BYTES // self.example_bytes)

    @property
    def is_endless(self) -> bool:
        """Whether its split "train" goes on behind what is trained on; it is read in its own order."""
        return isinstance(self.sources["train"], Endless)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256 (hex) of its splits, each field's name, type and shape, and some examples of each split."""
        spans, rows = {name: list(span) for name, span in self.offsets.items()}, self.num_examples
        if self.is_endless:  # more steps take more of the same
            spans = {name: [stop - start] * (name != "train") for name, (start, stop) in self.offsets.items()}
            rows = 0
        digest = hashlib.sha256(json.dumps(spans).encode())
        for field, column in sorted(self.arrays.items()):
            digest.update(json.dumps([field, column.dtype.name, (rows, *column.shape[1:])]).encode())
        for name, (start, stop) in self.offsets.items():
            if self.is_endless and name == "train":
                stop = min(stop, start + 1)
            for row in np.unique(np.linspace(start, stop - 1, _SAMPLED).astype(np.int64)):
                try:
                    read = self.read(np.array([row]))
                except UnreadableRecord:
                    continue
                for field in sorted(read):
                    digest.update(np.ascontiguousarray(read[field]).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """A field of a table that is not read: `column[rows]` reads it, and so does NumPy where it takes the whole."""

    field: str
    shape: tuple[int, ...]
    dtype: np.dtype
    first: int
    table: list[StreamedTable]  # which has it, and is made after it

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                return self[np.arange(start, stop, step)]
            return dataclasses.replace(self, shape=(max(0, stop - start), *self.shape[1:]), first=self.first + start)
        wanted = np.asarray(rows)
        if wanted.dtype.kind == "b":
            wanted = np.flatnonzero(wanted)
        read = self.table[0].read_field(wanted.reshape(-1) + self.first, self.field)
        return read.reshape(*wanted.shape, *self.shape[1:])

    def at_hand(self) -> np.ndarray | None:
        """Return these rows of the field where the sources of their splits give it without reading records, else None.

        What it returns is as the source has it: of another type, perhaps, than the table's.
        """
        parts, table, last = [], self.table[0], self.first + len(self)
        for split, (start, stop) in table.offsets.items():
            if start < last and stop > self.first:
                source = table.sources[split]
                known = source.arrays if isinstance(source, Arrays) else getattr(source, "known", {})
                if self.field not in known:
                    return None
                parts.append(known[self.field][max(0, self.first - start) : last - start])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[np.arange(len(self))]
        return whole if dtype is None else whole.astype(dtype)


def to_stream(
    dataset: Dataset,
    stream: Stream = Stream(),  # noqa: B008 (frozen)
    length: int | None = None,
    missing: frozenset[int] = frozenset(),
) -> StreamedTable:
    """Return a dataset's splits, in the order given, as a table that is read by rows.

    Of each split one example is read, for the shapes.

    Args:
        length: the examples to take of a split "train" that has no end.
        missing: the columns of `inputs` whose values may be missing.

    Raises:
        ConfigError: at `num_steps`: "train" has no end, and there is no length; at `dataset`: no "train", a split that
            has no random access, or is empty, whose first example cannot be read, or is of another form than that of
            "train".
    """
    splits = getattr(dataset, "splits", None)
    if not isinstance(splits, Mapping) or "train" not in splits:
        found = listed(splits) if isinstance(splits, Mapping) else type(dataset).__name__
        raise ConfigError("dataset", f"it has no split 'train'{nearest('train', splits or ())} Found: {found}")
    sources = {name: source_of(split, name, length) for name, split in splits.items()}
    first: dict[str, dict[str, np.ndarray]] = {}
    for name, source in sources.items():
        try:
            first[name] = {
                field: compact(array, f"split {name!r}, field {field!r}")
                for field, array in source.read(np.array([0])).items()
            }
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError("dataset", f"split {name!r}, record 0 cannot be read: {in_words(error)}") from error
    check_alike(first)
    offsets, start = {}, 0
    for name, source in sources.items():
        offsets[name] = (start, start + len(source))
        start += len(source)
    holder: list[StreamedTable] = []
    columns: Any = {
        field: Column(field, (start, *array.shape[1:]), array.dtype, 0, holder)
        for field, array in first["train"].items()
    }
    table = StreamedTable(columns, offsets, dataset.num_classes, sources, stream, missing=missing)
    holder.append(table)
    if stream.processes:
        table.pickled()  # or it is refused
    return table

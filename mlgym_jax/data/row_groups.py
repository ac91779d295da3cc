"""Tables of Parquet files, read a row group at a time: what was read last is held, and no file is in memory whole."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlgym_jax.data.blocks import Blocks
from mlgym_jax.data.table_forms import Forms
from mlgym_jax.errors import ConfigError

HELD = 256 * 2**20  # bytes of a split that stay in memory; the order of training mixes half of that


class Group(NamedTuple):
    """A row group: its file, its number there, its first row in the split and in the file, and how many it has."""

    file: Path
    number: int
    first: int
    first_in_file: int
    length: int


class RowGroups:
    """The rows of a split of files as a source (`data.sources`). It may be read from several threads.

    Attributes:
        fields, known: the names of its fields, and those that need no reading.
        blocks: how its examples lie together, for the order of training.
    """

    def __init__(self, split: str, groups: Sequence[Group], forms: Forms, targets: np.ndarray):
        kept = forms.kept[split]
        self._split, self._groups, self._columns, self._forms = split, tuple(groups), [*forms.chosen], forms
        self._rows = None if kept.all() else np.flatnonzero(kept)
        self._first = np.array([group.first for group in groups])
        self.known = {"targets": targets, **forms.fields.get(split, {})}
        self.fields = ("inputs", *self.known)
        self._row_bytes = 8 * len(forms.feature_names)
        starts = np.append(self._first, len(kept))
        starts = starts if self._rows is None else np.searchsorted(self._rows, starts)
        self.blocks = Blocks(starts, max(1, HELD // 2 // self._row_bytes))
        self._held: dict[int, np.ndarray] = {}
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return len(self.known["targets"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": {}, "_reading": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _reading=threading.Lock())

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return field -> array[n, …] of these examples, `inputs` as float64."""
        places = rows if self._rows is None else self._rows[rows]
        owner = np.searchsorted(self._first, places, "right") - 1
        inputs = np.empty((len(rows), len(self._forms.feature_names)))
        for number in np.unique(owner).tolist():
            inside = owner == number
            inputs[inside] = self._inputs(number)[places[inside] - self._first[number]]
        return {"inputs": inputs, **{field: values[rows] for field, values in self.known.items()}}

    def name_of(self, row: int) -> str:
        """Say where a row lies: its file, and its number there."""
        place = row if self._rows is None else int(self._rows[row])
        group = self._groups[int(np.searchsorted(self._first, place, "right")) - 1]
        return f"{str(group.file)!r}, row {place - group.first + group.first_in_file}"

    def hold(self, number: int, inputs: np.ndarray) -> None:
        """Keep what a row group holds, and let go of those that were read longest ago where that is too much."""
        self._held[number] = inputs
        while len(self._held) > 2 and sum(array.nbytes for array in self._held.values()) > HELD:
            self._held.pop(next(iter(self._held)))

    def forget(self) -> None:
        """Let go of all that is held."""
        self._held = {}

    def _inputs(self, number: int) -> np.ndarray:
        with self._reading:  # or two threads would read the same
            found = self._held.pop(number, None)
            found = self._decoded(number) if found is None else found
            self.hold(number, found)  # as the newest
        return found

    def _decoded(self, number: int) -> np.ndarray:
        group = self._groups[number]
        with opened_parquet(group.file) as content:
            columns = arrow_columns(content.read_row_group(group.number, columns=self._columns))
        return self._forms.inputs(self._forms.read(columns, self._split, group.first))


class opened_parquet:
    """Open a Parquet file, and close it in the end."""

    def __init__(self, path: Path):
        import pyarrow.parquet

        self._file = path.open("rb")
        try:
            self._content = pyarrow.parquet.ParquetFile(self._file)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Any:
        return self._content

    def __exit__(self, *_: object) -> None:
        self._file.close()


def arrow_columns(arrow: Any) -> dict[str, np.ndarray]:
    """Return the columns of an Arrow table as arrays; what is missing is NaN, NaT or None."""
    import pyarrow

    found = {}
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        kind = column.type
        if pyarrow.types.is_nested(kind) or pyarrow.types.is_binary(kind):
            raise ConfigError(
                "dataset",
                f"column {name!r} holds {kind}; numbers, words and dates are columns of a table; leave it "
                f"out, as by ignore=({name!r},) of parquet",
            )
        if pyarrow.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        found[name] = column.to_numpy(zero_copy_only=False) if hasattr(column, "chunks") else np.asarray(column)
    return found

"""What the columns of a table become, learned from its parts in turn, so that no table is in memory whole.

Synopsis:

    >>> import numpy as np
    >>> forms = Forms(("age", "sex", "ill"), "ill")
    >>> ages, ill = np.array([4, 5]), np.array([0, 1])
    >>> parts = [{"age": ages, "sex": np.array(["m", word]), "ill": ill} for word in ("f", "m")]
    >>> read = [forms.learn("train", part) for part in parts]
    >>> forms.finish()
    >>> forms.categories, [forms.inputs(part).tolist() for part in read]
    ({'sex': ('f', 'm')}, [[[4.0, 1.0], [5.0, 0.0]], [[4.0, 1.0], [5.0, 1.0]]])
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mlgym_jax.data.column_codes import warn_of_codes
from mlgym_jax.data.csv_files import chosen_columns
from mlgym_jax.data.dates import date_features, has_times
from mlgym_jax.data.fields import absent, checked_fields, field_values
from mlgym_jax.data.number_checks import check_digits
from mlgym_jax.errors import ConfigError, described

Missing = Literal["error", "drop", "keep"]


@dataclasses.dataclass
class _Column:
    """What was found in a column: its kinds, words or distinct values, and where values are missing.

    Attributes:
        kinds: NumPy's letters of its parts' types; "O" has words.
        distinct: its words, or its values where it is a category.
        order: the values of an ordered categorical of pandas, from the least on.
        has_times: whether a date has a time of day.
        absent: split -> the first row whose value is missing, and how many there are.
    """

    kinds: set[str] = dataclasses.field(default_factory=set)
    distinct: set[Any] = dataclasses.field(default_factory=set)
    order: list[Any] = dataclasses.field(default_factory=list)
    has_times: bool = False
    absent: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)


class Forms:
    """How columns become `inputs` float64[rows, features], after `learn` has seen all parts of all splits.

    Attributes:
        chosen: the columns to predict from; columns: these, the target and those of fields, as the table has them.
        feature_names, categories: of the dataset; targets: split -> values as they are, of the rows that are `kept`.
        kept: split -> bool[rows]; fields: split -> field -> values, of the rows that are kept.
    """

    def __init__(
        self,
        names: Sequence[str],
        target: str,
        *,
        features: Sequence[str] = (),
        ignore: Sequence[str] = (),
        categorical: Sequence[str] = (),
        missing: Missing = "keep",
        fields: Mapping[str, str] | None = None,
        path: str = "dataset",
    ):
        """Take the names of a table's columns; the parameters are those of `data.columns.table`.

        Raises:
            ConfigError: at a parameter of `path`: there is no such column, or none is left.
        """
        self._field_columns = checked_fields(fields, names, target, features, path)
        ignore = (*ignore, *self._field_columns.values())
        self.chosen = chosen_columns(names, target, features, ignore, categorical, path)
        self._target, self._categorical, self._missing, self._path = target, {*categorical}, missing, path
        self._beside = tuple(dict.fromkeys((target, *self._field_columns.values())))  # what is no input
        self.columns = tuple(name for name in names if name in {*self._beside, *self.chosen})
        self._found = {name: _Column() for name in (*self._beside, *self.chosen)}
        self._parts: dict[str, list[tuple[dict[str, np.ndarray], np.ndarray]]] = {}
        self._rows: dict[str, int] = {}
        self._words: dict[Any, Any] = {}
        self._codes: dict[str, dict[Any, float]] = {}
        self.feature_names: tuple[str, ...] = ()
        self.categories: dict[str, tuple[str, ...]] = {}
        self.targets: dict[str, np.ndarray] = {}
        self.kept: dict[str, np.ndarray] = {}
        self.fields: dict[str, dict[str, np.ndarray]] = {}

    def learn(self, split: str, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Look at a further part of a split, and return its columns as `inputs` takes them.

        Raises:
            ConfigError: at `path`: a column is no numbers, words or dates.
        """
        first = self._rows.get(split, 0)
        read = self.read(columns, split, first)
        length = len(read[self._target])
        for name in self.chosen:
            self._take_order(name, getattr(columns[name], "dtype", None))
        lacks = {name: self._learn(name, split, first, values) for name, values in read.items()}
        beside = {name: read.pop(name) for name in self._beside}
        for name, values in beside.items():
            if values.dtype == object:  # one string of each word
                words = [self._words.setdefault(word, word) for word in values.tolist()]
                beside[name] = np.array([*words, None], object)[:-1]
        lost = [lacks[name] for name in (*self._beside, *(self.chosen if self._missing != "keep" else ()))]
        self._parts.setdefault(split, []).append((beside, ~np.any(lost, axis=0)))
        self._rows[split] = first + length
        return read

    def read(self, columns: Mapping[str, Any], split: str, first: int = 0) -> dict[str, np.ndarray]:
        """Return those columns of a part that are there as numbers, dates, or strings and None.

        Args:
            first: the row at which it begins.

        Raises:
            ConfigError: at `path`: a column is no numbers, words or dates.
        """
        return {
            name: column_values(columns[name], f"split {split!r}, column {name!r}", self._path, first)
            for name in self._found
            if name in columns
        }

    def finish(self) -> None:
        """Number the words, name the features, and refuse what is missing.

        Raises:
            ConfigError: at `path`: words where other parts have numbers, a value that is missing, a split without rows.
        """
        features: list[str] = []
        for name in self.chosen:
            found = self._found[name]
            if found.kinds - {"?"} == {"M"} and name not in self._categorical:
                features += date_features(name, [np.array([0], "datetime64[us]")], found.has_times)
                continue
            if name in self._categorical or "O" in found.kinds or found.kinds == {"?"}:
                self._number(name, found)
            features.append(name)
        self.feature_names = tuple(features)
        for split, parts in self._parts.items():
            if self._missing != "drop":
                self._check_present(split)
            kept = self.kept[split] = np.concatenate([rows for _, rows in parts])
            if not kept.any():
                raise ConfigError(self._path, f"split {split!r}: every row misses a value; fill some in")
            self.targets[split] = _joined([part[self._target] for part, _ in parts])[kept]
        for field, name in self._field_columns.items():
            joined = [_joined([part[name] for part, _ in parts]) for parts in self._parts.values()]
            of_splits = [values[kept] for values, kept in zip(joined, self.kept.values(), strict=True)]
            coded = field_values(field, of_splits, coded=name in self._categorical, path=self._path)
            for split, values in zip(self._parts, coded, strict=True):
                self.fields.setdefault(split, {})[field] = values
        self._parts.clear()

    def inputs(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return float64[rows, features] of what `learn` or `read` returned, NaN where a value is missing."""
        columns: list[np.ndarray] = []
        for name in self.chosen:
            part, found = values[name], self._found[name]
            if name in self._codes:
                there, codes = ~absent(part), np.full(len(part), np.nan)
                codes[there] = [self._codes[name][value] for value in part[there].tolist()]
                columns.append(codes)
            elif part.dtype == object:  # nothing is there, in a column of numbers or dates
                dates = np.full(len(part), np.datetime64("NaT"), "datetime64[us]")
                of_dates = date_features(name, [dates], found.has_times) if self._is_date(name) else {name: [dates]}
                columns += [np.full(len(part), np.nan)] * len(of_dates)
            elif self._is_date(name):
                columns += [found_of[0] for found_of in date_features(name, [part], found.has_times).values()]
            else:
                columns.append(part.astype(np.float64))
        return np.stack(columns, axis=1)

    def _is_date(self, name: str) -> bool:
        return name not in self._codes and self._found[name].kinds - {"?"} == {"M"}

    def _learn(self, name: str, split: str, first: int, values: np.ndarray) -> np.ndarray:
        found, lost = self._found[name], absent(values)
        there = values[~lost]
        if lost.any():
            row, count = found.absent.get(split, (first + int(lost.argmax()), 0))
            found.absent[split] = row, count + int(lost.sum())
        kind = values.dtype.kind
        found.kinds.add("?" if kind == "O" and not there.size else kind)
        if name in self._beside:
            return lost
        if kind == "O" or name in self._categorical:
            found.distinct.update(there.tolist())
        elif kind in "iu":
            check_digits(
                values.tolist(), values.astype(np.float64), f"column {name!r}", self._path, self._as_names(name)
            )
        if kind == "M":
            found.has_times = found.has_times or has_times(there)
        return lost

    def _as_names(self, name: str) -> str:
        return f"frame.astype({{{name!r}: str}})" if self._path == "data" else f"categorical=({name!r},)"

    def _number(self, name: str, found: _Column) -> None:
        """Number a column's distinct values, numbers by size."""
        if "O" in found.kinds and found.kinds - {"O", "?"}:
            raise ConfigError(
                self._path, f"column {name!r} holds words in one split and numbers in another; correct one of them"
            )
        distinct = found.distinct
        if "f" in found.kinds and len(found.kinds - {"?"}) > 1:  # whole numbers, of which some parts miss some
            distinct = {float(value) for value in distinct}
        ordered = sorted(distinct)
        if distinct <= {*found.order}:
            ordered = [value for value in found.order if value in distinct]
        self._codes[name] = {value: float(number) for number, value in enumerate(ordered)}
        self.categories[name] = tuple(
            str(int(value)) if isinstance(value, float) and value == int(value) else str(value) for value in ordered
        )
        if name not in self._categorical:
            warn_of_codes(name, self.categories[name], sum(self._rows.values()), is_target=False, path=self._path)

    def _take_order(self, name: str, dtype: Any) -> None:
        """Note in which order an ordered categorical of pandas has its values.

        Raises:
            ConfigError: other parts have another one.
        """
        if not getattr(dtype, "ordered", False):
            return
        order, found = dtype.categories.tolist(), self._found[name]
        if found.order not in ([], order):
            raise ConfigError(
                self._path, f"column {name!r} has its categories in another order in one split; give all the same dtype"
            )
        found.order = order

    def _check_present(self, split: str) -> None:
        for name in (*self._beside, *(self.chosen if self._missing != "keep" else ())):
            if split not in self._found[name].absent:
                continue
            row, count = self._found[name].absent[split]
            hint = "" if name in self._beside else ", or fill them in by an encoding: missing='keep'"
            raise ConfigError(
                self._path,
                f"split {split!r}, row {row}, column {name!r}: the value is missing ({count} of {self._rows[split]} "
                f"are); fill them in, or leave such rows out{hint}",
            )


def column_values(column: Any, where: str, path: str, first: int) -> np.ndarray:
    """Return a column as numbers, dates, or strings and None in an array of objects; rows count from `first`."""
    if getattr(getattr(column, "dtype", None), "kind", "") == "M":  # also where it has a time zone
        column = np.asarray(column, "datetime64[us]")
    array = np.asarray(column)
    if array.ndim != 1:
        raise ConfigError(path, f"{where}: one value a row is expected, found an array of shape {list(array.shape)}")
    if array.dtype.kind in "biufM":
        return array
    if array.dtype.kind in "USOT":
        values = [None if is_missing(value) else value for value in array.tolist()]
        there = [value for value in values if value is not None]
        if there and all(isinstance(value, numbers.Real) or hasattr(value, "as_tuple") for value in there):
            whole = len(there) == len(values) and all(isinstance(value, numbers.Integral) for value in there)
            found = np.array([np.nan if v is None else v for v in values], np.int64 if whole else np.float64)
            if not whole:
                check_digits(values, found, where, path, "write it as words")
            return found
        for row, value in enumerate(values, first):
            if value is not None and not isinstance(value, str):
                raise ConfigError(
                    path,
                    f"{where}, row {row}: found {described(value, 60)} among words or other things; a column holds "
                    "numbers, words or dates",
                )
        found = np.empty(len(values), object)
        found[:] = values
        return found
    fix = "; write it as a number, such as column.dt.total_seconds()" if array.dtype.kind == "m" else ""
    raise ConfigError(path, f"{where}: its type is {array.dtype}; numbers, words or dates are expected{fix}")


def is_missing(value: Any) -> bool:
    """Tell whether a value of a column is None, NaN, NaT or pandas's NA."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the parts of a column as one, NaN where a part without a value has objects among numbers."""
    if len({part.dtype == object for part in parts}) > 1:  # such as decimals, of which a part has none
        parts = [np.full(len(part), np.nan) if part.dtype == object else part for part in parts]
    return np.concatenate(parts)

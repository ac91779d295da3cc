"""Tables whose columns have types already, such as frames and Parquet files: numbers, words, truth values and dates.

Synopsis:

    >>> import numpy as np
    >>> train = {"age": np.array([40, 50]), "sex": np.array(["m", "f"]), "ill": np.array([0, 1])}
    >>> dataset = table({"train": train}, "ill")
    >>> dataset.feature_names, dataset.categories, dataset.splits["train"]["inputs"].tolist()
    (('age', 'sex'), {'sex': ('f', 'm')}, [[40.0, 1.0], [50.0, 0.0]])
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mlgym_jax.data.csv_files import chosen_columns, warn_of_codes
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.dates import date_features
from mlgym_jax.data.number_checks import check_digits
from mlgym_jax.errors import ConfigError, described, listed

Missing = Literal["error", "drop", "keep"]


def is_frame(value: Any) -> bool:
    """Tell whether a value is a frame, such as pandas's or Polars's."""
    return hasattr(value, "columns") and hasattr(value, "__getitem__") and hasattr(value, "shape")


def table(
    splits: Mapping[str, Mapping[str, Any]],
    target: str,
    *,
    task: str | None = None,
    features: Sequence[str] = (),
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    missing: Missing = "keep",
    class_names: Sequence[str] | None = None,
    path: str = "dataset",
) -> Dataset:
    """Make a dataset of columns: `inputs` float64[n, features], `targets` int32[n] or float64[n].

    Numbers and truth values stay; words, and what `categorical` names, become the codes of their distinct values in
    sorted order, in all splits alike; dates become several columns (`data.dates`).

    Args:
        splits: split -> name -> column, the names in the same order in each.
        target: the column to predict; task: by default strings, truth values and whole numbers are classes.
        features, ignore, categorical: as of `csv`.
        missing: a missing value of a feature is an "error", has its row left out ("drop"), or stays NaN ("keep") for an
            encoding to fill in. A missing target is an error, or has its row left out.
        class_names: of targets that are numbers of these classes already.
        path: what an error is said of.

    Raises:
        ConfigError: columns that differ or are no numbers, words or dates, or values that are missing.
    """
    names = list(next(iter(splits.values())))
    for split, columns in splits.items():
        if sorted(columns) != sorted(names):
            raise ConfigError(
                path, f"split {split!r} has the columns {listed(columns, 40)}; expected {listed(names, 40)}"
            )
        lengths = {name: len(column) for name, column in columns.items()}
        if len({*lengths.values()}) > 1:
            found = ", ".join(f"{name}: {length}" for name, length in lengths.items())
            raise ConfigError(path, f"split {split!r} has columns of different lengths ({found}); they must agree")
        if not all(lengths.values()):
            raise ConfigError(path, f"split {split!r} is empty; leave it out or give it rows")
    chosen = chosen_columns(names, target, features, ignore, categorical, path)
    inputs: dict[str, list[np.ndarray]] = {}
    categories: dict[str, tuple[str, ...]] = {}
    for name in chosen:
        parts = [_values(columns[name], f"split {split!r}, column {name!r}", path) for split, columns in splits.items()]
        if all(part.dtype.kind == "M" for part in parts) and name not in categorical:
            inputs |= date_features(name, parts)
        elif name in categorical or any(part.dtype == object for part in parts):
            inputs[name], categories[name] = _codes(parts, name, path)
            if name not in categorical:
                warn_of_codes(name, categories[name], sum(map(len, parts)), is_target=False, path=path)
        else:
            inputs[name] = [part.astype(np.float64) for part in parts]
            for part, own in zip(parts, inputs[name], strict=True):
                if part.dtype.kind in "iu":
                    check_digits(part, own, f"column {name!r}", path, _as_names(name, path))
    targets = [
        _values(columns[target], f"split {split!r}, column {target!r}", path) for split, columns in splits.items()
    ]
    kept = [
        _kept([*(inputs[name][number] for name in inputs)], [*inputs], targets[number], (split, target), missing, path)
        for number, split in enumerate(splits)
    ]
    targets = [part[rows] for part, rows in zip(targets, kept, strict=True)]
    coded, num_classes, class_names = classes_of(targets, [*splits], path, task, class_names)
    new = {
        split: {"inputs": np.stack([part[number] for part in inputs.values()], axis=1)[rows], "targets": own}
        for number, (split, rows, own) in enumerate(zip(splits, kept, coded, strict=True))
    }
    return Dataset(new, num_classes, tuple(inputs), class_names, categories or None)


def _values(column: Any, where: str, path: str) -> np.ndarray:
    """Return a column as numbers, dates, or strings and None in an array of objects."""
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
        for row, value in enumerate(values):
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


def _as_names(name: str, path: str) -> str:
    return f"frame.astype({{{name!r}: str}})" if path == "data" else f"categorical=({name!r},)"


def is_missing(value: Any) -> bool:
    """Tell whether a value of a column is None, NaN, NaT or pandas's NA."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _absent(column: np.ndarray) -> np.ndarray:
    if column.dtype == object:
        return np.array([value is None for value in column])
    return np.isnat(column) if column.dtype.kind == "M" else np.isnan(column.astype(np.float64))


def _codes(parts: Sequence[np.ndarray], name: str, path: str) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Number a column's distinct values over all splits, numbers by size; NaN where one is missing."""
    there = [part[~_absent(part)] for part in parts]
    if len({part.dtype == object for part in there}) > 1:
        raise ConfigError(path, f"column {name!r} holds words in one split and numbers in another; correct one of them")
    distinct = sorted({value for part in there for value in part.tolist()})
    number_of = {value: float(number) for number, value in enumerate(distinct)}
    coded = []
    for part, own in zip(parts, there, strict=True):
        codes = np.full(len(part), np.nan)
        codes[~_absent(part)] = [number_of[value] for value in own.tolist()]
        coded.append(codes)
    return coded, tuple(
        str(int(value)) if isinstance(value, float) and value == int(value) else str(value) for value in distinct
    )


def _kept(
    inputs: Sequence[np.ndarray],
    names: Sequence[str],
    targets: np.ndarray,
    place: tuple[str, str],
    missing: Missing,
    path: str,
) -> np.ndarray:
    """Return bool[rows], which rows stay."""
    split, target = place
    absent = {target: _absent(targets)}
    if missing != "keep":
        absent |= {name: np.isnan(column) for name, column in zip(names, inputs, strict=True)}
    if missing != "drop":
        for name, rows in absent.items():
            if rows.any():
                hint = "" if name == target else ", or fill them in by an encoding: missing='keep'"
                raise ConfigError(
                    path,
                    f"split {split!r}, row {int(rows.argmax())}, column {name!r}: the value is missing ({rows.sum()} "
                    f"of {len(rows)} are); fill them in, or leave such rows out{hint}",
                )
    kept = ~np.any([*absent.values()], axis=0)
    if not kept.any():
        raise ConfigError(path, f"split {split!r}: every row misses a value; fill some in")
    return kept


def classes_of(
    targets: Sequence[np.ndarray],
    splits: Sequence[str],
    path: str,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
) -> tuple[list[np.ndarray], int | None, tuple[str, ...] | None]:
    """Return the targets of each split as classes or numbers, the number of classes, and their names.

    Strings, truth values and whole numbers are classes unless `task` says otherwise: one an example is numbered in
    sorted order over all splits, int32[n]; whole numbers 0 … k - 1 stay as they are, without names. Of several an
    example, whole numbers are classes as they stand, and so are those of classes that have names already.

    Raises:
        ConfigError: at `path`: a target is NaN, negative where it is a class, or of another kind than in other splits.
    """
    kinds = {"words" if array.dtype.kind in "OUS" else "numbers" for array in targets}
    if len(kinds) > 1:
        raise ConfigError(path, "the targets are words in one split and numbers in another; correct one of them")
    for array, split in zip(targets, splits, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            count = int((~np.isfinite(array)).sum())
            raise ConfigError(
                path,
                f"split {split!r}, row {row}: the target is {array[row] if array.ndim == 1 else 'not finite'} ({count} "
                "targets are not finite); fill them in or leave these rows out",
            )
        if array.dtype.kind in "mMc":
            raise ConfigError(path, f"split {split!r}: targets are numbers or words, found {array.dtype}")
    if class_names is not None and task != "regression":
        for array, split in zip(targets, splits, strict=True):
            if array.size and not (array.dtype.kind in "iu" and array.min() >= 0 and array.max() < len(class_names)):
                wrong = f"found {array.min()} … {array.max()}" if array.dtype.kind in "iuf" else f"found {array.dtype}"
                raise ConfigError(
                    path, f"split {split!r}: labels are 0 … {len(class_names) - 1}, {wrong}; leave out unlabelled rows"
                )
        return [array.astype(np.int32) for array in targets], len(class_names), tuple(class_names)
    whole = all(array.dtype.kind in "iub" for array in targets)
    words = kinds == {"words"}
    if task == "regression" and words:
        raise ConfigError(path, "the targets are words, which are no numbers to predict; write task='classification'")
    if task == "regression" or not (whole or words or task == "classification"):
        return [array.astype(np.float64) if array.dtype.kind == "b" else array for array in targets], None, None
    if whole and any(array.ndim > 1 for array in targets):
        least = min(int(array.min(initial=0)) for array in targets)
        if least < 0:
            raise ConfigError(path, f"a target is {least}; classes are counted from 0, numbers to predict are floats")
        return list(targets), max(int(array.max(initial=0)) for array in targets) + 1, None
    distinct = np.unique(np.concatenate([array.reshape(-1).astype(str if words else array.dtype) for array in targets]))
    coded = [np.searchsorted(distinct, array.astype(distinct.dtype)).astype(np.int32) for array in targets]
    if whole and distinct.dtype.kind != "b" and np.array_equal(distinct, np.arange(len(distinct))):
        return coded, len(distinct), None
    names = tuple(
        str(int(value)) if distinct.dtype.kind == "f" and value == int(value) else str(value) for value in distinct
    )
    warn_of_codes("targets", names, sum(map(len, targets)), is_target=True, path=path)
    return coded, len(names), names

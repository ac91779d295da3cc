"""What can be wrong with numbers of a dataset: NaN and infinities, digits that float32 loses, classes out of range."""

from __future__ import annotations

import decimal
from collections.abc import Iterator, Sequence

import numpy as np

from mlgym_jax.errors import ConfigError

EXACT_FLOAT32 = 2**24  # whole numbers up to this are float32, each of them
_EXACT_FLOAT64 = 2.0**53  # and below this float64
_TINY = float(np.finfo(np.float32).tiny)
# Float32 may move a value by so much of its column's standard deviation; of targets, which nothing restores, by more.
MOVED, MOVED_TARGETS = 1e-3, 1e-2


def check_finite(
    array: np.ndarray | None,
    where: str,
    field: str,
    feature_names: Sequence[str] | None,
    *,
    missing: bool = False,
    counts: np.ndarray | None = None,
) -> None:
    """Raise at the first NaN or infinity: it would make every loss and every parameter NaN within one epoch.

    Args:
        missing: NaN may be, as values that something else fills in.
        counts: of targets, the field `where`, [n] or of more of their axes; NaN may be where it is False or 0.
    """
    if array is None or array.dtype.kind not in "fc" or np.isfinite(array).all():
        return
    wrong = np.isinf(array) if missing else ~np.isfinite(array)
    if counts is not None and counts.shape == array.shape[: counts.ndim]:
        wrong &= counts.astype(bool).reshape(*counts.shape, *(1 for _ in array.shape[counts.ndim :])) | np.isinf(array)
    faults = np.argwhere(wrong)
    if not len(faults):
        return
    row, *place = map(int, faults[0])
    column = ""
    table = array.ndim == 2 and field == "inputs" and np.isnan(array[tuple(faults[0])])
    hint = "; component('impute') as the encoding fills them in" if table else ""
    if array.ndim > 1 and field == "targets":
        hint = "; or say by a field 'where' of the targets' shape, bool, which are known: where=~np.isnan(targets)"
    if len(place) == 1:
        named = field == "inputs" and feature_names is not None and len(feature_names) == array.shape[1]
        column = f", column {place[0]}" + (f" ({feature_names[place[0]]!r})" if named and feature_names else "")
    elif place:
        column = f", position {tuple(place)}"
    raise ConfigError(
        "dataset",
        f"{where}, row {row}{column}: found {array[tuple(faults[0])]} ({len(faults)} values in "
        f"{len(np.unique(faults[:, 0]))} rows are not finite); fill them in or leave these rows out{hint}",
    )


def moved(array: np.ndarray | None) -> float:
    """Return by how many standard deviations of its column float32 moves a float64 value at most."""
    if array is None or array.dtype != np.float64 or not array.size:
        return 0.0
    return moved_by_float32(array)


def moved_by_float32(array: np.ndarray, floats: int = 1) -> float:
    """Return the same of numbers of any type.

    Args:
        floats: by how many float32 numbers, whose sum it is, a value is kept.
    """
    largest = 0.0
    for column in _columns(array):
        size = np.abs(column).max() if column.size else 0.0
        spread = (column / size).std() * size if 0 < size < np.inf else 0.0  # squares of tiny numbers are 0
        if spread > 0:
            left = column
            with np.errstate(over="ignore"):  # which is told of elsewhere
                for _ in range(floats):
                    left = left - left.astype(np.float32)
                largest = max(largest, float(np.abs(left).max() / spread))
    return largest


def loses_digits(array: np.ndarray) -> bool:
    """Tell whether float32 loses what an encoding needs of inputs: much of their spread, or what tells names apart."""
    return moved(array) > MOVED or any(map(_merged, _columns(array) if array.dtype == np.float64 else ()))


def _merged(column: np.ndarray) -> bool:
    """Tell whether float32 makes different whole numbers one."""
    if not column.size or not EXACT_FLOAT32 <= np.abs(column).max() < np.inf or (column != np.rint(column)).any():
        return False
    with np.errstate(over="ignore"):
        return np.unique(column).size > np.unique(column.astype(np.float32)).size


def _columns(array: np.ndarray) -> Iterator[np.ndarray]:
    """Return each column as float64[n], without what is missing, which loses nothing."""
    columns = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array[:, None]
    for number in range(columns.shape[1]):
        column = columns[:, number].astype(np.float64)
        yield column[~np.isnan(column)]


def check_not_lost(array: np.ndarray, narrow: np.ndarray, where: str) -> None:
    """Refuse 64-bit numbers all of which are 0 in 32 bits, such as weights of 1e-50."""
    if array.dtype == np.float64 and array.any() and not narrow.any():
        raise ConfigError("dataset", f"{where}: all values are too small for 32-bit floats; multiply them")


def check_two_floats(inputs: np.ndarray, where: str) -> None:
    """Refuse inputs of which even two 32-bit floats lose the digits, as microseconds since 1970 within a minute.

    Of numbers that are neither whole nor tiny the last digits of 64 bits are rounding.
    """
    for column in _columns(inputs):
        size = float(np.abs(column).max(initial=0))
        if 0 < size < _TINY and np.ptp(column) > 0:
            raise ConfigError(
                "dataset",
                f"{where}: some values are too small for 32-bit floats, the largest is {size:.6g}; multiply them",
            )
        whole = size >= EXACT_FLOAT32 and bool((column == np.rint(column)).all())
        if whole and (moved := moved_by_float32(column, floats=2)) > MOVED:
            raise ConfigError(
                "dataset",
                f"{where}: its values ({column.min():.17g} … {column.max():.17g}) are so far from 0 that two 32-bit "
                f"floats move them by up to {moved:.2g} of their standard deviation; subtract a constant",
            )


def check_digits(given: Sequence[object], column: np.ndarray, where: str, path: str, categorical: str) -> None:
    """Refuse a column of whole numbers that 64-bit floats cannot tell apart, as names of 17 digits are.

    Args:
        given: each value, a number or its text; column: float64[n], what was made of them, NaN where one is missing.
        categorical: what to type for a column of names.
    """
    rows = np.flatnonzero(np.abs(column) >= _EXACT_FLOAT64)
    if not rows.size:
        return
    lost = [abs(decimal.Decimal(str(given[row])) - decimal.Decimal(float(column[row]))) for row in rows.tolist()]
    spread, largest = float(np.nanstd(column)), float(max(lost))
    if largest > MOVED_TARGETS * spread:
        found = given[rows[lost.index(max(lost))]]
        raise ConfigError(
            path,
            f"{where}: numbers such as {found} have more digits than 64-bit floats hold, which would move them by "
            f"{largest:.6g}, so that different ones become the same; if they are names, say so: {categorical}",
        )


def check_precision(targets: np.ndarray | None, where: str) -> None:
    """Refuse numbers to predict that 32-bit floats cannot tell apart."""
    if targets is None or targets.dtype.kind not in "iuf" or targets.dtype.itemsize < 4 or not targets.size:
        return
    moved = moved_by_float32(targets)
    if moved > MOVED_TARGETS:
        low, high = targets.min(), targets.max()
        if max(abs(low), abs(high)) < _TINY:
            raise ConfigError(
                "dataset", f"{where}: its values ({low} … {high}) are too small for 32-bit floats; multiply them"
            )
        raise ConfigError(
            "dataset",
            f"{where}: its values ({low} … {high}) are so far from 0 that 32-bit floats move them by up to "
            f"{moved:.2g} of their standard deviation; subtract a constant such as {low} from all of them",
        )


def check_targets(targets: np.ndarray | None, name: str, num_classes: int | None) -> None:
    """Refuse integer targets that are no class."""
    if targets is None or num_classes is None or targets.dtype.kind not in "iu" or not targets.size:
        return
    if targets.min() < 0 or targets.max() >= num_classes:
        where = np.argwhere((targets < 0) | (targets >= num_classes))
        row, value = int(where[0][0]), int(targets[tuple(where[0])])
        raise ConfigError(
            "dataset",
            f"split {name!r}, row {row}: its target is {value}, allowed are 0 … {num_classes - 1} "
            f"(num_classes={num_classes}; {len(where)} targets are outside); count classes from 0 or raise num_classes",
        )

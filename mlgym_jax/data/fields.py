"""Columns of a table that are no inputs but fields of their own, such as weights of examples and groups of them. Pure.

Synopsis:

    >>> import numpy as np
    >>> visits = [np.array(["b", "a"], object), np.array(["c"], object)]
    >>> [codes.tolist() for codes in field_values("patient", visits)]
    [[1, 0], [2]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mlgym_jax.data.dataset import INPUTS_REST
from mlgym_jax.data.number_checks import EXACT_FLOAT32
from mlgym_jax.errors import ConfigError, described, listed, nearest

WHERE = "where"
_TAKEN = {"inputs": "the inputs", "targets": "the target", "mask": "padding", "class_counts": "counts of classes"}


def checked_fields(
    fields: Mapping[str, str] | None,
    names: Sequence[str],
    target: str,
    inputs: Sequence[str] = (),
    path: str = "dataset",
) -> dict[str, str]:
    """Return which field is which column.

    Args:
        fields: field -> column; names: all columns; inputs: those that were asked for by name.

    Raises:
        ConfigError: at `fields` of `path`: a name is taken, or a column is not there, the target, or an input.
    """
    where, found = (f"{path}.fields" if path == "dataset" else path), dict(fields or {})
    for field, column in found.items():
        if not isinstance(field, str) or not field.isidentifier() or field.startswith(INPUTS_REST):
            raise ConfigError(where, f"found the field {described(field)}; names are words, such as patient='column'")
        if field in _TAKEN:
            raise ConfigError(where, f"the name {field!r} is taken, by {_TAKEN[field]}; give the field another one")
        if column not in names:
            raise ConfigError(
                where,
                f"{field!r}: there is no column {column!r}{nearest(column, names)} Columns: {listed(names, 40)}",
            )
        if column == target:
            raise ConfigError(where, f"{field!r}: {column!r} is the target, which is the field 'targets'")
        if other := next((other for other in found if other != field and found[other] == column), None):
            raise ConfigError(where, f"{field!r} and {other!r} are both the column {column!r}; one field is enough")
        if column in inputs:
            raise ConfigError(
                where, f"{field!r}: {column!r} is named as an input, too; what a field holds is none, so leave one out"
            )
    return found


def absent(column: np.ndarray) -> np.ndarray:
    """Return bool[rows], where a column misses a value: None among words, NaT among dates, NaN among numbers."""
    if column.dtype == object:
        return np.array([value is None for value in column], bool)
    return np.isnat(column) if column.dtype.kind == "M" else np.isnan(column.astype(np.float64))


def field_values(
    field: str, parts: Sequence[np.ndarray], *, coded: bool = False, path: str = "dataset"
) -> list[np.ndarray]:
    """Return a column of each split as a field: float32[n], or int32[n] of its distinct values' numbers.

    Words, dates, and whole numbers of which float32 would make one are numbered in sorted order over all splits, and so
    are all numbers if they are `coded`. What weighs examples stays a number.

    Args:
        parts: numbers, dates, or words in an array of objects, none missing.

    Raises:
        ConfigError: at `path`: words in one split and numbers in another, or weights that are none.
    """
    where = f"{path}.fields" if path == "dataset" else path
    kinds = {"words" if part.dtype == object else "dates" if part.dtype.kind == "M" else "numbers" for part in parts}
    if field == WHERE and kinds != {"numbers"}:
        raise no_weights(where, " and ".join(sorted(kinds)))
    if len(kinds) > 1:
        raise ConfigError(
            where, f"{field!r} holds {' and '.join(sorted(kinds))} in different splits; correct one of them"
        )
    if field == WHERE or (kinds == {"numbers"} and not coded and not any(map(beyond_float32, parts))):
        return [part.astype(np.float32) for part in parts]
    number = {value: code for code, value in enumerate(sorted({value for part in parts for value in part.tolist()}))}
    return [np.array([number[value] for value in part.tolist()], np.int32) for part in parts]


def no_weights(where: str, found: str) -> ConfigError:
    """Return what is said of a column of weights that holds something else."""
    return ConfigError(where, f"{WHERE!r} weighs examples, by numbers of at least 0; its column holds {found}")


def beyond_float32(part: np.ndarray) -> bool:
    """Tell whether numbers are whole, and some of them too large for float32 to tell them from their neighbours."""
    if not part.size or part.dtype.kind == "b":
        return False
    whole = part.dtype.kind in "iu" or bool((part == np.trunc(part)).all())
    return whole and (part.max() > EXACT_FLOAT32 or part.min() < -EXACT_FLOAT32)

"""Datasets of what a Python session holds: arrays, lists and frames, in one line.

Synopsis:

    >>> import numpy as np
    >>> dataset = dataset_of((np.zeros((4, 2)), ["cat", "dog", "dog", "cat"]))
    >>> dataset.num_classes, dataset.class_names, dataset.splits["train"]["targets"].tolist()
    (2, ('cat', 'dog'), [0, 1, 1, 0])
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlgym_jax.core.inputs import flat, nested
from mlgym_jax.data.columns import classes_of, is_frame, of_arrow, table
from mlgym_jax.data.dataset import Dataset, split_arrays, unmasked
from mlgym_jax.data.table_forms import is_missing
from mlgym_jax.errors import ConfigError, MlgymError, described, listed, nearest

_LOG = logging.getLogger(__name__)
FORMS = "data=(x, y), data=(frame, 'column to predict') or data={'train': (x, y), 'test': (x, y)}"


def dataset_of(data: Any) -> Dataset:
    """Return what a user gives as `data=` as a dataset of whole arrays.

    Args:
        data: `(x, y)`: inputs [n, …] (an array of NumPy, JAX or whatever becomes one, nested lists, or a dict or tuple
            of arrays) and targets [n, …]; `(frame, "column")`, a frame of pandas or Polars and its column to predict,
            or `(frame, y)`; `x` or `(x, None)` for a model without targets; a dict of fields with `inputs`, where
            those beside a frame may name its columns, which are no inputs then; a dict of splits, of which `train` is
            one, each of these forms; or an `mg.Dataset`.

    Targets that are strings, booleans or whole numbers are classes, numbered in sorted order, so that numbers
    0 … k - 1 stay; floats are numbers to predict. Whole numbers, several an example, such as those of tokens or pixels,
    are classes as they stand. Columns of words in a frame become the codes of their sorted words, in all splits alike.

    Raises:
        MlgymError: none of these forms, values that are no numbers, splits that do not agree.
    """
    try:
        return _dataset_of(data)
    except ConfigError as error:  # of no field of the config
        raise MlgymError(f"data: {error.message}") from None


def _dataset_of(data: Any) -> Dataset:
    if isinstance(data, Dataset):
        if not isinstance(data.splits, Mapping):
            raise ConfigError("data", f"its splits are {described(data.splits)}; write {{'train': …}}")
        whole = {name: nested(split_arrays(split, name)) for name, split in data.splits.items()}
        return dataclasses.replace(data, splits=whole)
    is_split = isinstance(data, Mapping) and "inputs" not in data
    if is_split and "train" not in data:
        raise ConfigError(
            "data",
            f"it has no split 'train'{nearest('train', data)} Found: {listed(data)}; write {FORMS}; of inputs that are "
            "a dict, and have no targets, data=(x, None)",
        )
    parts = {str(name): _fields(part, str(name)) for name, part in (data if is_split else {"train": data}).items()}
    frames = {name: is_frame(fields["inputs"]) for name, fields in parts.items()}
    if any(frames.values()):
        if not all(frames.values()):
            others = listed(name for name, own in frames.items() if not own)
            raise ConfigError("data", f"some splits are frames, and others ({others}) are not; give all as frames")
        return _of_frames(parts)
    splits = {name: _arrays(fields, name) for name, fields in parts.items()}
    if not all("targets" in split for split in splits.values()):
        return Dataset({name: nested(split) for name, split in splits.items()})
    targets = [split["targets"] for split in splits.values()]
    if all(array.shape[1:] == (1,) and array.dtype.kind in "iubUS" for array in targets):
        targets = [array[:, 0] for array in targets]  # a column of classes, such as frame[["species"]]
    targets, num_classes, names, dtype = classes_of(targets, [*splits], "data")
    new = {name: nested({**split, "targets": own}) for (name, split), own in zip(splits.items(), targets, strict=True)}
    return Dataset(new, num_classes, class_names=names, class_dtype=dtype)


def _fields(part: Any, split: str) -> dict[str, Any]:
    """Return one split's fields, its inputs as they were given."""
    part = of_arrow(part)
    if isinstance(part, Mapping):
        if "inputs" not in part:
            raise ConfigError(
                "data", f"split {split!r} has no field 'inputs'{nearest('inputs', part)} Found: {listed(part)}"
            )
        return {**part, "inputs": of_arrow(part["inputs"])}
    if is_frame(part):
        columns = [*map(str, part.columns)]
        raise ConfigError(
            "data",
            f"split {split!r} is a frame; say which column is to be predicted: data=(frame, {columns[-1]!r}). Columns: "
            f"{listed(columns, 40)}",
        )
    if isinstance(part, tuple) and len(part) == 2:
        part = (of_arrow(part[0]), part[1])
        if isinstance(part[1], str) and not is_frame(part[0]):
            raise ConfigError("data", f"{part[1]!r} names a column, and the inputs are no frame; write data=(x, y)")
        _tell_of_order(part[0], part[1], split)
        return {"inputs": part[0]} if part[1] is None else {"inputs": part[0], "targets": part[1]}
    if hasattr(part, "__array__"):
        return {"inputs": part}
    raise ConfigError("data", f"split {split!r}: found {described(part, 60)}; write {FORMS}")


def _tell_of_order(inputs: Any, targets: Any, split: str) -> None:
    """Say that a series names the rows of a frame in another order, as rows are taken by their places."""
    first: Any = getattr(inputs, "index", None)
    second: Any = getattr(targets, "index", None)
    if not (hasattr(first, "sort_values") and hasattr(second, "sort_values")) or first.equals(second):
        return
    with contextlib.suppress(TypeError):  # labels of several types have no order
        if first.sort_values().equals(second.sort_values()):
            _LOG.warning(
                "data: split %r: the index of y has the labels of x in another order, and rows are taken by their "
                "places, as scikit-learn does. If a label names an example, write (x, y.loc[x.index])",
                split,
            )


def _arrays(fields: Mapping[str, Any], split: str) -> dict[str, np.ndarray]:
    arrays = {field: _array(value, split, field) for field, value in flat(fields).items()}
    return split_arrays(arrays, split)


def _array(given: Any, split: str, field: str) -> np.ndarray:
    """Return an array of numbers or, of targets, of strings, in this machine's byte order."""
    where = f"split {split!r}, {field}"
    if named := getattr(given, "_fields", None):
        there = ", ".join(f"{name!r}: x.{name}" for name in named if getattr(given, name) is not None)
        raise ConfigError(
            "data", f"{where}: found a {type(given).__name__}; give what it holds by names, as a dict {{{there}}}"
        )
    try:
        array = np.asarray(unmasked(given))
    except Exception as error:  # lists of different lengths, arrays of another device
        raise ConfigError("data", f"{where}: they are no array: {str(error).splitlines()[0]}") from error
    if array.dtype == object and array.size:
        values = array.reshape(-1).tolist()
        if field == "targets" and (all(isinstance(one, bool) for one in values) or all(map(_is_number, values))):
            return np.array(values).reshape(array.shape)
        absent = [place for place, one in enumerate(values) if is_missing(one)]
        if field == "targets" and array.ndim and absent:
            row = absent[0] // (len(values) // len(array))
            raise ConfigError("data", f"{where}, row {row}: the value is missing; fill it in, or leave such rows out")
        kinds = sorted({type(value).__name__ for value in values[:1000]})
        if kinds != ["str"] or field != "targets":
            if hasattr(given, "toarray"):
                raise ConfigError(
                    "data", f"{where}: they are sparse ({kinds[0]}); write x.toarray(), if that fits in memory"
                )
            raise ConfigError(
                "data",
                f"{where}: they are an array of objects ({listed(kinds)}), numbers are expected; write "
                "np.array(…, dtype=float), or give a table of numbers and words as a frame, data=(frame, 'column')",
            )
        return array.astype(str)
    if array.dtype.kind in "USmM" and field != "targets":
        raise ConfigError(
            "data",
            f"{where}: numbers are expected, found {array.dtype}; words become codes where they are columns of a frame"
            ", data=(frame, 'column')",
        )
    if array.dtype.names is not None:
        raise ConfigError(
            "data",
            f"{where}: it is a structured array of the columns {listed(array.dtype.names)}; give it as a frame, "
            "data=(pandas.DataFrame(x), 'column'), or as a dict of arrays",
        )
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its like: exact in float32
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _of_frames(parts: Mapping[str, Mapping[str, Any]]) -> Dataset:
    columns: dict[str, dict[str, Any]] = {}
    several: dict[str, np.ndarray] = {}
    target, beside = "", {}
    for split, fields in parts.items():
        frame: Any = fields["inputs"]
        wanted: Any = fields.get("targets")
        names = [*map(str, frame.columns)]
        own = {name: frame[column] for name, column in zip(names, frame.columns, strict=True)}
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError("data", f"split {split!r}: two columns are named {twice[0]!r}; rename one")
        if is_frame(wanted) and len(one := [*wanted.columns]) == 1:
            wanted = wanted[one[0]]
        if (together := _several(wanted, own, split)) is not None:
            wanted, several[split] = np.zeros(len(frame)), together
        if isinstance(wanted, str | int):
            wanted = str(wanted)
            if wanted not in names:
                raise ConfigError(
                    "data", f"there is no column {wanted!r}{nearest(wanted, names)} Columns: {listed(names, 40)}"
                )
            name = wanted
        elif wanted is None:
            raise ConfigError("data", f"split {split!r}: name the column to predict: data=(frame, {names[-1]!r})")
        else:
            name = str(getattr(wanted, "name", None) or "target")
            if name in own:
                raise ConfigError("data", f"the targets are named {name!r}, as a column of the inputs is; rename one")
            own[name] = wanted
        others = _beside(fields, names, own, split)
        if columns and others != beside:
            raise ConfigError(
                "data",
                f"split {split!r} has the fields {listed(others)}, others have {listed(beside)}; give all the same",
            )
        beside = others
        if target not in ("", name):
            raise ConfigError("data", f"split {split!r} predicts {name!r}, and others {target!r}; name one column")
        columns[split], target = own, name
    found = table(columns, target=target, fields=beside, path="data")
    if not several:
        return found
    if len(several) < len(columns):
        raise ConfigError("data", f"some splits have several targets a row ({listed(several)}), and others one")
    targets, num_classes, names, dtype = classes_of([*several.values()], [*columns], "data")
    splits = {split: {**found.splits[split], "targets": own} for split, own in zip(columns, targets, strict=True)}
    return dataclasses.replace(found, splits=splits, num_classes=num_classes, class_names=names, class_dtype=dtype)


def _several(wanted: Any, own: dict[str, Any], split: str) -> np.ndarray | None:
    """Return several targets a row, [n, targets], or None of one; columns that they name are taken out of `own`."""
    if isinstance(wanted, list | tuple) and all(isinstance(name, str | int) and str(name) in own for name in wanted):
        if not 1 < len({*wanted}) == len(wanted):
            return None
        columns = {str(name): own.pop(str(name)) for name in wanted}
    elif is_frame(wanted):
        frame: Any = wanted
        columns = {str(column): frame[column] for column in frame.columns}
    else:
        return _array(wanted, split, "targets") if np.ndim(wanted) > 1 and np.shape(wanted)[1:2] != (1,) else None
    arrays = {name: _array(column, split, "targets") for name, column in columns.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ConfigError(
                "data",
                f"split {split!r}, column {name!r}: several targets are numbers or truth values, found {array.dtype}",
            )
    return np.stack([*arrays.values()], axis=1)


def _beside(fields: Mapping[str, Any], names: list[str], own: dict[str, Any], split: str) -> dict[str, str]:
    """Return which further field is which column of a frame, and put those that are given themselves into `own`."""
    found: dict[str, str] = {}
    for field, wanted in fields.items():
        if field in ("inputs", "targets"):
            continue
        if not isinstance(wanted, str):
            if not hasattr(wanted, "__len__"):
                raise ConfigError(
                    "data", f"split {split!r}, {field}: a column or its name is expected, found {described(wanted)}"
                )
            if field in own:
                raise ConfigError(
                    "data",
                    f"split {split!r}: the field {field!r} is named as a column of the inputs is; if it is that one, "
                    f"write {field!r}: {field!r}, else rename one",
                )
            own[field], wanted = wanted, field
        found[field] = wanted
    return found

"""The dataset `huggingface`: what the package datasets saved to disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.arrow_tables import installed
from mlgym_jax.data.columns import classes_of
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.fields import absent, checked_fields, field_values
from mlgym_jax.data.images import Fit, Images
from mlgym_jax.data.npz_files import Task, file_at
from mlgym_jax.data.row_groups import arrow_columns
from mlgym_jax.data.sources import Unread
from mlgym_jax.data.table_forms import Forms, Missing, column_values
from mlgym_jax.errors import ConfigError, in_words, listed, nearest

_PIECE = 1 << 16  # rows of a table that are looked at at once


@register("dataset", "huggingface")
def huggingface(
    *,
    path: str,
    inputs: str | tuple[str, ...] = (),
    target: str | None = None,
    task: Task | None = None,
    categorical: tuple[str, ...] = (),
    missing: Missing = "error",
    fields: Mapping[str, str] | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    fit: Fit = "crop",
    scale: bool = True,
) -> Dataset:
    """Read what `datasets.Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote; nothing is downloaded.

    A column of images gives `inputs` [n, height, width, channels], decoded as those of `image_folder`; a column of
    arrays of one shape gives them as they are; columns of numbers, words and dates are a table by the rules of
    `parquet`. Class labels are classes with their names.

    Args:
        path: the folder that was saved. Its splits are train, val (or validation, valid, dev) and test, others
            by their names.
        inputs: the column or columns to predict from; by default the only one of images, else all but the target.
        target: the column to predict; by default the only one of class labels.
        task, categorical, missing, fields: as of `parquet`; a column of a field is no input by default.
        size, channels, fit, scale: of images, as of `image_folder`.

    Raises:
        ConfigError: no such folder, an unknown column, or several that are meant to be one; or the package datasets is
            missing.
    """
    library = installed("datasets", "huggingface", "huggingface")
    parts = _parts(library, path)
    kinds = parts["train"].features
    target = _target(library, kinds) if target is None else target
    wanted: tuple[str, ...] = (inputs,) if isinstance(inputs, str) else inputs
    images = [name for name in wanted or kinds if isinstance(kinds.get(name), library.Image)]
    beside = checked_fields(fields, [*kinds], target, wanted)
    others = tuple(name for name in kinds if name != target and name not in beside.values())
    wanted = wanted or (tuple(images) if len(images) == 1 else others)
    _check_columns(kinds, wanted, target)
    names = tuple(kinds[target].names) if isinstance(kinds[target], library.ClassLabel) else None
    if all(isinstance(kinds[name], library.Value | library.ClassLabel) for name in wanted):
        columns = tuple(dict.fromkeys((*wanted, target, *beside.values())))
        form: dict[str, Any] = {"categorical": categorical, "missing": missing, "fields": beside}
        return _table(parts, columns, target, task, names, **form)
    if len(wanted) != 1:
        raise ConfigError(
            "dataset.inputs", f"{listed(wanted)} are no columns of one table; name one of them: inputs={wanted[0]!r}"
        )
    targets = [_columns(part, (target,), slice(None))[target] for part in parts.values()]
    coded, num_classes, names, dtype = classes_of(targets, [*parts], "dataset", task, names)
    splits: dict[str, Any] = {}
    of_fields = _fields(parts, beside, categorical)
    for (split, part), targets in zip(parts.items(), coded, strict=True):
        own = {"targets": targets, **of_fields[split]}
        if images:
            encoded = _Encoded(part.cast_column(wanted[0], library.Image(decode=False)), wanted[0])
            splits[split] = Images(encoded, own, size, channels, fit, scale, like=splits.get("train"))
        else:
            splits[split] = Unread(_Arrays(part, wanted[0], split, own))
    return Dataset(splits, num_classes, class_names=names, class_dtype=dtype)


def _parts(library: Any, path: str) -> dict[str, Any]:
    folder = file_at(path)
    try:
        found = library.load_from_disk(os.fspath(folder))
    except Exception as error:
        raise ConfigError(
            "dataset.path", f"{path!r} is no folder that datasets has saved by save_to_disk: {in_words(error)}"
        ) from None
    parts = dict(found) if isinstance(found, dict) else {"train": found}
    if "train" not in parts:
        raise ConfigError("dataset.path", f"{path!r} has no split 'train'. Splits: {listed(parts)}")
    return {"train": parts.pop("train"), **parts}


def _target(library: Any, kinds: Mapping[str, Any]) -> str:
    labels = [name for name, kind in kinds.items() if isinstance(kind, library.ClassLabel)]
    if len(labels) != 1:
        raise ConfigError(
            "dataset.target",
            f"say which column to predict; of class labels there are {len(labels)}. Columns: {listed(kinds, 40)}",
        )
    return labels[0]


def _check_columns(kinds: Mapping[str, Any], wanted: tuple[str, ...], target: str) -> None:
    for parameter, names in (("inputs", wanted), ("target", (target,))):
        for name in names:
            if name not in kinds:
                raise ConfigError(
                    f"dataset.{parameter}",
                    f"there is no column {name!r}{nearest(name, kinds)} Columns: {listed(kinds, 40)}",
                )
    if target in wanted:
        raise ConfigError("dataset.inputs", f"{target!r} is the target; it would predict itself")


def _table(
    parts: Mapping[str, Any],
    columns: tuple[str, ...],
    target: str,
    task: Task | None,
    class_names: tuple[str, ...] | None,
    **form: Any,
) -> Dataset:
    """Make a table of columns, of which a piece at a time is looked at."""
    forms = Forms(columns, target, **form)
    for split, part in parts.items():
        if not len(part):
            raise ConfigError("dataset", f"split {split!r} is empty; leave it out or give it rows")
        for start in range(0, len(part), _PIECE):
            forms.learn(split, _columns(part, columns, slice(start, start + _PIECE)))
    forms.finish()
    targets = [*forms.targets.values()]
    coded, num_classes, class_names, dtype = classes_of(targets, [*parts], "dataset", task, class_names)
    sources = [_Rows(part, split, forms, own) for (split, part), own in zip(parts.items(), coded, strict=True)]
    splits = {split: Unread(source) for split, source in zip(parts, sources, strict=True)}
    return Dataset(splits, num_classes, forms.feature_names, class_names, forms.categories or None, class_dtype=dtype)


def _fields(
    parts: Mapping[str, Any], fields: Mapping[str, str], categorical: tuple[str, ...]
) -> dict[str, dict[str, np.ndarray]]:
    """Return split -> field -> values of what is no table.

    Raises:
        ConfigError: at `dataset.fields`: a value is missing, or of another kind than others.
    """
    found: dict[str, dict[str, np.ndarray]] = {split: {} for split in parts}
    for field, name in fields.items():
        of_splits = []
        for split, part in parts.items():
            where = f"split {split!r}, column {name!r}"
            of_splits.append(column_values(_columns(part, (name,), slice(None))[name], where, "dataset", 0))
            if (lost := absent(of_splits[-1])).any():
                raise ConfigError(
                    "dataset.fields",
                    f"{where}, row {int(lost.argmax())}: the value is missing ({lost.sum()} are); fill them in",
                )
        for split, values in zip(parts, field_values(field, of_splits, coded=name in categorical), strict=True):
            found[split][field] = values
    return found


def _columns(part: Any, names: tuple[str, ...], rows: Any) -> dict[str, np.ndarray]:
    # Without an order of its own it is its table, of which Arrow takes rows 60 times as fast as datasets does.
    if isinstance(rows, np.ndarray) and getattr(part, "_indices", part) is None:
        table = part.data.table.select([*names]).take(rows)
    else:
        table = part.select_columns([*names]).with_format("arrow")[rows]
    found = arrow_columns(table)
    return {name: found[name] for name in names}


class _Rows:
    """The rows of a saved table as a source (`data.sources`): the file is mapped into memory."""

    def __init__(self, part: Any, split: str, forms: Forms, targets: np.ndarray):
        self._part, self._columns, self._split, self._forms = part, tuple(forms.chosen), split, forms
        kept = forms.kept[split]
        self._rows = None if kept.all() else np.flatnonzero(kept)
        self.known = {"targets": targets, **forms.fields.get(split, {})}
        self.fields = ("inputs", *self.known)

    def __len__(self) -> int:
        return len(self.known["targets"])

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        at = rows if self._rows is None else self._rows[rows]
        inputs = np.empty((len(rows), len(self._forms.feature_names)))
        for start in range(0, len(at), _PIECE):
            columns = _columns(self._part, self._columns, at[start : start + _PIECE])
            inputs[start : start + _PIECE] = self._forms.inputs(self._forms.read(columns, self._split))
        return {"inputs": inputs, **{field: values[rows] for field, values in self.known.items()}}


class _Arrays:
    """A saved column of arrays of one shape as a source (`data.sources`)."""

    def __init__(self, part: Any, name: str, split: str, known: Mapping[str, np.ndarray]):
        self._part, self._name, self._split = part.select_columns([name]).with_format("numpy"), name, split
        self.known, self.fields = dict(known), ("inputs", *known)
        _check_shapes(part, name, split)
        self.read(np.array([0]))

    def __len__(self) -> int:
        return len(self.known["targets"])

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        try:
            array = np.asarray(self._part[rows][self._name])
        except ValueError as error:
            raise ConfigError(
                "dataset.inputs", f"split {self._split!r}, column {self._name!r}: {in_words(error)}"
            ) from None
        if array.dtype.kind not in "biuf":
            raise ConfigError(
                "dataset.inputs",
                f"split {self._split!r}, column {self._name!r}: arrays of numbers and of one shape are expected, found "
                f"{array.dtype}; pad or encode them, and save them again",
            )
        return {"inputs": array, **{field: values[rows] for field, values in self.known.items()}}


def _check_shapes(part: Any, name: str, split: str) -> None:
    """Refuse lists of several lengths; their numbers are not read for that."""
    import pyarrow
    import pyarrow.compute

    compute: Any = pyarrow.compute  # whose functions are made when it is imported
    for start in range(0, len(part), _PIECE):
        column = part.select_columns([name]).with_format("arrow")[start : start + _PIECE].column(name)
        while pyarrow.types.is_list(column.type) or pyarrow.types.is_large_list(column.type):
            lengths = compute.min_max(compute.list_value_length(column)).as_py()
            if lengths["min"] != lengths["max"]:
                raise ConfigError(
                    "dataset.inputs",
                    f"split {split!r}, column {name!r}: its lists have {lengths['min']} … {lengths['max']} elements; "
                    "pad or crop them to one length, and save them again",
                )
            column = compute.list_flatten(column)


class _Encoded:
    """A column of images, each as its bytes or its path."""

    def __init__(self, part: Any, name: str):
        self._part, self._name = part, name

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, row: int) -> Any:
        found = self._part[row][self._name] or {}
        return found["bytes"] if found.get("bytes") is not None else found.get("path") or b""

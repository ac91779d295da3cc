"""Datasets made of datasets: filter_labels, map_labels, one_hot_labels, combine, view, select_columns, shuffle.

They nest, the innermost read first:

    component("map_labels", mapping=((5, 0), (6, 1)), dataset=component("filter_labels", keep=(5, 6),
              dataset=component("digits")))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.core.inputs import is_input, nested
from mlgym_jax.data.dataset import Dataset, array_type, split_arrays
from mlgym_jax.data.split_names import common_names
from mlgym_jax.data.validation import random_numbers
from mlgym_jax.errors import ConfigError, listed, nearest

Arrays = dict[str, np.ndarray]
Label = int | str
_MAX_CLASSES = 1 << 24  # more are a mistake in the numbers: each is an output of the model


def _changed(dataset: Dataset, change: Callable[[Arrays, str], Arrays], **fields: Any) -> Dataset:
    """Return the dataset with `change(arrays, name)` in place of every split."""
    splits = {name: nested(change(split_arrays(split, name), name)) for name, split in dataset.splits.items()}
    return dataclasses.replace(dataset, splits=splits, **fields)


def _labels(arrays: Arrays, split: str, parameter: str) -> np.ndarray:
    targets = arrays.get("targets")
    if targets is None:
        raise ConfigError(
            f"dataset.{parameter}", f"split {split!r} has no field 'targets'; its fields: {listed(arrays)}"
        )
    if targets.dtype.kind not in "iub":
        raise ConfigError(
            f"dataset.{parameter}",
            f"labels are integers, the targets of split {split!r} are {array_type(targets)}",
        )
    return targets


def _number_of(label: Label, dataset: Dataset, parameter: str) -> int:
    """Return the number of a label that is given by it or by the class's name."""
    names = list(dataset.class_names or ())
    if isinstance(label, str):
        if label not in names:
            raise ConfigError(
                f"dataset.{parameter}", f"there is no class {label!r}{nearest(label, names)} Classes: {listed(names)}"
            )
        return names.index(label)
    if dataset.num_classes is not None and not 0 <= label < dataset.num_classes:
        raise ConfigError(
            f"dataset.{parameter}", f"there is no class {label}; classes are 0 … {dataset.num_classes - 1}"
        )
    return label


@register("dataset", "filter_labels")
def filter_labels(*, dataset: Any, keep: tuple[Label, ...]) -> Dataset:
    """Keep the examples of some classes, in every split; their numbers stay (`map_labels` gives new ones).

    Args:
        keep: class numbers, or names where the classes have some.

    Raises:
        ConfigError: an unknown class, no integer targets, or nothing left of a split.
    """
    numbers = [_number_of(label, dataset, "keep") for label in keep]

    def kept(arrays: Arrays, split: str) -> Arrays:
        labels = _labels(arrays, split, "keep")
        if labels.ndim != 1:
            raise ConfigError("dataset.keep", f"an example of split {split!r} has {labels[0].size} labels, not one")
        chosen = np.isin(labels, numbers)
        if not chosen.any():
            raise ConfigError(
                "dataset.keep",
                f"nothing is left of split {split!r}, whose labels are {listed(np.unique(labels))}; keep one of them",
            )
        return {field: array[chosen] for field, array in arrays.items()}

    return _changed(dataset, kept)


@register("dataset", "map_labels")
def map_labels(*, dataset: Any, mapping: tuple[tuple[Label, int], ...]) -> Dataset:
    """Give the classes new numbers, several of them the same one if you like: `mapping=((5, 0), (6, 1), (7, 1))`.

    There are as many classes then as the largest new number says.

    Args:
        mapping: pairs of a class (number or name) and its new number; every class that occurs needs one.

    Raises:
        ConfigError: a class without a new number or with two, a negative one, no integer targets.
    """
    pairs = [(_number_of(label, dataset, f"mapping.{i}.0"), new) for i, (label, new) in enumerate(mapping)]
    if not pairs:
        raise ConfigError("dataset.mapping", "it is empty; write pairs: mapping=((5, 0), (6, 1))")
    for position, (old, new) in enumerate(pairs):
        if not 0 <= new < _MAX_CLASSES:
            raise ConfigError(
                f"dataset.mapping.{position}.1", f"found {new}; classes are counted from 0, up to {_MAX_CLASSES - 1}"
            )
        if old in [other for other, _ in pairs[:position]]:
            raise ConfigError(f"dataset.mapping.{position}", f"class {old} has a new number already")
    old, new = np.array(sorted(pairs)).T
    num_classes = int(new.max()) + 1

    def mapped(arrays: Arrays, split: str) -> Arrays:
        labels = _labels(arrays, split, "mapping")
        found = np.minimum(np.searchsorted(old, labels), len(old) - 1)
        missing = old[found] != labels
        if missing.any():
            raise ConfigError(
                "dataset.mapping",
                f"class {labels[missing].flat[0]} of split {split!r} has no new number; add it to the mapping, or "
                "leave its examples out with component('filter_labels', keep=…)",
            )
        return {**arrays, "targets": new[found].astype(np.int32)}

    names = None
    if dataset.class_names:
        parts: list[list[str]] = [[] for _ in range(num_classes)]
        for before, after in sorted(pairs):
            parts[after].append(str(dataset.class_names[before]))
        names = tuple("+".join(part) or str(number) for number, part in enumerate(parts))
    return _changed(dataset, mapped, num_classes=num_classes, class_names=names)


@register("dataset", "one_hot_labels")
def one_hot_labels(*, dataset: Any) -> Dataset:
    """Turn integer targets `[n, …]` into float32 `[n, …, num_classes]`, 1 at the class and 0 elsewhere.

    Raises:
        ConfigError: no number of classes, no integer targets, or a target outside of the classes.
    """
    num_classes = dataset.num_classes
    if num_classes is None:
        raise ConfigError("dataset.dataset", "its number of classes is not known, so its labels cannot be one-hot")

    def spread(arrays: Arrays, split: str) -> Arrays:
        labels = _labels(arrays, split, "dataset")
        outside = np.argwhere((labels < 0) | (labels >= num_classes))
        if len(outside):
            raise ConfigError(
                "dataset.dataset",
                f"split {split!r}, row {outside[0][0]}: its target is {labels[tuple(outside[0])]}, allowed are "
                f"0 … {num_classes - 1}",
            )
        return {**arrays, "targets": (labels[..., None] == np.arange(num_classes)).astype(np.float32)}

    return _changed(dataset, spread)


@register("dataset", "combine")
def combine(*, datasets: tuple[Any, ...]) -> Dataset:
    """Put datasets behind each other, split by split; a split that only some have is theirs.

    Raises:
        ConfigError: fewer than one dataset, or datasets that differ in fields, shapes, types, classes or columns.
    """
    if not datasets:
        raise ConfigError("dataset.datasets", "it is empty; write datasets=(component(…), component(…))")
    first = datasets[0]
    parts: dict[str, list[Arrays]] = {}
    names = common_names([dataset.splits for dataset in datasets])
    for number, dataset in enumerate(datasets):
        for what in ("num_classes", "feature_names", "class_names", "categories", "mask_token"):
            found, wanted = getattr(dataset, what), getattr(first, what)
            if _plain(found) != _plain(wanted):
                raise ConfigError(
                    f"dataset.datasets.{number}", f"its {what} are {found}, those of the first dataset {wanted}"
                )
        for split, content in dataset.splits.items():
            arrays = split_arrays(content, split)
            reference = next((own[0] for own in parts.values()), arrays)
            _check_combinable(arrays, reference, number, split)
            parts.setdefault(names[number][split], []).append(arrays)
    splits = {
        split: nested({key: np.concatenate([a[key] for a in own]) for key in own[0]}) for split, own in parts.items()
    }
    return dataclasses.replace(first, splits=splits)


def _plain(value: Any) -> Any:
    return {key: tuple(item) for key, item in value.items()} if isinstance(value, dict) else value and repr(value)


def _check_combinable(arrays: Arrays, wanted: Arrays, number: int, split: str) -> None:
    where = f"dataset.datasets.{number}"
    if arrays.keys() != wanted.keys():
        raise ConfigError(
            where, f"split {split!r} has the fields {listed(arrays)}, the first dataset has {listed(wanted)}"
        )
    for field, array in arrays.items():
        found, expected = array_type(array), array_type(wanted[field])
        if found != expected:
            raise ConfigError(
                where, f"split {split!r}, field {field!r} is {found}, that of the first dataset {expected}"
            )


@register("dataset", "view")
def view(
    *,
    dataset: Any,
    split: str = "train",
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    indices: tuple[int, ...] | None = None,
) -> Dataset:
    """Keep some rows of one split, as a slice or by their indices, in the order given; other splits stay whole.

    Args:
        start, stop, step: as in `rows[start:stop:step]`; negative ones count from the end.
        indices: rows one by one, instead of the slice.

    Raises:
        ConfigError: no such split, an index out of range, or nothing left.
    """
    if split not in dataset.splits:
        raise ConfigError(
            "dataset.split", f"there is no split {split!r}{nearest(split, dataset.splits)} "
            f"Splits: {listed(dataset.splits)}"
        )  # fmt: skip
    if step == 0:
        raise ConfigError("dataset.step", "found 0; a slice moves on, by 1 or by another number")
    arrays = split_arrays(dataset.splits[split], split)
    num_examples = len(next(iter(arrays.values())))
    if indices is None:
        rows = np.arange(num_examples)[start:stop:step]
    else:
        for position, row in enumerate(indices):
            if not -num_examples <= row < num_examples:
                raise ConfigError(
                    f"dataset.indices.{position}", f"found {row}; split {split!r} has the rows 0 … {num_examples - 1}"
                )
        rows = np.array(indices, np.int64)
    if not len(rows):
        raise ConfigError(
            "dataset.indices" if indices is not None else "dataset.start",
            f"nothing is left of split {split!r}, which has {num_examples} examples",
        )
    seen = nested({field: array[rows] for field, array in arrays.items()})
    return dataclasses.replace(dataset, splits={**dataset.splits, split: seen})


@register("dataset", "select_columns")
def select_columns(*, dataset: Any, columns: tuple[int | str, ...]) -> Dataset:
    """Keep some columns of `inputs` [n, columns], in the order given.

    Args:
        columns: names, or numbers from 0.

    Raises:
        ConfigError: no such column, or inputs that are no table.
    """
    width = _width(dataset)
    numbers = column_numbers(columns, dataset.feature_names, width, "dataset.columns")
    names = dataset.feature_names
    chosen = tuple(names[number] for number in numbers) if names is not None else None
    categories = {name: own for name, own in (dataset.categories or {}).items() if name in (chosen or ())}

    def selected(arrays: Arrays, split: str) -> Arrays:
        return {**arrays, "inputs": arrays["inputs"][:, numbers]}

    return _changed(dataset, selected, feature_names=chosen, categories=categories or None)


def _width(dataset: Dataset) -> int:
    arrays = split_arrays(dataset.splits["train"])
    inputs = arrays.get("inputs")
    if inputs is None or inputs.ndim != 2:
        found = f"several, {listed(filter(is_input, arrays))}" if inputs is None else array_type(inputs)
        raise ConfigError("dataset.columns", f"its inputs are no table of columns but {found}")
    return inputs.shape[1]


def column_numbers(columns: Sequence[int | str], names: Sequence[str] | None, width: int, path: str) -> list[int]:
    """Return the numbers of columns that are given by name or number.

    Raises:
        ConfigError: at `path`, with the nearest name, for one that is not there, twice, or none at all.
    """
    if not columns:
        raise ConfigError(path, "it is empty; name a column")
    known = list(names or ())
    numbers = []
    for position, column in enumerate(columns):
        if isinstance(column, str):
            if column not in known:
                raise ConfigError(
                    f"{path}.{position}",
                    f"there is no column {column!r}{nearest(column, known)} "
                    + (f"Columns: {listed(known, 40)}" if known else f"The columns have no names; use 0 … {width - 1}"),
                )
            column = known.index(column)
        elif not 0 <= column < width:
            raise ConfigError(f"{path}.{position}", f"there is no column {column}; columns are 0 … {width - 1}")
        if column in numbers:
            raise ConfigError(f"{path}.{position}", f"column {columns[position]!r} is named twice")
        numbers.append(column)
    return numbers


@register("dataset", "shuffle")
def shuffle(*, dataset: Any, seed: int = 0) -> Dataset:
    """Put the rows of every split into a random order, a pure function of the seed.

    The batches of training are drawn in a new order each epoch anyway; this is for what goes by the order of rows, such
    as a `view` of the first thousand.
    """
    if seed < 0:
        raise ConfigError("dataset.seed", f"found {seed}; at least 0 is expected")
    streams = {name: number for number, name in enumerate(dataset.splits)}

    def shuffled(arrays: Arrays, split: str) -> Arrays:
        num_examples = len(next(iter(arrays.values())))
        order = np.argsort(random_numbers(num_examples, seed, stream=2 + streams[split]), kind="stable")
        return {field: array[order] for field, array in arrays.items()}

    return _changed(dataset, shuffled)

"""What the compiled programs know of the folds: index arrays, class counts, and what encodings learnt of each fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.core.inputs import is_input, nested
from mlgym_jax.data.dataset import Dataset, Table
from mlgym_jax.data.folds import Folds
from mlgym_jax.data.one_pass import fit_in_one_pass
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.errors import ConfigError, MlgymError, in_words, listed


def fold_tables(
    dataset: Dataset,
    table: Table,
    folds: Folds,
    encoding: Any = None,
    name: str = "",
    between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Return arrays with a leading axis of folds.

    Nothing here sees a row outside of a fold's own training part.

    Args:
        name: tells the encoding from others; between: called every now and then while a table is read that is not in
            memory.

    Returns:
        `indices` and `mask` as in `Folds`; `class_counts` int32[num_folds, num_classes] where the targets are classes;
        `fitted`, what `encoding.fit` made of each fold's training part, where there is an encoding.

    Raises:
        ConfigError: the encoding does not fit the data.
    """
    found: dict[str, Any] = {"indices": dict(folds.indices), "mask": dict(folds.mask)}
    rows = [
        indices[mask] for indices, mask in zip(folds.indices["train"], folds.mask["train"], strict=True)
    ]  # of the training part of each fold
    targets = None if isinstance(table, StreamedTable) else table.arrays.get("targets")
    if dataset.num_classes and targets is not None and targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer):
        counts = [np.bincount(targets[part], minlength=dataset.num_classes) for part in rows]
        found["class_counts"] = np.stack(counts).astype(np.int32)
    if encoding is not None:
        try:
            fitted = (
                fit_in_one_pass(encoding, table, folds, name, between)
                if isinstance(table, StreamedTable)
                else [
                    encoding.fit(nested({field: array[part] for field, array in table.arrays.items()})) for part in rows
                ]
            )
        except MlgymError:
            raise
        except Exception as error:
            raise ConfigError("encoding", in_words(error)) from error
        found["fitted"] = stacked(fitted)
        if not isinstance(table, StreamedTable):
            check_filled(dataset, table, encoding, jax.tree.map(lambda leaf: leaf[0], found["fitted"]))
    return found


def check_filled(dataset: Dataset, table: Table, encoding: Any, fitted: Any) -> None:
    """Refuse missing values that the encoding leaves missing.

    Args:
        fitted: what it learnt of one fold.

    Raises:
        ConfigError: at `encoding`.
    """
    missing = np.zeros(table.num_examples, bool)
    for field, array in table.arrays.items():
        if is_input(field) and array.dtype.kind == "f":
            missing |= np.isnan(array).reshape(len(array), -1).any(axis=1)
    rows = np.flatnonzero(missing)
    if not rows.size:
        return
    batch = nested({field: jnp.asarray(array[rows]) for field, array in table.arrays.items()})
    left = np.zeros(len(rows), bool)
    for leaf in jax.tree.leaves(encoding.apply(fitted, batch)["inputs"]):
        left |= ~np.isfinite(np.asarray(leaf, np.float32)).reshape(len(rows), -1).all(axis=1)
    if not left.any():
        return
    row = int(rows[left.argmax()])
    split = next(name for name, (_, stop) in table.offsets.items() if row < stop)
    of_row = table.arrays["inputs"][row : row + 1] if "inputs" in table.arrays else np.zeros((1, 0))
    columns = np.flatnonzero(np.isnan(of_row)).tolist() if of_row.ndim == 2 else []
    names = dataset.feature_names
    said = f" of {listed([repr(names[n]) if names else f'column {n}' for n in columns])}" if len(columns) else ""
    raise ConfigError(
        "encoding",
        f"split {split!r}, row {row - table.offsets[split][0]}: values{said} are missing ({left.sum()} rows are such), "
        "and the encoding leaves them so; fill them in first: component('chain', encodings=(component('impute'), …))",
    )


def one_class_parts(dataset: Dataset, table: Table, folds: Folds) -> list[str]:
    """Describe the parts to evaluate on in which all examples are of one class.

    Raises:
        ConfigError: there is only one class to train on.
    """
    targets = _classes_of(dataset, table)
    if targets is None:
        return []
    first, last = table.offsets["train"]
    found = []
    for split in folds.indices:
        for fold, (indices, mask) in enumerate(zip(folds.indices[split], folds.mask[split], strict=True)):
            classes = np.unique(targets[indices[mask]])
            if len(classes) > 1:
                continue
            said = f"fold {fold}, split {split!r}: all of its {mask.sum()} examples are of class {classes[0]}"
            if split == "train":
                whole = len(np.unique(targets[first:last])) == 1
                fix = "give it examples of another class" if whole else "use stratified=True, or another split_seed"
                raise ConfigError("dataset" if whole else "validation", f"{said}; nothing can be learnt from it, {fix}")
            found.append(said)
    return found


def unseen_classes(dataset: Dataset, table: Table, folds: Folds) -> list[str]:
    """Describe the first fold, if one is there, that is evaluated on a class that its training part does not have."""
    targets = _classes_of(dataset, table)
    if targets is None:
        return []
    first, last = table.offsets["train"]
    found = []
    for fold, (indices, mask) in enumerate(zip(folds.indices["train"], folds.mask["train"], strict=True)):
        there = np.bincount(targets[indices[mask]].astype(np.int64), minlength=dataset.num_classes or 0) > 0
        for split in folds.indices:
            classes = targets[folds.indices[split][fold][folds.mask[split][fold]]].astype(np.int64)
            missing = classes[~there[classes]]
            if missing.size:
                found.append((fold, split, int(missing[0]), int((classes == missing[0]).sum())))
                break
    if not found:
        return []
    fold, split, number, count = found[0]
    fix = "cut parts that share it, as stratified=True does" if (targets[first:last] == number).any() else "add some"
    return [
        f"fold {fold}: its training part has no example of class {number}, of which {split!r} has {count} "
        f"({len(found)} such folds): nothing is learnt of it, and balanced weights of classes count it as 0; {fix}"
    ]


def _classes_of(dataset: Dataset, table: Table) -> np.ndarray | None:
    """Return the examples' class numbers, if each has one."""
    targets = None if isinstance(table, StreamedTable) else table.arrays.get("targets")
    if targets is None or targets.ndim != 1 or targets.dtype.kind not in "iub" or (dataset.num_classes or 0) < 2:
        return None
    return targets


def stacked(trees: Sequence[Mapping[str, Any]]) -> Any:
    """Stack the leaves of equal trees; those that differ in shape are padded at the ends, floats with NaN."""

    def stack(*leaves: np.ndarray) -> np.ndarray:
        arrays = [np.asarray(leaf) for leaf in leaves]
        shape = np.max([array.shape for array in arrays], axis=0)
        return np.stack([_padded(array, shape) for array in arrays])

    return jax.tree.map(stack, *trees)


def _padded(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    filler = np.nan if np.issubdtype(array.dtype, np.floating) else 0
    widths = [(0, int(wanted) - size) for wanted, size in zip(shape, array.shape, strict=True)]
    return np.pad(array, widths, constant_values=filler)

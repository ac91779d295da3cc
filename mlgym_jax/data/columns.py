"""Tables whose columns have types already, such as frames and Parquet files: numbers, words, truth values and dates.

Synopsis:

    >>> import numpy as np
    >>> train = {"age": np.array([40, 50]), "sex": np.array(["m", "f"]), "ill": np.array([0, 1])}
    >>> dataset = table({"train": train}, "ill")
    >>> dataset.feature_names, dataset.categories, dataset.splits["train"]["inputs"].tolist()
    (('age', 'sex'), {'sex': ('f', 'm')}, [[40.0, 1.0], [50.0, 0.0]])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlgym_jax.data.column_codes import warn_of_codes
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.table_forms import Forms, Missing
from mlgym_jax.errors import ConfigError, listed


def is_frame(value: Any) -> bool:
    """Tell whether a value is a frame, such as pandas's or Polars's."""
    return hasattr(value, "columns") and hasattr(value, "__getitem__") and hasattr(value, "shape")


def of_arrow(value: Any) -> Any:
    """Return a table of PyArrow's as a frame, and anything else as it is."""
    return value.to_pandas() if hasattr(value, "column_names") and hasattr(value, "to_pandas") else value


def table(
    splits: Mapping[str, Mapping[str, Any]],
    target: str,
    *,
    task: str | None = None,
    features: Sequence[str] = (),
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    missing: Missing = "keep",
    fields: Mapping[str, str] | None = None,
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
        fields: field -> column, of columns that are no inputs, as of `csv`.
        class_names: of targets that are numbers of these classes already.
        path: what an error is said of.

    Raises:
        ConfigError: columns that differ or are no numbers, words or dates, or values that are missing.
    """
    names = list(next(iter(splits.values())))
    how: dict[str, Any] = {"features": features, "ignore": ignore, "categorical": categorical, "missing": missing}
    forms = Forms(names, target, **how, fields=fields, path=path)
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
    read = {split: forms.learn(split, columns) for split, columns in splits.items()}
    forms.finish()
    coded, num_classes, class_names, dtype = classes_of([*forms.targets.values()], [*splits], path, task, class_names)
    new = {
        split: {"inputs": forms.inputs(values)[forms.kept[split]], "targets": own, **forms.fields.get(split, {})}
        for (split, values), own in zip(read.items(), coded, strict=True)
    }
    return Dataset(new, num_classes, forms.feature_names, class_names, forms.categories or None, class_dtype=dtype)


def classes_of(
    targets: Sequence[np.ndarray],
    splits: Sequence[str],
    path: str,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
) -> tuple[list[np.ndarray], int | None, tuple[str, ...] | None, str | None]:
    """Return the targets of each split as classes or numbers, the number of classes, their names and these's dtype.

    Strings, truth values and whole numbers are classes unless `task` says otherwise: one an example is numbered in
    sorted order over all splits, int32[n]; whole numbers 0 … k - 1 stay as they are, without names. Of several an
    example, whole numbers are classes as they stand, and so are those of classes that have names already; truth values
    [n, k] are k labels.

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
        return [array.astype(np.int32) for array in targets], len(class_names), tuple(class_names), None
    whole = all(array.dtype.kind in "iub" for array in targets)
    words = kinds == {"words"}
    if task == "regression" and words:
        raise ConfigError(path, "the targets are words, which are no numbers to predict; write task='classification'")
    if task == "regression" or not (whole or words or task == "classification"):
        return [array.astype(np.float64) if array.dtype.kind == "b" else array for array in targets], None, None, None
    if whole and any(array.ndim > 1 for array in targets):
        least = min(int(array.min(initial=0)) for array in targets)
        if least < 0:
            raise ConfigError(path, f"a target is {least}; classes are counted from 0, numbers to predict are floats")
        labels = {array.shape[1] for array in targets if array.dtype.kind == "b" and array.ndim == 2}
        number = max(int(array.max(initial=0)) for array in targets) + 1
        return list(targets), labels.pop() if len(labels) == 1 else number, None, None
    distinct = np.unique(np.concatenate([array.reshape(-1).astype(str if words else array.dtype) for array in targets]))
    coded = [np.searchsorted(distinct, array.astype(distinct.dtype)).astype(np.int32) for array in targets]
    if whole and distinct.dtype.kind != "b" and np.array_equal(distinct, np.arange(len(distinct))):
        return coded, len(distinct), None, None
    names = tuple(
        str(int(value)) if distinct.dtype.kind == "f" and value == int(value) else str(value) for value in distinct
    )
    warn_of_codes("targets", names, sum(map(len, targets)), is_target=True, path=path)
    return coded, len(names), names, None if words else distinct.dtype.name

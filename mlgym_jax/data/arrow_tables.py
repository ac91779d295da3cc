"""The dataset `parquet`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.columns import classes_of
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.npz_files import Task, file_at, unreadable
from mlgym_jax.data.row_groups import HELD, Group, RowGroups, arrow_columns, opened_parquet
from mlgym_jax.data.sources import Unread
from mlgym_jax.data.table_forms import Forms, Missing
from mlgym_jax.errors import ConfigError, listed, nearest


def installed(module: str, extra: str, name: str) -> Any:
    """Import what an extra of this package brings.

    Raises:
        ConfigError: it is missing; the message says what to type.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.split(".")[0]
        raise ConfigError(
            "dataset", f'{name!r} needs the package {package}; type: pip install "mlgym-jax[{extra}]"'
        ) from None


@register("dataset", "parquet")
def parquet(
    *,
    path: str | None = None,
    paths: Mapping[str, str] | None = None,
    target: str,
    task: Task | None = None,
    features: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
    categorical: tuple[str, ...] = (),
    missing: Missing = "error",
    fields: Mapping[str, str] | None = None,
) -> Dataset:
    """Read a table from Parquet files, by the rules of `csv`: words become codes, classes are numbered.

    `inputs` float32[n, columns], in the order of the file. Truth values are 0 and 1; dates become year, month, day, day
    of the week, hour, and the sines and cosines of those that come again. The files are read through a row group at a
    time; `component("streaming")` goes on so.

    Args:
        path: the file of the split "train", or a folder, whose files `*.parquet` follow each other by their names.
        paths: instead of it, one for each split: `dict(train="a.parquet", test="b.parquet")`.
        target: the column to predict.
        task: "classification" or "regression"; by default words, truth values and whole numbers are classes.
        features: the columns to predict from; by default all others. No other columns of the files are read.
        ignore: columns that are left out, such as an identifier, and not read.
        categorical: columns of numbers that are names of categories, such as a postal code.
        missing: what a missing value does: "error" names it, "drop" leaves the row out, "keep" leaves it to
            `component("impute")`, the encoding.
        fields: columns that are no inputs but fields of their own, as of `csv`: `dict(where="weight")`.

    Raises:
        ConfigError: no such file, no Parquet, an unknown column, a column of another kind, or a missing value; or the
            package pyarrow is missing.
    """
    if (path is None) == (paths is None):
        raise ConfigError("dataset.path", "give either path='table.parquet' or paths=dict(train='…', test='…')")
    installed("pyarrow.parquet", "parquet", "parquet")
    named = {"train": ("path", path)} if path is not None else {s: (f"paths.{s}", p) for s, p in (paths or {}).items()}
    if "train" not in named:
        raise ConfigError("dataset.paths", f"it has no split 'train'{nearest('train', named)} Splits: {listed(named)}")
    files = {split: (parameter, _files(str(place), parameter)) for split, (parameter, place) in named.items()}
    names = {split: _names(own, parameter) for split, (parameter, own) in files.items()}
    first = next(iter(names.values()))
    how: dict[str, Any] = {"features": features, "ignore": ignore, "categorical": categorical, "missing": missing}
    forms = Forms(first, target, **how, fields=fields)
    columns = forms.columns
    groups: dict[str, list[Group]] = {}
    read: dict[str, list[dict[str, np.ndarray] | None]] = {}
    left = HELD
    for split, (parameter, own) in files.items():
        if not {*columns} <= {*names[split]}:
            raise ConfigError(
                "dataset",
                f"split {split!r} has the columns {listed(names[split], 40)}; expected {listed(columns, 40)}",
            )
        groups[split], read[split] = [], []
        for group, part in _parts(own, columns, parameter):
            values = forms.learn(split, part)
            groups[split].append(group)
            left -= 8 * group.length * len(columns)
            read[split].append(values if left >= 0 else None)
        if not sum(group.length for group in groups[split]):
            raise ConfigError("dataset", f"split {split!r} is empty; leave it out or give it rows")
    forms.finish()
    coded, num_classes, class_names, dtype = classes_of([*forms.targets.values()], [*groups], "dataset", task)
    splits: dict[str, Any] = {}
    for (split, own), targets in zip(groups.items(), coded, strict=True):
        source = RowGroups(split, own, forms, targets)
        for number, values in enumerate(read[split]):
            if values is not None:
                source.hold(number, forms.inputs(values))
        splits[split] = Unread(source)
    return Dataset(splits, num_classes, forms.feature_names, class_names, forms.categories or None, class_dtype=dtype)


def _files(place: str, parameter: str) -> list[Path]:
    found = file_at(place, parameter)
    files = sorted(found.rglob("*.parquet")) if found.is_dir() else [found]
    if not files:
        raise ConfigError(f"dataset.{parameter}", f"there is no file '*.parquet' in {str(found)!r}")
    return files


def _names(files: Sequence[Path], parameter: str) -> list[str]:
    """Return the columns of files, which have all the same."""
    first: list[str] = []
    for file in files:
        try:
            with opened_parquet(file) as content:
                names = [*content.schema_arrow.names]
        except Exception as error:  # pyarrow's own kinds
            raise unreadable(file, error, parameter) from None
        first = first or names
        if {*names} != {*first}:
            raise ConfigError(
                f"dataset.{parameter}",
                f"{str(file)!r} has the columns {listed(names, 40)}; the first file has {listed(first, 40)}",
            )
    return first


def _parts(
    files: Sequence[Path], columns: Sequence[str], parameter: str
) -> Iterator[tuple[Group, dict[str, np.ndarray]]]:
    """Iterate over the row groups of files that have rows, and their columns."""
    first = 0
    for file in files:
        try:
            with opened_parquet(file) as content:
                in_file = 0
                for number in range(content.num_row_groups):
                    part = arrow_columns(content.read_row_group(number, columns=[*columns]))
                    length = len(part[columns[0]])
                    if length:
                        yield Group(file, number, first, in_file, length), part
                    first, in_file = first + length, in_file + length
        except ConfigError:
            raise
        except Exception as error:
            raise unreadable(file, error, parameter) from None

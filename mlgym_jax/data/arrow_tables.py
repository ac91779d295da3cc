"""The dataset `parquet`, and tables of Arrow as columns."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.columns import Missing, table
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.npz_files import Task, file_at, unreadable
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
) -> Dataset:
    """Read a table from Parquet files, by the rules of `csv`: words become codes, classes are numbered.

    `inputs` float32[n, columns], in the order of the file. Truth values are 0 and 1; dates become year, month, day, day
    of the week, hour, and the sines and cosines of those that come again.

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

    Raises:
        ConfigError: no such file, no Parquet, an unknown column, a column of another kind, or a missing value; or the
            package pyarrow is missing.
    """
    if (path is None) == (paths is None):
        raise ConfigError("dataset.path", "give either path='table.parquet' or paths=dict(train='…', test='…')")
    reader = installed("pyarrow.parquet", "parquet", "parquet")
    named = {"train": ("path", path)} if path is not None else {s: (f"paths.{s}", p) for s, p in (paths or {}).items()}
    if "train" not in named:
        raise ConfigError("dataset.paths", f"it has no split 'train'{nearest('train', named)} Splits: {listed(named)}")
    splits: dict[str, dict[str, np.ndarray]] = {}
    unknown: set[str] = set()

    def wanted(names: Sequence[str]) -> list[str] | None:
        """Return the columns to read; None for all, where one that is named is not there, which is told below."""
        unknown.update({target, *features, *ignore, *categorical} - {*names})
        if unknown:
            return None
        chosen = {*features, *categorical, target} if features else {*names} - ({*ignore} - {*categorical, target})
        return [name for name in names if name in chosen]

    for split, (parameter, place) in named.items():
        found = file_at(str(place), parameter)
        files = sorted(found.rglob("*.parquet")) if found.is_dir() else [found]
        if not files:
            raise ConfigError(f"dataset.{parameter}", f"there is no file '*.parquet' in {str(found)!r}")
        splits[split] = _columns_of_files(reader, files, parameter, wanted)
    left = tuple(name for name in ignore if unknown or name in splits["train"])
    return table(splits, target, task=task, features=features, ignore=left, categorical=categorical, missing=missing)


def _columns_of_files(
    reader: Any, files: Sequence[Path], parameter: str, wanted: Callable[[Sequence[str]], list[str] | None]
) -> dict[str, np.ndarray]:
    """Read columns of files, a row group at a time, so that no file is in memory whole.

    Args:
        wanted: the columns of a file -> those that are read, None for all.
    """
    found: list[dict[str, np.ndarray]] = []
    first: list[str] = []
    for file in files:
        try:
            with file.open("rb") as opened:
                content = reader.ParquetFile(opened)
                names = [*content.schema_arrow.names]
                first = first or names
                if {*names} == {*first}:
                    columns = wanted(names)
                    groups = range(content.num_row_groups)
                    parts = [arrow_columns(content.read_row_group(number, columns=columns)) for number in groups]
                    found += parts or [arrow_columns(content.read(columns=columns))]
        except ConfigError:
            raise
        except Exception as error:  # pyarrow's own kinds
            raise unreadable(file, error, parameter) from None
        if {*names} != {*first}:
            raise ConfigError(
                f"dataset.{parameter}",
                f"{str(file)!r} has the columns {listed(names, 40)}; the first file has {listed(first, 40)}",
            )
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def arrow_columns(arrow: Any) -> dict[str, np.ndarray]:
    """Return the columns of an Arrow table as arrays; what is missing is NaN, NaT or None."""
    import pyarrow

    found = {}
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        kind = column.type
        if pyarrow.types.is_nested(kind) or pyarrow.types.is_binary(kind):
            raise ConfigError(
                "dataset",
                f"column {name!r} holds {kind}; numbers, words and dates are columns of a table; leave it out",
            )
        if pyarrow.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        found[name] = column.to_numpy(zero_copy_only=False) if hasattr(column, "chunks") else np.asarray(column)
    return found

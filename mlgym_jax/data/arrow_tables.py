"""The dataset `parquet`, and tables of Arrow as columns."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
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
        features: the columns to predict from; by default all others.
        ignore: columns that are left out, such as an identifier.
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
    splits = {}
    for split, (parameter, place) in named.items():
        found = file_at(str(place), parameter)
        files = sorted(found.rglob("*.parquet")) if found.is_dir() else [found]
        if not files:
            raise ConfigError(f"dataset.{parameter}", f"there is no file '*.parquet' in {str(found)!r}")
        splits[split] = _columns_of_files(reader, files, parameter)
    return table(splits, target, task=task, features=features, ignore=ignore, categorical=categorical, missing=missing)


def _columns_of_files(reader: Any, files: Sequence[Path], parameter: str) -> dict[str, np.ndarray]:
    found: list[dict[str, np.ndarray]] = []
    for file in files:
        try:
            with file.open("rb") as opened:
                found.append(arrow_columns(reader.read_table(opened)))
        except ConfigError:
            raise
        except Exception as error:  # pyarrow's own kinds
            raise unreadable(file, error, parameter) from None
        if found[-1].keys() != found[0].keys():
            raise ConfigError(
                f"dataset.{parameter}",
                f"{str(file)!r} has the columns {listed(found[-1], 40)}; the first file has {listed(found[0], 40)}",
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

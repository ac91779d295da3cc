"""The dataset `csv`: tables of numbers and categories from comma-separated files.

Synopsis:

    config.dataset = component("csv", path="iris.csv", target="species", task="classification")
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.column_codes import LEADING_ZERO, by_pandas, warn_of_codes
from mlgym_jax.data.csv_rows import Rows, read_rows
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.dates import date_features, date_of
from mlgym_jax.data.fields import WHERE, beyond_float32, checked_fields, no_weights
from mlgym_jax.data.npz_files import Task, file_at
from mlgym_jax.data.number_checks import check_digits
from mlgym_jax.errors import ConfigError, listed, nearest

_WHOLE = re.compile(r"(0|-?[1-9]\d*)$")
MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-"}


@register("dataset", "csv")
def csv(
    *,
    path: str | None = None,
    paths: Mapping[str, str] | None = None,
    target: str,
    task: Task,
    features: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
    categorical: tuple[str, ...] = (),
    dates: tuple[str, ...] = (),
    missing: Literal["error", "drop", "keep"] = "error",
    fields: Mapping[str, str] | None = None,
    delimiter: str = ",",
    decimal: Literal[".", ","] = ".",
    header: bool = True,
) -> Dataset:
    """Read a table from a file of comma-separated values (RFC 4180, UTF-8).

    `inputs` float32[n, columns], the columns in the order of the file. A column of words, or one named in
    `categorical`, becomes the numbers 0, 1, 2 … of its distinct values in sorted order, over all files;
    `component("one_hot")` in the encoding spreads them out. A column of numbers with a word in it is an error. Dates,
    and words that hardly come again, are told of, as their numbers say little. So is a column with whole numbers that
    begin with 0, such as postal codes: these are words, and 01234 is another one than 1234.

    Args:
        path: the file of the split "train".
        paths: instead of it, a file for each split: `dict(train="a.csv", test="b.csv")`.
        target: the column to predict.
        task: "classification" numbers the distinct values of the target (sorted, numbers by size) as its classes,
            `targets` int32[n]; "regression" takes them as numbers, float32[n].
        features: the columns to predict from; by default all others.
        ignore: columns that are left out, such as an identifier.
        categorical: columns of numbers that are names of categories, such as a postal code.
        dates: columns of dates in the form of ISO 8601, `2026-11-24` or `2026-11-24T10:30`, each of which becomes
            several: year, month, day, day of the week, hour, and the sines and cosines of those that come again.
        missing: what a missing value does, which is an empty field or, among numbers, `NA`, `NaN`, `null`, `?` and the
            like: "error" names it, "drop" leaves the row out, "keep" leaves it to `component("impute")`, the encoding.
        fields: columns that are no inputs but fields of a batch, by the names of these: `dict(where="weight")`, by
            which examples count, or `dict(patient="id")`, by which a validation keeps them together. They are
            float32[n]; words, whole numbers beyond 2**24, and what `categorical` names, are the numbers of their
            distinct values in sorted order, int32[n]. None may be missing.
        decimal: what stands before the fraction of a number: "," for 1,5, as many spreadsheets write beside
            delimiter=";". A point in a number is refused then.
        header: whether the first line names the columns; else they are "0", "1", "2" …

    Raises:
        ConfigError: no such file, an unknown column, a row of another length, a field that is no number or missing;
            with file, line and column.
    """
    if (path is None) == (paths is None):
        raise ConfigError("dataset.path", "give either path='table.csv' or paths=dict(train='…', test='…')")
    named = {"train": ("path", path)} if path is not None else {s: (f"paths.{s}", p) for s, p in (paths or {}).items()}
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ConfigError("dataset.delimiter", f"found {delimiter!r}; it is one character, such as ',', ';' or '\\t'")
    names: list[str] = []
    files: dict[str, Rows] = {}
    for split, (parameter, file) in named.items():
        own_names, files[split] = read_rows(file_at(str(file), parameter), parameter, delimiter, header)
        names = names or own_names
        if own_names != names:
            raise ConfigError(
                f"dataset.{parameter}", f"{file!r} has the columns {listed(own_names)}; expected {listed(names)}"
            )
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), None)):
        raise ConfigError(
            "dataset.delimiter",
            f"the only column is named {names[0]!r}, as {other!r} delimits the file's columns: delimiter={other!r}",
        )
    beside = {column: field for field, column in checked_fields(fields, names, target, features).items()}
    chosen = chosen_columns(names, target, features, (*ignore, *beside), categorical)
    if wrong := [name for name in dates if name not in chosen]:
        raise ConfigError("dataset.dates", f"{wrong[0]!r} is no column to predict from{nearest(wrong[0], chosen)}")
    place = {name: number for number, name in enumerate(names)}
    columns: dict[str, list[np.ndarray]] = {}
    values: dict[str, tuple[str, ...]] = {}
    for name in (*chosen, *beside, target):
        texts = [[row[place[name]].strip() for row in file.rows] for file in files.values()]
        if decimal == "," and name not in categorical and name not in dates:
            texts = [_with_points(part, file, name) for part, file in zip(texts, files.values(), strict=True)]
        words = name != target and (
            any(LEADING_ZERO.match(text) for part in texts for text in part)
            or not any(number_of(text) is not None for part in texts for text in part)
        )
        beyond = (
            name in beside
            and beside[name] != WHERE
            and beyond_float32(np.array([number_of(text) or 0.0 for part in texts for text in part]))
        )
        if name in dates:
            columns |= date_features(
                name, [_dates(part, file, name) for part, file in zip(texts, files.values(), strict=True)]
            )
        elif words or name in categorical or beyond or (name == target and task == "classification"):
            columns[name], values[name] = _categories(texts)
            if name not in categorical and name not in beside:
                warn_of_codes(name, values[name], sum(map(len, texts)), is_target=name == target, reads_dates=True)
        else:
            columns[name] = [
                _numbers(part, file, name, is_target=name == target)
                for part, file in zip(texts, files.values(), strict=True)
            ]
    given = [name for name in columns if name != target and name not in beside]
    aside = (*beside, target)
    kinds = {name: np.float32 if values.pop(name, None) is None else np.int32 for name in beside}
    if (weight := next((name for name in beside if beside[name] == WHERE), None)) and kinds[weight] != np.float32:
        raise no_weights("dataset.fields", "categories" if weight in categorical else "words")
    splits = {}
    for number, (split, file) in enumerate(files.items()):
        table = np.stack([columns[name][number] for name in (*given, *aside)], axis=1)
        kept = _complete(table, file, [*given, *aside], names, missing, len(given))
        table = table[kept]
        splits[split] = {"inputs": table[:, : len(given)], "targets": table[:, -1]}
        if task == "classification":
            splits[split]["targets"] = table[:, -1].astype(np.int32)
        for name, field in beside.items():
            splits[split][field] = columns[name][number][kept].astype(kinds[name])
    class_names = values.pop(target, None)
    number, dtype = (len(class_names), _dtype_of(class_names)) if class_names else (None, None)
    return Dataset(splits, number, tuple(given), class_names, values or None, class_dtype=dtype)


def _dtype_of(names: Iterable[str]) -> str | None:
    """Return what pandas makes of a column with these texts: whole numbers, truth values, or None for words."""
    if all(_WHOLE.match(name) for name in names):
        return "int64"
    return "bool" if {*names} <= {"False", "True"} else None


def _with_points(texts: Sequence[str], file: Rows, name: str) -> list[str]:
    """Return numbers with a decimal comma as with a point, and other texts as they are."""
    for row, text in enumerate(texts):
        if "." in text and number_of(text) is not None:
            raise ConfigError(
                "dataset.decimal",
                f"{file.place(row, name)}: found {text!r}, where decimal=',' and a point means nothing; write thousands"
                f" without marks, or, where values are names, categorical=({name!r},)",
            )
    pointed = [text.replace(",", ".", 1) for text in texts]
    return [one if number_of(one) is not None else text for one, text in zip(pointed, texts, strict=True)]


def chosen_columns(
    names: Sequence[str],
    target: str,
    features: Iterable[str],
    ignore: Iterable[str],
    categorical: Iterable[str],
    path: str = "dataset",
) -> list[str]:
    """Return the names of the columns to predict from, in the order of the table.

    Raises:
        ConfigError: at a parameter of `path`, or at `path` itself where that is no dataset: there is no such column, or
            none is left.
    """
    wanted = {"target": (target,), "features": features, "ignore": ignore, "categorical": categorical}
    of = {parameter: f"{path}.{parameter}" if path == "dataset" else path for parameter in wanted}
    for parameter, columns in wanted.items():
        for name in columns:
            if name not in names:
                raise ConfigError(
                    of[parameter], f"there is no column {name!r}{nearest(name, names)} Columns: {listed(names, 40)}"
                )
    chosen = [name for name in names if name in (features or names) and name not in ignore and name != target]
    if target in features:
        raise ConfigError(of["features"], f"{target!r} is the target; it would predict itself")
    if not chosen:
        raise ConfigError(of["features"], f"no column is left to predict {target!r} from")
    return chosen


def number_of(text: str) -> float | None:
    """Return a decimal number, None where the text is none; Python's own `1_000`, `inf` and `nan` are none."""
    try:
        value = float(text) if "_" not in text and text.isascii() else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numbers(texts: Sequence[str], file: Rows, name: str, is_target: bool) -> np.ndarray:
    """Return float64[rows], NaN where a value is missing."""
    values = [number_of(text) for text in texts]
    words = (
        "if its values are classes, write task='classification'"
        if is_target
        else (f"read the column as words: categorical=({name!r},)")
    )
    for row, (value, text) in enumerate(zip(values, texts, strict=True)):
        if value is None and text.lower() not in MISSING:
            raise ConfigError(
                "dataset.path",
                f"{file.place(row, name)}: found {text!r}, which is no finite number, in a column of numbers; correct "
                f"it, or {words}",
            )
    found = np.array([math.nan if value is None else value for value in values])
    check_digits(texts, found, f"{file.path}, column {name!r}", "dataset.path", f"categorical=({name!r},)")
    return found


def _dates(texts: Sequence[str], file: Rows, name: str) -> np.ndarray:
    """Return datetime64[us] [rows], NaT where a value is missing; a time zone is taken into account."""
    found = np.full(len(texts), np.datetime64("NaT", "us"))
    for row, text in enumerate(texts):
        if text.lower() in MISSING:
            continue
        try:
            found[row] = date_of(text)
        except ValueError:
            raise ConfigError(
                "dataset.dates",
                f"{file.place(row, name)}: found {text!r}, a date such as 2026-11-24 is expected; other forms are for "
                f"pandas: {by_pandas(name, is_iso=False)}, and in Python mg.run(config, data=(frame, …))",
            ) from None
    return found


def _categories(texts: Sequence[Sequence[str]]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Number the distinct values of a column over all files; float64[rows] each, NaN where a value is missing.

    Numbers are ordered by size, so that 10 comes after 9 and 1.0 is 1; words in sorted order.
    """
    there = {text for part in texts for text in part if text.lower() not in MISSING}
    numeric = all(number_of(text) is not None for text in there)
    absent = MISSING if numeric else {""}
    numeric = numeric and not any(map(LEADING_ZERO.match, there))
    # Exact numbers: identifiers of 17 digits are one float.
    key_of = Decimal if numeric else str
    keys = [[None if text.lower() in absent else key_of(text) for text in part] for part in texts]
    distinct: list[Any] = sorted({key for part in keys for key in part} - {None})
    codes = {None: math.nan, **{key: float(number) for number, key in enumerate(distinct)}}
    shown = tuple(_shown(key) if numeric else key for key in distinct)
    return [np.array([codes[key] for key in part]) for part in keys], shown


def _shown(number: Decimal) -> str:
    """Write a number as a category's name: 7 for 7.0, and as the float that it is where that is all of it."""
    if number == int(number):
        return str(int(number))
    short = str(float(number))
    return short if Decimal(short) == number else str(number)


def category_name(value: Any) -> str:
    """Return the name that a value of a column of categories has: its words, and of a number as `_shown` has it."""
    text = str(value).strip()
    return _shown(Decimal(text)) if number_of(text) is not None and not LEADING_ZERO.match(text) else text


def _complete(
    table: np.ndarray, file: Rows, columns: Sequence[str], names: Sequence[str], missing: str, num_inputs: int
) -> np.ndarray:
    """Return bool[rows], which rows stay: those that miss no value, or none besides the inputs, which come first."""
    absent = np.isnan(table)
    if missing == "keep":
        absent[:, :num_inputs] = False
    incomplete: np.ndarray = np.asarray(absent.any(axis=1))
    if absent.any() and missing != "drop":
        row, column = map(int, np.argwhere(absent)[0])
        name = columns[column] if columns[column] in names else columns[column].rpartition(".")[0]  # of a date
        found = file.rows[row][names.index(name)]
        raise ConfigError(
            "dataset.missing",
            f"{file.place(row, name)}: the value is missing ({found!r}; {absent.sum()} are missing in "
            f"{incomplete.sum()} rows). Fill them in, or leave such rows out: missing='drop'"
            + ("" if column >= num_inputs else "; or let the encoding 'impute' fill them in: missing='keep'"),
        )
    if incomplete.all():
        raise ConfigError("dataset.missing", f"{file.path}: every row misses a value; fill some in")
    return ~incomplete

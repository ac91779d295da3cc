"""Frames, tables of named columns: as the inputs of a model, and as what its outputs say."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlgym_jax.core.outputs import parts
from mlgym_jax.data.csv_files import MISSING, category_name, number_of
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.dates import date_columns, date_of, features_of
from mlgym_jax.data.table_forms import is_missing
from mlgym_jax.errors import MlgymError, described, listed, nearest
from mlgym_jax.reading.meaning import Meaning

PREDICTION = "prediction"


def columns_of(
    frame: Any,
    dataset: Dataset,
    trained_on: Any,
    fills_in: Callable[[int], bool] = lambda place: False,
    new_texts: Mapping[str, list[str]] | None = None,
) -> np.ndarray:
    """Return a frame's columns in the order that a model was trained on, float64[n, columns].

    A column of words becomes the numbers that these words had in the training data, one of dates what it became there.

    Args:
        dataset: what names the columns; where it names none, they are taken as they stand.
        trained_on: the inputs of the data set.
        new_texts: column -> texts that were not there in training, of the columns that may have such; they are added.
        fills_in: tells whether values may be missing in a column, by its number, as the encoding fills them in.

    Raises:
        MlgymError: columns that are missing or too many, a missing value, a word that was not there in training, or a
            model that takes no table.
    """
    if getattr(trained_on, "ndim", None) != 2:
        raise MlgymError("inputs: a frame is given, and the model takes no table of columns; give it arrays")
    found = [str(name) for name in frame.columns]
    names = [str(name) for name in dataset.feature_names or found]
    dates = [name for name in date_columns(names) if name in found and f"{name}.year" not in found]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise MlgymError(f"inputs: two columns are named {twice[0]!r}; keep one of them")
    of_dates = {name for name in names if name.rpartition(".")[0] in dates}
    missing = [name for name in names if name not in found and name not in of_dates]
    extra = [name for name in found if name not in names and name not in dates]
    if missing:
        near = nearest(missing[0], extra)
        raise MlgymError(
            f"inputs: the frame has no column {listed(map(repr, missing))}{near} The model was trained on: "
            f"{listed(names, 40)}"
        )
    if extra:
        drop = f"inputs.drop(columns={extra[:12]!r})"
        raise MlgymError(f"inputs: the model was not trained on the column {listed(map(repr, extra))}; write {drop}")
    columns = dict(zip(found, frame.columns, strict=True))
    categories = dataset.categories or {}
    if not len(frame):
        return np.zeros((0, len(names)))
    ready: dict[str, np.ndarray] = {}
    for name in dates:
        ready |= features_of(name, _dates(name, frame[columns[name]]), names)
    table = []
    for place, name in enumerate(names):
        values = (
            ready[name]
            if name in ready
            else _numbers(name, frame[columns[name]], categories.get(name), (new_texts or {}).get(name))
        )
        absent = np.flatnonzero(np.isnan(values))
        if absent.size and not fills_in(place):
            shown = name if name in columns else name.rpartition(".")[0]
            raise MlgymError(
                f"inputs: row {absent[0]}, column {shown!r}: the value is missing; fill it in, or leave it out"
            )
        table.append(values)
    return np.stack(table, axis=1)


def _dates(name: str, column: Any) -> np.ndarray:
    """Return datetime64[n] of a column of dates, or of texts in the form of ISO 8601."""
    if getattr(getattr(column, "dtype", None), "kind", "") == "M":  # also where it has a time zone
        return np.asarray(column, "datetime64[us]")
    found = np.full(len(column), np.datetime64("NaT", "us"))
    for row, value in enumerate(np.asarray(column).tolist()):
        try:
            if isinstance(value, str):
                found[row] = date_of(value.strip())
            elif not is_missing(value):
                found[row] = np.datetime64(datetime.datetime.combine(value, getattr(value, "time", datetime.time)()))
        except (AttributeError, TypeError, ValueError):
            raise MlgymError(
                f"inputs: row {row}, column {name!r}: a date such as 2026-11-24 is expected, found {described(value)}"
            ) from None
    return found


def _numbers(name: str, column: Any, categories: Any, new_texts: list[str] | None = None) -> np.ndarray:
    """Return float64[n], NaN where a value is missing.

    Args:
        new_texts: takes texts that are no category, whose codes follow; None refuses them.
    """
    values = np.asarray(column)
    if categories is not None:
        codes = {str(word): float(code) for code, word in enumerate([*categories, *(new_texts or ())])}
        if new_texts is not None:
            for text in dict.fromkeys(str(value).strip() for value in values.tolist() if not is_missing(value)):
                if text not in codes and category_name(text) not in codes:
                    codes[text] = float(len(codes))
                    new_texts.append(text)
        return np.array([_code(name, row, value, codes) for row, value in enumerate(values.tolist())])
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    if values.dtype.kind in "mM":  # dates, which would become numbers
        values = values.astype(str)
    return np.array([_number(name, row, value) for row, value in enumerate(values.tolist())], np.float64)


def _number(name: str, row: int, value: Any) -> float:
    """Return a value as a number; texts are read as those of a csv file, where `1_000` is none."""
    if is_missing(value) or (isinstance(value, str) and value.strip().lower() in MISSING):
        return math.nan
    try:
        number = number_of(value.strip()) if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise MlgymError(f"inputs: row {row}, column {name!r}: a number is expected, found {described(value)}")
    return number


def _code(name: str, row: int, value: Any, codes: Mapping[str, float]) -> float:
    if is_missing(value):
        return math.nan
    word = next((word for word in (str(value), str(value).strip()) if word in codes), category_name(value))
    if word not in codes:
        if not word:  # as an empty field of a file
            return math.nan
        raise MlgymError(
            f"inputs: row {row}, column {name!r}: {value!r} was not there in training{nearest(word, codes)} Known: "
            f"{listed(codes)}"
        )
    return codes[word]


def to_frame(outputs: Any, meaning: Meaning, dataset: Dataset, index: Any = None) -> Any:
    """Return outputs as a pandas frame: `prediction`, probabilities by class, and single numbers of post-processors.

    Args:
        outputs: numpy arrays with a leading axis of examples; index: of the rows.

    Raises:
        MlgymError: pandas is not installed, or the output that tells is no table of an example a row.
    """
    try:
        import pandas
    except ImportError:
        raise MlgymError('as_frame=True needs pandas; type: pip install "mlgym-jax[pandas]"') from None
    main = meaning.main(outputs)
    if parts(main) or np.ndim(main) not in (1, 2):
        found = f"several, {listed(parts(main))}" if parts(main) else f"of shape {[*np.shape(main)]}"
        raise MlgymError(f"as_frame: one output [n] or [n, columns] is expected, found {found}; leave as_frame out")
    told = np.asarray(meaning.probabilities(main))
    columns = _told(told, meaning, dataset)
    for name, array in parts(outputs).items() if isinstance(outputs, Mapping) else ():
        if array is not main and getattr(array, "shape", None) in ((len(told),), (len(told), 1)):  # not nested
            columns.setdefault(name, np.reshape(array, len(told)))
    return pandas.DataFrame(columns, index=index)


def _told(told: np.ndarray, meaning: Meaning, dataset: Dataset) -> dict[str, np.ndarray]:
    if meaning.kind == "two classes":
        told = told.reshape(len(told))
        told = np.stack([1 - told, told], axis=1)
    if meaning.kind == "numbers":
        table = told.reshape(len(told), -1)
        number = table.shape[1]
        names = [PREDICTION] if number == 1 else [f"{PREDICTION}_{place}" for place in range(number)]
        return dict(zip(names, table.T, strict=True))
    names = [str(name) for name in dataset.class_names or ()]
    if len(names) != told.shape[1] or PREDICTION in names:
        names = [f"class_{place}" for place in range(told.shape[1])] if PREDICTION in names else names
        names = names if len(names) == told.shape[1] else [str(place) for place in range(told.shape[1])]
    by_class = dict(zip(names, told.T, strict=True))
    if meaning.kind == "labels":
        return by_class
    best, invalid = told.argmax(axis=1), np.isnan(told).any(axis=1)
    prediction = best if (labels := _labels(dataset, told.shape[1])) is None else labels[best]
    if invalid.any():
        prediction = prediction.astype(object)
        prediction[invalid] = None
    return {PREDICTION: prediction, **by_class}


def _labels(dataset: Dataset, number: int) -> np.ndarray | None:
    """Return the classes as they stood in the data, words, numbers or truth values; None without names."""
    if not dataset.class_names or len(dataset.class_names) != number:
        return None
    names = [str(name) for name in dataset.class_names]
    dtype = np.dtype(dataset.class_dtype or object)
    read = {"b": {"False": False, "True": True}.__getitem__, "i": int, "u": int, "f": float}.get(dtype.kind, str)
    try:
        return np.array([read(name) for name in names], dtype)
    except (KeyError, ValueError, OverflowError):  # of other names, such as merged ones
        return np.array(names, object)

"""`Dataset`, what a dataset component returns, and `Table`, the same data as one array a field.

Synopsis:

    >>> import numpy as np
    >>> from mlgym_jax.data.dataset import Dataset, to_arrays
    >>> train = {"inputs": np.zeros((4, 2)), "targets": np.array([0, 1, 0, 1])}
    >>> test = {"inputs": np.ones((2, 2)), "targets": np.array([1, 0])}
    >>> table = to_arrays(Dataset(splits={"train": train, "test": test}, num_classes=2))
    >>> table.arrays["inputs"].shape, table.arrays["inputs"].dtype.name, table.offsets
    ((6, 2), 'float32', {'train': (0, 4), 'test': (4, 6)})
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlgym_jax.config.html_table import html_line, html_table
from mlgym_jax.core.inputs import flat, is_input
from mlgym_jax.data.number_checks import (
    check_finite,
    check_not_lost,
    check_precision,
    check_targets,
    check_two_floats,
    loses_digits,
)
from mlgym_jax.errors import ConfigError, described, in_words, listed, nearest, with_article

# A field beside `inputs`: what float32 leaves of float64 values that are far from 0 for their spread.
INPUTS_REST = "_inputs_rest"


def rest_of(field: str) -> str:
    """Return the name of the field that holds what float32 leaves of an input's values."""
    return INPUTS_REST + field.removeprefix("inputs")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Named splits of examples.

    Attributes:
        splits: split name -> examples: either a mapping field -> array[n, …], or a random-access source of `n` records
            (`len(source)`, `source[i]` gives a dict of arrays or numbers), such as a TFDS data source. A split "train"
            is required; "val" (or "validation", "valid", "dev") and "test" are evaluated as they are. `inputs` may be
            a dict or a tuple of arrays, nested: a model is called with them by name, or in order.
        num_classes: number of classes, for integer targets in `0 … num_classes - 1`; None if they are no classes.
        feature_names, class_names: one name a feature and a class, if known.
        class_dtype: what the names of classes were in the data, such as "int64" or "bool", where they were no words.
        categories: feature name -> the strings that its values 0, 1, 2 … stand for, of features read from text.
        tokenizer: of text, what made numbers of it; a run keeps it, and `result.best(…).tokenizer` is it again.
        pad_token, mask_token: of text, the tokens that fill a sequence up and that stand where one is hidden.
    """

    splits: Mapping[str, Any]
    num_classes: int | None = None
    feature_names: Sequence[str] | None = None
    class_names: Sequence[str] | None = None
    categories: Mapping[str, Sequence[str]] | None = None
    tokenizer: Any = None
    pad_token: int | None = None
    mask_token: int | None = None
    class_dtype: str | None = None

    def _repr_html_(self) -> str:
        rows = [(name, *cells) for name, split in self.splits.items() for cells in _in_cells(split)]
        classes = [] if self.num_classes is None else [html_line(f"{self.num_classes} classes")]
        return "".join([*classes, html_table("", ("split", "field", "shape", "type"), rows)])


@dataclasses.dataclass(frozen=True)
class Table:
    """All splits of a dataset behind each other.

    Attributes:
        arrays: field -> array[num_examples, …], C-contiguous, native byte order, at most 32 bits a number.
        offsets: split -> (start, stop), its rows in every array.
        num_classes: as in the dataset.
    """

    arrays: Mapping[str, np.ndarray]
    offsets: Mapping[str, tuple[int, int]]
    num_classes: int | None = None

    @property
    def num_examples(self) -> int:
        return max(stop for _, stop in self.offsets.values())

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256 (hex) of its splits, and each field's name, type, shape and bytes."""
        digest = hashlib.sha256(json.dumps({name: list(span) for name, span in self.offsets.items()}).encode())
        for field in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[field])
            digest.update(json.dumps([field, array.dtype.name, array.shape]).encode())
            if array.size:
                digest.update(array.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


def _in_cells(split: Any) -> list[tuple[object, ...]]:
    """Return field, shape and type of each field of a split; no records of a source are read for that."""
    if not isinstance(split, Mapping):
        return [("", f"{len(split)} records", type(split).__name__)]
    return [
        (field, getattr(values, "shape", f"{len(values)} values"), getattr(values, "dtype", type(values).__name__))
        for field, values in flat(split).items()
    ]


def split_length(split: Any) -> int:
    """Return the number of examples of one split of a dataset (of its first field)."""
    return len(next(iter(flat(split).values()))) if isinstance(split, Mapping) else len(split)


def split_arrays(split: Any, name: str = "train") -> dict[str, np.ndarray]:
    """Return one split as field -> array[n, …], unconverted; a random-access source is read to its end.

    Of inputs that are dicts or tuples of arrays, each is a field, `inputs.image` or `inputs.0`; see `core.inputs`.

    Raises:
        ConfigError: at `dataset`, if the split is neither form, is empty, or its records do not stack.
    """
    if not isinstance(split, Mapping):
        split = _stack_records(split, name)
    if not split:
        raise ConfigError("dataset", f"split {name!r} has no fields; give it as {_FORM}")
    arrays = {}
    for field in split:
        if not isinstance(field, str):
            raise ConfigError("dataset", f"split {name!r} has the field {field!r}; field names are strings")
    for field, values in flat(split).items():
        try:
            arrays[field] = np.asarray(unmasked(values))
        except ValueError as error:
            raise _ragged(name, field, error) from None
        if arrays[field].ndim == 0:
            raise ConfigError(
                "dataset",
                f"split {name!r}, field {field!r}: found a single value ({described(values)}), expected array[n, …]",
            )
    lengths = {field: len(array) for field, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{field}: {length}" for field, length in lengths.items())
        raise ConfigError("dataset", f"split {name!r} has fields of different lengths ({found}); they must agree")
    if not next(iter(lengths.values())):
        raise ConfigError("dataset", f"split {name!r} is empty; leave it out or give it examples")
    for field, array in arrays.items():
        if is_input(field) and not array.size:
            shape = ", ".join(map(str, array.shape))
            raise ConfigError("dataset", f"split {name!r}, field {field!r}: [{shape}] has no number in an example")
    return arrays


def unmasked(values: Any) -> Any:
    """Return NumPy's masked arrays with NaN in the place of what is masked, and anything else as it is."""
    if not isinstance(values, np.ma.MaskedArray) or not np.ma.getmaskarray(values).any():
        return values
    missing = (None, object) if values.dtype.kind not in "biuf" else (np.nan, np.result_type(values.dtype, np.float16))
    found = np.array(np.ma.getdata(values), missing[1])
    found[np.ma.getmaskarray(values)] = missing[0]
    return found


def _ragged(name: str, field: str, error: ValueError) -> ConfigError:
    where = f"split {name!r}, field {field!r}"
    return ConfigError("dataset", f"{where}: its examples differ in shape ({error}); pad or crop them to one shape")


_FORM = "{'inputs': array[n, …], 'targets': array[n, …]}"


def _stack_records(source: Any, name: str) -> dict[str, np.ndarray]:
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")) or isinstance(source, str | bytes):
        if hasattr(source, "__getitem__") and not hasattr(source, "__len__"):
            raise ConfigError(
                "loader",
                f"split {name!r} of the dataset, {with_article(type(source).__name__)}, has no end (no __len__), so "
                "no memory holds it; write config.loader = component('streaming', …), and num_steps in place of "
                "num_epochs",
            )
        raise ConfigError(
            "dataset",
            f"split {name!r} is {with_article(type(source).__name__)}; give it as {_FORM} or as a random-access source "
            "with __len__ and __getitem__(int) -> dict",
        )
    indices = range(len(source))
    if not indices:
        raise ConfigError("dataset", f"split {name!r} is empty; leave it out or give it examples")
    batched = getattr(source, "__getitems__", None)
    try:
        records = [*map(flat_record, batched(list(indices)) if batched else (source[i] for i in indices))]
    except Exception as error:
        said = error.message if isinstance(error, ConfigError) else in_words(error)
        raise ConfigError("dataset", f"split {name!r} could not be read: {said}") from error
    first = records[0]
    for row, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise ConfigError(
                "dataset",
                f"split {name!r}, record {row}: found {with_article(type(record).__name__)}, expected a dict such as "
                "{'inputs': …, 'targets': …}" + ("" if row else f"; a split of whole arrays is written {_FORM}"),
            )
        if record.keys() != first.keys():
            raise ConfigError(
                "dataset",
                f"split {name!r}, record {row}: has the fields {listed(record)}, record 0 has {listed(first)}",
            )
    stacked = {}
    for field in first:
        try:
            stacked[field] = np.stack([np.asarray(record[field]) for record in records])
        except ValueError as error:
            raise _ragged(name, field, error) from None
    return stacked


def flat_record(record: Any) -> Any:
    """Return one record with a field an array; what is no record as it is."""
    if not isinstance(record, Mapping) or not any(isinstance(part, Mapping | tuple) for part in record.values()):
        return record
    if isinstance(inputs := record.get("inputs"), tuple) and all(hasattr(part, "dtype") for part in inputs):
        record = {**record, "inputs": {str(place): part for place, part in enumerate(inputs)}}
    return flat(record)


def compact(array: np.ndarray, where: str) -> np.ndarray:
    """Return `array` as the device takes it: contiguous, native byte order, at most 32 bits a number."""
    dtype = array.dtype
    if (dtype.kind not in "biufc" and dtype.type in (np.object_, np.str_, np.bytes_, np.void)) or dtype.kind in "mM":
        hint = "encode text and categories as integers" if dtype.kind in "OUS" else "convert it to numbers"
        raise ConfigError("dataset", f"{where}: its type is {dtype}, which is no number; {hint}")
    narrow = {"float64": "float32", "int64": "int32", "uint64": "int32", "complex128": "complex64"}.get(dtype.name)
    if dtype.kind == "f" and dtype.itemsize > 8:
        narrow = "float32"
    target = np.dtype(narrow) if narrow else dtype.newbyteorder("=")
    if dtype.kind in "iu" and narrow:
        low, high = int(array.min()), int(array.max())
        if array.size and not (low >= -(2**31) and high < 2**31):
            raise ConfigError(
                "dataset",
                f"{where}: its values ({low} … {high}) do not fit 32-bit integers; give numbers as float64, "
                "array.astype(float), of which encodings see all digits, and names as numbers from 0",
            )
    try:
        with np.errstate(over="raise"):
            return np.ascontiguousarray(array, dtype=target)
    except FloatingPointError:
        raise ConfigError(
            "dataset", f"{where}: some values are too large for 32-bit floats; scale them (log, standardise)"
        ) from None


def to_arrays(dataset: Dataset, *, missing: bool = False) -> Table:
    """Read all splits, in the order given, and put them behind each other in one table.

    Args:
        missing: let NaN in inputs be values that are missing, which the encoding fills in.

    64-bit numbers become 32-bit ones; other types (uint8, bool, …) stay.

    Raises:
        ConfigError: at `dataset`: no splits, no "train", an empty split, fields or shapes or types that do not agree
            within or between splits, text or objects, NaN or infinities in `inputs` or `targets`, integer targets
            outside `0 … num_classes - 1`.
    """
    splits = getattr(dataset, "splits", None)
    if not isinstance(splits, Mapping):
        raise ConfigError(
            "dataset",
            f"found {with_article(type(dataset).__name__)}; return mg.Dataset(splits={{'train': {_FORM}}}, "
            "num_classes=…)",
        )
    if not splits:
        raise ConfigError("dataset", f"it has no splits; return mg.Dataset(splits={{'train': {_FORM}}})")
    if "train" not in splits:
        raise ConfigError(
            "dataset",
            f"it has no split 'train'{nearest('train', splits)} Splits: {listed(splits)}. Rename one to 'train'.",
        )
    if dataset.num_classes is not None and dataset.num_classes < 1:
        raise ConfigError("dataset", f"num_classes is {dataset.num_classes}; give a positive number or None")
    converted: dict[str, dict[str, np.ndarray]] = {}
    read = {name: split_arrays(split, name) for name, split in splits.items()}
    exact = {field for arrays in read.values() for field in arrays if is_input(field) and loses_digits(arrays[field])}
    for name, arrays in read.items():
        converted[name] = {field: compact(array, f"split {name!r}, field {field!r}") for field, array in arrays.items()}
        for field in arrays:
            check_not_lost(arrays[field], converted[name][field], f"split {name!r}, field {field!r}")
            if is_input(field) or field == "targets":
                where = f"split {name!r}, field {field!r}"
                may_miss = missing and is_input(field)
                counts = None if is_input(field) else arrays.get("where")
                names = dataset.feature_names
                check_finite(converted[name][field], where, field, names, missing=may_miss, counts=counts)
        for field in sorted(exact & {*arrays}):
            inputs = arrays[field].astype(np.float64)
            check_two_floats(inputs, f"split {name!r}, field {field!r}")
            converted[name][rest_of(field)] = (inputs - inputs.astype(np.float32)).astype(np.float32)
        if dataset.num_classes is None:
            check_precision(arrays.get("targets"), f"split {name!r}, field 'targets'")
        check_targets(converted[name].get("targets"), name, dataset.num_classes)
    check_alike(converted)
    offsets, start = {}, 0
    for name, arrays in converted.items():
        stop = start + len(next(iter(arrays.values())))
        offsets[name] = (start, stop)
        start = stop
    parts = list(converted.values())
    merged = {
        field: parts[0][field] if len(parts) == 1 else np.concatenate([part[field] for part in parts])
        for field in converted["train"]
    }
    return Table(arrays=merged, offsets=offsets, num_classes=dataset.num_classes)


def check_alike(converted: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Refuse splits whose fields, shapes or types differ."""
    train = converted["train"]
    for name, arrays in converted.items():
        if arrays.keys() != train.keys():
            raise ConfigError(
                "dataset",
                f"split {name!r} has the fields {listed(arrays)}, split 'train' has {listed(train)}; they must agree",
            )
        for field, array in arrays.items():
            if array.shape[1:] != train[field].shape[1:] or array.dtype != train[field].dtype:
                raise ConfigError(
                    "dataset",
                    f"field {field!r} is {array_type(array)} in split {name!r} and {array_type(train[field])} in "
                    "'train'; they must agree",
                )


def array_type(array: np.ndarray) -> str:
    """Write type and shape of an array of examples: `float32[n, 64]`."""
    return f"{array.dtype}[{', '.join(['n', *map(str, array.shape[1:])])}]"

"""A field of one number an example, by which a validation keeps examples together or puts them in order. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlgym_jax.core.inputs import flat
from mlgym_jax.data.dataset import INPUTS_REST, Dataset, array_type, split_arrays, split_length
from mlgym_jax.data.number_checks import EXACT_FLOAT32
from mlgym_jax.errors import ConfigError, listed, nearest


def field_of(dataset: Dataset, name: str, path: str) -> np.ndarray:
    """Return a field of the training split that says one number an example, [n].

    Args:
        path: the parameter that names it.

    Raises:
        ConfigError: at `path`: there is no such field, it is of another shape, holds NaN, or numbers of which float32
            makes one; or no source gives it without reading all records.
    """
    split = dataset.splits["train"]
    fields: Mapping[str, Any] = flat(split) if isinstance(split, Mapping) else split_arrays(split)
    if name not in fields:
        others = [field for field in fields if not field.startswith(("inputs", INPUTS_REST))]
        raise ConfigError(
            path,
            f"the dataset has no field {name!r}{nearest(name, others)} Fields: {listed(others)}. A column of a table "
            f"becomes one by fields=dict({name if name.isidentifier() else 'name'}='column') in config.dataset",
        )
    found: Any = fields[name]
    if getattr(found, "dtype", np.dtype(object)).kind not in "biuf" or found.ndim != 1:
        raise ConfigError(path, f"the field {name!r} is {array_type(found)}; one number an example is expected, [n]")
    if hasattr(found, "at_hand"):  # of a dataset that is read while it trains
        found = found.at_hand()
        if found is None:
            raise ConfigError(
                path,
                f"the field {name!r} stands in records, all of which would be read for it; write config.loader = "
                "component('in_memory', …), or give the folds yourself, by a validation of your own",
            )
    values = np.asarray(found)
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        if missing.any():
            raise ConfigError(
                path,
                f"the field {name!r} is NaN in row {int(missing.argmax())} ({missing.sum()} are); fill them in, or "
                "leave such rows out",
            )
        if values.dtype.itemsize < 8 and (np.abs(values) > EXACT_FLOAT32).any():
            raise ConfigError(
                path,
                f"the field {name!r} has {values.dtype} numbers beyond 2**24, of which several may have become one; "
                "give whole numbers as they are, or np.unique(values, return_inverse=True)[1]",
            )
    return values


def in_order(dataset: Dataset, by: str | None) -> np.ndarray:
    """Return int32[n], the rows of the training split from the first to the last: as they stand, or by a field.

    Rows of equal values stay as they stand.

    Raises:
        ConfigError: at `validation.by`; see `field_of`.
    """
    if by is None:
        return np.arange(split_length(dataset.splits["train"]), dtype=np.int32)
    return np.argsort(field_of(dataset, by, "validation.by"), kind="stable").astype(np.int32)

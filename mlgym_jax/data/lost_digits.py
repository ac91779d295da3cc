"""Numbers of which 32-bit floats lose digits that count: what is said of those that no encoding keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlgym_jax.core.inputs import is_input
from mlgym_jax.data.dataset import Table, rest_of
from mlgym_jax.data.number_checks import EXACT_FLOAT32, MOVED, check_precision, moved_by_float32
from mlgym_jax.data.sources import Endless, Source
from mlgym_jax.data.streams import StreamedTable

_SAMPLED = 64  # examples of "train" that are looked at where they are read while it trains
_WIDE = ("float64", "int64", "uint64", "int32", "uint32")
_SAID = "config.dataset: some inputs are so far from 0 for their spread that 32-bit floats lose their digits; "


def said_of_lost_digits(table: Table, encoding: Any = None) -> str | None:
    """Say that inputs that are not encoded lose digits, if they do.

    Args:
        encoding: what encodes them, if anything does; columns that `by_column` keeps as they are, are not encoded.

    Raises:
        ConfigError: at `dataset`: examples that are read while it trains have targets that become one number.
    """
    if isinstance(table, StreamedTable):
        sample = _sample(table.sources["train"])
        if table.num_classes is None:
            check_precision(sample.get("targets"), "split 'train', field 'targets'")
        far = any(_is_far(array) for field, array in sample.items() if is_input(field))
        return _SAID + "subtract a constant where they are read, or train from memory with an encoding" if far else None
    if encoding is not None and not getattr(encoding, "kept", ()):
        return None
    columns = ... if encoding is None else (..., list(encoding.kept))
    for field, array in table.arrays.items():
        rest = table.arrays.get(rest_of(field)) if is_input(field) else None
        if is_input(field) and _is_far((array if rest is None else array.astype(np.float64) + rest)[columns]):
            within = "config.encoding =" if encoding is None else "in a group of config.encoding,"
            return f"{_SAID}{within} component('standardise') keeps them"
    return None


def _is_far(array: np.ndarray) -> bool:
    if array.dtype.name not in _WIDE or not array.size:
        return False
    if array.dtype.kind in "iu" and max(abs(int(array.min())), abs(int(array.max()))) < EXACT_FLOAT32:
        return False
    return moved_by_float32(array) > MOVED


def _sample(source: Source) -> Mapping[str, np.ndarray]:
    """Return some examples as they are read, where their numbers have more than float32's digits; {} of others."""
    if isinstance(source, Endless):
        return {}
    rows = np.unique(np.linspace(0, len(source) - 1, _SAMPLED).astype(np.int64))
    try:
        if not any(array.dtype.name in _WIDE for array in source.read(rows[:1]).values()):
            return {}
        return source.read(rows)
    except Exception:  # what cannot be read is told of where it is trained on
        return {}

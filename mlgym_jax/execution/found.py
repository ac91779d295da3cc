"""What an epoch of a group found, still on the devices: scores of all rows in one matrix, and records beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

# Of each block of rows that ran: the rows, their scores, float[rows and padding, scores], and their records by split
# and name, with an axis of rows before each array.
Found = list[tuple[list[int], tuple[jax.Array, Any]]]


def read_scores(found: Found, num_rows: int, num_scores: int) -> np.ndarray:
    """Wait for an epoch and return float[rows, scores]; NaN for rows that did not run."""
    scores = np.full((num_rows, num_scores), np.nan)
    for ids, (values, _) in found:
        scores[ids] = np.asarray(values)[: len(ids)]
    return scores


def read_records(found: Found, wanted: Mapping[int, Iterable[str]]) -> dict[int, dict[str, Any]]:
    """Return the records that are wanted of rows, `{row: {"val/roc": Curve of numpy arrays}}`."""
    read: dict[int, dict[str, Any]] = {row: {} for row in wanted}
    for ids, (_, records) in found:
        own = {row: at for at, row in enumerate(ids) if row in wanted}
        for name in dict.fromkeys(name for row in own for name in wanted[row]):
            split, _, of_split = name.partition("/")
            if of_split not in records.get(split, {}):
                continue
            whole = jax.device_get(records[split][of_split])  # once for all rows
            for row, at in own.items():
                if name in wanted[row]:
                    read[row][name] = jax.tree.map(lambda leaf, at=at: np.asarray(leaf)[at], whole)
    return read

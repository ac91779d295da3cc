"""What one checkpoint step says of itself: after which epoch, whose rows it holds, checksums of its arrays."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Kept = tuple[int, int]  # (experiment_id, epoch)


@dataclasses.dataclass(frozen=True)
class Saved:
    """What one step holds: after which epoch, each row's own epoch, rows kept in it, rows wanted at that time.

    Attributes:
        checksums: item -> the checksum of each of its arrays on disk, in the order of the tree.
        is_packed: whether the items are `checkpoint.packed`; those of older runs are trees of a state's own arrays.
    """

    epoch: int
    experiments: tuple[int, ...]
    row_epochs: tuple[int, ...]
    kept: tuple[Kept, ...]
    wanted: frozenset[Kept]
    checksums: Mapping[str, list[int]]
    is_packed: bool = False


def checksums(tree: Any) -> list[int]:
    """Return the CRC-32 of every array of a tree."""
    # As bytes, because the narrow floats of ml_dtypes are no buffers.
    return [zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data) for leaf in jax.tree.leaves(tree)]


def to_json(saved: Saved) -> dict[str, Any]:
    """Return the JSON that stands beside a step's arrays."""
    return {
        "epoch": saved.epoch,
        "experiments": list(saved.experiments),
        "row_epochs": list(saved.row_epochs),
        "kept": [list(who) for who in saved.kept],
        "wanted": sorted(list(who) for who in saved.wanted),
        "checksums": dict(saved.checksums),
        "is_packed": saved.is_packed,
    }


def from_json(data: Mapping[str, Any]) -> Saved:
    """Read what `to_json` wrote."""
    return Saved(
        data["epoch"],
        tuple(data["experiments"]),
        tuple(data["row_epochs"]),
        tuple((who, epoch) for who, epoch in data["kept"]),
        frozenset((who, epoch) for who, epoch in data["wanted"]),
        data["checksums"],
        data.get("is_packed", False),
    )

"""Which rows of a group stand in which block, each one call of its programs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlgym_jax.execution.plan import Plan


def least_width(plan: Plan) -> int:
    """Return how wide a block is at the least.

    XLA simplifies an axis of one row away, and then orders sums otherwise: a map has two rows a device at least.
    """
    return plan.num_devices * (2 if plan.batching == "map" else 1)


def in_blocks(rows: Sequence[int], plan: Plan) -> list[tuple[list[int], np.ndarray]]:
    """Return each block's rows, and the same padded to the block's width."""
    width = plan.num_devices if plan.batching == "none" else len(rows)
    width = max(min(width, plan.chunk or width), least_width(plan))
    width += -width % plan.num_devices
    parts = [list(rows[start : start + width]) for start in range(0, len(rows), width)]
    return [(ids, np.asarray(ids + [ids[0]] * (width - len(ids)))) for ids in parts]


def balanced(first: Sequence[int], then: Sequence[int], plan: Plan) -> list[int]:
    """Order rows so that `first` fill the first blocks, dealt to the devices in turn."""
    rows, devices = [*first, *then], plan.num_devices
    width = len(in_blocks(rows, plan)[0][1])
    blocks = [rows[start : start + width] for start in range(0, len(rows), width)]
    return [row for block in blocks for device in range(devices) for row in block[device::devices]]


def longest(active: np.ndarray, blocks: Sequence[list[int]], plan: Plan) -> int:
    """Return how many rows an epoch runs one after the other: of each block, those of its fullest device."""
    found = 0
    for ids in blocks:
        live = np.zeros(len(in_blocks(ids, plan)[0][1]), int)
        live[: len(ids)] = active[ids]
        found += int(live.reshape(plan.num_devices, -1).sum(axis=1).max())
    return found

"""The states of a group at one moment, read from the devices only when somebody wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.core.state import TrainState, raw_key

# Rows, their folds int32[width], their states; padding rows beyond the ids are never active.
Block = tuple[list[int], jax.Array, TrainState]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The blocks of a group, which are immutable, and the states of rows that no block holds any more.

    What it returns is on the host, keys as raw words.
    """

    base: TrainState | None
    blocks: Sequence[Block]
    num_rows: int

    def states(self) -> TrainState:
        """Return the states of all rows, stacked."""
        return stacked(self.base, [(ids, raw_key(block)) for ids, _, block in self.blocks], self.num_rows)

    def rows(self, wanted: Sequence[int]) -> list[TrainState]:
        """Copy single rows, which the blocks must hold, shard by shard: the whole is never put together."""
        copies: dict[int, TrainState] = {}
        for ids, _, block in self.blocks:
            positions = {row: position for position, row in enumerate(ids) if row in wanted}
            if not positions:
                continue
            leaves, structure = jax.tree.flatten(raw_key(block))
            picked: dict[int, list[np.ndarray]] = {row: [] for row in positions}
            for leaf in leaves:
                shards = [(s.index, np.asarray(s.data)) for s in leaf.addressable_shards if s.replica_id == 0]
                for row, position in positions.items():
                    picked[row].append(_at(leaf, shards, position))
            copies.update({row: jax.tree.unflatten(structure, values) for row, values in picked.items()})
        return [copies[row] for row in wanted]


def _at(leaf: jax.Array, shards: Sequence[tuple[Any, np.ndarray]], position: int) -> np.ndarray:
    """Copy one row out of the shards that hold its parts."""
    found = np.empty(leaf.shape[1:], leaf.dtype)
    for (rows, *inside), data in shards:
        first = rows.start or 0
        if first <= position < first + len(data):
            found[tuple(inside)] = data[position - first]
    return found


def stacked(base: Any, blocks: Sequence[tuple[list[int], Any]], num_rows: int) -> Any:
    """Put the rows of blocks together on the host: [num_rows, ...]; those in none are `base`'s, or anything."""
    host = [(ids, jax.tree.map(np.asarray, tree)) for ids, tree in blocks]
    if len(host) == 1 and host[0][0] == list(range(num_rows)):
        return jax.tree.map(lambda leaf: leaf[:num_rows], host[0][1])

    def assembled(*leaves: np.ndarray) -> np.ndarray:
        parts = leaves if base is None else leaves[1:]
        whole = np.empty((num_rows, *parts[0].shape[1:]), parts[0].dtype)
        if base is not None:
            whole[:] = leaves[0]
        for (ids, _), part in zip(host, parts, strict=True):
            whole[ids] = part[: len(ids)]
        return whole

    return jax.tree.map(assembled, *([] if base is None else [base]), *(tree for _, tree in host))

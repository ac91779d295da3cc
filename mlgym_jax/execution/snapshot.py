"""The states of a group at one moment, read from the devices only when somebody wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.core.state import TrainState, raw_key
from mlgym_jax.execution import host_copies
from mlgym_jax.execution.host_copies import Room, Source, begin_copy, gathered

# Rows, their folds int32[width], their states; padding rows beyond the ids are never active.
Block = tuple[list[int], jax.Array, TrainState]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The blocks of a group, and the states of rows that no block holds any more.

    What it returns is on the host, keys as raw words.

    Attributes:
        is_lent: whether training that goes on overwrites the blocks; else they are immutable.
        room: where copies of what is lent are put.
    """

    base: TrainState | None
    blocks: Sequence[Block]
    num_rows: int
    is_lent: bool = False
    room: Room = dataclasses.field(default_factory=Room, repr=False)

    @property
    def is_gone(self) -> bool:
        """Whether what was lent is overwritten: then nothing can be read of it any more."""
        return self.is_lent and any(leaf.is_deleted() for _, _, block in self.blocks for leaf in jax.tree.leaves(block))

    def states(self) -> TrainState:
        """Return the states of all rows, stacked."""
        if self.is_lent:
            return self.states_later()()
        _begin_all(self.blocks)
        return stacked(self.base, [(ids, raw_key(block)) for ids, _, block in self.blocks], self.num_rows)

    def states_later(self) -> Callable[[], TrainState]:
        """Begin to copy the states of all rows, which may be overwritten then; return what waits and returns them."""
        if not self.is_lent:
            return self.states
        every = np.arange(self.num_rows)
        base = [] if self.base is None else [Source(every, every, self.base)]
        blocks = [Source(np.asarray(ids), np.arange(len(ids)), raw_key(block)) for ids, _, block in self.blocks]
        return begin_copy([*base, *blocks], self.num_rows, self.room)

    def rows(self, wanted: Sequence[int]) -> TrainState:
        """Copy rows, which the blocks must hold, to [len(wanted), ...]: by shards, the whole is never put together."""
        _begin_all(self.blocks)
        sources = []
        for ids, _, block in self.blocks:
            at = {row: position for position, row in enumerate(ids)}
            numbers = np.array([number for number, row in enumerate(wanted) if row in at], np.intp)
            if len(numbers):
                positions = np.array([at[wanted[number]] for number in numbers], np.intp)
                sources.append(Source(numbers, positions, raw_key(block)))
        assert sources, "no block holds a wanted row"
        return gathered(sources, len(wanted), Room())


def is_remote(blocks: Sequence[Block]) -> bool:
    """Tell whether what the devices hold must be copied before the host can read it."""
    return any(host_copies.is_remote(block) for _, _, block in blocks[:1])


def _begin_all(blocks: Sequence[Block]) -> None:
    """Begin to copy all arrays from an accelerator, so that none waits for the one before."""
    if is_remote(blocks):
        for _, _, block in blocks:
            jax.tree.map(lambda leaf: leaf.copy_to_host_async(), raw_key(block))


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

"""The states of a group at one moment, read from the devices only when somebody wants them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.core.state import TrainState, raw_key

# Rows, their folds int32[width], their states; padding rows beyond the ids are never active.
Block = tuple[list[int], jax.Array, TrainState]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The blocks of a group, and the states of rows that no block holds any more.

    What it returns is on the host, keys as raw words.

    Attributes:
        is_lent: whether training that goes on overwrites the blocks; else they are immutable.
    """

    base: TrainState | None
    blocks: Sequence[Block]
    num_rows: int
    is_lent: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether what was lent is overwritten: then nothing can be read of it any more."""
        return self.is_lent and any(leaf.is_deleted() for _, _, block in self.blocks for leaf in jax.tree.leaves(block))

    def states(self) -> TrainState:
        """Return the states of all rows, stacked."""
        _begin_all(self.blocks)
        found = stacked(self.base, [(ids, raw_key(block)) for ids, _, block in self.blocks], self.num_rows)
        # A CPU's arrays are seen, not copied, and what overwrites them would be seen as well.
        return jax.tree.map(np.array, found) if self.is_lent and not is_remote(self.blocks) else found

    def rows(self, wanted: Sequence[int]) -> TrainState:
        """Copy rows, which the blocks must hold, to [len(wanted), ...]: by shards, the whole is never put together."""
        _begin_all(self.blocks)
        copies: list[np.ndarray] = []
        structure = None
        for ids, _, block in self.blocks:
            at = {row: position for position, row in enumerate(ids)}
            numbers = np.array([number for number, row in enumerate(wanted) if row in at], np.intp)
            if not len(numbers):
                continue
            positions = np.array([at[wanted[number]] for number in numbers], np.intp)
            leaves, structure = jax.tree.flatten(raw_key(block))
            within = functools.lru_cache(functools.partial(_within, numbers, positions))
            copies = copies or [np.empty((len(wanted), *leaf.shape[1:]), leaf.dtype) for leaf in leaves]
            for copy, leaf in zip(copies, leaves, strict=True):
                for piece, (held, *inside) in _pieces(leaf.sharding, leaf.shape):
                    there, at_there = within(held.start or 0, leaf.shape[0] if held.stop is None else held.stop)
                    if len(there):
                        copy[(there, *inside)] = np.asarray(leaf.addressable_data(piece))[at_there]
        assert structure is not None, "no block holds a wanted row"
        return jax.tree.unflatten(structure, copies)


def is_remote(blocks: Sequence[Block]) -> bool:
    """Tell whether what the devices hold must be copied before the host can read it."""
    return any(device.platform != "cpu" for _, _, block in blocks[:1] for device in block.step.devices())


def _begin_all(blocks: Sequence[Block]) -> None:
    """Begin to copy all arrays from an accelerator, so that none waits for the one before."""
    if is_remote(blocks):
        for _, _, block in blocks:
            jax.tree.map(lambda leaf: leaf.copy_to_host_async(), raw_key(block))


@functools.lru_cache(maxsize=4096)
def _pieces(sharding: jax.sharding.Sharding, shape: tuple[int, ...]) -> tuple[tuple[int, tuple[slice, ...]], ...]:
    """Return the pieces of an array on these devices, (number, what of the array it is), of equal ones the first.

    What an array itself tells of its shards is made anew for each of them, and a state has dozens an epoch.
    """
    found: dict[str, tuple[int, tuple[slice, ...]]] = {}
    for number, index in enumerate(sharding.addressable_devices_indices_map(shape).values()):
        found.setdefault(str(index), (number, index or ()))
    return tuple(found.values())


def _within(numbers: np.ndarray, positions: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the rows at `positions` of a block a piece from `start` to `stop` holds, and where in it."""
    there = (start <= positions) & (positions < stop)
    return numbers[there], positions[there] - start


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

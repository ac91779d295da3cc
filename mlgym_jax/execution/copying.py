"""Rows of a group on their way from an accelerator to the host, while the next epoch trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.core.state import TrainState, raw_key
from mlgym_jax.execution.memory import is_out_of_memory
from mlgym_jax.execution.snapshot import Snapshot

# Each array of a state by itself takes longer to begin than to copy; but packed, it takes memory once more.
_MOST_PACKED_BYTES = 256 * 2**20
_FEW = 8  # so many times fewer rows than all are packed by a program of their own


class RowCopies(NamedTuple):
    """Rows that are being copied; `read` waits for them and returns a host state, [len(rows), ...], keys as words."""

    rows: Sequence[int]
    read: Callable[[], TrainState]


def begin_copies(snapshot: Snapshot, rows: Sequence[int]) -> RowCopies | None:
    """Begin to copy rows, before what would make the accelerator busy is dispatched; None where there are none."""
    blocks = snapshot.blocks
    if not rows:
        return None
    leaves, structure = jax.tree.flatten(raw_key(blocks[0][2]))
    if len(blocks) == 1 and _packs(leaves):
        try:
            packed = _begin_packed(blocks[0][0], leaves, structure, rows)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return RowCopies(rows, lambda: _read(packed, snapshot, rows))
    return RowCopies(rows, lambda: snapshot.rows(rows))


def _read(packed: Callable[[], TrainState], snapshot: Snapshot, rows: Sequence[int]) -> TrainState:
    try:
        return packed()
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return snapshot.rows(rows)  # which takes no memory of the device


def _packs(leaves: Sequence[jax.Array]) -> bool:
    size = sum(leaf.nbytes for leaf in leaves)
    plain = all(leaf.dtype.kind in "biuf" or leaf.dtype == jnp.bfloat16 for leaf in leaves)
    return plain and size <= _MOST_PACKED_BYTES and all(len(leaf.devices()) == 1 for leaf in leaves)


def _begin_packed(
    ids: Sequence[int], leaves: Sequence[jax.Array], structure: Any, rows: Sequence[int]
) -> Callable[[], TrainState]:
    width = len(leaves[0])
    size = width if len(rows) > width // _FEW else max(1, width // _FEW)
    at = {row: position for position, row in enumerate(ids)}
    positions = np.zeros(size, np.int32)
    positions[: len(rows)] = [at[row] for row in rows]
    packed = _pack(tuple(leaves), positions)
    packed.copy_to_host_async()
    forms = [(leaf.shape[1:], np.dtype(leaf.dtype)) for leaf in leaves]  # lest the states are held

    def read() -> TrainState:
        host, start, found = np.asarray(packed)[: len(rows)], 0, []
        for shape, dtype in forms:
            stop = start + int(np.prod(shape)) * dtype.itemsize
            found.append(np.ascontiguousarray(host[:, start:stop]).view(dtype).reshape(len(rows), *shape))
            start = stop
        return jax.tree.unflatten(structure, found)

    return read


@jax.jit
def _pack(leaves: tuple[jax.Array, ...], positions: jax.Array) -> jax.Array:
    """Return rows of arrays as bytes, uint8[rows, bytes], those of each array side by side."""
    return jnp.concatenate([_bytes(leaf[positions]) for leaf in leaves], axis=1)


def _bytes(rows: jax.Array) -> jax.Array:
    plain = rows.astype(jnp.uint8) if rows.dtype == jnp.bool_ else jax.lax.bitcast_convert_type(rows, jnp.uint8)
    return plain.reshape(len(rows), -1)

"""Weighted draws with replacement, as a pure function of a key, of however many rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# Float32 has 2^23 uniform numbers and 24 bits for a running sum: enough to draw one of so many rows.
MAX_DIRECT = 1 << 16
_HALVINGS = 12
_BLOCK = 1 << _HALVINGS


def draw(key: jax.Array, weights: jax.Array, mask: jax.Array) -> jax.Array:
    """Draw positions with replacement, each with a probability proportional to its weight.

    Of more than `MAX_DIRECT` rows a block of them is drawn first, and then one of its rows by a number of its own, so
    that every row is reached, which one float32 number does not do, and no sum runs over more than a block.

    Args:
        weights: float[n], 0 where `mask`, bool[n], is False.

    Returns:
        int32[n], as many draws as there are positions.
    """
    weights = weights.astype(jnp.float32)
    return _in_blocks(key, weights) if mask.shape[0] > MAX_DIRECT else _direct(key, weights, mask.shape[0])


def _direct(key: jax.Array, weights: jax.Array, count: int) -> jax.Array:
    total = jnp.cumsum(weights)
    points = jax.random.uniform(key, (count,)) * total[-1]
    found = jnp.searchsorted(total, points, side="right")
    return jnp.minimum(found, _last(weights)).astype(jnp.int32)


def _in_blocks(key: jax.Array, weights: jax.Array) -> jax.Array:
    block_key, row_key = jax.random.split(key)
    count = weights.shape[0]
    blocks = jnp.pad(weights, (0, -count % _BLOCK)).reshape(-1, _BLOCK)
    total = jnp.cumsum(blocks, axis=1)
    block = _direct(block_key, total[:, -1], count)
    points = jax.random.uniform(row_key, (count,)) * total[block, -1]

    def halve(number: int, found: jax.Array) -> jax.Array:
        """Move on by a power of two where the sum up to there is not beyond the point."""
        ahead = found + jnp.right_shift(_BLOCK // 2, number)
        return jnp.where(total[block, ahead - 1] <= points, ahead, found)

    found = jax.lax.fori_loop(0, _HALVINGS, halve, jnp.zeros((count,), jnp.int32))
    return block * _BLOCK + jnp.minimum(found, jax.vmap(_last)(blocks)[block])


def _last(weights: jax.Array) -> jax.Array:
    """Return the last position that can be drawn."""
    return (weights.shape[0] - 1 - jnp.argmax((weights > 0)[::-1])).astype(jnp.int32)

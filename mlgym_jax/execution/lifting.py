"""Lift a function of one row to all rows of a block: `lift(function, rows, shared, live) -> results`.

`function` takes a row and what all rows share; `live` bool[rows] says which rows matter. With `kept`, the first of its
results is, for rows that are not live, what stands there. `mapped` can also write the first results over the rows that
they are made of, so that a program which may overwrite its arguments needs no room for both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.core.trees import select


def vmapped(function: Callable[[Any, Any], Any], rows: Any, shared: Any, live: jax.Array, kept: Any = None) -> Any:
    """Run `function` on all rows as one batch."""
    return _keeping(jax.vmap(function, in_axes=(0, None), axis_size=live.shape[0])(rows, shared), live, kept)


def single(function: Callable[[Any, Any], Any], rows: Any, shared: Any, live: jax.Array, kept: Any = None) -> Any:
    """Run `function` on the one row that there is."""
    assert live.shape == (1,), "none has one row a device"
    result = function(jax.tree.map(lambda leaf: leaf[0], rows), shared)
    return _keeping(jax.tree.map(lambda leaf: leaf[None], result), live, kept)


def mapped(
    function: Callable[[Any, Any], Any], rows: Any, shared: Any, live: jax.Array, kept: Any = None, over: int = 0
) -> Any:
    """Run `function` on the live rows, one after the other; of rows that are not live there is `kept`, and zeros.

    Args:
        over: so many of the results, from the first on, are written over as many of `rows`, which are a tuple then.
    """

    @functools.partial(jax.jit, inline=True)  # traced once: for the shapes of its results, and in the loop
    def row_of(rows: Any, shared: Any, row: Any) -> Any:
        return function(jax.tree.map(functools.partial(_row, row=row), rows), shared)

    order = jnp.argsort(~live, stable=True)
    abstract = jax.eval_shape(row_of, rows, shared, order[0])
    empty = jax.tree.map(lambda leaf: jnp.zeros((live.shape[0], *leaf.shape), leaf.dtype), abstract)

    if kept is not None:
        empty = (kept, *empty[1:])
    if over:
        empty = (*rows[:over], *empty[over:])

    def body(i: jax.Array, results: Any) -> Any:
        row = _row(order, i)
        own = (*results[:over], *rows[over:]) if over else rows
        return jax.tree.map(lambda leaf, new: _with_row(leaf, new, row), results, row_of(own, shared, row))

    # A loop over a count that is known only at run time: XLA builds the same body for 1 row as for 1,000, so that an
    # experiment's numbers do not depend on how many others run beside it.
    return jax.lax.fori_loop(0, live.sum(dtype=jnp.int32), body, empty)


def _keeping(found: Any, live: jax.Array, kept: Any) -> Any:
    return found if kept is None else (select(live, found[0], kept), *found[1:])


def _row(leaf: jax.Array, row: jax.Array) -> jax.Array:
    """Return `leaf[row]`, without asking whether the row, which is one, counts from the end: XLA compiles less then."""
    return jax.lax.dynamic_index_in_dim(leaf, row, 0, keepdims=False, allow_negative_indices=False)


def _with_row(leaf: jax.Array, new: jax.Array, row: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(leaf, new, row, 0, allow_negative_indices=False)

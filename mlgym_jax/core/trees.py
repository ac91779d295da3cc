"""Trees of arrays: the names of their leaves, the choice between two."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def path_name(path: Any) -> str:
    """Join a tree path with slashes, as in `Dense_0/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def conjugated(gradients: Any) -> Any:
    """Return JAX's gradients as what optimizers subtract, by complex parameters their conjugates."""
    is_complex = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.complexfloating)  # noqa: E731
    return jax.tree.map(lambda leaf: jnp.conj(leaf) if is_complex(leaf) else leaf, gradients)


def select(condition: jax.Array, new: Any, old: Any) -> Any:
    """Choose between two trees of arrays of one structure; `condition` is a scalar, or one bool a row."""

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        if a.dtype == b.dtype and a.shape == b.shape:  # as `where` does it, which takes twice as long to trace
            each = condition
            if condition.ndim:
                each = jax.lax.broadcast_in_dim(condition, a.shape, tuple(range(condition.ndim)))
            return jax.lax.select(each, a, b)
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(choose, new, old)

"""The state of one training, arrays only, and the random keys that are pure functions of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mlgym_jax.config.html_table import html_line, html_table

Batch = Mapping[str, Any]
Outputs = Any
MetricState = dict[str, Any]

# A field beside a batch's own: the steps an epoch of its fold, where folds differ in it and something wants to know.
STEPS_PER_EPOCH = "_steps_per_epoch"
# Another one: field -> class numbers, for metrics, where an augmentation made distributions over classes of it.
CLASSES = "_classes"

_SHOWN = 100  # arrays of a state, in a notebook

# What a key is for. The numbers are part of every run's reproducibility and must not change.
INIT, ORDER, TRAIN, EVAL, TRAIN_LOSS, EVAL_LOSS, AUGMENT, STEP = range(8)


@struct.dataclass
class TrainState:
    """Arrays only, so that it can be vmapped, sharded, saved and compared.

    Attributes:
        step: int32[], optimizer updates done.
        params: the trained parameters, a nested dict.
        model_state: other variables of the model (batch statistics), a nested dict.
        opt_state: the optimizer's state.
        hyperparams: swept values by dotted config path, each a scalar array.
        key: the experiment's typed PRNG key; it never changes.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    hyperparams: dict[str, jax.Array]
    key: jax.Array

    def _repr_html_(self) -> str:
        leaves, sizes = (
            jax.tree_util.tree_leaves_with_path(self),
            [jnp.size(leaf) for leaf in jax.tree.leaves(self.params)],
        )
        step = f"step {self.step}; " if jnp.ndim(self.step) == 0 else ""
        words = html_line(f"{step}{sum(sizes):,} parameters in {len(sizes)} arrays")
        rows = [(jax.tree_util.keystr(path), leaf.shape, leaf.dtype) for path, leaf in leaves[:_SHOWN]]
        left_out = html_line(f"… ({len(leaves)} arrays in all)") if len(leaves) > _SHOWN else ""
        return words + html_table("", ("array", "shape", "type"), rows) + left_out


def key_for(key: jax.Array, purpose: int, count: Any = 0) -> jax.Array:
    """Derive the key of a purpose and a step or epoch, so that a resumed run draws the same numbers."""
    return jax.random.fold_in(jax.random.fold_in(key, purpose), count)


def raw_key(state: TrainState) -> TrainState:
    """Return the state with its keys, also those that an optimizer keeps, as raw words, for the host and the disk."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state)


def with_key(state: TrainState, like: TrainState | None = None) -> TrainState:
    """Return the state with its keys typed again.

    Args:
        like: typed arrays or shapes of that form; without it, only the state's own key is known to be one.
    """
    if like is None:
        return dataclasses.replace(state, key=jax.random.wrap_key_data(state.key))

    def typed(leaf: jax.Array, form: jax.Array) -> jax.Array:
        if not _is_key(form):
            return leaf
        impl: list[Any] = []  # which JAX tells of arrays alone; as one is traced, none is made
        jax.eval_shape(lambda key: impl.append(jax.random.key_impl(key)), form)
        return jax.random.wrap_key_data(leaf, impl=impl[0])

    return jax.tree.map(typed, state, like)


def _is_key(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)

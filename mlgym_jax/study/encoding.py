"""A batch as a job's program sees it, encoded as a fold's training part taught; and what predictions read of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.graph import Components
from mlgym_jax.core.blame import named
from mlgym_jax.core.dead_code import needed
from mlgym_jax.core.inputs import INPUTS, nested
from mlgym_jax.core.program import Program
from mlgym_jax.core.state import TrainState


def encoded(components: Components, tables: Mapping[str, Any], fold: int, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch as the program sees it: with a mask, and what fold number `fold` makes of it."""
    batch = nested(batch)
    size = jax.tree.leaves(batch["inputs"])[0].shape[0]
    batch["mask"] = (np if isinstance(size, int) else jnp).ones(size, bool)  # an exported program has any size
    if "class_counts" in tables:
        batch["class_counts"] = tables["class_counts"][fold]
    encoding = components.get("encoding")
    if encoding is None:
        return batch
    with named("encoding", batch):
        return dict(encoding.apply(jax.tree.map(lambda leaf: jnp.asarray(leaf[fold]), tables["fitted"]), batch))


def fields_read(program: Program, abstract: TrainState, sample: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of a batch, besides its inputs, that a program reads when it predicts.

    Args:
        abstract: the shapes of a state; sample: a batch as the program sees it.
    """
    batch = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), dict(sample))
    used = needed(jax.make_jaxpr(program.predict)(abstract, batch))[1]
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(batch)]
    fields = [path[0].key for path, read in zip(paths, used[-len(paths) :], strict=True) if read]
    return tuple(name for name in dict.fromkeys(fields) if name not in (INPUTS, "mask", "class_counts"))


def fields_unread(
    step: Callable[[TrainState, dict[str, Any]], Any],
    abstract: TrainState,
    components: Components,
    tables: Mapping[str, Any],
    arrays: Mapping[str, Any],
) -> frozenset[str]:
    """Return the fields of a table that neither the encoding nor a step reads, such as those of groups alone.

    Args:
        step: of a state and an encoded batch; it is traced.
        arrays: the table's, field -> array.
    """
    raw = {name: jax.ShapeDtypeStruct((2, *array.shape[1:]), array.dtype) for name, array in arrays.items()}
    traced = jax.make_jaxpr(lambda state, batch: step(state, encoded(components, tables, 0, batch)))(abstract, raw)
    used = needed(traced)[1][-len(raw) :]
    return frozenset(name for name, read in zip(sorted(raw), used, strict=True) if not read)


def completed(batch: Mapping[str, Any], sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch with zeros in the place of fields that it lacks, which nothing reads."""
    size = jax.tree.leaves(batch[INPUTS])[0].shape[0]
    lacking = {name: array for name, array in sample.items() if name not in batch}
    return {**batch, **{name: jnp.zeros((size, *array.shape[1:]), array.dtype) for name, array in lacking.items()}}

"""A batch as a job's program sees it: encoded by what a fold's training part taught."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.graph import Components
from mlgym_jax.core.inputs import nested
from mlgym_jax.core.scoring import named


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
    with named("encoding"):
        return dict(encoding.apply(jax.tree.map(lambda leaf: jnp.asarray(leaf[fold]), tables["fitted"]), batch))

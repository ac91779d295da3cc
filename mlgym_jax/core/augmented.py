"""Random changes of a training batch: `config.augmentation`, a callable (key, batch) -> batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.core.blame import named
from mlgym_jax.core.inputs import INPUTS
from mlgym_jax.core.state import CLASSES, Batch
from mlgym_jax.errors import ConfigError, described, listed


def augmented(augmentation: Callable[[jax.Array, Batch], Batch], key: jax.Array, batch: Batch) -> Batch:
    """Return a changed batch, for the model and the loss.

    Fields that were class numbers and became distributions over classes, as mixing makes them, stay what metrics read:
    the class with the largest share.

    Args:
        augmentation: what returns a batch of as many examples with at least the same fields; examples whose `mask` is
            False are padding.
        key: a typed PRNG key of this step's own.

    Raises:
        ConfigError: at `augmentation`, anything else, or whatever it raises.
    """
    with named("augmentation", batch):
        found = augmentation(key, dict(batch))
        if not isinstance(found, Mapping):
            raise ConfigError("augmentation", f"it returns the changed batch, a dict; found {described(found)}")
        if missing := [field for field in batch if field not in found]:
            raise ConfigError("augmentation", f"it leaves out the fields {listed(missing)}; return {{**batch, …}}")
        size = batch["mask"].shape[0]
        for field, value in found.items():
            given = batch.get(field)
            if value is given:
                continue
            wrong = [leaf for leaf in jax.tree.leaves(value) if jnp.shape(leaf)[:1] != (size,)]
            if wrong:
                raise ConfigError(
                    "augmentation",
                    f"the field {field!r} is an array of {size} examples, as the batch has; found shape "
                    f"{[*jnp.shape(wrong[0])]}",
                )
    classes = {
        field: jnp.argmax(value, axis=-1).astype(batch[field].dtype)
        for field, value in found.items()
        if field in batch and field != INPUTS and _became_shares(batch[field], value)
    }
    # What counts is not for it to say: the engine divides by it.
    return {**found, "mask": batch["mask"], **({CLASSES: classes} if classes else {})}


def _became_shares(before: Any, after: Any) -> bool:
    if not hasattr(before, "dtype") or not hasattr(after, "dtype"):
        return False
    integers = jnp.issubdtype(before.dtype, jnp.integer) and jnp.issubdtype(after.dtype, jnp.floating)
    return bool(integers and after.shape[:-1] == before.shape)

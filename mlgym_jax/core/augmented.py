"""Random changes of a training batch: `config.augmentation`, a callable (key, batch) -> batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.core.blame import named
from mlgym_jax.core.inputs import INPUTS, fields_of
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


@contextlib.contextmanager
def blaming_shapes(before: Batch, after: Batch) -> Iterator[None]:
    """Say of a step that the model or the loss fails in that the augmentation gave the inputs another shape, if it did.

    Raises:
        ConfigError: at `augmentation`, in the place of the error.
    """
    try:
        yield
    except ConfigError as error:
        old, new = (fields_of({INPUTS: batch[INPUTS]}) for batch in (before, after))
        if error.path.partition(".")[0] not in ("model", "loss") or before is after:
            raise
        made = [f"{field} {[*jnp.shape(value)]}" for field, value in new.items()]
        were = [f"{field} {[*jnp.shape(value)]}" for field, value in old.items()]
        if made == were:
            raise
        raise ConfigError(
            "augmentation",
            f"it makes {listed(made)} of {listed(were)}, and training with that fails, at {error}. Return inputs of "
            "the shape of the data, or let config.model take both",
        ) from error


def _became_shares(before: Any, after: Any) -> bool:
    if not hasattr(before, "dtype") or not hasattr(after, "dtype"):
        return False
    integers = jnp.issubdtype(before.dtype, jnp.integer) and jnp.issubdtype(after.dtype, jnp.floating)
    return bool(integers and after.shape[:-1] == before.shape)

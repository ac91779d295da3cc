"""How augmentations read and write the fields of a batch, and change its examples one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.core.inputs import INPUTS, fields_of, is_input, nested
from mlgym_jax.core.modes import note_unmoved
from mlgym_jax.core.state import Batch
from mlgym_jax.errors import ConfigError, described, listed, nearest

Augmentation = Callable[[jax.Array, Batch], Batch]
_IMAGES = "images [batch, height, width, channels]"


def value_of(name: str, batch: Batch, field: str = INPUTS) -> jax.Array:
    """Return one array of a batch: a field, or one of several inputs, `inputs.image`.

    Args:
        name: of the augmentation, for the error.

    Raises:
        ConfigError: at `augmentation`, a field that is not there, or that is several arrays.
    """
    fields = fields_of(batch)
    if field in fields:
        return jnp.asarray(fields[field])
    inside = [other for other in fields if other.startswith(f"{field}.")]
    if inside:
        raise ConfigError(
            "augmentation",
            f"{name} changes one array, and {field!r} are {listed(inside)}; say which, "
            f"component('by_field', field={inside[0]!r}, augmentation=component({name!r}, …))",
        )
    own = [other for other in fields if other != "mask" and not other.startswith("_")]
    raise ConfigError("augmentation", f"{name}: there is no field {field!r}{nearest(field, own)} Fields: {listed(own)}")


def with_values(batch: Batch, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch with other arrays in some fields, `inputs.image` among them."""
    if any(is_input(field) and field != INPUTS for field in values):
        return nested({**fields_of(batch), **values})
    return {**batch, **values}


def size_of(batch: Batch) -> int:
    """Return the number of examples, padding included."""
    return batch["mask"].shape[0]


def real(batch: Batch) -> jax.Array:
    """Return bool[batch], which examples are no padding."""
    return batch["mask"].astype(jnp.bool_)


def shape_in_words(array: Any) -> str:
    """Write type and shape of an array of examples: `float32[batch, 64]`."""
    return f"{jnp.asarray(array).dtype.name}[{', '.join(['batch', *map(str, jnp.shape(array)[1:])])}]"


def images_of(name: str, batch: Batch, field: str = INPUTS) -> jax.Array:
    """Return images [batch, height, width, channels]; maps of other fields than inputs may have no channels.

    Raises:
        ConfigError: at `augmentation`, a field that is not there or holds something else.
    """
    found = value_of(name, batch, field)
    if found.ndim == 3 and not is_input(field):
        return found[..., None]
    if found.ndim != 4:
        raise ConfigError(
            "augmentation",
            f"{name} takes {_IMAGES}, the field {field!r} is {shape_in_words(found)}; let the dataset give it that "
            "shape (component('digits', flat=False)), or leave the augmentation out",
        )
    if not (jnp.issubdtype(found.dtype, jnp.floating) or jnp.issubdtype(found.dtype, jnp.integer)):
        raise ConfigError("augmentation", f"{name} takes {_IMAGES} of numbers, {field!r} is {shape_in_words(found)}")
    return found


def floats_of(name: str, batch: Batch, field: str = INPUTS) -> jax.Array:
    """Return an array of floating-point numbers.

    Raises:
        ConfigError: at `augmentation`, a field that is not there or holds integers.
    """
    found = value_of(name, batch, field)
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise ConfigError(
            "augmentation",
            f"{name} changes real numbers, the field {field!r} is {shape_in_words(found)}; config.encoding = "
            "component('standardise') or component('min_max') makes numbers real, component('by_field', …) chooses "
            "another field",
        )
    return found


def by_image(
    name: str, change: Callable[..., Any], fields: Sequence[str] = (INPUTS,), *, moves: bool = False
) -> Augmentation:
    """Return the augmentation that changes images one by one: `change(key, *images) -> images`, of [h, w, channels].

    Args:
        fields: what belongs together, such as an image and its map of classes: all are handed to one call.
        moves: whether pixels come to other places, so that what else lies over the image no longer does.
    """
    check_fields(fields)

    def augment(key: jax.Array, batch: Batch) -> Batch:
        arrays = [images_of(name, batch, field) for field in fields]
        sizes = {field: tuple(array.shape[1:3]) for field, array in zip(fields, arrays, strict=True)}
        if len({*sizes.values()}) > 1:
            raise ConfigError("augmentation.fields", f"{name} changes images of one size together, found {sizes}")
        if moves:
            size = arrays[0].shape[1:3]
            over = [other for other, array in fields_of(batch).items() if jnp.shape(array)[1:3] == size]
            note_unmoved(name, [other for other in over if other not in fields])
        changed = jax.vmap(change)(jax.random.split(key, size_of(batch)), *arrays)
        ranks = [value_of(name, batch, field).ndim for field in fields]
        values = [array[..., 0] if rank == 3 else array for rank, array in zip(ranks, changed, strict=True)]
        return with_values(batch, dict(zip(fields, values, strict=True)))

    return augment


def check_fields(fields: Sequence[str]) -> None:
    """Refuse no fields at all, and one twice."""
    if not fields or len({*fields}) < len(fields):
        raise ConfigError("augmentation.fields", f"found {described(fields)}; name each field once: ('inputs',)")

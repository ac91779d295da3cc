"""Augmentations made of augmentations: chain, sometimes, one_of, by_field.

component("chain", augmentations=(component("flip"), component("crop", padding=4)))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.augmentations.fields import Augmentation, size_of, value_of, with_values
from mlgym_jax.augmentations.strengths import check_share, check_weights, number
from mlgym_jax.components.registry import register
from mlgym_jax.core.inputs import INPUTS, fields_of
from mlgym_jax.core.state import Batch
from mlgym_jax.errors import ConfigError, described, listed


def _check_augmentation(value: Any, path: str) -> None:
    if not callable(value):
        raise ConfigError(
            f"augmentation.{path}", f"an augmentation is expected, component('flip', …); found {described(value)}"
        )


def _check_augmentations(values: Sequence[Any]) -> None:
    if not values:
        raise ConfigError("augmentation.augmentations", "it is empty; write (component('flip'), …)")
    for place, value in enumerate(values):
        _check_augmentation(value, f"augmentations.{place}")


@register("augmentation", "chain")
def chain(*, augmentations: tuple[Any, ...]) -> Augmentation:
    """Apply augmentations one after another, each with a key of its own.

    The key of the i-th is `fold_in(key, i)`, so that those before it draw the same numbers whatever follows.

    Raises:
        ConfigError: none, or something that is no augmentation.
    """
    _check_augmentations(augmentations)

    def augment(key: jax.Array, batch: Batch) -> Batch:
        for place, augmentation in enumerate(augmentations):
            batch = augmentation(jax.random.fold_in(key, place), batch)
        return batch

    return augment


@register("augmentation", "sometimes", dynamic=("probability",))
def sometimes(*, augmentation: Any, probability: float = 0.5) -> Augmentation:
    """Change each example with a probability, and leave the others as they are.

    Class numbers that the augmentation makes distributions over classes (mixup) become one-hot in the others.

    Args:
        probability: in [0, 1]; both cost the same, as all examples are changed, and then chosen from.

    Raises:
        ConfigError: a probability that is none; when traced, an augmentation that adds a field, or gives one another
            shape, which examples that it leaves alone would not have.
    """
    _check_augmentation(augmentation, "augmentation")
    check_share(probability=probability)

    def augment(key: jax.Array, batch: Batch) -> Batch:
        of_choice, of_change = jax.random.split(key)
        chosen = jax.random.uniform(of_choice, (size_of(batch),)) < number(probability)
        return _selected("sometimes", chosen.astype(jnp.int32), [batch, augmentation(of_change, batch)])

    return augment


@register("augmentation", "one_of")
def one_of(*, augmentations: tuple[Any, ...], weights: tuple[float, ...] | None = None) -> Augmentation:
    """Change each example by one of several augmentations, drawn anew each time.

    All of them are computed, so that they cost what their `chain` does.

    Args:
        weights: how often each is drawn, in any unit; by default alike.

    Raises:
        ConfigError: none, another number of weights, or weights below 0; when traced, augmentations whose results have
            different fields, shapes or types.
    """
    _check_augmentations(augmentations)
    shares = check_weights(weights, len(augmentations))

    def augment(key: jax.Array, batch: Batch) -> Batch:
        ends = jnp.cumsum(jnp.asarray(shares, jnp.float32))
        drawn = jax.random.uniform(jax.random.fold_in(key, len(augmentations)), (size_of(batch),)) * ends[-1]
        chosen = jnp.sum((drawn[:, None] >= ends[None, :-1]).astype(jnp.int32), axis=1)
        changed = [one(jax.random.fold_in(key, place), batch) for place, one in enumerate(augmentations)]
        return _selected("one_of", chosen, changed)

    return augment


@register("augmentation", "by_field")
def by_field(*, augmentation: Any, field: str) -> Augmentation:
    """Apply an augmentation to another field than `inputs`, or to one of several inputs: `field="inputs.image"`.

    The augmentation finds that field in the place of `inputs`; all others are as they are.

    Raises:
        ConfigError: when traced, a field that is not there.
    """
    _check_augmentation(augmentation, "augmentation")

    def augment(key: jax.Array, batch: Batch) -> Batch:
        value = value_of("by_field", batch, field)
        changed = augmentation(key, {**batch, INPUTS: value})
        if field == INPUTS:
            return changed
        others = {name: found for name, found in changed.items() if name not in (INPUTS, field)}
        return with_values({**batch, **others}, {field: changed[INPUTS]})

    return augment


def _selected(name: str, chosen: jax.Array, batches: Sequence[Batch]) -> Batch:
    """Return, example by example, that of the batch whose number is chosen."""
    flat = [fields_of(batch) for batch in batches]
    names = {field: None for fields in flat for field in fields}
    values = {}
    for field in names:
        if any(field not in fields for fields in flat):
            raise ConfigError(
                "augmentation", f"{name}: the field {field!r} comes of some augmentations alone; all examples need it"
            )
        options = [fields[field] for fields in flat]
        if all(option is options[0] for option in options):
            continue
        options = _alike(name, field, options)
        picked = options[0]
        for place, option in enumerate(options[1:], 1):
            mine = (chosen == place).reshape(-1, *(1 for _ in option.shape[1:]))
            picked = jnp.where(mine, option, picked)
        values[field] = picked
    return with_values(batches[0], values)


def _alike(name: str, field: str, options: Sequence[Any]) -> list[jax.Array]:
    """Return arrays of one shape and type: class numbers as one-hot beside distributions over classes."""
    arrays = [jnp.asarray(option) for option in options]
    form = max(arrays, key=lambda array: array.ndim)
    shares = jnp.issubdtype(form.dtype, jnp.floating)
    for place, array in enumerate(arrays):
        if shares and jnp.issubdtype(array.dtype, jnp.integer) and array.shape == form.shape[:-1]:
            arrays[place] = jax.nn.one_hot(array, form.shape[-1], dtype=form.dtype)
    forms = [f"{array.dtype.name}{[*array.shape]}" for array in arrays]
    if len({*forms}) > 1:
        raise ConfigError(
            "augmentation",
            f"{name}: the field {field!r} is {listed(dict.fromkeys(forms))}; the examples of a batch are of one form",
        )
    return arrays

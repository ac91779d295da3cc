"""What models read: images, padded sequences of tokens, vocabularies; and the checks that several of them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mlgym_jax.core.inputs import flat
from mlgym_jax.errors import ConfigError
from mlgym_jax.models.mlp import one_input

_IMAGES = "images [batch, height, width, channels]"
_DIGITS = "for digits write config.dataset = component('digits', flat=False)"


def images(name: str, inputs: Any) -> jax.Array:
    """Return inputs that are images, float[batch, height, width, channels].

    Raises:
        ConfigError: at `model`, they are something else.
    """
    x = jnp.asarray(one_input(name, inputs))
    if x.ndim != 4:
        raise ConfigError("model", f"{name} takes {_IMAGES}, found inputs of shape {rows_of(x)}; {_DIGITS}")
    return as_float(x)


def as_float(x: jax.Array) -> jax.Array:
    """Return numbers of another kind, such as the bytes of pixels, as float32."""
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)


def at_least(least: int, **sizes: int | tuple[int, ...] | None) -> None:
    """Refuse numbers, also in tuples, that are smaller; None stands for one that is not given.

    Raises:
        ConfigError: at `model.<name>`, with what was found.
    """
    for name, size in sizes.items():
        found = size if isinstance(size, tuple) else () if size is None else (size,)
        if any(number < least for number in found):
            raise ConfigError(f"model.{name}", f"at least {least} is expected, found {size}")


def divided(width: int, num_heads: int) -> None:
    """Refuse a width that heads of attention cannot share evenly.

    Raises:
        ConfigError: at `model.num_heads`.
    """
    if width % num_heads:
        fit = [number for number in range(1, width + 1) if width % number == 0]
        near = min(fit, key=lambda number: abs(number - num_heads))
        raise ConfigError(
            "model.num_heads",
            f"a width of {width} cannot be divided among {num_heads} heads; write num_heads={near}, or another width",
        )


def dropped(x: jax.Array, rate: Any, train: bool, broadcast_dims: tuple[int, ...] = ()) -> jax.Array:
    """Return `x` after dropout of a rate that may be traced; called inside of a module's compact method."""
    if isinstance(rate, jax.Array) or rate > 0:
        return nn.Dropout(cast(Any, rate), broadcast_dims, deterministic=not train)(x)
    return x


def with_path_dropped(x: jax.Array, rate: Any, train: bool) -> jax.Array:
    """Return what a residual branch adds, left out for whole examples at a rate: stochastic depth, arXiv:1603.09382."""
    return dropped(x, rate, train, tuple(range(1, x.ndim)))


def real_positions(name: str, tokens: jax.Array, lengths: Any, where: Any) -> jax.Array | None:
    """Return which positions are no padding, bool[batch, length]; None if nothing says.

    Args:
        name: of the model, for messages.
        tokens: [batch, length, …].
        lengths: int[batch] or int[batch, 1], how many positions at the beginning count; or None.
        where: bool or 0 and 1 [batch, length], which positions count; or None. Of both, what both say.

    Raises:
        ConfigError: at `model`, other shapes.
    """
    batch, length = tokens.shape[:2]
    found = None
    if lengths is not None:
        if lengths.shape not in ((batch,), (batch, 1)):
            raise ConfigError("model", f"{name}: lengths are int[batch], one a sequence; found {rows_of(lengths)}")
        found = jnp.arange(length)[None, :] < lengths.reshape(batch, 1)
    if where is not None:
        if where.shape != (batch, length):
            raise ConfigError("model", f"{name}: where is bool[batch, {length}], as the tokens; found {rows_of(where)}")
        found = where.astype(bool) if found is None else found & where.astype(bool)
    return found


def seen_positions(name: str, tokens: jax.Array, real: jax.Array | None, segments: Any, positions: Any) -> Any:
    """Return which positions are seen: `real`, or where a row holds several sequences, bool[batch, length, length].

    Args:
        segments: int[batch, length], the number of the sequence that each position belongs to; or None.
        positions: int[batch, length], the place in it, which is checked here; or None.

    Raises:
        ConfigError: at `model`, other shapes, or no integers.
    """
    for what, found in (("segments", segments), ("positions", positions)):
        if found is not None and (found.shape != tokens.shape or not jnp.issubdtype(found.dtype, jnp.integer)):
            raise ConfigError(
                "model",
                f"{name}: {what} are int[batch, {tokens.shape[1]}], as the tokens; found {found.dtype}{rows_of(found)}",
            )
    if segments is None:
        return real
    same = segments[:, :, None] == segments[:, None, :]
    return same if real is None else same & real[:, None, :]


def tokens_of(name: str, tokens: Any, real: jax.Array | None, vocabulary_size: int | None) -> jax.Array:
    """Return token numbers int[batch, length] with those of padding replaced by 0, so that nothing depends on them.

    Raises:
        ConfigError: at `model` or `model.vocabulary_size`, they are no integers, or it is not known how many there are.
    """
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ConfigError(
            "model",
            f"{name} takes tokens, int[batch, length], found {tokens.dtype}{rows_of(tokens)}; such are the inputs of "
            "config.dataset = component('text')",
        )
    if vocabulary_size is None:
        raise ConfigError(
            "model.vocabulary_size",
            "the dataset is read record by record, or its tokens have another name, so it is not known how many there "
            "are; write vocabulary_size=…",
        )
    return tokens if real is None else jnp.where(real, tokens, 0)


def vocabulary(dataset: Any, given: int | None, fields: tuple[str, ...], predicted: bool) -> int | None:
    """Return how many tokens there are: as given, else one more than the largest in the dataset.

    Args:
        dataset: a `Dataset`; those of random-access records are not read through.
        given: the parameter `vocabulary_size`.
        fields: the inputs that hold tokens, `inputs` or `inputs.<name>`, as far as they are there.
        predicted: whether the targets are tokens, too, so that there are at least as many as classes.

    Raises:
        ConfigError: at `model.vocabulary_size`, below 1, or the dataset has a token that it leaves no number for.
    """
    at_least(1, vocabulary_size=given)
    largest = _largest(dataset, fields)
    if given is not None:
        if largest is not None and largest >= given:
            raise ConfigError(
                "model.vocabulary_size",
                f"found {given}, for the tokens 0 … {given - 1}, but the dataset holds {largest}; write {largest + 1}",
            )
        return given
    if largest is None and any(isinstance(split, Mapping) for split in dataset.splits.values()):
        return None  # there are arrays, and tokens are none of them that are known here
    known = [] if largest is None else [largest + 1]
    known += [dataset.num_classes] if predicted and dataset.num_classes else []
    return max(known, default=None)


def _largest(dataset: Any, fields: tuple[str, ...]) -> int | None:
    """Return the largest token of all splits, where they are arrays of integers; padding does not count."""
    largest: int | None = None
    for split in dataset.splits.values():
        if not isinstance(split, Mapping):
            continue
        arrays = flat(split)
        for field in fields:
            tokens = np.asarray(arrays.get(field, ()))
            if tokens.dtype.kind not in "iu" or not tokens.size or tokens.ndim != 2:
                continue
            real = _kept(field, tokens, arrays)
            if not real.size:
                continue
            if real.min() < 0:
                raise ConfigError(
                    "dataset",
                    f"the tokens {field!r} hold {real.min()}; tokens are numbered from 0. Pad with 0, or say what is "
                    "padding by lengths or where among the inputs, {'tokens': …, 'lengths': …}",
                )
            largest = max(int(real.max()), largest or 0)
    return largest


def _kept(field: str, tokens: np.ndarray, arrays: Mapping[str, Any]) -> np.ndarray:
    """Return the tokens of a split that are no padding, in one row."""
    before, _, name = field.rpartition(".")
    prefix = f"{before}.{name}_" if name in ("source", "target") else f"{before}."
    real = np.ones(tokens.shape, bool)
    lengths, where = (np.asarray(arrays.get(prefix + word, ())) for word in ("lengths", "where"))
    if lengths.size == len(tokens):
        real &= np.arange(tokens.shape[1]) < lengths.reshape(-1, 1)
    if where.shape == tokens.shape:
        real &= where != 0
    return tokens[real]


def pooled(x: jax.Array, real: jax.Array | None, pool: str) -> jax.Array:
    """Return one vector a sequence: float[batch, length, width] -> float[batch, width], padding left out.

    Args:
        x: vectors; real: which positions are no padding.
        pool: `first`, `last` (of those that are no padding) or `mean`.
    """
    if pool == "first":
        return x[:, 0]
    if real is None:
        return x[:, -1] if pool == "last" else x.mean(axis=1)
    if pool == "last":
        places = jnp.where(real, jnp.arange(x.shape[1])[None, :], 0).max(axis=1)
        return jnp.take_along_axis(x, places[:, None, None], axis=1)[:, 0]
    count = jnp.maximum(real.sum(axis=1, keepdims=True), 1).astype(x.dtype)
    return jnp.where(real[..., None], x, jnp.zeros_like(x)).sum(axis=1) / count


def rows_of(x: jax.Array) -> str:
    """Write the shape of an array whose first axis is that of the examples, `[batch, 4]`."""
    return "[" + ", ".join(["batch", *map(str, x.shape[1:])]) + "]"

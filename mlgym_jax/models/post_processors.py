"""Registered post-processors of a model's outputs; `core.post_processing` says how they read each other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.outputs import one_array
from mlgym_jax.core.post_processing import PostProcessor
from mlgym_jax.errors import ConfigError, MlgymError


@register("post_processor", "softmax")
def softmax(*, axis: int = -1) -> PostProcessor:
    """Turn logits into probabilities along an axis."""
    return lambda outputs: jax.nn.softmax(_array("softmax", outputs, axis), axis=axis)


@register("post_processor", "sigmoid")
def sigmoid() -> PostProcessor:
    """Turn each logit into a probability."""
    return lambda outputs: jax.nn.sigmoid(_array("sigmoid", outputs))


@register("post_processor", "argmax")
def argmax(*, axis: int = -1) -> PostProcessor:
    """Return the index of the largest output, int32; of equals the first, -1 where an output is no number."""

    def largest(outputs: Any) -> jax.Array:
        array = _array("argmax", outputs, axis)
        found = jnp.argmax(array, axis=axis).astype(jnp.int32)
        return jnp.where(jnp.isnan(array).any(axis=axis), -1, found)

    return largest


@register("post_processor", "threshold", dynamic=("value",))
def threshold(*, value: float = 0.5) -> PostProcessor:
    """Return whether each output is above `value`, as int32 0 or 1; -1 where it is no number."""

    def above(outputs: Any) -> jax.Array:
        array = _array("threshold", outputs)
        return jnp.where(jnp.isnan(array), -1, (array > value).astype(jnp.int32))

    return above


@register("post_processor", "min")
def minimum(*, axis: int = -1) -> PostProcessor:
    """Return the smallest output along an axis."""
    return lambda outputs: jnp.min(_array("min", outputs, axis), axis=axis)


@register("post_processor", "max")
def maximum(*, axis: int = -1) -> PostProcessor:
    """Return the largest output along an axis."""
    return lambda outputs: jnp.max(_array("max", outputs, axis), axis=axis)


@register("post_processor", "top_k")
def top_k(*, k: int) -> PostProcessor:
    """Return the indices of the `k` largest outputs along the last axis, int32, the largest first.

    They are -1 where one of the outputs is no number.

    Raises:
        ConfigError: k below 1, or above the number of outputs.
    """
    if k < 1:
        raise ConfigError("post_processors", f"top_k: k of at least 1 is expected, found {k}")

    def largest(outputs: Any) -> jax.Array:
        array = _array("top_k", outputs, -1)
        if k > array.shape[-1]:
            raise MlgymError(f"top_k: k={k} is more than the {array.shape[-1]} outputs")
        return jnp.where(jnp.isnan(array).any(axis=-1, keepdims=True), -1, jax.lax.top_k(array, k)[1])

    return largest


def _array(name: str, outputs: Any, axis: int | None = None) -> jax.Array:
    """Return the one output that is read.

    Raises:
        MlgymError: there are several, or they have no such axis.
    """
    array = jnp.asarray(one_array(outputs))
    if axis is not None and not -array.ndim <= axis < array.ndim:
        shape = ", ".join(["n", *map(str, array.shape[1:])])
        raise MlgymError(
            f"{name}: axis={axis} is no axis of outputs [{shape}]; axes are {-array.ndim} to {array.ndim - 1}"
        )
    return array

"""Convolutions as XLA computes them fast: on a CPU by their layout, many at once on a GPU as products of matrices.

`channels_last`: XLA brings convolutions into that layout by itself, but those of a program's outermost computation
alone. The gradients of a convolution have other layouts, and inside of `scan` they took 40 times as long. So a step's
convolutions are written in that layout before the step goes into a loop; XLA writes the same, so the numbers are the
same to the bit.

`as_products`: of a batch of networks, each with kernels of its own, XLA makes one convolution with groups, for which
cuDNN has no fast kernel. As a product of matrices the batch is one batched product.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.core.rewriting import holds, rewritten


def _is_convolution(equation: Any) -> bool:
    return equation.primitive.name == "conv_general_dilated"


def holds_convolution(jaxpr: Any) -> bool:
    """Tell whether a traced program, or any program inside it, has a convolution."""
    return holds(jaxpr, _is_convolution)


def channels_last(jaxpr: Any) -> Any:
    """Return a jaxpr with its convolutions, and those of what it calls, of arrays [batch, …, channels].

    Their kernels are then […, in, out].
    """
    return rewritten(
        jaxpr, _is_convolution, lambda convolution: functools.partial(_convolved, params=convolution.params)
    )


def _convolved(array: Any, kernel: Any, *, params: dict[str, Any]) -> jax.Array:
    (batch, feature, *space), (out, into, *window), (batch_at, feature_at, *space_at) = params["dimension_numbers"]
    array = jnp.transpose(array, (batch, *space, feature))
    kernel = jnp.transpose(kernel, (*window, into, out))
    last = len(space) + 1
    names = (0, last, *range(1, last)), (last, last - 1, *range(last - 1)), (0, last, *range(1, last))
    numbers = jax.lax.ConvDimensionNumbers(*names)
    found = jax.lax.conv_general_dilated_p.bind(array, kernel, **{**params, "dimension_numbers": numbers})
    order = {batch_at: 0, feature_at: last, **{place: 1 + i for i, place in enumerate(space_at)}}
    return jnp.transpose(found, [order[axis] for axis in range(last + 1)])


def as_products(jaxpr: Any) -> Any:
    """Return a jaxpr with its convolutions without groups, and those of what it calls, as products of matrices.

    The pieces of an array that a kernel is laid on are gathered along whichever is shorter: the places of the kernel,
    or, as in a kernel's gradient, those of the result. Where both are many, the convolution stays.
    """
    return rewritten(jaxpr, _is_product, lambda convolution: functools.partial(_product, params=convolution.params))


_MOST_PIECES = 49


def _is_product(equation: Any) -> bool:
    if not _is_convolution(equation) or {equation.params[f"{of}_group_count"] for of in ("feature", "batch")} != {1}:
        return False
    numbers = equation.params["dimension_numbers"]
    window = math.prod(equation.invars[1].aval.shape[axis] for axis in numbers.rhs_spec[2:])
    places = math.prod(equation.outvars[0].aval.shape[axis] for axis in numbers.out_spec[2:])
    return min(window, places) <= _MOST_PIECES


def _product(array: Any, kernel: Any, *, params: dict[str, Any]) -> jax.Array:
    (batch, feature, *space), (out, into, *window), (batch_at, feature_at, *space_at) = params["dimension_numbers"]
    array = jnp.transpose(array, (batch, *space, feature))
    kernel = jnp.transpose(kernel, (*window, into, out))
    strides, dilation = params["window_strides"], params["rhs_dilation"]
    room = [(low, high, gap - 1) for (low, high), gap in zip(params["padding"], params["lhs_dilation"], strict=True)]
    array = jax.lax.pad(array, jnp.zeros((), array.dtype), [(0, 0, 0), *room, (0, 0, 0)])
    sizes, number = kernel.shape[:-2], len(array)
    reach = [(size - 1) * gap + 1 for size, gap in zip(sizes, dilation, strict=True)]
    axes = range(len(sizes))
    places = [(array.shape[1 + axis] - reach[axis]) // strides[axis] + 1 for axis in axes]

    def piece(start: tuple[int, ...], lengths: Any, steps: Any) -> jax.Array:
        """Return so many entries of each row, `steps` apart."""
        ends = [start[axis] + (lengths[axis] - 1) * steps[axis] + 1 for axis in axes]
        return jax.lax.slice(array, (0, *start, 0), (number, *ends, array.shape[-1]), (1, *steps, 1))

    def product(of: jax.Array) -> jax.Array:
        axes = (((1,), (0,)), ((), ()))
        kinds = {"precision": params["precision"], "preferred_element_type": params["preferred_element_type"]}
        return jax.lax.dot_general(of, kernel.reshape(-1, kernel.shape[-1]), axes, **kinds)

    if math.prod(sizes) <= math.prod(places):
        starts = [tuple(at[axis] * dilation[axis] for axis in axes) for at in itertools.product(*map(range, sizes))]
        pieces = [piece(start, places, strides) for start in starts]
        found = product(jnp.concatenate(pieces, axis=-1).reshape(number * math.prod(places), -1))
        found = found.reshape(number, *places, -1)
    else:
        starts = [tuple(at[axis] * strides[axis] for axis in axes) for at in itertools.product(*map(range, places))]
        pieces = [piece(start, sizes, dilation).reshape(number, -1) for start in starts]
        found = product(jnp.concatenate(pieces)).reshape(*places, number, -1)
        found = jnp.moveaxis(found, len(sizes), 0)
    order = {batch_at: 0, feature_at: 1 + len(sizes), **{place: 1 + i for i, place in enumerate(space_at)}}
    return jnp.transpose(found, [order[axis] for axis in range(2 + len(sizes))])

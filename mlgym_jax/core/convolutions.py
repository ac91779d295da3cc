"""Convolutions in the layout that XLA has a fast kernel for on a CPU, inside of loops as outside.

XLA brings convolutions into that layout by itself, but those of a program's outermost computation alone. The gradients
of a convolution have other layouts, and inside of `scan` they took 40 times as long. So a step's convolutions are
written in that layout before the step goes into a loop; XLA writes the same, so the numbers are the same to the bit.
"""

from __future__ import annotations

import functools
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

"""Convolutions in the layout that XLA has a fast kernel for on a CPU, inside of loops as outside.

XLA brings convolutions into that layout by itself, but those of a program's outermost computation alone. The gradients
of a convolution have other layouts, and inside of `scan` they took 40 times as long. So a step's convolutions are
written in that layout before the step goes into a loop; XLA writes the same, so the numbers are the same to the bit.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

_CONVOLUTION = "conv_general_dilated"


def holds_convolution(jaxpr: Any) -> bool:
    """Tell whether a traced program, or any program inside it, has a convolution."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == _CONVOLUTION:
            return True
        if any(holds_convolution(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params)):
            return True
    return False


def channels_last(jaxpr: Any) -> Any:
    """Return a jaxpr with its convolutions, and those of what it calls, of arrays [batch, …, channels].

    Their kernels are then […, in, out].
    """
    if not holds_convolution(jaxpr):
        return jaxpr
    equations: list[Any] = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == _CONVOLUTION:
            equations += _in_place_of(equation)
        elif any(holds_convolution(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params)):
            params = {name: _inside(value) for name, value in equation.params.items()}
            equations.append(equation.replace(params=params))
        else:
            equations.append(equation)
    return jaxpr.replace(eqns=equations)


def _inside(value: Any) -> Any:
    """Rewrite the programs that a parameter of an equation holds."""
    if isinstance(value, tuple | list) and any(isinstance(inner, Jaxpr | ClosedJaxpr) for inner in value):
        return type(value)(_inside(inner) for inner in value)  # the branches of a `cond`
    if isinstance(value, Jaxpr):
        return channels_last(value)
    return value.replace(jaxpr=channels_last(value.jaxpr)) if isinstance(value, ClosedJaxpr) else value


def _in_place_of(convolution: Any) -> list[Any]:
    """Return equations that bring a convolution's variables into the layout, convolve, and bring the result back."""
    arguments = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in convolution.invars]
    traced = jax.make_jaxpr(functools.partial(_convolved, params=convolution.params))(*arguments).jaxpr
    atoms = dict(zip((*traced.invars, *traced.outvars), (*convolution.invars, *convolution.outvars), strict=True))

    def renamed(variables: Sequence[Any]) -> list[Any]:
        return [atom if isinstance(atom, Literal) else atoms.get(atom, atom) for atom in variables]

    return [
        equation.replace(
            invars=renamed(equation.invars), outvars=renamed(equation.outvars), source_info=convolution.source_info
        )
        for equation in traced.eqns
    ]


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

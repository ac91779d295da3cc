"""Traced programs with some of their equations, also of programs inside of them, in another form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

Wanted = Callable[[Any], bool]


def holds(jaxpr: Any, wanted: Wanted) -> bool:
    """Tell whether a traced program, or any program inside it, has an equation that is wanted."""
    for equation in jaxpr.eqns:
        if wanted(equation):
            return True
        if any(holds(inner, wanted) for inner in jax.extend.core.jaxprs_in_params(equation.params)):
            return True
    return False


def rewritten(jaxpr: Any, wanted: Wanted, function_of: Callable[[Any], Callable[..., Any]]) -> Any:
    """Return a jaxpr with the equations that are wanted, and those of what it calls, as other functions write them.

    Args:
        function_of: equation -> a function of its inputs that gives its results.
    """
    if not holds(jaxpr, wanted):
        return jaxpr
    equations: list[Any] = []
    for equation in jaxpr.eqns:
        if wanted(equation):
            equations += _in_place_of(equation, function_of(equation))
        elif any(holds(inner, wanted) for inner in jax.extend.core.jaxprs_in_params(equation.params)):
            params = {name: _inside(value, wanted, function_of) for name, value in equation.params.items()}
            equations.append(equation.replace(params=params))
        else:
            equations.append(equation)
    return jaxpr.replace(eqns=equations)


def _inside(value: Any, wanted: Wanted, function_of: Callable[[Any], Callable[..., Any]]) -> Any:
    """Rewrite the programs that a parameter of an equation holds."""
    if isinstance(value, tuple | list) and any(isinstance(inner, Jaxpr | ClosedJaxpr) for inner in value):
        return type(value)(_inside(inner, wanted, function_of) for inner in value)  # the branches of a `cond`
    if isinstance(value, Jaxpr):
        return rewritten(value, wanted, function_of)
    if isinstance(value, ClosedJaxpr):
        return value.replace(jaxpr=rewritten(value.jaxpr, wanted, function_of))
    return value


def _in_place_of(equation: Any, function: Callable[..., Any]) -> list[Any]:
    """Return the equations of a function of an equation's inputs, between that equation's own variables."""
    arguments = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in equation.invars]
    traced = jax.make_jaxpr(function)(*arguments).jaxpr
    atoms = dict(zip((*traced.invars, *traced.outvars), (*equation.invars, *equation.outvars), strict=True))

    def renamed(variables: Sequence[Any]) -> list[Any]:
        return [atom if isinstance(atom, Literal) else atoms.get(atom, atom) for atom in variables]

    return [
        inner.replace(invars=renamed(inner.invars), outvars=renamed(inner.outvars), source_info=equation.source_info)
        for inner in traced.eqns
    ]

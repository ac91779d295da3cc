"""A function in segments, each a `jax.checkpoint` that ends with a product of matrices, whose result it keeps.

One checkpoint around a whole model would be computed again at once, and need as much memory as none. A segment is
computed again when the gradient comes to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core
from jax.extend.core import ClosedJaxpr, Literal

from mlgym_jax.core.rewriting import holds

_PRODUCTS = ("conv_general_dilated", "dot_general")


def keeping_products(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the same results, of which the results of products, and what goes into them, are kept."""

    def call(*args: Any) -> Any:
        traced, results = jax.make_jaxpr(function, return_shape=True)(*args)
        known = dict(zip(traced.jaxpr.invars, jax.tree.leaves(args), strict=True))
        known |= dict(zip(traced.jaxpr.constvars, traced.consts, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else known[atom]

        for segment in _segments(traced.jaxpr):
            compute = jax.checkpoint(jax.extend.core.jaxpr_as_fun(ClosedJaxpr(segment, ())), policy=_is_kept)
            known |= dict(zip(segment.outvars, compute(*map(read, segment.invars)), strict=True))
        return jax.tree.unflatten(jax.tree.structure(results), [read(atom) for atom in traced.jaxpr.outvars])

    return call


def _is_kept(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in _PRODUCTS


def _multiplies(equation: Any) -> bool:
    return equation.primitive.name in _PRODUCTS


def _segments(jaxpr: Any) -> list[Any]:
    """Cut a jaxpr behind each equation that multiplies, or holds one that does."""
    runs: list[list[Any]] = [[]]
    for equation in jaxpr.eqns:
        runs[-1].append(equation)
        inner = jax.extend.core.jaxprs_in_params(equation.params)
        if _multiplies(equation) or any(holds(program, _multiplies) for program in inner):
            runs.append([])
    read_later = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    found = []
    for run in reversed([run for run in runs if run]):
        made = [variable for equation in run for variable in equation.outvars]
        read = _variables([atom for equation in run for atom in equation.invars])
        taken = [variable for variable in read if variable not in {*made}]
        given = [variable for variable in made if variable in read_later]
        debug_info = jaxpr.debug_info.with_unknown_names()
        found.append(jaxpr.replace(constvars=[], invars=taken, outvars=given, eqns=run, debug_info=debug_info))
        read_later |= {*read}
    return found[::-1]


def _variables(atoms: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(atom for atom in atoms if not isinstance(atom, Literal)))

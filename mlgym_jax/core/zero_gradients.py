"""Find the parameters that a loss cannot depend on: JAX writes their gradient as zeros, whatever the numbers are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.extend.core
from jax.ad_checkpoint import checkpoint_name

from mlgym_jax.core.trees import path_name

_MARK = "gradient by "
# What is made of zeros alone by these is zeros.
_KEEP = {"broadcast_in_dim", "reshape", "convert_element_type", "transpose", "squeeze", "neg", "real", "imag", "copy"}


def marked(gradients: Any) -> Any:
    """Return gradients by a tree of parameters that a trace of them tells apart by their paths; it computes nothing."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: checkpoint_name(leaf, _MARK + path_name(path)) if path else leaf, gradients
    )


def without_gradient(step: Any, abstract: Any) -> list[str]:
    """Return the paths of the parameters whose gradients in a traced step, a jaxpr, are zeros wherever it has them.

    Those that the step leaves as they are, such as those that an optimizer freezes, are not among them.

    Args:
        abstract: the shapes of the state, which the step takes and returns first.
    """
    found: dict[str, bool] = {}
    for path, is_zero in _marks(step):
        found[path] = found.get(path, True) and is_zero
    frozen = _left_as_they_are(step, abstract)
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(abstract.params)]
    return [name for name in names if found.get(name) and name not in frozen]


def _marks(jaxpr: Any) -> Iterator[tuple[str, bool]]:
    zeros = _zeros(jaxpr)
    for equation in jaxpr.eqns:
        name = str(equation.params.get("name", "")) if equation.primitive.name == "name" else ""
        if name.startswith(_MARK):
            yield name.removeprefix(_MARK), _is_zero(equation.invars[0], zeros)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from _marks(inner)


def _left_as_they_are(step: Any, abstract: Any) -> set[str]:
    """Return the paths of the parameters to which a step adds zeros, or nothing."""
    zeros, made = _zeros(step), {out: equation for equation in step.eqns for out in equation.outvars}
    found = set()
    for (path, _), before, after in zip(
        jax.tree_util.tree_leaves_with_path(abstract), step.invars, step.outvars, strict=False
    ):
        equation = made.get(after) if isinstance(after, jax.extend.core.Var) else None
        added = equation.invars if equation is not None and equation.primitive.name in ("add", "add_any") else ()
        if after is before or any(_is_zero(atom, zeros) for atom in added):
            found.add(path_name(path).removeprefix("params/"))
    return found


def _zeros(jaxpr: Any) -> set[Any]:
    """Return the variables that hold zeros for whatever arguments."""
    found: set[Any] = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name in _KEEP and _is_zero(equation.invars[0], found):
            found.update(equation.outvars)
    return found


def _is_zero(atom: Any, zeros: set[Any]) -> bool:
    if isinstance(atom, jax.extend.core.Literal):
        return jax.numpy.ndim(atom.val) == 0 and complex(atom.val) == 0
    return atom in zeros

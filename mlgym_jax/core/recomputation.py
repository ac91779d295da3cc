"""Let a CPU compute again what `jax.checkpoint` does not keep.

JAX puts a barrier between what is computed and what is computed again. XLA takes it out early on a CPU, finds that the
two are the same, and keeps the first: the numbers are right, and nothing is saved. What stands in a branch of a
conditional is never merged with what stands outside, so there the second computation is a branch that is always taken,
which XLA cannot know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

from mlgym_jax.core.rewriting import rewritten

_NAMES = ("checkpoint", "remat", "remat2")  # of the primitive, in versions of JAX


def computed_again(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the same results, whose checkpoints save memory on a CPU as they do elsewhere."""
    if jax.default_backend() != "cpu":
        return function

    def call(*args: Any) -> Any:
        traced, results = jax.make_jaxpr(function, return_shape=True)(*args)
        again = traced.replace(jaxpr=rewritten(traced.jaxpr, _is_again, _in_a_branch))
        found = jax.extend.core.jaxpr_as_fun(again)(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(results), found)

    return call


def _is_again(equation: Any) -> bool:
    return equation.primitive.name in _NAMES and equation.params.get("differentiated", False)


def _in_a_branch(equation: Any) -> Callable[..., Any]:
    compute = jax.extend.core.jaxpr_as_fun(jax.extend.core.ClosedJaxpr(equation.params["jaxpr"], ()))
    shapes = [(variable.aval.shape, variable.aval.dtype) for variable in equation.outvars]

    def call(*inputs: Any) -> list[Any]:
        is_taken = jax.lax.rng_uniform(np.float32(0), np.float32(1), shape=()) < np.float32(2)
        return jax.lax.cond(is_taken, compute, lambda *_: [jnp.zeros(*shape) for shape in shapes], *inputs)

    return call

"""Ask a traced program what its outputs depend on, with what only looks used left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.extend.core
from jax.interpreters import partial_eval


def reads(jaxpr: Any, number: int, used_outputs: Sequence[bool]) -> bool:
    """Tell whether any of the outputs that are used is computed of the input of a number."""
    return partial_eval.dce_jaxpr(jaxpr, list(used_outputs))[1][number]


def draws(jaxpr: Any, used_outputs: Sequence[bool]) -> bool:
    """Tell whether any of the outputs that are used is drawn at random."""
    return _has_draws(partial_eval.dce_jaxpr(jaxpr, list(used_outputs))[0])


def _has_draws(jaxpr: Any) -> bool:
    return any(
        equation.primitive.name in _DRAWS or any(map(_has_draws, jax.extend.core.jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )


def needed(traced: Any) -> tuple[Any, list[bool]]:
    """Return a closed jaxpr without what its outputs do not need, of the inputs that they do, and which these are."""
    jaxpr, used = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return jax.extend.core.ClosedJaxpr(jaxpr, traced.consts), used


def handed_on(jaxpr: Any) -> list[int | None]:
    """Return of each output the number of the input that it is, None where it is computed."""
    numbers: dict[Any, int] = {variable: number for number, variable in enumerate(jaxpr.invars)}
    for equation in jaxpr.eqns:
        inner = list(jax.extend.core.jaxprs_in_params(equation.params))
        if len(inner) != 1 or equation.primitive.name not in _CALLS:
            continue
        for outside, number in zip(equation.outvars, handed_on(inner[0]), strict=True):
            given = None if number is None else equation.invars[number]
            if isinstance(given, jax.extend.core.Var) and given in numbers:
                numbers[outside] = numbers[given]
    return [numbers.get(out) if isinstance(out, jax.extend.core.Var) else None for out in jaxpr.outvars]


# Primitives whose one program inside takes their inputs, in their order.
_CALLS = ("jit", "pjit", "closed_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call")
_DRAWS = ("random_bits", "threefry2x32", "rng_bit_generator")

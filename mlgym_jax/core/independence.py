"""Prove from two traces that each example of a batch is computed by itself, so that padding changes nothing.

A function of a batch is traced for two numbers of examples. An axis whose length differs between the traces is the axis
of examples (or a multiple of it, where each example has several entries in a row); everything else has to be equal. The
proof is by induction over the equations: from what is known of one example, each makes what belongs to that example
alone. Whatever is not known to do so, such as a sum over examples, their comparison with each other, a number that
depends on how many there are, or a primitive that is not listed here, proves nothing, and False is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.extend.core
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from mlgym_jax.core.independence_rules import LENGTHS, RULES, Equation, Examples, Value, require


def by_example(function: Callable[[int], ClosedJaxpr], sizes: tuple[int, int]) -> bool:
    """Tell whether a function of a batch certainly computes each example by itself.

    Args:
        function: number of examples -> the function's trace for so many.
        sizes: two numbers of examples that differ.
    """
    one, other = function(sizes[0]), function(sizes[1])
    try:
        _check_closed(one, other, sizes)
    except Exception:  # `Unproven`, or a trace of another form than the rules expect, which proves nothing either
        return False
    return True


def _value(one: Any, other: Any, sizes: tuple[int, int]) -> Value:
    require(hasattr(one, "shape") and hasattr(other, "shape"))
    require(one.dtype == other.dtype and len(one.shape) == len(other.shape))
    shapes = (tuple(one.shape), tuple(other.shape))
    axes = [axis for axis, (a, b) in enumerate(zip(*shapes, strict=True)) if a != b]
    if not axes:
        return Value(one.dtype, shapes, None)
    require(len(axes) == 1)
    (a, b), (size, other_size) = (shape[axes[0]] for shape in shapes), sizes
    require(a % size == 0 and a // size * other_size == b)
    return Value(one.dtype, shapes, Examples(axes[0], a // size))


def _check_closed(one: ClosedJaxpr, other: ClosedJaxpr, sizes: tuple[int, int]) -> None:
    for a, b in zip(one.consts, other.consts, strict=True):
        _check_constant(a, b, sizes)
    _check(one.jaxpr, other.jaxpr, sizes)


def _check_constant(one: Any, other: Any, sizes: tuple[int, int]) -> None:
    """Require that a constant begins alike in both traces, as the examples of the smaller one are the first ones."""
    one, other = np.asarray(one), np.asarray(other)
    axis = _value(one, other, sizes).axis
    if axis is not None:
        common = min(one.shape[axis], other.shape[axis])
        one, other = (np.take(array, np.arange(common), axis) for array in (one, other))
    require(one.tobytes() == other.tobytes())


def _check(one: Any, other: Any, sizes: tuple[int, int]) -> None:
    """Require that two traces do the same, each example by itself."""
    require(len(one.eqns) == len(other.eqns) and not one.effects and not other.effects)
    same: dict[Any, Any] = {}

    def bound(variables: Sequence[Any], others: Sequence[Any]) -> list[Value]:
        require(len(variables) == len(others))
        same.update(zip(variables, others, strict=True))
        return [_value(a.aval, b.aval, sizes) for a, b in zip(variables, others, strict=True)]

    def read(a: Any, b: Any) -> Value:
        if isinstance(a, Literal) or isinstance(b, Literal):
            require(isinstance(a, Literal) and isinstance(b, Literal))
            _check_constant(a.val, b.val, sizes)
        else:
            require(same[a] is b)
        return _value(a.aval, b.aval, sizes)

    bound([*one.constvars, *one.invars], [*other.constvars, *other.invars])
    for first, second in zip(one.eqns, other.eqns, strict=True):
        name = first.primitive.name
        require(name == second.primitive.name and len(first.invars) == len(second.invars))
        inputs = [read(a, b) for a, b in zip(first.invars, second.invars, strict=True)]
        outputs = bound(first.outvars, second.outvars)
        equation = Equation((first.params, second.params), inputs, outputs)
        if name in _CALLS:
            _check_call(name, equation, sizes)
        else:
            _check_equation(name, equation)
    require(len(one.outvars) == len(other.outvars))
    for a, b in zip(one.outvars, other.outvars, strict=True):
        read(a, b)


def _check_call(name: str, equation: Equation, sizes: tuple[int, int]) -> None:
    """Require the same of the traces inside, whose variables have their examples where their own shapes say."""
    one, other = equation.params
    for key in _CALLS[name]:
        require(one.get(key) == other.get(key))
    for key in one:
        traces = [param if isinstance(param, tuple | list) else (param,) for param in (one[key], other[key])]
        if any(isinstance(inner, ClosedJaxpr | jax.extend.core.Jaxpr) for inner in traces[0]):
            require(len(traces[0]) == len(traces[1]))
            for a, b in zip(*traces, strict=True):
                _check_closed(a, b, sizes) if isinstance(a, ClosedJaxpr) else _check(a, b, sizes)


def _check_equation(name: str, equation: Equation) -> None:
    inputs, outputs = equation.inputs, equation.outputs
    one, other = equation.params
    for key in one:
        if key not in LENGTHS.get(name, ()):
            require(_equal(one[key], other[key]))
    if any(value.examples for value in (*inputs, *outputs)):
        require(name in RULES and all(value.examples for value in outputs))
        RULES[name](equation)


def _equal(one: Any, other: Any) -> bool:
    return one is other or bool(one == other) or (one != one and other != other)  # NaN, which gathers are filled with


# Primitives that call others -> parameters that have to be equal; the traces inside are compared in any case. What is
# differentiated by a rule of its own is traced with that rule applied (`jax.jvp`), or is no call, but `custom_lin`.
_CALLS: dict[str, tuple[str, ...]] = {
    "jit": (),
    "pjit": (),
    "closed_call": (),
    "remat": (),
    "checkpoint": (),
    "remat2": (),
    "custom_jvp_call": ("num_consts",),
    "custom_vjp_call": ("num_consts",),
    "cond": (),
    "while": ("cond_nconsts", "body_nconsts"),
    "scan": ("length", "reverse", "num_consts", "num_carry"),
}

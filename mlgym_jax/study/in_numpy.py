"""Functions of JAX computed by NumPy, where compiling them for a handful of numbers would take longest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import numpy as np


def in_numpy(function: Callable[[Any], Any], argument: np.ndarray) -> np.ndarray:
    """Return an array that a function makes of one, as `jax.jit(jax.vmap(function))(argument)` does but for rounding.

    Args:
        function: of one number, returning one; it is traced. argument: [n].
    """
    closed = jax.make_jaxpr(jax.vmap(function))(argument)
    try:
        with np.errstate(all="ignore"):
            [found] = _evaluated(closed.jaxpr, closed.consts, [np.asarray(argument, closed.in_avals[0].dtype)])
    except (KeyError, TypeError, ValueError):  # an operation that is not known here
        found = jax.jit(jax.vmap(function))(argument)
    return np.asarray(found)


def _evaluated(jaxpr: Any, constants: Any, arguments: Any) -> list[Any]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*map(np.asarray, constants), *arguments], strict=True))

    def read(variable: Any) -> Any:
        if isinstance(variable, jax.extend.core.Literal):
            aval: Any = variable.aval
            return np.asarray(variable.val, aval.dtype)
        return known[variable]

    for equation in jaxpr.eqns:
        inputs, name = [read(variable) for variable in equation.invars], equation.primitive.name
        if name in ("jit", "pjit"):
            inner = equation.params["jaxpr"]
            found = _evaluated(inner.jaxpr, inner.consts, inputs)
        else:
            found = [_OPERATIONS[name](*inputs, equation.params)]
        for variable, value in zip(equation.outvars, found, strict=True):
            known[variable] = np.asarray(value, variable.aval.dtype)
    return [read(variable) for variable in jaxpr.outvars]


def _div(one: Any, other: Any, _: Any) -> Any:
    if one.dtype.kind != "f":
        raise ValueError("integers are divided by other rules")
    return one / other


def _select(which: Any, no: Any, yes: Any) -> Any:
    if which.dtype != bool:
        raise ValueError("cases are chosen by number")
    return np.where(which, yes, no)


def _broadcast(array: Any, params: Any) -> Any:
    sizes = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], array.shape, strict=True):
        sizes[axis] = size
    return np.broadcast_to(array.reshape(sizes), params["shape"])


_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{
        name: lambda *inputs, function=function: function(*inputs[:-1])
        for name, function in {
            "abs": np.abs,
            "add": np.add,
            "ceil": np.ceil,
            "cos": np.cos,
            "eq": np.equal,
            "exp": np.exp,
            "floor": np.floor,
            "ge": np.greater_equal,
            "gt": np.greater,
            "le": np.less_equal,
            "log": np.log,
            "log1p": np.log1p,
            "lt": np.less,
            "max": np.maximum,
            "min": np.minimum,
            "mul": np.multiply,
            "ne": np.not_equal,
            "neg": np.negative,
            "pow": np.power,
            "select_n": _select,
            "sign": np.sign,
            "sin": np.sin,
            "sqrt": np.sqrt,
            "square": np.square,
            "sub": np.subtract,
            "tanh": np.tanh,
        }.items()
    },
    "and": lambda one, other, _: one & other,
    "or": lambda one, other, _: one | other,
    "not": lambda array, _: ~array,
    "broadcast_in_dim": _broadcast,
    "convert_element_type": lambda array, params: array.astype(params["new_dtype"]),
    "copy": lambda array, params: array,
    "div": _div,
    "integer_pow": lambda array, params: array ** params["y"],
    "reshape": lambda array, params: array.reshape(params["new_sizes"]),
    "squeeze": lambda array, params: np.squeeze(array, params["dimensions"]),
    "stop_gradient": lambda array, params: array,
}

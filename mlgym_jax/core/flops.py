"""How many floating-point operations a traced step takes, counted in its jaxpr.

What XLA's own cost analysis counts is counted here, equation by equation, without lowering the step for it, which takes
60 to 100 ms a group; and the body of a loop as often as it runs, which XLA counts once. Random bits, sorting and
copying are no floating-point operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax.extend.core
import numpy as np

# They compute nothing, or nothing that a model's arithmetic is. What is not named below takes one operation a result.
_FREE = {
    *("broadcast_in_dim", "reshape", "transpose", "slice", "dynamic_slice", "dynamic_update_slice", "squeeze", "rev"),
    *("concatenate", "pad", "gather", "scatter", "iota", "copy", "copy_p", "stop_gradient", "split", "sort", "top_k"),
    *(
        "convert_element_type",
        "bitcast_convert_type",
        "reduce_precision",
        "expand_dims",
        "select_n",
        "argmax",
        "argmin",
    ),
    *("random_bits", "random_fold_in", "random_seed", "random_split", "random_wrap", "random_unwrap", "random_clone"),
    *("threefry2x32", "shift_left", "shift_right_logical", "shift_right_arithmetic", "optimization_barrier"),
    *("sharding_constraint", "pvary", "axis_index", "debug_callback", "name", "eq", "ne", "lt", "le", "gt", "ge"),
    *("and", "or", "not", "xor", "is_finite", "sign", "stack", "unstack", "empty", "device_put", "create_token"),
    # XLA counts these apart, as transcendentals.
    *(
        "exp",
        "exp2",
        "log",
        "log1p",
        "log2",
        "expm1",
        "logistic",
        "pow",
        "sqrt",
        "rsqrt",
        "cbrt",
        "tanh",
        "tan",
        "sin",
        "cos",
    ),
    *("erf", "erf_inv", "erfc", "atan2", "lgamma", "digamma"),
}
# How much these compute depends on values, or on code that the jaxpr does not hold.
_UNKNOWN = {
    *(
        "while",
        "pallas_call",
        "ffi_call",
        "custom_call",
        "pure_callback",
        "io_callback",
        "cholesky",
        "lu",
        "eigh",
        "eig",
    ),
    *("svd", "qr", "geqrf", "householder_product", "triangular_solve", "schur", "hessenberg", "tridiagonal"),
    *("tridiagonal_solve", "linear_solve", "custom_linear_solve", "root", "custom_root"),
}


class Flops(dict[str, int]):
    """Operations by the type of number, such as `{"float32": 7_000_000}`, that they are computed in."""

    @property
    def total(self) -> int:
        return sum(self.values())

    @property
    def widest(self) -> str | None:
        """The type that most of them are of."""
        return max(self, key=lambda dtype: self[dtype], default=None)


def flops_of(jaxpr: Any) -> Flops | None:
    """Count the floating-point operations of a jaxpr; None where it depends on more than shapes.

    A product of matrices of m x k and k x n takes 2 m k n, a convolution two for each weight that meets an input.
    """
    found = Flops()
    for times, equation in _equations(jaxpr, 1):
        name = equation.primitive.name
        if name in _UNKNOWN:
            return None
        if name in _FREE or not equation.outvars:
            continue
        kind, count = _of(name, equation)
        if count and np.dtype(kind).kind not in "iub":
            found[str(kind)] = found.get(str(kind), 0) + times * count
    return found


def _equations(jaxpr: Any, times: int) -> Iterator[tuple[int, Any]]:
    """Yield each equation with how often it runs; of a `cond`, those of the branch that computes most."""
    for equation in jaxpr.eqns:
        name, inner = equation.primitive.name, _inner(equation)
        if name in _UNKNOWN or not inner:
            yield times, equation
        elif name == "cond":
            counted = [flops_of(branch) for branch in inner]
            costs = [math.inf if found is None else found.total for found in counted]
            yield from _equations(inner[costs.index(max(costs))], times)
        else:
            for part in inner:
                yield from _equations(part, times * equation.params["length"] if name == "scan" else times)


def _inner(equation: Any) -> list[Any]:
    """Return the jaxprs that an equation calls; none of one whose own primitive says what it computes."""
    if equation.primitive.name.startswith(("reduce", "scatter", "cum", "arg")):
        return []
    found = []
    for value in equation.params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, jax.extend.core.ClosedJaxpr):
                found.append(one.jaxpr)
            elif isinstance(one, jax.extend.core.Jaxpr):
                found.append(one)
    return found


def _of(name: str, equation: Any) -> tuple[Any, int]:
    """Return the type of number that an equation computes in, and how many operations it takes."""
    ins = [getattr(var, "aval", None) for var in equation.invars]
    out = equation.outvars[0].aval
    first: Any = ins[0] if ins else out
    if not hasattr(out, "shape") or not hasattr(out.dtype, "kind") or not hasattr(first, "shape"):
        return np.bool_, 0  # keys and tokens
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return first.dtype, 2 * out.size * math.prod(first.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return first.dtype, _convolution(equation, ins, out)
    if name.startswith("scatter"):
        return out.dtype, ins[2].size if len(ins) > 2 and ins[2] is not None else 0
    if name.startswith("reduce_window"):
        window = equation.params.get("window_dimensions", ())
        return out.dtype, out.size * max(0, math.prod(window) - 1)
    if name.startswith(("reduce", "cum")):
        return out.dtype, max(0, first.size - out.size) if name.startswith("reduce") else out.size
    if name == "fft":
        length = math.prod(equation.params["fft_lengths"])
        return out.dtype, int(5 * max(first.size, out.size) * math.log2(max(2, length)))
    if name == "integer_pow":
        return out.dtype, out.size * max(1, abs(equation.params["y"]).bit_length() - 1)
    return out.dtype, out.size


def _convolution(equation: Any, ins: list[Any], out: Any) -> int:
    """Count what meets an input: what falls on padding, or between dilated inputs, is multiplied by nothing."""
    params, (inputs, kernel) = equation.params, ins[:2]
    numbers = params["dimension_numbers"]
    pairs = 1
    for axis, padding in enumerate(params["padding"]):
        size, taps = inputs.shape[numbers.lhs_spec[2 + axis]], kernel.shape[numbers.rhs_spec[2 + axis]]
        spread = params["lhs_dilation"][axis]
        starts = np.arange(out.shape[numbers.out_spec[2 + axis]]) * params["window_strides"][axis] - padding[0]
        met = starts[:, None] + np.arange(taps) * params["rhs_dilation"][axis]
        pairs *= int(((met >= 0) & (met <= (size - 1) * spread) & (met % spread == 0)).sum())
    channels = kernel.shape[numbers.rhs_spec[1]]  # of one group of features
    batch, features = out.shape[numbers.out_spec[0]], out.shape[numbers.out_spec[1]]
    return 2 * pairs * batch * features * channels

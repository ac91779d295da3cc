"""Which primitives compute each example of a batch by itself, and under what conditions; see `core.independence`.

A rule is given an equation whose inputs or results have an axis of examples, and raises `Unproven` unless every entry
of a result depends on entries of the same example alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np


class Unproven(Exception):
    """An equation is not known to compute each example by itself."""


def require(holds: Any) -> None:
    """Raise `Unproven` unless something holds."""
    if not holds:
        raise Unproven


class Examples(NamedTuple):
    """The axis of examples, and how many entries in a row each of them has there."""

    axis: int
    entries: int


class Value(NamedTuple):
    """What goes into an equation or comes out of it: its shape in both traces; its examples, None where it has none."""

    dtype: Any
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    examples: Examples | None

    @property
    def axis(self) -> int | None:
        return None if self.examples is None else self.examples.axis

    @property
    def entries(self) -> int | None:
        return None if self.examples is None else self.examples.entries


class Equation(NamedTuple):
    """One equation of two traces, with its parameters in both."""

    params: tuple[dict[str, Any], dict[str, Any]]
    inputs: list[Value]
    outputs: list[Value]


# Parameters that need not be equal: lengths of axes, which the shapes of the results, or the rules below, say already,
# and what the primitive's name says.
LENGTHS = {
    "broadcast_in_dim": ("shape",),
    "dynamic_slice": ("slice_sizes",),
    "gather": ("slice_sizes",),
    "iota": ("shape",),
    "random_bits": ("shape",),
    "random_split": ("shape",),
    "reshape": ("new_sizes",),
    "scatter-add": ("update_jaxpr",),
    "slice": ("limit_indices",),
}


def _elementwise(equation: Equation) -> None:
    examples = equation.outputs[0].examples
    require(all(value.examples in (None, examples) for value in (*equation.inputs, *equation.outputs)))


def _moved(equation: Equation, axis: int) -> None:
    """Require that the results have the examples of the first input at `axis`."""
    first = equation.inputs[0].examples
    wanted = first and first._replace(axis=axis)
    require(wanted and all(value.examples == wanted for value in equation.outputs))


def _only_first(equation: Equation) -> int:
    """Require that the first input alone has examples; return their axis."""
    first, *rest = equation.inputs
    if first.axis is None or any(value.examples for value in rest):
        raise Unproven
    return first.axis


def _along(*keys: str) -> Callable[[Equation], None]:
    """Return the rule of what mixes the entries of an axis, or of axes, that a parameter names, and keeps all axes."""

    def rule(equation: Equation) -> None:
        for key in keys:
            axes = equation.params[0][key]
            require(equation.outputs[0].axis not in (axes if isinstance(axes, tuple | list) else (axes,)))
        require(all(value.examples == equation.outputs[0].examples for value in equation.inputs))
        _elementwise(equation)

    return rule


def _reduce(equation: Equation) -> None:
    axis, axes = _only_first(equation), equation.params[0]["axes"]
    require(axis not in axes)
    _moved(equation, axis - sum(other < axis for other in axes))


def _broadcast(equation: Equation) -> None:
    if equation.inputs[0].examples:
        _moved(equation, equation.params[0]["broadcast_dimensions"][_only_first(equation)])


def _reshape(equation: Equation) -> None:
    """Each example's entries stay one block, with as many blocks before it."""
    axis, found = _only_first(equation), equation.outputs[0]
    for shape, new in zip(equation.inputs[0].shapes, found.shapes, strict=True):
        require(found.axis is not None and np.prod(shape[:axis]) == np.prod(new[: found.axis]))


def _transpose(equation: Equation) -> None:
    _moved(equation, equation.params[0]["permutation"].index(_only_first(equation)))


def _pad(equation: Equation) -> None:
    axis = _only_first(equation)
    require(tuple(equation.params[0]["padding_config"][axis]) == (0, 0, 0))
    _moved(equation, axis)


def _slice(equation: Equation) -> None:
    axis = _only_first(equation)
    for params, shape in zip(equation.params, equation.inputs[0].shapes, strict=True):
        strides = params["strides"]
        require(params["start_indices"][axis] == 0 and params["limit_indices"][axis] == shape[axis])
        require(strides is None or strides[axis] == 1)
    others = [[limit for i, limit in enumerate(p["limit_indices"]) if i != axis] for p in equation.params]
    require(others[0] == others[1])
    _moved(equation, axis)


def _dynamic_slice(equation: Equation) -> None:
    axis = _only_first(equation)  # of its full length: it begins at 0 whatever the index says
    for params, shape in zip(equation.params, equation.inputs[0].shapes, strict=True):
        require(params["slice_sizes"][axis] == shape[axis])
    _moved(equation, axis)


def _dynamic_update_slice(equation: Equation) -> None:
    operand, update, *rest = equation.inputs
    axis = _only_first(equation._replace(inputs=[operand, *rest]))
    require(operand.examples == update.examples == equation.outputs[0].examples)
    require(all(a[axis] == b[axis] for a, b in zip(operand.shapes, update.shapes, strict=True)))


def _gather(equation: Equation) -> None:
    operand, indices = equation.inputs
    numbers, found = equation.params[0]["dimension_numbers"], equation.outputs[0]
    offsets = numbers.offset_dims
    if indices.examples:
        axis, entries = indices.examples
        require(axis < len(indices.shapes[0]) - 1)
        if operand.examples:
            of_batch = dict(zip(numbers.start_indices_batching_dims, numbers.operand_batching_dims, strict=True))
            require(of_batch.get(axis) == operand.axis and operand.examples.entries == entries)
        free = [dim for dim in range(len(found.shapes[0])) if dim not in offsets]
        require(found.examples == Examples(free[axis], entries))
    else:
        axis, gone = _only_first(equation), (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
        require(axis not in gone and axis not in numbers.start_index_map)
        for params, shape in zip(equation.params, operand.shapes, strict=True):
            require(params["slice_sizes"][axis] == shape[axis])
        kept = [dim for dim in range(len(operand.shapes[0])) if dim not in gone]
        _moved(equation, offsets[kept.index(axis)])


def _dot_general(equation: Equation) -> None:
    contracted, batched = equation.params[0]["dimension_numbers"]
    places = []
    for side, value in enumerate(equation.inputs):
        if value.examples is None:
            places.append(None)
            continue
        axis = value.examples.axis
        require(axis not in contracted[side])
        if axis in batched[side]:
            places.append((batched[side].index(axis), value.examples.entries))
        else:
            free = [d for d in range(len(value.shapes[0])) if d not in (*contracted[side], *batched[side])]
            before = len(batched[0]) if side == 0 else len(equation.outputs[0].shapes[0]) - len(free)
            places.append((before + free.index(axis), value.examples.entries))
    if None not in places:  # both: an example meets itself alone only along an axis of the batch
        require(places[0] == places[1] and all(v.axis in batched[s] for s, v in enumerate(equation.inputs)))
    elif any(value.examples and value.axis in batched[side] for side, value in enumerate(equation.inputs)):
        raise Unproven
    place = places[0] or places[1]
    require(place and equation.outputs[0].examples == Examples(*place))


def _conv(equation: Equation) -> None:
    numbers = equation.params[0]["dimension_numbers"]
    require(_only_first(equation) == numbers.lhs_spec[0] and equation.params[0]["batch_group_count"] == 1)
    _moved(equation, numbers.out_spec[0])


def _window(equation: Equation) -> None:
    params, axis = equation.params[0], equation.outputs[0].axis
    for key in ("window_dimensions", "window_strides", "base_dilation", "window_dilation"):
        require(params[key][axis] == 1)
    require(tuple(params["padding"][axis]) == (0, 0))
    _elementwise(equation)


def _concatenate(equation: Equation) -> None:
    require(all(value.examples == equation.outputs[0].examples for value in equation.inputs))
    require(equation.outputs[0].axis != equation.params[0]["dimension"])


def _stack(equation: Equation) -> None:
    axis = _only_first(equation._replace(inputs=equation.inputs[:1]))
    require(all(value.examples == equation.inputs[0].examples for value in equation.inputs))
    _moved(equation, axis + (equation.params[0]["axis"] <= axis))


def _unstack(equation: Equation) -> None:
    axis, other = _only_first(equation), equation.params[0]["axis"]
    require(axis != other)
    _moved(equation, axis - (other < axis))


def _scatter(equation: Equation) -> None:
    """Each example's updates go where its own indices say, into what is its own."""
    operand, indices, updates = equation.inputs
    numbers = equation.params[0]["dimension_numbers"]
    axis = _only_first(equation._replace(inputs=[operand]))
    of_batch = dict(zip(numbers.scatter_indices_batching_dims, numbers.operand_batching_dims, strict=True))
    require(of_batch.get(indices.axis) == axis and not numbers.update_window_dims)
    require(updates.examples == indices.examples and indices.entries == operand.entries)
    _moved(equation, axis)


def _random(equation: Equation) -> None:
    """What is drawn of one key begins alike, however much is drawn, where the generator counts along its results."""
    (key,), (drawn,) = equation.inputs, equation.outputs
    require(str(key.dtype) == "key<fry>" and jax.config.values["jax_threefry_partitionable"])
    if key.examples:  # a key an example
        require(key.examples == drawn.examples)
    else:
        require(drawn.axis == len(key.shapes[0]) == 0)


def _key_words(equation: Equation) -> None:
    _moved(equation, _only_first(equation))


_ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e bitcast_convert_type cbrt ceil
    clamp clz complex conj convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1
    floor ge gt igamma igammac imag integer_pow is_finite le lgamma log log1p log2 logistic lt max min mul name ne neg
    nextafter not one_minus_square or polygamma population_count pow random_fold_in real reduce_precision
    regularized_incomplete_beta rem round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign
    sin sinh sqrt square stop_gradient sub tan tanh threefry2x32 xor zeta
"""
_REDUCTIONS = "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum reduce_xor"

RULES: dict[str, Callable[[Equation], None]] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(_REDUCTIONS.split(), _reduce),
    **dict.fromkeys(("cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "split", "top_k"), _along("axis")),
    **dict.fromkeys(("reduce_window_max", "reduce_window_min", "reduce_window_sum", "select_and_gather_add"), _window),
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv,
    "dot_general": _dot_general,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
    "iota": lambda equation: None,
    "pad": _pad,
    "random_bits": _random,
    "random_split": _random,
    "random_unwrap": _key_words,
    "random_wrap": _key_words,
    "reshape": _reshape,
    "rev": _along("dimensions"),
    "scatter": _scatter,
    "scatter-add": _scatter,
    "slice": _slice,
    "sort": _along("dimension"),
    "squeeze": _reshape,
    "stack": _stack,
    "transpose": _transpose,
    "unstack": _unstack,
}

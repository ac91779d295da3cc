"""Outputs for inputs that a user brings: checked against what the model was trained on, computed in batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mlgym_jax.errors import MlgymError, described, listed


def as_trained_on(inputs: Any, trained_on: Any, *, is_encoded: bool) -> Any:
    """Return inputs as arrays of the kind that a model was trained on.

    Args:
        trained_on: the inputs of the data set, an array or a tree of such.
        is_encoded: whether an encoding was fitted to them, which fits no other shape. Without one it is for the model
            to say: one that averages over positions takes images of any size.

    Raises:
        MlgymError: no numbers, no leading axis of examples, a different one in each array, or a shape that cannot be
            right.
    """
    if isinstance(trained_on, tuple) and isinstance(inputs, list):
        inputs = tuple(inputs)
    try:
        arrays = jax.tree.map(lambda wanted, given: _array(given, wanted), trained_on, inputs)
    except ValueError as error:
        found = f"a dict of {listed(inputs)}" if isinstance(inputs, Mapping) else described(inputs)
        raise MlgymError(f"inputs: expected {_shapes(trained_on)}, found {found}") from error
    for given, wanted in zip(jax.tree.leaves(arrays), jax.tree.leaves(trained_on), strict=True):
        if given.ndim != wanted.ndim or (is_encoded and given.shape[1:] != wanted.shape[1:]):
            raise _unfit(arrays, trained_on)
    if len({len(leaf) for leaf in jax.tree.leaves(arrays)}) > 1:
        found = jax.tree.map(lambda leaf: [*leaf.shape], arrays)
        raise MlgymError(f"inputs: as many examples are expected in each, found {found}")
    return arrays


def _array(given: Any, wanted: np.ndarray) -> np.ndarray:
    """Make an array of lists and numbers; whole numbers are floats where the model was trained on these."""
    try:
        array = np.asarray(given)
    except ValueError:  # lists of different lengths
        raise MlgymError(f"inputs: expected {_shape(wanted)}, found rows of different lengths") from None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        if array.size == 0 and array.dtype == object:
            return array.astype(wanted.dtype)
        raise MlgymError(f"inputs: numbers are expected ({wanted.dtype}), found {array.dtype}: {described(given)}")
    floats = np.issubdtype(wanted.dtype, np.floating)
    return array.astype(wanted.dtype) if floats and array.dtype.kind in "biu" else array


def _shape(array: Any) -> str:
    return f"[{', '.join(['n', *map(str, array.shape[1:])])}]"


def _shapes(arrays: Any) -> str:
    leaves = jax.tree.leaves(arrays)
    return _shape(leaves[0]) if len(leaves) == 1 else str(jax.tree.map(_shape, arrays))


def _unfit(arrays: Any, trained_on: Any) -> MlgymError:
    leaves, wanted = jax.tree.leaves(arrays), jax.tree.leaves(trained_on)
    found = [[*array.shape] for array in leaves]
    one = all(given.shape == array.shape[1:] for given, array in zip(leaves, wanted, strict=True))
    hint = "; for one example write inputs[None]" if one else ""
    return MlgymError(f"inputs: expected {_shapes(trained_on)}, found {found if len(found) > 1 else found[0]}{hint}")


def in_batches(
    predict: Callable[[Any], Any], batch_of: Callable[[Any], Any], inputs: Any, batch_size: int, trained_on: Any
) -> Any:
    """Return `predict` of inputs, at most `batch_size` at a time, as numpy arrays; of none, arrays of no example.

    An output without an axis of examples, such as a temperature, becomes an array of one number a batch.

    Args:
        predict: batch -> outputs, which is compiled; batch_of: some of the inputs -> the batch, which is not.

    Raises:
        MlgymError: the model does not take inputs of another shape than it was trained on.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise MlgymError(f"batch_size: an integer of at least 1 is expected, found {described(batch_size)}")
    size = len(jax.tree.leaves(inputs)[0])
    same = all(
        given.shape[1:] == wanted.shape[1:]
        for given, wanted in zip(jax.tree.leaves(inputs), jax.tree.leaves(trained_on), strict=True)
    )
    if size == 0 or not same:
        try:
            one = jax.tree.map(lambda array: np.zeros((1, *array.shape[1:]), array.dtype), inputs)
            shapes = jax.eval_shape(predict, batch_of(one))
        except Exception as error:
            if same:
                raise
            raise _unfit(inputs, trained_on) from error
        if size == 0:
            return jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape[1:]), leaf.dtype), shapes)
    compiled, parts = jax.jit(predict), []
    for start in range(0, size, batch_size):
        part = jax.tree.map(lambda array, start=start: array[start : start + batch_size], inputs)
        parts.append(jax.device_get(compiled(batch_of(part))))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves) if np.ndim(leaves[0]) else np.stack(leaves), *parts)

"""Metrics: mergeable, masked states, so that a split's score is exact however it was cut into batches.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.core.classification_metrics import accuracy
    >>> metric = accuracy()
    >>> batch = {"targets": jnp.array([1, 0, 1]), "mask": jnp.array([True, True, False])}
    >>> state = metric.update(metric.init(), jnp.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]), batch)
    >>> float(metric.compute(metric.merge(metric.init(), state)))
    0.5

This module has what all metrics share; they themselves are in `classification_metrics`,
`agreement_metrics`, `top_k_metrics`, `ranking_metrics`, `probability_metrics` and `regression_metrics`.

Rows whose `batch["mask"]` is False count nothing. Where a metric takes classes, it takes them as

- outputs `[batch, …, classes]` with integer targets `[batch, …]`: the class is the argmax (of equals the first), and
  every position counts as an example, but for those that a field `where` of the targets' shape calls False;
- outputs and targets both `[batch, …, classes]`, more than one class: one-hot targets, whose argmax is the class;
- outputs `[batch]` or `[batch, 1]` with targets `[batch]` or `[batch, 1]` in {0, 1}: class 1 above `threshold`,
  which is 0.0 for logits; use 0.5 for probabilities.

Where a metric takes probabilities, `from_logits=True` makes them of the outputs by softmax, or of single outputs by the
logistic function; `from_logits=False` takes the outputs as they are, single ones as those of class 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.errors import MlgymError

Batch = Mapping[str, Any]
OneVsRest = Literal["macro", "weighted", "binary", "none"]


class Metric(NamedTuple):
    """Four pure functions around a state `S`, a tree of arrays.

    Attributes:
        init: () -> S of no example.
        update: (S, outputs, batch) -> S; rows with `batch["mask"]` False change nothing.
        merge: (S, S) -> S of both, in any order.
        compute: S -> float[], or {name: float[]}.
        gathers: whether S keeps every example: leaves with a leading axis of examples, one of them a bool mask of those
            that count, `merge` their concatenation.
        every: it is computed in the epochs `every`, 2 `every`, …
        output: the name of the output that it reads, the model's or a post-processor's; by default the model's whole.
    """

    init: Callable[[], Any]
    update: Callable[[Any, Any, Batch], Any]
    merge: Callable[[Any, Any], Any]
    compute: Callable[[Any], Any]
    gathers: bool = False
    every: int = 1
    output: str | None = None


class Sum(NamedTuple):
    """A float32 sum, or an array of sums, with what rounding lost of it (Neumaier, 1974)."""

    total: jax.Array
    lost: jax.Array

    @property
    def value(self) -> jax.Array:
        return self.total + self.lost


def zero_sum(*shape: int) -> Sum:
    """Return the sums of nothing."""
    return Sum(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32))


def add(one: Sum, other: Sum) -> Sum:
    """Add two sums; infinities and NaN stay what they are."""
    total = one.total + other.total
    larger = jnp.where(jnp.abs(one.total) >= jnp.abs(other.total), one.total, other.total)
    smaller = jnp.where(jnp.abs(one.total) >= jnp.abs(other.total), other.total, one.total)
    lost = jnp.where(jnp.isfinite(total), (larger - total) + smaller, 0.0)
    return Sum(total, one.lost + other.lost + lost)


def summed(values: jax.Array) -> Sum:
    """Add float32[n, …] over n, pair by pair, with the error of one rounding instead of n of them."""
    if not values.shape[0]:
        return zero_sum(*values.shape[1:])
    found = Sum(values, jnp.zeros_like(values))
    while (size := found.total.shape[0]) > 1:
        half = -(-size // 2)
        rest = [(0, 2 * half - size), *((0, 0) for _ in values.shape[1:])]
        second = Sum(*(jnp.pad(leaf[half:], rest) for leaf in found))
        found = add(Sum(*(leaf[:half] for leaf in found)), second)
    return Sum(found.total[0], found.lost[0])


class Mean(NamedTuple):
    """The state of a mean: the sum, and of how many."""

    sum: Sum
    count: jax.Array


_PLAIN_SUM = 128  # Of so few values a plain sum is exact enough, and the cheapest in a training step.


def mean_of(per_example: Callable[[Any, Batch], jax.Array]) -> Metric:
    """Return the metric that is the mean of a value an example, `per_example(outputs, batch) -> float[batch]`.

    The sum is compensated (Neumaier, 1974), so that millions of float32 values lose no digits. Without any example the
    mean is NaN.

    Raises:
        MlgymError: in `update`, if the values are not one an example.
    """

    def update(state: Mean, outputs: Any, batch: Batch) -> Mean:
        values, mask = jnp.asarray(per_example(outputs, batch)), batch["mask"]
        if values.shape != mask.shape:
            raise MlgymError(f"mean_of takes one value an example, float{list(mask.shape)}; found {shape_of(values)}")
        return add_means(state, mean_state(values.astype(jnp.float32), mask))

    return Metric(lambda: Mean(zero_sum(), jnp.zeros((), jnp.int32)), update, add_means, mean_value)


def mean_state(values: jax.Array, mask: jax.Array) -> Mean:
    """Return the state of the mean of float32[n, …] over n, where the mask, bool[n], is True."""
    kept = jnp.where(mask.reshape(-1, *(1 for _ in values.shape[1:])), values, 0.0)
    total = Sum(kept.sum(axis=0), jnp.zeros(kept.shape[1:], jnp.float32)) if len(kept) <= _PLAIN_SUM else summed(kept)
    return Mean(total, mask.sum(dtype=jnp.int32))


def add_means(one: Mean, other: Mean) -> Mean:
    """Merge the states of two means."""
    return Mean(add(one.sum, other.sum), one.count + other.count)


def mean_value(state: Mean) -> jax.Array:
    """Return the mean, NaN of nothing."""
    mean = state.sum.value / jnp.maximum(state.count, 1).astype(jnp.float32)
    return jnp.where(state.count > 0, mean, jnp.nan)


def gathering(init: Callable[[], Any], rows: Callable[[Any, Batch], Any], compute: Callable[[Any], Any]) -> Metric:
    """Return the metric that keeps what it needs of each example, and computes it of all of them at once.

    Args:
        init: () -> S with zero rows.
        rows: (outputs, batch) -> S, a tree of arrays `[batch, …]`, one of them the mask; where that is False, `compute`
            ignores the row, so that S may also be a part of a larger array of zeros.
        compute: S -> scores.
    """

    def update(state: Any, outputs: Any, batch: Batch) -> Any:
        return merge(state, rows(outputs, batch))

    def merge(one: Any, other: Any) -> Any:
        # Without rows it is not known either how many positions an example has.
        if not len(jax.tree.leaves(one)[0]):
            return other
        if not len(jax.tree.leaves(other)[0]):
            return one
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), one, other)

    return Metric(init, update, merge, compute, gathers=True)


class Examples(NamedTuple):
    """Outputs with their target classes, every position by itself, n = batch x positions.

    Attributes:
        outputs: float32[n, classes], or [n] of single outputs; integers [n] are classes that were predicted already.
        targets: int32[n].
        mask: bool[n].
    """

    outputs: jax.Array
    targets: jax.Array
    mask: jax.Array

    @property
    def single(self) -> bool:
        return self.outputs.ndim == 1


def read_examples(name: str, outputs: Any, batch: Batch, num_classes: int | None = None) -> Examples:
    """Bring a metric's outputs and targets into one form, whichever of those in this module's docstring they have.

    Raises:
        MlgymError: their shapes do not match, or there are not `num_classes` outputs.
    """
    outputs, targets, mask = jnp.asarray(outputs), jnp.asarray(batch["targets"]), batch["mask"]
    if jnp.issubdtype(outputs.dtype, jnp.floating):
        outputs = outputs.astype(jnp.float32)
    if outputs.shape in ((mask.shape[0],), (mask.shape[0], 1)):
        if targets.size != outputs.size:
            raise mismatch(name, outputs, targets)
        outputs, targets = outputs.reshape(-1), targets.reshape(-1)
    elif is_class_number(outputs) and outputs.shape == targets.shape:
        pass
    else:
        if num_classes is not None and outputs.shape[-1] != num_classes:
            raise MlgymError(f"{name}: {num_classes} classes are expected, found outputs {shape_of(outputs)}")
        if targets.shape == (*outputs.shape[:-1], 1):
            targets = targets[..., 0]
        if targets.shape == outputs.shape:
            targets = targets.argmax(axis=-1)
        if targets.shape != outputs.shape[:-1]:
            raise mismatch(name, outputs, targets)
    mask = jnp.broadcast_to(mask.reshape(*mask.shape, *(1 for _ in targets.shape[mask.ndim :])), targets.shape)
    if "where" in batch and jnp.shape(batch["where"]) == targets.shape:
        mask = mask & jnp.asarray(batch["where"]).astype(jnp.bool_)
    flat = outputs.reshape(-1) if outputs.shape == targets.shape else outputs.reshape(-1, outputs.shape[-1])
    return Examples(flat, targets.reshape(-1).astype(jnp.int32), mask.reshape(-1))


def is_class_number(outputs: jax.Array) -> bool:
    """Tell outputs that are classes already, such as an argmax, from scores."""
    return jnp.issubdtype(outputs.dtype, jnp.integer) or outputs.dtype == jnp.bool_


def predicted_classes(found: Examples, threshold: float) -> jax.Array:
    """Return int32[n], the class of the highest output, or whether a single output is above `threshold`."""
    if is_class_number(found.outputs):
        return found.outputs.astype(jnp.int32)
    if found.single:
        return (found.outputs > threshold).astype(jnp.int32)
    return found.outputs.argmax(axis=-1).astype(jnp.int32)


def probabilities(found: Examples, from_logits: bool) -> jax.Array:
    """Return float32[n, classes], two classes of single outputs; 0 where the mask is False."""
    outputs = found.outputs.astype(jnp.float32)
    if found.single:
        of_one, of_other = (
            (jax.nn.sigmoid(outputs), jax.nn.sigmoid(-outputs)) if from_logits else (outputs, 1 - outputs)
        )
        by_class = jnp.stack([of_other, of_one], axis=-1)
    else:
        by_class = jax.nn.softmax(outputs, axis=-1) if from_logits else outputs
    return jnp.where(found.mask[:, None], by_class, 0.0)


def number_of_classes(name: str, dataset: Any, num_classes: int | None, positive_class: int | None = None) -> int:
    """Return the number of classes, the dataset's by default.

    Raises:
        MlgymError: neither says it, or the positive class is none of them.
    """
    classes = num_classes if num_classes is not None else getattr(dataset, "num_classes", None)
    if classes is None:
        raise MlgymError(f"{name}: the dataset names no number of classes; write component({name!r}, num_classes=…)")
    if positive_class is not None and not 0 <= positive_class < classes:
        raise MlgymError(f"{name}: positive_class is one of 0 … {classes - 1}; found {positive_class}")
    return classes


def over_classes(
    average: OneVsRest, scores: jax.Array, weights: jax.Array, defined: jax.Array, positive_class: int
) -> Any:
    """Average one score a class over the classes where it is defined; NaN if that is none.

    Args:
        average: `macro`, the plain mean; `weighted`, by `weights`; `binary`, the score of `positive_class` alone;
            `none`, each by itself, `{"class_0": …}`.
        scores: float32[classes].
        weights: int32[classes], the numbers of examples.
        defined: bool[classes].
    """
    if average == "none":
        each = jnp.where(defined, scores, jnp.nan)
        return {f"class_{index}": each[index] for index in range(len(scores))}
    if average == "binary":
        return jnp.where(defined, scores, jnp.nan)[positive_class]
    counted = jnp.where(defined, weights if average == "weighted" else 1, 0).astype(jnp.float32)
    total = counted.sum()
    mean = jnp.where(counted > 0, scores * counted, 0.0).sum() / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, mean, jnp.nan)


def ratio(count: jax.Array, total: jax.Array) -> jax.Array:
    """Divide in float32; 0 where the total is 0."""
    quotient = count.astype(jnp.float32) / jnp.maximum(total, 1).astype(jnp.float32)
    return jnp.where(total > 0, quotient, 0.0)


def by_example(values: jax.Array, batch_size: int) -> jax.Array:
    """Bring [batch x positions, …] to [batch, …] or, with several positions, [batch, positions, …]."""
    positions = values.shape[0] // batch_size
    return values if positions == 1 else values.reshape(batch_size, positions, *values.shape[1:])


def flat_rows(values: jax.Array, *rest: int) -> jax.Array:
    """Undo `by_example`: return [rows, *rest]."""
    return values.reshape(values.size // math.prod(rest), *rest)


def mismatch(name: str, outputs: Any, targets: Any) -> MlgymError:
    """Return the error that names both shapes."""
    return MlgymError(f"{name}: outputs {shape_of(outputs)} and targets {shape_of(targets)} do not match")


def shape_of(array: Any) -> str:
    """Write an array's dtype and shape, `float32[2, 3]`."""
    return f"{array.dtype.name}[{', '.join(map(str, array.shape))}]"

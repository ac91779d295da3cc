"""Metrics: mergeable, masked states, so that a split's score is exact however it was cut into batches.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.core.metrics import accuracy
    >>> metric = accuracy()
    >>> batch = {"targets": jnp.array([1, 0, 1]), "mask": jnp.array([True, True, False])}
    >>> state = metric.update(metric.init(), jnp.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]), batch)
    >>> float(metric.compute(metric.merge(metric.init(), state)))
    0.5

Rows whose `batch["mask"]` is False count nothing. Where a metric takes classes, it takes them as

- outputs `[batch, …, classes]` with integer targets `[batch, …]`: the class is the argmax (of equals the first), and
  every position counts as an example;
- outputs and targets both `[batch, …, classes]`, more than one class: one-hot targets, whose argmax is the class;
- outputs `[batch]` or `[batch, 1]` with targets `[batch]` or `[batch, 1]` in {0, 1}: class 1 above `threshold`,
  which is 0.0 for logits; use 0.5 for probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.errors import MlgymError
from mlgym_jax.registry import register

Average = Literal["macro", "micro", "weighted", "binary", "none"]
Batch = Mapping[str, Any]


class Metric(NamedTuple):
    """Four pure functions around a state `S`, a tree of arrays.

    Attributes:
        init: () -> S of no example.
        update: (S, outputs, batch) -> S; rows with `batch["mask"]` False change nothing.
        merge: (S, S) -> S of both, in any order.
        compute: S -> float[], or {name: float[]}.
    """

    init: Callable[[], Any]
    update: Callable[[Any, Any, Batch], Any]
    merge: Callable[[Any, Any], Any]
    compute: Callable[[Any], Any]


class _Mean(NamedTuple):
    total: jax.Array
    lost: jax.Array
    count: jax.Array


def mean_of(per_example: Callable[[Any, Batch], jax.Array]) -> Metric:
    """Return the metric that is the mean of a value an example, `per_example(outputs, batch) -> float[batch]`.

    The sum is compensated (Neumaier, 1974), so that millions of float32 values lose no digits. Without any example the
    mean is NaN.

    Raises:
        MlgymError: in `update`, if the values are not one an example.
    """

    def init() -> _Mean:
        return _Mean(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))

    def update(state: _Mean, outputs: Any, batch: Batch) -> _Mean:
        values, mask = jnp.asarray(per_example(outputs, batch)), batch["mask"]
        if values.shape != mask.shape:
            raise MlgymError(f"mean_of takes one value an example, float{list(mask.shape)}; found {_shape(values)}")
        kept = jnp.where(mask, values.astype(jnp.float32), 0.0)
        return merge(state, _Mean(kept.sum(), jnp.zeros((), jnp.float32), mask.sum(dtype=jnp.int32)))

    def merge(one: _Mean, other: _Mean) -> _Mean:
        total = one.total + other.total
        larger = jnp.where(jnp.abs(one.total) >= jnp.abs(other.total), one.total, other.total)
        smaller = jnp.where(jnp.abs(one.total) >= jnp.abs(other.total), other.total, one.total)
        lost = jnp.where(jnp.isfinite(total), (larger - total) + smaller, 0.0)
        return _Mean(total, one.lost + other.lost + lost, one.count + other.count)

    def compute(state: _Mean) -> jax.Array:
        mean = (state.total + state.lost) / jnp.maximum(state.count, 1).astype(jnp.float32)
        return jnp.where(state.count > 0, mean, jnp.nan)

    return Metric(init, update, merge, compute)


@register("metric", "accuracy")
def accuracy(*, threshold: float = 0.0) -> Metric:
    """Average whether the predicted class is the target; without any example NaN.

    Args:
        threshold: a single output above it predicts class 1; 0.0 for logits, 0.5 for probabilities.
    """

    def hits(outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        predicted, targets, mask = _classes("accuracy", outputs, batch, threshold)
        return predicted == targets, mask

    return _share_of(hits)


@register("metric", "top_k")
def top_k(*, k: int = 5) -> Metric:
    """Average whether the target is among the `k` classes of the highest scores.

    Outputs `[batch, …, classes]`, integer targets `[batch, …]`. Of equal scores the later classes come first, as in
    scikit-learn's `top_k_accuracy_score`.

    Raises:
        MlgymError: k < 1.
    """
    if k < 1:
        raise MlgymError(f"top_k: k counts classes, at least 1; found {k}")

    def hits(outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        targets = jnp.asarray(batch["targets"])
        if targets.shape == (*outputs.shape[:-1], 1) and outputs.shape[-1] > 1:
            targets = targets[..., 0]
        if outputs.shape == targets.shape and targets.ndim > 1:
            targets = targets.argmax(axis=-1)
        if targets.shape != outputs.shape[:-1]:
            raise _mismatch("top_k", outputs, targets)
        targets = targets.astype(jnp.int32)[..., None]
        own = jnp.take_along_axis(outputs, targets, axis=-1)
        classes = jax.lax.broadcasted_iota(jnp.int32, outputs.shape, outputs.ndim - 1)
        # "Not below" and "not at most" put a NaN score of the target last.
        ahead = jnp.where(classes > targets, ~(outputs < own), ~(outputs <= own)) & (classes != targets)
        hit = ahead.sum(axis=-1, dtype=jnp.int32) < k
        return hit.reshape(-1), _by_position(batch["mask"], hit.shape)

    return _share_of(hits)


@register("metric", "precision", needs=("dataset",))
def precision(
    dataset: Any = None,
    *,
    average: Average = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    threshold: float = 0.0,
) -> Metric:
    """Share of a class's predictions that are right, averaged over classes; scikit-learn's `precision_score`.

    The parameters are those of `f1`.
    """
    return _of_counts("precision", dataset, average, num_classes, positive_class, threshold)


@register("metric", "recall", needs=("dataset",))
def recall(
    dataset: Any = None,
    *,
    average: Average = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    threshold: float = 0.0,
) -> Metric:
    """Share of a class's examples that are found, averaged over classes; scikit-learn's `recall_score`.

    The parameters are those of `f1`.
    """
    return _of_counts("recall", dataset, average, num_classes, positive_class, threshold)


@register("metric", "f1", needs=("dataset",))
def f1(
    dataset: Any = None,
    *,
    average: Average = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    threshold: float = 0.0,
) -> Metric:
    """Harmonic mean of precision and recall, averaged over classes; scikit-learn's `f1_score`.

    Args:
        average: `macro` is the mean over the classes that occur in targets or predictions (scikit-learn's
            `labels=None`), `weighted` weighs it by their numbers of examples, `micro` counts all classes together,
            `binary` is the score of `positive_class`, and `none` gives one score a class, `{"class_0": …}`.
        num_classes: by default the dataset's.
        threshold: a single output above it predicts class 1.

    A division by zero gives 0, as with scikit-learn's `zero_division=0`.

    Raises:
        MlgymError: no number of classes; a positive class that is none; in `update`, outputs of another number.
    """
    return _of_counts("f1", dataset, average, num_classes, positive_class, threshold)


@register("metric", "mse")
def mse() -> Metric:
    """Mean squared error over all elements; outputs `[batch, 1]` meet targets `[batch]` as one column."""
    return mean_of(lambda outputs, batch: jnp.square(_errors("mse", outputs, batch)).mean(axis=1))


@register("metric", "mae")
def mae() -> Metric:
    """Mean absolute error over all elements; outputs `[batch, 1]` meet targets `[batch]` as one column."""
    return mean_of(lambda outputs, batch: jnp.abs(_errors("mae", outputs, batch)).mean(axis=1))


def _share_of(hits: Callable[[Any, Batch], tuple[jax.Array, jax.Array]]) -> Metric:
    """Return the metric that counts hits, `(outputs, batch) -> (bool[n], mask: bool[n])`, as a share of n."""

    def update(state: Any, outputs: Any, batch: Batch) -> Any:
        hit, mask = hits(outputs, batch)
        return merge(state, ((hit & mask).sum(dtype=jnp.int32), mask.sum(dtype=jnp.int32)))

    def merge(one: Any, other: Any) -> Any:
        return one[0] + other[0], one[1] + other[1]

    def compute(state: Any) -> jax.Array:
        return jnp.where(state[1] > 0, _ratio(*state), jnp.nan)

    return Metric(lambda: (jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)), update, merge, compute)


class _Counts(NamedTuple):
    hit: jax.Array
    predicted: jax.Array
    actual: jax.Array


_FROM_COUNTS: dict[str, Callable[[_Counts], jax.Array]] = {
    "precision": lambda counts: _ratio(counts.hit, counts.predicted),
    "recall": lambda counts: _ratio(counts.hit, counts.actual),
    "f1": lambda counts: _ratio(2 * counts.hit, counts.predicted + counts.actual),
}


def _of_counts(
    name: str, dataset: Any, average: str, num_classes: int | None, positive_class: int, threshold: float
) -> Metric:
    """Return the metric computed of each class's hits, predictions and examples, int32[classes]."""
    classes = num_classes if num_classes is not None else getattr(dataset, "num_classes", None)
    if classes is None:
        raise MlgymError(f"{name}: the dataset names no number of classes; write component({name!r}, num_classes=…)")
    if average == "binary" and not 0 <= positive_class < classes:
        raise MlgymError(f"{name}: positive_class is one of 0 … {classes - 1}; found {positive_class}")
    score = _FROM_COUNTS[name]

    def init() -> _Counts:
        return _Counts(*(jnp.zeros((classes,), jnp.int32) for _ in _Counts._fields))

    def update(state: _Counts, outputs: Any, batch: Batch) -> _Counts:
        predicted, targets, mask = _classes(name, outputs, batch, threshold, classes)
        every = jnp.arange(classes, dtype=jnp.int32)[None, :]
        is_predicted = (predicted[:, None] == every) & mask[:, None]
        is_actual = (targets[:, None] == every) & mask[:, None]
        found = (is_predicted & is_actual, is_predicted, is_actual)
        return merge(state, _Counts(*(item.sum(axis=0, dtype=jnp.int32) for item in found)))

    def merge(one: _Counts, other: _Counts) -> _Counts:
        return _Counts(*(a + b for a, b in zip(one, other, strict=True)))

    def compute(state: _Counts) -> Any:
        if average == "micro":
            return score(_Counts(*(item.sum() for item in state)))
        scores = score(state)
        if average == "none":
            return {f"class_{index}": scores[index] for index in range(classes)}
        if average == "binary":
            return scores[positive_class]
        weights = state.actual if average == "weighted" else (state.predicted + state.actual > 0).astype(jnp.int32)
        return _ratio((scores * weights.astype(jnp.float32)).sum(), weights.sum())

    return Metric(init, update, merge, compute)


def _classes(
    name: str, outputs: Any, batch: Batch, threshold: float, num_classes: int | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return predicted classes, target classes and mask, int32[n], int32[n], bool[n], with n = batch x positions."""
    outputs, targets, mask = jnp.asarray(outputs), jnp.asarray(batch["targets"]), batch["mask"]
    if outputs.shape in ((mask.shape[0],), (mask.shape[0], 1)):
        if targets.size != outputs.size:
            raise _mismatch(name, outputs, targets)
        return (outputs.reshape(-1) > threshold).astype(jnp.int32), targets.reshape(-1).astype(jnp.int32), mask
    if num_classes is not None and outputs.shape[-1] != num_classes:
        raise MlgymError(f"{name}: {num_classes} classes are expected, found outputs {_shape(outputs)}")
    if targets.shape == (*outputs.shape[:-1], 1):
        targets = targets[..., 0]
    if targets.shape == outputs.shape:
        targets = targets.argmax(axis=-1)
    if targets.shape != outputs.shape[:-1]:
        raise _mismatch(name, outputs, targets)
    predicted = outputs.argmax(axis=-1).astype(jnp.int32)
    return predicted.reshape(-1), targets.reshape(-1).astype(jnp.int32), _by_position(mask, targets.shape)


def _by_position(mask: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Repeat an example's mask for each of its positions, flat."""
    return jnp.broadcast_to(mask.reshape(-1, *(1 for _ in shape[1:])), shape).reshape(-1)


def _errors(name: str, outputs: Any, batch: Batch) -> jax.Array:
    """Return outputs - targets, float32[batch, elements]."""
    outputs, targets = jnp.asarray(outputs), jnp.asarray(batch["targets"])
    size = batch["mask"].shape[0]
    if outputs.shape != targets.shape and {outputs.shape, targets.shape} != {(size,), (size, 1)}:
        raise _mismatch(name, outputs, targets)
    return (outputs.astype(jnp.float32) - targets.astype(jnp.float32).reshape(outputs.shape)).reshape(size, -1)


def _ratio(count: jax.Array, total: jax.Array) -> jax.Array:
    """Divide in float32; 0 where the total is 0."""
    quotient = count.astype(jnp.float32) / jnp.maximum(total, 1).astype(jnp.float32)
    return jnp.where(total > 0, quotient, 0.0)


def _mismatch(name: str, outputs: Any, targets: Any) -> MlgymError:
    return MlgymError(f"{name}: outputs {_shape(outputs)} and targets {_shape(targets)} do not match")


def _shape(array: Any) -> str:
    return f"{array.dtype.name}[{', '.join(map(str, array.shape))}]"

"""Metrics of numbers: squared and absolute errors, explained variance.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.metrics.regression import r2
    >>> metric = r2()
    >>> batch = {"targets": jnp.array([3.0, -0.5, 2.0, 7.0]), "mask": jnp.ones(4, bool)}
    >>> round(float(metric.compute(metric.update(metric.init(), jnp.array([2.5, 0.0, 2.0, 8.0]), batch))), 3)
    0.949

Outputs and targets have one shape; outputs `[batch, 1]` also meet targets `[batch]`, as one column, and the other way
round. A field `where` says which elements count, bool[batch, …], or how much, float[batch, …]: one number an example,
as scikit-learn's `sample_weight`, or of single elements. Metrics that are averaged over outputs weigh each by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.metric import (
    Batch,
    Count,
    Mean,
    Metric,
    Sum,
    add,
    add_means,
    as_numbers,
    counted,
    masked,
    mean_state,
    mean_value,
    plus,
    summed,
    zero_sum,
)
from mlgym_jax.core.outputs import one_array
from mlgym_jax.core.targets import check_numbers, known
from mlgym_jax.core.weighted import kept_of
from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics.examples import mismatch


@register("metric", "mse")
def mse() -> Metric:
    """Mean squared error over all elements; outputs `[batch, 1]` meet targets `[batch]` as one column."""
    return _mean_of("mse", jnp.square)


@register("metric", "mae")
def mae() -> Metric:
    """Mean absolute error over all elements; outputs `[batch, 1]` meet targets `[batch]` as one column."""
    return _mean_of("mae", jnp.abs)


def _mean_of(name: str, measured: Callable[[jax.Array], jax.Array]) -> Metric:
    """Return the metric that is the mean over all elements that count."""

    def update(state: Mean, outputs: Any, batch: Batch) -> Mean:
        values = measured(_errors(name, outputs, batch))
        mask, weights = _counting(values, outputs, batch)
        if mask.ndim == 1:
            return add_means(state, mean_state(values.mean(axis=1), mask))
        weights = None if weights is None else weights.reshape(-1)
        return add_means(state, mean_state(values.reshape(-1), mask.reshape(-1), weights))

    return Metric(lambda: Mean(zero_sum(), jnp.zeros((), jnp.int32)), update, add_means, mean_value)


@register("metric", "rmse", needs=("dataset",))
def rmse(dataset: Any = None, *, num_outputs: int | None = None) -> Metric:
    """Root of the mean squared error, averaged over outputs; scikit-learn's `root_mean_squared_error`.

    Without any example it is NaN. The parameter is that of `r2`.
    """
    width = _width(dataset, num_outputs)

    def update(state: Mean, outputs: Any, batch: Batch) -> Mean:
        errors = _columns("rmse", _errors("rmse", outputs, batch), width)
        return add_means(state, mean_state(jnp.square(errors), *_counting(errors, outputs, batch)))

    def compute(state: Mean) -> jax.Array:
        return jnp.sqrt(mean_value(state)).mean()

    return Metric(lambda: Mean(zero_sum(width), jnp.zeros((), jnp.int32)), update, add_means, compute)


@register("metric", "r2", needs=("dataset",))
def r2(dataset: Any = None, *, num_outputs: int | None = None) -> Metric:
    """Coefficient of determination, averaged over outputs; scikit-learn's `r2_score`.

    1 - sum of squared errors / sum of squared differences of the targets from their mean.

    Args:
        num_outputs: elements of an example's target; by default those of the dataset's, or else 1.

    Where an output's targets are all equal, its score is 1 if there is no error and 0 otherwise. With fewer than two
    examples it is NaN.

    Raises:
        MlgymError: in `update`, outputs of another number of elements.
    """

    def score(errors: _Moments, targets: _Moments, count: jax.Array, number: jax.Array) -> jax.Array:
        missed = errors.squares.value + count * jnp.square(errors.mean.value)
        return _explained(missed, targets.squares.value, number >= 2)

    return _of_moments("r2", _width(dataset, num_outputs), score)


@register("metric", "explained_variance", needs=("dataset",))
def explained_variance(dataset: Any = None, *, num_outputs: int | None = None) -> Metric:
    """Share of the targets' variance that the outputs explain; scikit-learn's `explained_variance_score`.

    1 - variance of the errors / variance of the targets, averaged over outputs. The parameter and the case of equal
    targets are those of `r2`. Without any example it is NaN.
    """

    def score(errors: _Moments, targets: _Moments, count: jax.Array, number: jax.Array) -> jax.Array:
        return _explained(errors.squares.value, targets.squares.value, number >= 1)

    return _of_moments("explained_variance", _width(dataset, num_outputs), score)


class _Moments(NamedTuple):
    """Means, as sums of two numbers, and the sums of squared differences from them; float32[outputs]."""

    mean: Sum
    squares: Sum


class _State(NamedTuple):
    """How many examples, or their weights; of all outputs, or where they differ in it of each."""

    count: Count
    errors: _Moments
    targets: _Moments
    examples: jax.Array | None = None  # how many there are, where they have weights


def _of_moments(name: str, width: int, score: Callable[..., jax.Array]) -> Metric:
    """Return the metric `score(errors, targets, count) -> float32[outputs]`, averaged over outputs."""

    def init() -> _State:
        nothing = _Moments(zero_sum(width), zero_sum(width))
        return _State(jnp.zeros((), jnp.int32), nothing, nothing)

    def update(state: _State, outputs: Any, batch: Batch) -> _State:
        errors = _columns(name, _errors(name, outputs, batch), width)
        mask, weights = _counting(errors, outputs, batch)
        targets = jnp.asarray(batch["targets"]).astype(jnp.float32).reshape(errors.shape)
        of_errors, of_targets = (_moments(values, mask, weights) for values in (errors, targets))
        number = mask.sum(axis=0, dtype=jnp.int32)
        if weights is None:
            return merge(state, _State(number, of_errors, of_targets))
        return merge(state, _State(summed(jnp.where(mask, weights, 0.0)), of_errors, of_targets, number))

    def merge(one: _State, other: _State) -> _State:
        count = plus(one.count, other.count)
        counts = as_numbers((one.count, other.count, count))
        errors, targets = _merged(one.errors, other.errors, *counts), _merged(one.targets, other.targets, *counts)
        numbers = [state.examples for state in (one, other) if state.examples is not None]
        return _State(count, errors, targets, sum(numbers[1:], start=numbers[0]) if numbers else None)

    def compute(state: _State) -> jax.Array:
        count = as_numbers(state.count)
        number = count if state.examples is None else state.examples
        return score(state.errors, state.targets, count.astype(jnp.float32), number).mean()

    return Metric(init, update, merge, compute)


def _counting(values: jax.Array, outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array | None]:
    """Return which of the values, float32[batch, elements], count, and how much.

    bool[batch], where there is no field `where`, else bool[batch, elements]; and float32 of that shape, or None.
    """
    kept = kept_of(batch.get("where"), values.reshape(jnp.shape(one_array(outputs))))
    if kept is None:
        return batch["mask"], None
    kept = kept.reshape(values.shape)
    return masked(jnp.broadcast_to(batch["mask"][:, None], values.shape), kept)


def _moments(values: jax.Array, mask: jax.Array, weights: jax.Array | None) -> _Moments:
    """Return the moments of float32[n, outputs] over n, of those that the mask, bool[n] or of their shape, leaves.

    They are taken around the first value, so that a constant has no variance at all and an offset costs no digits.
    """
    rows = jnp.argmax(mask, axis=0)
    own = values[rows] if mask.ndim == 1 else jnp.take_along_axis(values, rows[None, :], axis=0)[0]
    first = jnp.where(mask.any(axis=0), own, 0.0)
    there = mask[:, None] if mask.ndim == 1 else mask
    weighed = lambda values: values if weights is None else values * weights  # noqa: E731
    shifted = jnp.where(there, values - first[None, :], 0.0)
    count = as_numbers(counted(mask) if weights is None else summed(jnp.where(there, weights, 0.0)))
    mean = summed(jnp.where(there, weighed(shifted), 0.0)).value / jnp.where(count > 0, count, 1).astype(jnp.float32)
    squares = summed(jnp.where(there, weighed(jnp.square(shifted - mean[None, :])), 0.0))
    return _Moments(add(Sum(first, jnp.zeros_like(first)), Sum(mean, jnp.zeros_like(mean))), squares)


def _merged(one: _Moments, other: _Moments, count: jax.Array, other_count: jax.Array, both_counts: Any) -> _Moments:
    """Merge moments (Chan, Golub and LeVeque, Updating formulae, 1979)."""
    share = other_count.astype(jnp.float32) / jnp.where(both_counts > 0, both_counts, 1).astype(jnp.float32)
    apart = (other.mean.total - one.mean.total) + (other.mean.lost - one.mean.lost)
    moved = one.mean.lost + apart * share
    mean = add(Sum(one.mean.total, jnp.zeros_like(moved)), Sum(moved, jnp.zeros_like(moved)))
    between = jnp.square(apart) * (count.astype(jnp.float32) * share)
    squares = add(add(one.squares, other.squares), Sum(between, jnp.zeros_like(between)))
    both = _Moments(mean, squares)
    both = jax.tree.map(lambda merged, only: jnp.where(count == 0, only, merged), both, other)
    return jax.tree.map(lambda merged, only: jnp.where(other_count == 0, only, merged), both, one)


def _explained(missed: jax.Array, total: jax.Array, defined: jax.Array) -> jax.Array:
    share = missed / jnp.where(total == 0, 1.0, total)
    share = jnp.where((total == 0) & ~jnp.isnan(missed), (missed > 0).astype(jnp.float32), share)
    return jnp.where(defined, 1 - share, jnp.nan)


def _errors(name: str, outputs: Any, batch: Batch) -> jax.Array:
    """Return outputs - targets, float32[batch, elements]."""
    outputs, targets = jnp.asarray(one_array(outputs)), jnp.asarray(batch["targets"])
    size = batch["mask"].shape[0]
    check_numbers(name, known(batch))
    if outputs.shape != targets.shape and {outputs.shape, targets.shape} != {(size,), (size, 1)}:
        raise mismatch(name, outputs, targets)
    return (outputs.astype(jnp.float32) - targets.astype(jnp.float32).reshape(outputs.shape)).reshape(size, -1)


def _columns(name: str, errors: jax.Array, width: int) -> jax.Array:
    if errors.shape[1] != width:
        raise MlgymError(
            f"{name}: {width} outputs an example are expected, found {errors.shape[1]}; "
            f"write component({name!r}, num_outputs={errors.shape[1]})"
        )
    return errors


def _width(dataset: Any, num_outputs: int | None) -> int:
    """Return how many elements a target has: said, or seen in the dataset's first training example."""
    if num_outputs is not None:
        return num_outputs
    train = (getattr(dataset, "splits", None) or {}).get("train")
    if train is None:
        return 1
    targets = train.get("targets") if isinstance(train, Mapping) else train[0].get("targets")
    shape = getattr(targets, "shape", ())
    width = 1
    for size in shape[1:] if isinstance(train, Mapping) else shape:
        width *= size
    return width

"""What a metric is: mergeable, masked states, so that a split's score is exact however it was cut into batches.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.metrics.classification import accuracy
    >>> metric = accuracy()
    >>> batch = {"targets": jnp.array([1, 0, 1]), "mask": jnp.array([True, True, False])}
    >>> state = metric.update(metric.init(), jnp.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]), batch)
    >>> float(metric.compute(metric.merge(metric.init(), state)))
    0.5

The registered metrics are in `mlgym_jax.metrics`. Rows whose `batch["mask"]` is False count nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.core.targets import check_weights
from mlgym_jax.errors import MlgymError

Batch = Mapping[str, Any]


class Metric(NamedTuple):
    """Four pure functions around a state `S`, a tree of arrays.

    Attributes:
        init: () -> S of no example.
        update: (S, outputs, batch) -> S; rows with `batch["mask"]` False change nothing.
        merge: (S, S) -> S of both, in any order.
        compute: S -> float[], or {name: float[]}; or in the place of a number what `mg.record` makes, such as a curve,
            which is recorded and is no score.
        gathers: whether S keeps every example: leaves with a leading axis of examples, one of them a bool mask of those
            that count, `merge` their concatenation.
        every: it is computed in the epochs `every`, 2 `every`, …; by default in each. What is no score is computed by
            default in the epochs that are kept, and in the last.
        output: the name of the output that it reads, the model's or a post-processor's; by default the model's whole.
        per_example: of a mean, what it is the mean of: (outputs, batch) -> float[batch]. If that cannot be computed of
            single examples, it is of batches without padding.
    """

    init: Callable[[], Any]
    update: Callable[[Any, Any, Batch], Any]
    merge: Callable[[Any, Any], Any]
    compute: Callable[[Any], Any]
    gathers: bool = False
    every: int | None = None
    output: str | None = None
    per_example: Callable[[Any, Batch], Any] | None = None


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
        if size <= _LOOPED and jax.default_backend() == "cpu":
            return _summed_in_a_loop(found)
        half = -(-size // 2)
        second = Sum(*(_lengthened(leaf[half:], 2 * half - size) for leaf in found))
        found = add(Sum(*(leaf[:half] for leaf in found)), second)
    return Sum(found.total[0], found.lost[0])


_LOOPED = 1024  # So few sums are added up in a loop on a CPU, whose compiler takes 0.1 s for each round written out.


def _summed_in_a_loop(found: Sum) -> Sum:
    """Do the same, to the bit, in one loop over the rounds, whose arrays keep their length."""
    length = found.total.shape[0]
    sizes = [length]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))

    def halved(found: Sum, size: jax.Array) -> tuple[Sum, None]:
        half = (size + 1) // 2
        there = jnp.arange(length, dtype=jnp.int32).reshape(-1, *(1 for _ in found.total.shape[1:])) < size - half

        def second(leaf: jax.Array) -> jax.Array:
            rest = jax.lax.dynamic_slice_in_dim(_lengthened(leaf, length), half, length, allow_negative_indices=False)
            return jnp.where(there, rest, 0.0)

        return add(found, Sum(*map(second, found))), None

    found, _ = jax.lax.scan(halved, found, jnp.array(sizes[:-1], jnp.int32))
    return Sum(found.total[0], found.lost[0])


def _lengthened(rows: jax.Array, more: int) -> jax.Array:
    return jnp.pad(rows, [(0, more), *((0, 0) for _ in rows.shape[1:])])


def exact_product(one: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a float32 product, and what rounding lost of it (Dekker, 1971)."""
    product = one * other
    (a, a_rest), (b, b_rest) = (_halves(value) for value in (one, other))
    return product, ((a * b - product) + a * b_rest + a_rest * b) + a_rest * b_rest


def _halves(value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Split float32 into two numbers of 12 bits each, whose products are exact."""
    shifted = value * 4097.0
    high = shifted - (shifted - value)
    return high, value - high


# How many examples there are: int32, or where they have weights the sum of these.
Count = jax.Array | Sum


def counted(there: jax.Array, weights: jax.Array | None = None) -> Count:
    """Count bool[n, …] over n, exactly; with weights, float32[n] or of its shape, add up those that are there."""
    if weights is None:
        return there.sum(axis=0, dtype=jnp.int32)
    own = weights if weights.ndim == there.ndim else weights.reshape(-1, *(1 for _ in there.shape[1:]))
    return summed(jnp.where(there, own, 0.0))


def plus(one: Count, other: Count) -> Count:
    """Add two counts; of no example there may be a number where others have weights."""
    if not (isinstance(one, Sum) or isinstance(other, Sum)):
        return one + other
    return add(*(item if isinstance(item, Sum) else _as_sum(item) for item in (one, other)))


def _as_sum(count: jax.Array) -> Sum:
    return Sum(count.astype(jnp.float32), jnp.zeros(count.shape, jnp.float32))


def plus_all(one: Any, other: Any) -> Any:
    """Add two states, trees of counts."""
    is_count = lambda leaf: isinstance(leaf, Sum)  # noqa: E731
    structure = jax.tree.structure(one, is_leaf=is_count)
    pairs = (jax.tree.leaves(state, is_leaf=is_count) for state in (one, other))
    return jax.tree.unflatten(structure, [plus(a, b) for a, b in zip(*pairs, strict=True)])


def as_numbers(state: Any) -> Any:
    """Return a state with float32 arrays in the place of its sums, and its integers as they are."""
    is_sum = lambda leaf: isinstance(leaf, Sum)  # noqa: E731
    return jax.tree.map(lambda leaf: leaf.value if is_sum(leaf) else leaf, state, is_leaf=is_sum)


class Mean(NamedTuple):
    """The state of a mean: the sum, and of how many."""

    sum: Sum
    count: Count


_PLAIN_SUM = 128  # Of so few values a plain sum is exact enough, and the cheapest in a training step.


def mean_of(per_example: Callable[[Any, Batch], jax.Array]) -> Metric:
    """Return the metric that is the mean of a value an example, `per_example(outputs, batch) -> float[batch]`.

    The sum is compensated (Neumaier, 1974), so that millions of float32 values lose no digits. Without any example the
    mean is NaN. A field `where` of one bool or number an example says which count, or how much; one of positions is
    for `per_example` to read.

    Raises:
        MlgymError: in `update`, if the values are not one an example.
    """

    def update(state: Mean, outputs: Any, batch: Batch) -> Mean:
        values, mask = jnp.asarray(per_example(outputs, batch)), batch["mask"]
        if values.shape != mask.shape:
            raise MlgymError(f"mean_of takes one value an example, float{list(mask.shape)}; found {shape_of(values)}")
        weights, where = None, batch.get("where")
        if getattr(where, "shape", None) in (mask.shape, (*mask.shape, 1)):
            check_weights("the field where", where)
            mask, weights = masked(mask, jnp.asarray(where).reshape(mask.shape))
        return add_means(state, mean_state(values.astype(jnp.float32), mask, weights))

    init = lambda: Mean(zero_sum(), jnp.zeros((), jnp.int32))  # noqa: E731
    return Metric(init, update, add_means, mean_value, per_example=per_example)


def masked(mask: jax.Array, kept: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
    """Return which values count, bool of the shape of both, and float32 weights of them, or None where all count alike.

    Args:
        mask: bool[…]; kept: bool or weights of its shape, or None for all.
    """
    if kept is None:
        return mask, None
    if kept.dtype == jnp.bool_:
        return mask & kept, None
    weights = kept.astype(jnp.float32)
    return mask & (weights > 0), weights


def mean_state(values: jax.Array, mask: jax.Array, weights: jax.Array | None = None) -> Mean:
    """Return the state of the mean of float32[n, …] over n, where the mask, bool[n], is True, by weights, float32[n].

    Mask and weights may be of the values' shape, too; then each column has a count of its own.
    """
    own = mask if mask.ndim == values.ndim else mask.reshape(-1, *(1 for _ in values.shape[1:]))
    kept = jnp.where(own, values, 0.0)
    if weights is not None:
        kept = kept * jnp.where(mask, weights, 0.0).reshape(own.shape)
    total = Sum(kept.sum(axis=0), jnp.zeros(kept.shape[1:], jnp.float32)) if len(kept) <= _PLAIN_SUM else summed(kept)
    if weights is None:
        return Mean(total, mask.sum(axis=0, dtype=jnp.int32))
    return Mean(total, summed(jnp.where(mask, weights, 0.0)))


def add_means(one: Mean, other: Mean) -> Mean:
    """Merge the states of two means."""
    return Mean(add(one.sum, other.sum), plus(one.count, other.count))


def mean_value(state: Mean) -> jax.Array:
    """Return the mean, NaN of nothing."""
    count = as_numbers(state.count)
    mean = state.sum.value / jnp.where(count > 0, count, 1).astype(jnp.float32)
    return jnp.where(count > 0, mean, jnp.nan)


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


def shape_of(array: Any) -> str:
    """Write an array's dtype and shape, `float32[2, 3]`."""
    return f"{array.dtype.name}[{', '.join(map(str, array.shape))}]"

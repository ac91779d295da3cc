"""Losses whose examples do not count alike, such as sequences of several lengths: sums and weights an example.

A loss returns float[batch], whose mean is taken, or a pair (sums, weights) of them: what each example costs, and over
how much of it, such as its number of tokens. Steps and scores divide the total of the sums by that of the weights, over
a batch and over a whole split. A sum of losses adds up such quotients, each by its own weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.core.metric import Mean, Sum, add, add_means, mean_state, mean_value, shape_of, zero_sum
from mlgym_jax.core.targets import check_weights
from mlgym_jax.errors import MlgymError

INSTEAD = "where='the_field'; where='mask' counts all alike"  # what one says of a loss or metric with the wrong field

# Sums, and weights, or None where each example counts as one.
Term = tuple[jax.Array, jax.Array | None]


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a sum of losses returns where not all examples count alike in each of them."""

    terms: tuple[Term, ...]


LossValues = jax.Array | tuple[jax.Array, jax.Array] | Terms


def terms_of(values: LossValues) -> tuple[Term, ...]:
    """Return the quotients that the values of a loss are the sum of."""
    if isinstance(values, Terms):
        return values.terms
    if isinstance(values, tuple):
        return ((jnp.asarray(values[0]), jnp.asarray(values[1])),)
    return ((values, None),)


def check_values(values: Any, size: int) -> None:
    """Refuse what is neither one value an example nor a pair of such.

    Raises:
        MlgymError: what was found instead.
    """
    found = "None; does it end with `return`?" if values is None else None
    if isinstance(values, tuple) and (
        len(values) != 2 or any(getattr(item, "shape", None) != (size,) for item in values)
    ):
        found = f"({', '.join(map(_described, values))})."
    elif not isinstance(values, tuple | Terms | None) and jnp.shape(values) != (size,):
        found = f"shape {jnp.shape(values)}."
    if found:
        raise MlgymError(
            f"a loss returns one value an example, float[{size}] for this batch, or a pair of them, (sums, weights); "
            f"found {found} Leave the mean over the batch to the engine."
        )


def _described(item: Any) -> str:
    return shape_of(item) if hasattr(item, "dtype") else type(item).__name__


def scaled(values: LossValues, factor: Any) -> LossValues:
    """Multiply the values of a loss, not their weights, by a factor, one for all or one an example."""
    terms = [(sums * jnp.asarray(factor, sums.dtype), weights) for sums, weights in terms_of(values)]
    return _as_returned(terms)


def weighted_by(values: LossValues, weights: jax.Array) -> LossValues:
    """Let examples count by weights, float[batch], beside those that the values of a loss have."""
    terms = []
    for sums, own in terms_of(values):
        by = weights.astype(sums.dtype)
        terms.append((sums * by, by if own is None else own * by))
    return _as_returned(terms)


def added(losses: Iterable[LossValues]) -> LossValues:
    """Add up the values of several losses, in their order."""
    plain, weighted = [], []
    for sums, weights in (term for values in losses for term in terms_of(values)):
        plain.append(sums) if weights is None else weighted.append((sums, weights))
    together = [(sum(plain[1:], start=plain[0]), None)] if plain else []
    return _as_returned([*together, *weighted])


def _as_returned(terms: list[Term]) -> LossValues:
    if len(terms) > 1:
        return Terms(tuple(terms))
    sums, weights = terms[0]
    return sums if weights is None else (sums, weights)


def kept_of(where: Any, values: Any) -> jax.Array | None:
    """Return how much each of the values, float[batch, …], counts by a field `where`, [batch, …], in their shape.

    Returns:
        bool where the field is bool, which counts all or nothing; float32 weights where it holds numbers; None where
        all values count alike: there is no such field, or it is bool and the values have no positions of their own.

    Raises:
        MlgymError: they are of other positions; weights of positions where the values have none.
        UnfitTargets: where weights are known, one below 0 or not finite.
    """
    if where is None:
        return None
    check_weights("the field where", where)
    where = jnp.asarray(where)
    is_mask = where.dtype == jnp.bool_
    while where.ndim > values.ndim and where.shape[-1] == 1:
        where = where[..., 0]
    if values.ndim < max(1, where.ndim):
        if is_mask:
            return None
        raise MlgymError(
            f"the field where, {shape_of(where)}, weighs positions, but there is one value an example, of which they "
            f"are no part: {shape_of(values)}. Name a field of one number an example, {INSTEAD}"
        )
    if any(size not in (1, wanted) for size, wanted in zip(where.shape, values.shape, strict=False)):
        raise MlgymError(
            f"the field where, {shape_of(where)}, does not fit the values, {shape_of(values)}; name another, {INSTEAD}"
        )
    where = where if is_mask else where.astype(jnp.float32)
    return jnp.broadcast_to(where.reshape(*where.shape, *(1 for _ in values.shape[where.ndim :])), values.shape)


def refuse_weights(name: str, where: Any, why: str) -> None:
    """Refuse a field `where` that holds numbers, where only yes or no can be said.

    Raises:
        MlgymError: it does.
    """
    if where is not None and jnp.asarray(where).dtype != jnp.bool_:
        raise MlgymError(
            f"{name}: {why}; it takes no weights, but the field where is {shape_of(jnp.asarray(where))}. Give it as "
            f"bool, or name another field, {INSTEAD}"
        )


def over_positions(values: jax.Array, batch_size: int, kept: jax.Array | None) -> LossValues:
    """Return the mean of float[batch, …] an example; of what counts, bool or weights of their shape, (sums, weights).

    One value for all, float[], is each example's.
    """
    if values.ndim == 0:
        return jnp.broadcast_to(values, (batch_size,))
    axes = tuple(range(1, values.ndim))
    if kept is None:
        return values.mean(axis=axes)
    found = jnp.where(kept.astype(jnp.bool_), values, jnp.zeros_like(values))
    if kept.dtype != jnp.bool_:
        found = found * kept.astype(values.dtype)
    return found.sum(axis=axes), kept.sum(axis=axes).astype(jnp.float32)


def of_examples(values: LossValues, batch: Any) -> LossValues:
    """Let examples count by a field `where` of one bool or number each, in a loss that sees no positions.

    Raises:
        MlgymError: weights of positions.
    """
    where = batch.get("where")
    kept = None if where is None else kept_of(where, batch["mask"])
    return values if kept is None else weighted_by(values, kept)


def only_kept(where: Any, targets: jax.Array) -> jax.Array:
    """Return targets, with zeros in the place of those that count nothing by `where`, whose gradients may be NaN."""
    kept = kept_of(where, targets)
    return targets if kept is None else jnp.where(kept.astype(jnp.bool_), targets, jnp.zeros_like(targets))


def mean_over_batch(
    values: LossValues, mask: jax.Array, weights_of_all: Sequence[jax.Array] | None = None
) -> jax.Array:
    """Return float[], what a step lowers: totals divided, of the examples whose mask, bool[batch], is True.

    Args:
        weights_of_all: what to divide by in place of this batch's own `total_weights`, those of all the batches whose
            results are added up.
    """
    means = []
    for number, (sums, weights) in enumerate(terms_of(values)):
        total = jnp.where(mask, sums, jnp.zeros_like(sums)).sum()
        if weights is None:
            count = mask.sum() if weights_of_all is None else weights_of_all[number]
            means.append(total / jnp.maximum(count, 1).astype(sums.dtype))
        else:
            weight = _total_weight(sums, weights, mask) if weights_of_all is None else weights_of_all[number]
            mean = total.astype(weight.dtype) / jnp.where(weight > 0, weight, 1)
            means.append(jnp.where(weight > 0, mean, 0).astype(sums.dtype))
    return sum(means[1:], start=means[0])


def total_weights(values: LossValues, mask: jax.Array) -> tuple[jax.Array, ...]:
    """Return what `mean_over_batch` divides the total of each term by: its weights' total, or a number of examples."""
    return tuple(
        mask.sum() if weights is None else _total_weight(sums, weights, mask) for sums, weights in terms_of(values)
    )


def _total_weight(sums: jax.Array, weights: jax.Array, mask: jax.Array) -> jax.Array:
    kind = sums.dtype if sums.dtype.itemsize >= 4 else jnp.float32  # half precision counts to a few hundred
    return jnp.where(mask, weights, jnp.zeros_like(weights)).astype(kind).sum()


class WeightedMean(NamedTuple):
    """The state of a mean by weights: both totals."""

    sum: Sum
    weight: Sum


def loss_state(values: LossValues, mask: jax.Array) -> Any:
    """Return the state of a loss's mean: a `Mean`, a `WeightedMean`, or a tuple of them that are added up."""
    found = []
    for sums, weights in terms_of(values):
        total = mean_state(sums.astype(jnp.float32), mask)
        if weights is None:
            found.append(add_means(no_loss(), total))
        else:
            found.append(WeightedMean(total.sum, mean_state(weights.astype(jnp.float32), mask).sum))
    return found[0] if len(found) == 1 else tuple(found)


def no_loss() -> Mean:
    """Return the state of no example, which has the form of the other one where it is merged."""
    return Mean(zero_sum(), jnp.zeros((), jnp.int32))


def merged(one: Any, other: Any) -> Any:
    """Merge two states of one loss."""
    if isinstance(one, Mean) or isinstance(other, Mean):
        if isinstance(one, Mean) and isinstance(other, Mean):
            return add_means(one, other)
        return other if isinstance(one, Mean) else one
    if isinstance(one, WeightedMean):
        return WeightedMean(add(one.sum, other.sum), add(one.weight, other.weight))
    return tuple(merged(a, b) for a, b in zip(one, other, strict=True))


def loss_score(state: Any) -> jax.Array:
    """Return float[], the quotient or the sum of several; NaN of nothing."""
    if isinstance(state, Mean):
        return mean_value(state)
    if isinstance(state, WeightedMean):
        weight = state.weight.value
        return jnp.where(weight > 0, state.sum.value / jnp.where(weight > 0, weight, 1), jnp.nan)
    scores = [loss_score(item) for item in state]
    return sum(scores[1:], start=scores[0])

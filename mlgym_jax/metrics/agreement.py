"""Metrics of the agreement of predicted and target classes beyond chance: Matthews' correlation, Cohen's kappa.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.metrics.agreement import cohen_kappa
    >>> metric = cohen_kappa(num_classes=2)
    >>> batch = {"targets": jnp.array([1, 0, 1, 0]), "mask": jnp.ones(4, bool)}
    >>> float(metric.compute(metric.update(metric.init(), jnp.array([1.0, -1.0, -1.0, -1.0]), batch)))
    0.5

They count examples by class, as `core.classification_metrics` does. Where one class prevails, what they divide is the
small difference of large products; so the products are added up without rounding. An example whose outputs are no
numbers is predicted as a class of its own, which no target is of, and so is wrong.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.metric import Count, Metric, Sum, add, as_numbers, exact_product, summed
from mlgym_jax.metrics.classification import Counts, of_counts
from mlgym_jax.metrics.examples import number_of_classes


@register("metric", "matthews_corrcoef", needs=("dataset",))
def matthews_corrcoef(dataset: Any = None, *, num_classes: int | None = None, threshold: float = 0.0) -> Metric:
    """Correlation of predicted and target classes; scikit-learn's `matthews_corrcoef`.

    (c s - sum_k p_k t_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2)) of s examples, c of them right, p_k predicted
    as class k and t_k of class k. It is 0 where predictions or targets are all of one class, or without any example.

    References:
        Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004.
    """

    def compute(counts: Counts) -> jax.Array:
        total = _total(counts.predicted)
        # c s - sum p t = sum (true positives x true negatives - false negatives x false positives).
        missed, wrongly = (_minus(part, counts.hit) for part in (counts.actual, counts.predicted))
        right = _products(counts.hit, _minus(_minus(total, counts.actual), wrongly))
        wrong = _products(missed, wrongly)
        covariance = summed(jnp.concatenate([right, -wrong])).value
        by_predicted, by_actual = (
            jnp.sqrt(summed(_products(part, _minus(total, part))).value) for part in (counts.predicted, counts.actual)
        )
        scale = by_predicted * by_actual
        return jnp.where(scale > 0, covariance / jnp.where(scale > 0, scale, 1.0), 0.0)

    classes = number_of_classes("matthews_corrcoef", dataset, num_classes)
    return of_counts("matthews_corrcoef", classes, threshold, compute, of_sums=True, invalid="a class")


@register("metric", "cohen_kappa", needs=("dataset",))
def cohen_kappa(dataset: Any = None, *, num_classes: int | None = None, threshold: float = 0.0) -> Metric:
    """Agreement of predicted and target classes beyond chance; scikit-learn's `cohen_kappa_score`, unweighted.

    1 - (share of wrong predictions) / (the same if predictions and targets were independent). It is NaN where
    predictions and targets are all of one and the same class, or without any example.

    References:
        Cohen, A coefficient of agreement for nominal scales, 1960.
    """

    def compute(counts: Counts) -> jax.Array:
        total = _total(counts.predicted)
        wrong = as_numbers(_minus(total, _total(counts.hit))).astype(jnp.float32)
        by_chance = summed(_products(counts.predicted, _minus(total, counts.actual))).value
        return 1 - wrong / (by_chance / as_numbers(total).astype(jnp.float32))

    classes = number_of_classes("cohen_kappa", dataset, num_classes)
    return of_counts("cohen_kappa", classes, threshold, compute, of_sums=True, invalid="a class")


def _total(count: Count) -> Count:
    if not isinstance(count, Sum):
        return count.sum()
    return add(*(summed(part) for part in count))


def _minus(one: Count, other: Count) -> Count:
    if not (isinstance(one, Sum) and isinstance(other, Sum)):
        return as_numbers(one) - as_numbers(other)
    return add(one, Sum(-other.total, -other.lost))


def _products(one: Any, other: Any) -> jax.Array:
    """Return float32[4 n] that add up to the sum of one x other, int32[n]; each is exact for counts below 2^24.

    Of sums of weights they are the products of their parts, the first of which is exact in two.
    """
    if isinstance(one, Sum):
        product, error = exact_product(one.total, other.total)
        return jnp.concatenate([product, error, one.total * other.lost, one.lost * other.total])
    (high, low), (other_high, other_low) = (
        ((item >> 12).astype(jnp.float32), (item & 4095).astype(jnp.float32)) for item in (one, other)
    )
    mixed = [high * other_low * 2.0**12, low * other_high * 2.0**12]
    return jnp.concatenate([high * other_high * 2.0**24, *mixed, low * other_low])

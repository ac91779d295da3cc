"""Metrics that are curves: receiver operating characteristic, precision over recall, calibration.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.metrics.curves import roc_curve
    >>> metric = roc_curve(num_classes=2, num_thresholds=3)
    >>> batch = {"targets": jnp.array([0, 0, 1, 1]), "mask": jnp.ones(4, bool)}
    >>> found = metric.compute(metric.update(metric.init(), jnp.array([-2.0, 1.0, -1.0, 2.0]), batch))
    >>> found.x.tolist(), found.y.tolist()
    ([[0.0, 0.0, 0.5, 1.0, 1.0]], [[0.0, 0.0, 0.5, 1.0, 1.0]])

Their states count examples by class and threshold in integers, or add up their weights: of a fixed size, and integers
exact in any order. Thresholds are
fixed before the program runs, at equal distances of log(p / (1 - p)) from -16 to 16, which tell apart probabilities
that float32 still does. A curve has its points there; the areas that `auroc` and `aupr` compute of all examples are
those of the whole curve. Curves are recorded in the epochs that are kept and in the last; `every_num_epochs` says
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.metric import Batch, Metric, Sum, as_numbers, plus_all
from mlgym_jax.core.record import MOST_VALUES, Curve, curve
from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics.examples import (
    Examples,
    names_of_classes,
    number_of_classes,
    probabilities,
    read_examples,
    read_labels,
)
from mlgym_jax.metrics.probability import Bins, of_bins
from mlgym_jax.metrics.ranking import scores_of_classes

_FURTHEST = 16.0  # log odds: probabilities of 1.1e-7 and 1 - 1.1e-7


@register("metric", "roc_curve", needs=("dataset",))
def roc_curve(
    dataset: Any = None,
    *,
    num_thresholds: int = 101,
    num_classes: int | None = None,
    positive_class: int = 1,
    from_logits: bool = True,
    multilabel: bool = False,
) -> Metric:
    """Receiver operating characteristic, each class against the rest; scikit-learn's `roc_curve` at fixed thresholds.

    The share of the examples of a class whose probability is at least a threshold, over that of all others. Of two
    classes it is the curve of `positive_class`, of more there is a line each.

    Args:
        num_thresholds: how many there are, besides those that all and no examples are above.
        num_classes: by default the dataset's; 2 for a single output.
        from_logits: whether outputs are logits; otherwise they are probabilities.
        multilabel: targets are 0 or 1 for each of several labels, each of which has a line; `num_classes` is their
            number.

    A class without examples, or without examples of other classes, has no points.

    Raises:
        MlgymError: no number of classes; a positive class that is none; fewer than 2 thresholds, or too many.
    """

    def lines(hits: jax.Array, others: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _share(others, others[:, -1:]), _share(hits, hits[:, -1:])

    names = "false positive rate", "true positive rate"
    return _of_thresholds(
        "roc_curve", lines, names, dataset, num_thresholds, num_classes, positive_class, from_logits, multilabel
    )


@register("metric", "precision_recall_curve", needs=("dataset",))
def precision_recall_curve(
    dataset: Any = None,
    *,
    num_thresholds: int = 101,
    num_classes: int | None = None,
    positive_class: int = 1,
    from_logits: bool = True,
    multilabel: bool = False,
) -> Metric:
    """Precision over recall, each class against the rest; scikit-learn's `precision_recall_curve` at fixed thresholds.

    Where nothing is above a threshold, the precision is 1. The parameters are those of `roc_curve`; a class without
    examples has no points.
    """

    def lines(hits: jax.Array, others: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = hits + others
        return _share(hits, hits[:, -1:]), jnp.where(found > 0, _share(hits, found), 1.0)

    names = "recall", "precision"
    return _of_thresholds(
        "precision_recall_curve",
        lines,
        names,
        dataset,
        num_thresholds,
        num_classes,
        positive_class,
        from_logits,
        multilabel,
    )


@register("metric", "calibration_curve", needs=("dataset",))
def calibration_curve(
    dataset: Any = None,
    *,
    num_bins: int = 15,
    num_classes: int | None = None,
    positive_class: int | None = None,
    from_logits: bool = True,
) -> Metric:
    """Reliability diagram: how often a prediction is right, over how sure it is; scikit-learn's `calibration_curve`.

    A point a bin of confidences, at their mean; the bins are those of `expected_calibration_error`, which is the mean
    distance of these points from the diagonal, weighted by the numbers of examples. Bins without examples have none.

    Args:
        positive_class: by default the confidence is the highest probability, and a prediction is right where that is
            the target's. With a class it is that class's probability, and right are the examples of the class.
        num_classes: by default the dataset's; 2 for a single output.
        from_logits: whether outputs are logits; otherwise they are probabilities.

    Raises:
        MlgymError: a positive class that is none; no bins.

    References:
        Niculescu-Mizil and Caruana, Predicting good probabilities with supervised learning, 2005.
    """
    if positive_class is not None:
        number_of_classes("calibration_curve", dataset, num_classes, positive_class)

    def binned(outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array, Examples]:
        found = read_examples("calibration_curve", outputs, batch)
        by_class = probabilities(found, from_logits)
        if positive_class is None:
            hit = by_class.argmax(axis=-1).astype(jnp.int32) == found.targets
            return by_class.max(axis=-1)[:, None], hit[:, None], found
        own = found.targets == positive_class
        return by_class[:, positive_class, None], own[:, None], found

    def compute(state: Bins) -> Curve:
        total, hit = as_numbers((state.count, state.hit))
        there = total > 0
        count = jnp.where(there, total, 1).astype(jnp.float32)
        mean, share = state.confidence.value / count, hit.astype(jnp.float32) / count
        x, y = (jnp.where(there, value, jnp.nan) for value in (mean, share))
        return curve(x, y, x_name="confidence", y_name="accuracy" if positive_class is None else "share of the class")

    return of_bins("calibration_curve", 1, num_bins, binned, compute)


class _Counts(NamedTuple):
    """Examples of a class, and others: int32[places, classes, 2], by how many thresholds their score reaches.

    `invalid`, int32[classes], counts the scores that are no numbers. With weights, `number` is
    sums of these.
    """

    number: Any
    invalid: jax.Array


def _of_thresholds(
    name: str,
    lines: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    axes: tuple[str, str],
    dataset: Any,
    num_thresholds: int,
    num_classes: int | None,
    positive_class: int,
    from_logits: bool,
    multilabel: bool,
) -> Metric:
    """Return the metric that is `lines(hits, others)`, x and y, float32[classes, points].

    `hits` and `others` are int32[classes, points]: how many examples of a class, and how many others, are at or above
    each threshold; the first is above all examples, the last below.
    """
    classes = number_of_classes(name, dataset, num_classes)
    if classes < 2 and not multilabel:
        raise MlgymError(f"{name}: at least 2 classes are told apart; found num_classes={classes}")
    alone = classes == 2 and not multilabel
    if alone:
        number_of_classes(name, dataset, num_classes, positive_class)
    columns = (positive_class,) if alone else tuple(range(classes))
    most = MOST_VALUES // len(columns) - 2
    if not 2 <= num_thresholds <= most:
        raise MlgymError(f"{name}: num_thresholds is from 2 to {most:,}; found {num_thresholds}")
    distance = 2 * _FURTHEST / (num_thresholds - 1)
    odds = [distance * number - _FURTHEST for number in range(num_thresholds)]
    shown = (math.inf, *(1 / (1 + math.exp(-value)) for value in reversed(odds)), 0.0)
    labels = None if alone else tuple(names_of_classes(dataset, classes))

    def init() -> _Counts:
        number = jnp.zeros((num_thresholds + 1, len(columns), 2), jnp.int32)
        return _Counts(number, jnp.zeros((len(columns),), jnp.int32))

    def update(state: _Counts, outputs: Any, batch: Batch) -> _Counts:
        if multilabel:
            found = read_labels(name, outputs, batch, classes)
            scores, own, mask, by = found.outputs, found.targets, found.mask, found.weights
        else:
            found = read_examples(name, outputs, batch, classes)
            scores = scores_of_classes(found, from_logits)[:, jnp.asarray(columns)]
            own = found.targets[:, None] == jnp.asarray(columns, jnp.int32)[None, :]
            mask, by = found.mask[:, None], None if found.weights is None else found.weights[:, None]
        if not from_logits:
            scores = jnp.log(scores) - jnp.log1p(-scores)
        counts = mask & ~jnp.isnan(scores)
        place = jnp.searchsorted(jnp.asarray(odds, jnp.float32), scores, side="right", method="scan_unrolled")
        column = jnp.broadcast_to(jnp.arange(len(columns), dtype=jnp.int32), place.shape)
        invalid = (mask & jnp.isnan(scores)).sum(axis=0, dtype=jnp.int32)
        at = place, column, (~own).astype(jnp.int32)
        if by is None:
            return _Counts(state.number.at[at].add(counts.astype(jnp.int32)), state.invalid + invalid)
        weights = jnp.where(counts, by, 0.0)
        number = jnp.zeros((num_thresholds + 1, len(columns), 2), jnp.float32).at[at].add(weights)
        return plus_all(state, _Counts(Sum(number, jnp.zeros_like(number)), invalid))

    def compute(state: _Counts) -> Curve:
        above = jnp.cumsum(as_numbers(state.number)[::-1], axis=0)
        points = jnp.concatenate([jnp.zeros_like(above[:1]), above]).transpose(2, 1, 0)
        x, y = (jnp.where(state.invalid[:, None] > 0, jnp.nan, line) for line in lines(points[0], points[1]))
        undefined = jnp.isnan(x) | jnp.isnan(y)
        x, y = (jnp.where(undefined, jnp.nan, line) for line in (x, y))
        return curve(x, y, x_name=axes[0], y_name=axes[1], labels=labels, thresholds=shown)

    return Metric(init, update, plus_all, compute)


def _share(count: jax.Array, total: jax.Array) -> jax.Array:
    """Divide in float32; NaN where the total is 0."""
    quotient = count.astype(jnp.float32) / jnp.where(total > 0, total, 1).astype(jnp.float32)
    return jnp.where(total > 0, quotient, jnp.nan)

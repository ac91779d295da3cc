"""Metrics of predicted classes: accuracy, precision, recall, F-scores.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.metrics.classification import f1
    >>> metric = f1(num_classes=2, average="binary")
    >>> batch = {"targets": jnp.array([1, 0, 1]), "mask": jnp.ones(3, bool)}
    >>> state = metric.update(metric.init(), jnp.array([0.5, 2.0, -1.0]), batch)
    >>> float(metric.compute(state))
    0.5

Their states count examples by class in integers, so they are exact in any order, or add up their weights. Outputs,
targets and `threshold` are those of `core.metrics`; outputs of integers are classes that were predicted already, such
as those of `argmax`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.metric import Batch, Metric, as_numbers, counted, plus_all, shape_of
from mlgym_jax.core.weighted import INSTEAD
from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics.examples import (
    number_of_classes,
    predicted_classes,
    ratio,
    read_examples,
    read_labels,
)

Average = Literal["macro", "micro", "weighted", "binary", "none"]


class Counts(NamedTuple):
    """Numbers of examples by class, int32[classes], or weights: predicted rightly, predicted, and there."""

    hit: Any
    predicted: Any
    actual: Any


@register("metric", "accuracy")
def accuracy(*, threshold: float = 0.0, multilabel: bool = False) -> Metric:
    """Average whether the predicted class is the target; without any example NaN.

    Args:
        threshold: a single output above it predicts class 1; 0.0 for logits, 0.5 for probabilities.
        multilabel: targets are 0 or 1 for each of several labels; an example counts if all of its labels are right, as
            in scikit-learn's `accuracy_score`, or all that are known of it.
    """

    def update(state: Any, outputs: Any, batch: Batch) -> Any:
        if multilabel:
            labels = read_labels("accuracy", outputs, batch)
            said = labels.outputs > threshold
            right = (said == labels.targets) & ~jnp.isnan(labels.outputs)
            there, weights = labels.mask.any(axis=-1), labels.weights
            if weights is not None and weights.shape[-1] > 1:
                raise MlgymError(
                    "accuracy with multilabel=True: the labels of an example count together, but the field where, "
                    f"{shape_of(batch['where'])}, weighs single labels; give it as bool, or name another, {INSTEAD}"
                )
            hit = (right | ~labels.mask).all(axis=-1) & there
            return plus_all(
                state, tuple(counted(some, None if weights is None else weights[:, 0]) for some in (hit, there))
            )
        found = read_examples("accuracy", outputs, batch)
        hit = (predicted_classes(found, threshold) == found.targets) & found.mask
        return plus_all(state, tuple(counted(there, found.weights) for there in (hit, found.mask)))

    def compute(state: Any) -> jax.Array:
        hit, total = as_numbers(state)
        return jnp.where(total > 0, ratio(hit, total), jnp.nan)

    return Metric(lambda: (jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)), update, plus_all, compute)


@register("metric", "balanced_accuracy", needs=("dataset",))
def balanced_accuracy(
    dataset: Any = None, *, adjusted: bool = False, num_classes: int | None = None, threshold: float = 0.0
) -> Metric:
    """Mean of the recalls of the classes that occur in the targets; scikit-learn's `balanced_accuracy_score`.

    Args:
        adjusted: scale it so that guessing scores 0: (score - 1/c) / (1 - 1/c) with c classes that occur.

    Without any example it is NaN; adjusted, also with one class alone.
    """

    def compute(counts: Counts) -> jax.Array:
        present = (counts.actual > 0).sum(dtype=jnp.int32).astype(jnp.float32)
        score = ratio(counts.hit, counts.actual).sum() / present
        return (score - 1 / present) / (1 - 1 / present) if adjusted else score

    classes = number_of_classes("balanced_accuracy", dataset, num_classes)
    return of_counts("balanced_accuracy", classes, threshold, compute)


@register("metric", "precision", needs=("dataset",))
def precision(
    dataset: Any = None,
    *,
    average: Average = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    threshold: float = 0.0,
    multilabel: bool = False,
) -> Metric:
    """Share of a class's predictions that are right, averaged over classes; scikit-learn's `precision_score`.

    The parameters are those of `f1`.
    """

    def score(counts: Counts) -> jax.Array:
        return ratio(counts.hit, counts.predicted)

    return _averaged(
        "precision", score, dataset, average, num_classes, positive_class, threshold, multilabel=multilabel
    )


@register("metric", "recall", needs=("dataset",))
def recall(
    dataset: Any = None,
    *,
    average: Average = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    threshold: float = 0.0,
    multilabel: bool = False,
) -> Metric:
    """Share of a class's examples that are found, averaged over classes; scikit-learn's `recall_score`.

    The parameters are those of `f1`.
    """

    def score(counts: Counts) -> jax.Array:
        return ratio(counts.hit, counts.actual)

    return _averaged("recall", score, dataset, average, num_classes, positive_class, threshold, multilabel=multilabel)


@register("metric", "f1", needs=("dataset",))
def f1(
    dataset: Any = None,
    *,
    average: Average = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    threshold: float = 0.0,
    multilabel: bool = False,
) -> Metric:
    """Harmonic mean of precision and recall, averaged over classes; scikit-learn's `f1_score`.

    Args:
        average: `macro` is the mean over the classes that occur in targets or predictions (scikit-learn's
            `labels=None`), `weighted` weighs it by their numbers of examples, `micro` counts all classes together,
            `binary` is the score of `positive_class`, and `none` gives one score a class, `{"class_0": …}`.
        num_classes: by default the dataset's.
        threshold: a single output above it predicts class 1.
        multilabel: targets are 0 or 1 for each of several labels, whose scores are averaged as those of classes are;
            `num_classes` is their number.

    A division by zero gives 0, as with scikit-learn's `zero_division=0`.

    Raises:
        MlgymError: no number of classes; a positive class that is none; in `update`, outputs of another number.
    """

    def score(counts: Counts) -> jax.Array:
        return ratio(2 * counts.hit, counts.predicted + counts.actual)

    return _averaged("f1", score, dataset, average, num_classes, positive_class, threshold, multilabel=multilabel)


@register("metric", "fbeta", needs=("dataset",))
def fbeta(
    dataset: Any = None,
    *,
    beta: float = 2.0,
    average: Average = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    threshold: float = 0.0,
    multilabel: bool = False,
) -> Metric:
    """Mean of precision and recall that values recall `beta` times as much; scikit-learn's `fbeta_score`.

    F = (1 + beta^2) precision recall / (beta^2 precision + recall). The other parameters are those of `f1`.

    Raises:
        MlgymError: a beta below 0.

    References:
        van Rijsbergen, Information Retrieval, 1979.
    """
    if not beta >= 0:
        raise MlgymError(f"fbeta: beta is at least 0; found {beta}")

    def score(counts: Counts) -> jax.Array:
        squared = beta * beta
        total = squared * counts.actual.astype(jnp.float32) + counts.predicted.astype(jnp.float32)
        quotient = (1 + squared) * counts.hit.astype(jnp.float32) / jnp.where(total > 0, total, 1.0)
        return jnp.where(total > 0, quotient, 0.0)

    return _averaged("fbeta", score, dataset, average, num_classes, positive_class, threshold, multilabel=multilabel)


@register("metric", "specificity", needs=("dataset",))
def specificity(
    dataset: Any = None,
    *,
    average: Average = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    threshold: float = 0.0,
) -> Metric:
    """Share of the examples of other classes that are not taken for a class, TN / (TN + FP), averaged over classes.

    The parameters are those of `f1`. An example whose outputs are no numbers counts as taken for each wrong class.
    """

    def score(counts: Counts) -> jax.Array:
        others = counts.actual.sum() - counts.actual
        return ratio(others - (counts.predicted - counts.hit), others)

    def micro(counts: Counts) -> jax.Array:
        others = (counts.actual.sum() - counts.actual).astype(jnp.float32).sum()
        wrong = (counts.predicted - counts.hit).sum().astype(jnp.float32)
        return jnp.where(others > 0, 1 - wrong / jnp.where(others > 0, others, 1.0), 0.0)

    return _averaged(
        "specificity", score, dataset, average, num_classes, positive_class, threshold, micro, invalid="wrong"
    )  # fmt: skip


def _averaged(
    name: str,
    score: Callable[[Counts], jax.Array],
    dataset: Any,
    average: str,
    num_classes: int | None,
    positive_class: int,
    threshold: float,
    micro: Callable[[Counts], jax.Array] | None = None,
    multilabel: bool = False,
    invalid: Literal["missed", "wrong"] = "missed",
) -> Metric:
    """Return the metric that is one score a class, averaged."""
    classes = number_of_classes(name, dataset, num_classes, positive_class if average == "binary" else None)

    def compute(counts: Counts) -> Any:
        if average == "micro":
            return micro(counts) if micro else score(Counts(*(item.sum() for item in counts)))
        scores = score(counts)
        if average == "none":
            return {f"class_{index}": scores[index] for index in range(classes)}
        if average == "binary":
            return scores[positive_class]
        # A label that nothing is said of counts in the mean, as in scikit-learn; a class that does not occur does not.
        occurs = (
            jnp.ones(counts.actual.shape, jnp.int32)
            if multilabel
            else (counts.predicted + counts.actual > 0).astype(jnp.int32)
        )
        weights = counts.actual if average == "weighted" else occurs
        return ratio((scores * weights.astype(jnp.float32)).sum(), weights.sum())

    return of_counts(name, classes, threshold, compute, multilabel, invalid=invalid)


def of_counts(
    name: str,
    classes: int,
    threshold: float,
    compute: Callable[[Counts], Any],
    multilabel: bool = False,
    of_sums: bool = False,
    invalid: Literal["missed", "a class", "wrong"] = "missed",
) -> Metric:
    """Return the metric computed of each class's, or label's, hits, predictions and examples.

    Args:
        of_sums: `compute` takes sums of weights as they are, with what rounding lost of them.
        invalid: what an example is whose outputs are no numbers: predicted as no class, and so missed alone; of one
            class more, behind the others; or predicted as every class that it is not of.
    """
    columns = classes + 1 if invalid == "a class" else classes

    def update(state: Counts, outputs: Any, batch: Batch) -> Counts:
        if multilabel:
            labels = read_labels(name, outputs, batch, classes)
            said, there = ((part & labels.mask) for part in (labels.outputs > threshold, labels.targets))
            return plus_all(state, Counts(*(counted(item, labels.weights) for item in (said & there, said, there))))
        found = read_examples(name, outputs, batch, classes)
        every = jnp.arange(columns, dtype=jnp.int32)[None, :]
        predicted = predicted_classes(found, threshold)
        is_none = (predicted < 0) | (predicted >= classes)
        if invalid == "a class":
            predicted = jnp.where(is_none, classes, predicted)
        is_actual = (found.targets[:, None] == every) & found.mask[:, None]
        is_predicted = (predicted[:, None] == every) & found.mask[:, None]
        if invalid == "wrong":
            is_predicted |= is_none[:, None] & found.mask[:, None] & ~is_actual
        members = (is_predicted & is_actual, is_predicted, is_actual)
        return plus_all(state, Counts(*(counted(item, found.weights) for item in members)))

    return Metric(
        lambda: Counts(*(jnp.zeros((columns,), jnp.int32) for _ in range(3))),
        update,
        plus_all,
        compute if of_sums else lambda state: compute(as_numbers(state)),
    )

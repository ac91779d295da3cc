"""Which classes are taken for which: the confusion matrix.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.metrics.confusion import confusion_matrix
    >>> metric = confusion_matrix(num_classes=2)
    >>> batch = {"targets": jnp.array([1, 0, 1]), "mask": jnp.ones(3, bool)}
    >>> found = metric.compute(metric.update(metric.init(), jnp.array([0.5, 2.0, -1.0]), batch))
    >>> found.values.tolist()  # rows are targets, columns predictions
    [[0, 1], [1, 1]]
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.metric import Batch, Count, Metric, as_numbers, counted, plus
from mlgym_jax.core.record import MOST_VALUES, matrix
from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics.examples import (
    names_of_classes,
    number_of_classes,
    pairs,
    predicted_classes,
    ratio,
    read_examples,
    read_labels,
)

Normalize = Literal["none", "true", "predicted", "all"]


@register("metric", "confusion_matrix", needs=("dataset",))
def confusion_matrix(
    dataset: Any = None,
    *,
    normalize: Normalize = "none",
    num_classes: int | None = None,
    threshold: float = 0.0,
    multilabel: bool = False,
    as_scores: bool = False,
) -> Metric:
    """Count the examples, or add up their weights, by target and predicted class; scikit-learn's `confusion_matrix`.

    It is a matrix, recorded in the epochs that are kept and in the last; `every_num_epochs` says otherwise. Examples
    whose outputs are not numbers are in no column.

    Args:
        normalize: divide by the number of examples of the target (`true`) or of the predicted class (`predicted`), or
            by the number of all; 0 where that is 0.
        multilabel: targets are 0 or 1 for each of several labels, of which each has a matrix of its own, as in
            scikit-learn's `multilabel_confusion_matrix`; `num_classes` is their number.
        as_scores: return one score for each pair of classes in place of a matrix, in every epoch,
            `{"true_0/predicted_0": …, "true_0/predicted_1": …}`, which can be monitored.

    Raises:
        MlgymError: no number of classes, or more than 256; scores of several labels.
    """
    classes = number_of_classes("confusion_matrix", dataset, num_classes)
    if multilabel and as_scores:
        raise MlgymError("confusion_matrix: as_scores=True is of classes, not of several labels; leave one of them out")
    if not multilabel and classes * classes > MOST_VALUES:
        raise MlgymError(f"confusion_matrix: at most {int(MOST_VALUES**0.5)} classes are counted; found {classes}")
    names = names_of_classes(dataset, classes)

    def of_classes(outputs: Any, batch: Batch) -> Count:
        found = read_examples("confusion_matrix", outputs, batch, classes)
        every = jnp.arange(classes, dtype=jnp.int32)[None, :]
        actual = (found.targets[:, None] == every) & found.mask[:, None]
        return pairs(actual, predicted_classes(found, threshold)[:, None] == every, found.weights)

    def of_labels(outputs: Any, batch: Batch) -> Count:
        labels = read_labels("confusion_matrix", outputs, batch, classes)
        told = [labels.outputs <= threshold, labels.outputs > threshold]  # neither of what is no number
        members = [[there & guessed & labels.mask for guessed in told] for there in (~labels.targets, labels.targets)]
        weights = None if labels.weights is None else labels.weights[..., None, None]
        return counted(jnp.moveaxis(jnp.asarray(members), (0, 1), (-2, -1)), weights)

    def normalized(state: jax.Array) -> jax.Array:
        axes = {"none": None, "true": (-1,), "predicted": (-2,), "all": (-2, -1)}[normalize]
        if axes is None:
            return state
        return ratio(state, jnp.broadcast_to(state.sum(axis=axes, keepdims=True), state.shape))

    def compute(state: jax.Array) -> Any:
        table = normalized(as_numbers(state))
        if as_scores:
            return {
                f"true_{true}/predicted_{predicted}": table[true, predicted].astype(jnp.float32)
                for true in range(classes)
                for predicted in range(classes)
            }
        axes = {"x_name": "predicted", "y_name": "target"}
        if multilabel:
            return {name: matrix(table[label], classes=("no", "yes"), **axes) for label, name in enumerate(names)}
        return matrix(table, classes=names, **axes)

    count, shape = (of_labels, (classes, 2, 2)) if multilabel else (of_classes, (classes, classes))
    return Metric(
        lambda: jnp.zeros(shape, jnp.int32),
        lambda state, outputs, batch: plus(state, count(outputs, batch)),
        plus,
        compute,
    )

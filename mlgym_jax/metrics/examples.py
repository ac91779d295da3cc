"""What metrics of classes share: reading outputs and targets, classes, probabilities, averages over classes.

Where a metric takes classes, it takes them as

- outputs `[batch, …, classes]` with integer targets `[batch, …]`: the class is the argmax (of equals the first), and
  every position counts as an example; one with an output that is not a number is predicted as none, and so is wrong;
- outputs and targets both `[batch, …, classes]`, more than one class: one-hot targets, whose argmax is the class;
- outputs `[batch]` or `[batch, 1]` with targets `[batch]` or `[batch, 1]` in {0, 1}, or in {-1, 1}: class 1 above
  `threshold`, which is 0.0 for logits; use 0.5 for probabilities.

A field `where` of the batch says which of them count, bool[batch, …], or how much, float[batch, …]: one number an
example, or one a position. Counts of examples are then sums of weights, as with scikit-learn's `sample_weight`; of bool
they are integers, and exact. What has the weight 0 is as if it were not there.

With `multilabel=True` outputs and targets are both `[batch, …, labels]`, each label 0 or 1 by itself: an output above
`threshold` says 1, and scores of labels are averaged as those of classes are, as scikit-learn does it. There `where`
may also be `[batch, …, labels]`: each label is measured by the examples of which it is known, and what stands in the
place of the others may be anything, also NaN.

Where a metric takes probabilities, `from_logits=True` makes them of the outputs by softmax, or of single outputs by the
logistic function; `from_logits=False` takes the outputs as they are, single ones as those of class 1.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.core.metric import Batch, Count, Sum, masked, shape_of
from mlgym_jax.core.outputs import one_array
from mlgym_jax.core.targets import check_classes, check_distributions, check_labels, check_two, known
from mlgym_jax.core.weighted import kept_of
from mlgym_jax.errors import MlgymError

OneVsRest = Literal["macro", "weighted", "binary", "none"]


class Examples(NamedTuple):
    """Outputs with their target classes, every position by itself, n = batch x positions.

    Attributes:
        outputs: float32[n, classes], or [n] of single outputs; integers [n] are classes that were predicted already.
        targets: int32[n].
        mask: bool[n].
        weights: float32[n], or None where all that the mask leaves count alike.
    """

    outputs: jax.Array
    targets: jax.Array
    mask: jax.Array
    weights: jax.Array | None = None

    @property
    def single(self) -> bool:
        return self.outputs.ndim == 1


def read_examples(
    name: str, outputs: Any, batch: Batch, num_classes: int | None = None, ignore: int | None = None
) -> Examples:
    """Bring a metric's outputs and targets into one form, whichever of those in this module's docstring they have.

    Args:
        ignore: a target that is no class, which the metric leaves out itself.

    Raises:
        MlgymError: their shapes do not match, there are not `num_classes` outputs, or known targets are no classes.
    """
    values = known(batch)
    outputs, targets, mask = jnp.asarray(one_array(outputs)), jnp.asarray(batch["targets"]), batch["mask"]
    if jnp.issubdtype(outputs.dtype, jnp.floating):
        outputs = outputs.astype(jnp.float32)
    if outputs.shape in ((mask.shape[0],), (mask.shape[0], 1)):
        if targets.size != outputs.size:
            raise mismatch(name, outputs, targets)
        outputs, targets = outputs.reshape(-1), targets.reshape(-1)
        if is_class_number(outputs):
            check_classes(name, values, num_classes or np.iinfo(np.int32).max, ignore)
        else:
            check_two(name, values if ignore is None or values is None else values[values != ignore])
            targets = jnp.where(targets.astype(jnp.float32) > 0, 1, 0) if ignore is None else targets
    elif is_class_number(outputs) and outputs.shape == targets.shape:
        check_classes(name, values, num_classes or np.iinfo(np.int32).max, ignore)
    else:
        if num_classes is not None and outputs.shape[-1] != num_classes:
            raise MlgymError(f"{name}: {num_classes} classes are expected, found outputs {shape_of(outputs)}")
        if targets.shape == (*outputs.shape[:-1], 1):
            targets = targets[..., 0]
        if targets.shape == outputs.shape:
            check_distributions(name, values)
            targets = targets.argmax(axis=-1)
        if targets.shape != outputs.shape[:-1]:
            raise mismatch(name, outputs, targets)
        if jnp.asarray(batch["targets"]).shape != outputs.shape:
            check_classes(name, values, outputs.shape[-1], ignore)
    flat = outputs.reshape(-1) if outputs.shape == targets.shape else outputs.reshape(-1, outputs.shape[-1])
    return Examples(flat, targets.reshape(-1).astype(jnp.int32), *counting(batch, targets))


def counting(batch: Batch, values: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """Return bool[n], which of the values [batch, …] count, and their weights, float32[n] or None, by mask and `where`.

    Raises:
        MlgymError: `where` is of other positions.
    """
    mask = batch["mask"]
    mask = jnp.broadcast_to(mask.reshape(-1, *(1 for _ in values.shape[1:])), values.shape)
    kept = kept_of(batch.get("where"), values) if values.ndim else None
    mask, weights = masked(mask, kept)
    return mask.reshape(-1), None if weights is None else weights.reshape(-1)


class Labels(NamedTuple):
    """Outputs with the targets of several labels, every position by itself, n = batch x positions.

    Attributes:
        outputs: float32[n, labels].
        targets: bool[n, labels].
        mask: bool[n, labels], or [n, 1] where the labels of an example count together.
        weights: float32 of the mask's shape, or None where all that the mask leaves count alike.
    """

    outputs: jax.Array
    targets: jax.Array
    mask: jax.Array
    weights: jax.Array | None = None


def read_labels(name: str, outputs: Any, batch: Batch, num_labels: int | None = None) -> Labels:
    """Bring outputs and targets of several labels an example into one form.

    Raises:
        MlgymError: their shapes differ, there are not `num_labels` outputs, or known targets are not 0 and 1.
    """
    check_labels(name, known(batch))
    outputs, targets = jnp.asarray(one_array(outputs)), jnp.asarray(batch["targets"])
    if outputs.shape != targets.shape or outputs.ndim < 2:
        raise mismatch(f"{name} with multilabel=True", outputs, targets)
    labels = outputs.shape[-1]
    if num_labels is not None and labels != num_labels:
        raise MlgymError(
            f"{name}: {num_labels} labels are expected, found outputs {shape_of(outputs)}; "
            f"write component({name!r}, multilabel=True, num_classes={labels})"
        )
    by_label = labels > 1 and getattr(batch.get("where"), "shape", ()) == outputs.shape
    mask, weights = counting(batch, outputs if by_label else outputs[..., 0])
    columns = labels if by_label else 1
    mask, weights = mask.reshape(-1, columns), None if weights is None else weights.reshape(-1, columns)
    outputs = outputs.astype(jnp.float32).reshape(-1, labels)
    return Labels(outputs, targets.astype(jnp.float32).reshape(-1, labels) > 0.5, mask, weights)


def is_class_number(outputs: jax.Array) -> bool:
    """Tell outputs that are classes already, such as an argmax, from scores."""
    return jnp.issubdtype(outputs.dtype, jnp.integer) or outputs.dtype == jnp.bool_


def predicted_classes(found: Examples, threshold: float) -> jax.Array:
    """Return int32[n], the class of the highest output, or whether a single output is above `threshold`.

    An example with an output that is not a number has none: -1.
    """
    outputs = found.outputs
    if is_class_number(outputs):
        return outputs.astype(jnp.int32)
    predicted = outputs > threshold if found.single else outputs.argmax(axis=-1)
    invalid = jnp.isnan(outputs) if found.single else jnp.isnan(outputs).any(axis=-1)
    return jnp.where(invalid, -1, predicted.astype(jnp.int32))


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
    train = getattr(dataset, "splits", {}).get("train")
    kind = getattr(train.get("targets"), "dtype", None) if classes is None and type(train) is dict else None
    if kind is not None and kind.kind == "f":
        raise MlgymError(
            f"{name}: it is of classes, and the targets are {kind.name}, numbers to predict; of these are r2, mae, "
            "rmse and explained_variance. If they are classes, say so: task='classification', or y.astype(int)"
        )
    if classes is None:
        raise MlgymError(f"{name}: the dataset names no number of classes; write component({name!r}, num_classes=…)")
    if positive_class is not None and not 0 <= positive_class < classes:
        raise MlgymError(f"{name}: positive_class is one of 0 … {classes - 1}; found {positive_class}")
    return classes


def names_of_classes(dataset: Any, classes: int) -> list[str]:
    """Return a name for each class: the dataset's, or its number."""
    names = [str(name) for name in getattr(dataset, "class_names", None) or ()]
    return names if len(names) == classes else [str(number) for number in range(classes)]


def over_classes(
    average: OneVsRest, scores: jax.Array, weights: jax.Array, defined: jax.Array, positive_class: int
) -> Any:
    """Average one score a class over the classes where it is defined; NaN if that is none.

    Args:
        average: `macro`, the plain mean; `weighted`, by `weights`; `binary`, the score of `positive_class` alone;
            `none`, each by itself, `{"class_0": …}`.
        scores: float32[classes].
        weights: int32[classes] or float32, the numbers of examples.
        defined: bool[classes].
    """
    if average == "none":
        each = jnp.where(defined, scores, jnp.nan)
        return {f"class_{index}": each[index] for index in range(len(scores))}
    if average == "binary":
        return jnp.where(defined, scores, jnp.nan)[positive_class]
    counted = jnp.where(defined, weights if average == "weighted" else jnp.ones_like(weights), 0).astype(jnp.float32)
    total = counted.sum()
    mean = jnp.where(counted > 0, scores * counted, 0.0).sum() / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, mean, jnp.nan)


def ratio(count: jax.Array, total: jax.Array) -> jax.Array:
    """Divide in float32; 0 where the total is 0."""
    quotient = count.astype(jnp.float32) / jnp.where(total > 0, total, 1).astype(jnp.float32)
    return jnp.where(total > 0, quotient, 0.0)


def pairs(one: jax.Array, other: jax.Array, weights: jax.Array | None) -> Count:
    """Count the examples by two memberships, bool[n, a] and bool[n, b]: int32[a, b], or sums of weights, float32[n]."""
    if weights is None:
        # Products of 0 and 1 and their sums up to 2^24 are exact in the precision of any matrix unit.
        return (one.astype(jnp.float32).T @ other.astype(jnp.float32)).astype(jnp.int32)
    weighed = jnp.where(one, weights[:, None], 0.0)
    found = jnp.matmul(weighed.T, other.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)
    return Sum(found, jnp.zeros_like(found))


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

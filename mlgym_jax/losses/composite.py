"""Losses made of losses, regularisers of parameters, and what every loss may be told besides its own parameters.

Synopsis, in a config:

    config.loss = component(
        "sum",
        losses=dict(
            digit=component("softmax_cross_entropy", output="digit", target="digit_label"),
            even=component("sigmoid_binary_cross_entropy", output="even", target="parity", weight=0.5),
            decay=component("l2_regularizer", paths="kernel$", weight=grid(1e-4, 1e-3)),
        ),
    )

The scores are then `train/loss`, the weighted sum, and `train/loss/digit`, `train/loss/even`, `train/loss/decay`, each
before its weight, so that they stay comparable when weights are swept.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register, shared_parameters
from mlgym_jax.core.metric import shape_of
from mlgym_jax.core.outputs import one_array, pick
from mlgym_jax.core.paths import map_paths, named_leaves, nowhere
from mlgym_jax.core.scoring import Given, call_loss, part_names, taken_by, with_fields
from mlgym_jax.core.state import Batch, Outputs
from mlgym_jax.core.targets import UnfitTargets, check_weights, known
from mlgym_jax.core.weighted import LossValues, added, kept_of, only_kept, scaled, weighted_by
from mlgym_jax.errors import MlgymError
from mlgym_jax.losses.ranges import check_class_weights, check_ranges

Loss = Callable[..., LossValues]


@dataclasses.dataclass(frozen=True)
class Reading:
    """A loss that reads one output and one field of the batch, times a weight.

    Attributes:
        output: the path of the model's output to read, such as `logits` or `1.logits`; all of them by default.
        target: the field of the batch that stands in for `targets`, or, where there is none, the path of an output.
        where: the field that says how much examples or positions count; `mask`, all alike.
        weight: a factor, which may be traced.
    """

    loss: Loss
    output: str | None = None
    target: str | None = None
    weight: Any = 1.0
    where: str | None = None

    def __call__(self, outputs: Outputs, batch: Batch, **given: Any) -> LossValues:
        return scaled(self.unweighted(outputs, batch, given), self.weight)

    def unweighted(self, outputs: Outputs, batch: Batch, given: Given) -> LossValues:
        """Return the values an example, before the weight."""
        seen, fields = pick(outputs, self.output), with_fields(batch, self.target, self.where, outputs)
        return call_loss(self.loss, seen, fields, given, path=self.output)

    @property
    def part_names(self) -> tuple[str, ...]:
        return part_names(self.loss)

    @property
    def takes(self) -> tuple[str, ...]:
        return taken_by(self.loss)

    def parts(self, outputs: Outputs, batch: Batch, given: Given) -> dict[str, LossValues]:
        """Return the values an example of each part of the inner loss."""
        fields = with_fields(batch, self.target, self.where, outputs)
        return self.loss.parts(pick(outputs, self.output), fields, given)  # type: ignore


@shared_parameters("loss", dynamic=("weight",))
def _reading(
    loss: Loss, *, output: str | None = None, target: str | None = None, where: str | None = None, weight: float = 1.0
) -> Loss:
    """Add `output`, `target` and `where`, the names of what it reads, and `weight`, a factor that may be swept."""
    return Reading(loss, output, target, weight, where)


@dataclasses.dataclass(frozen=True)
class _Sum:
    losses: Mapping[str, Loss]

    @property
    def part_names(self) -> tuple[str, ...]:
        return tuple(self.losses)

    @property
    def takes(self) -> tuple[str, ...]:
        return _taken(self.losses.values())

    def __call__(self, outputs: Outputs, batch: Batch, **given: Any) -> LossValues:
        return added(call_loss(loss, outputs, batch, given) for loss in self.losses.values())

    def parts(self, outputs: Outputs, batch: Batch, given: Given) -> dict[str, LossValues]:
        return {
            name: loss.unweighted(outputs, batch, given)
            if isinstance(loss, Reading)
            else call_loss(loss, outputs, batch, given)
            for name, loss in self.losses.items()
        }


def _taken(losses: Iterable[Loss]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for loss in losses for name in taken_by(loss)))


@register("loss", "sum")
def weighted_sum(*, losses: dict) -> Loss:
    """Add up named losses, each times its own `weight`; each is reported as `loss/<name>` before its weight.

    Raises:
        MlgymError: no losses, or something that is no loss.
    """
    if not isinstance(losses, Mapping) or not losses:
        raise MlgymError(f"sum: write losses=dict(name=component('…', weight=…), …); found {losses!r}")
    for name, loss in losses.items():
        if not callable(loss):
            raise MlgymError(f"sum: losses.{name} takes a component, found {loss!r}")
    return _Sum(dict(losses))


@register("loss", "class_weighted")
def class_weighted(*, loss: Any, weights: tuple[float, ...] | Literal["balanced"] = "balanced") -> Loss:
    """Multiply each example's loss by the weight of its class.

    Args:
        loss: a component, such as `component("softmax_cross_entropy")`.
        weights: one a class; `balanced` is n / (num_classes * n_c) with the counts n_c of the fold's training part, as
            in scikit-learn's `compute_class_weight`. A class that does not occur there has weight 0.

    Raises:
        ConfigError: weights below 0 or not finite, or only zeros.
        MlgymError: targets that are no class numbers, more weights than outputs, or, without counts in the batch,
            `balanced`.
    """
    if not isinstance(weights, str):
        check_class_weights(weights)

    def weigh(outputs: Outputs, batch: Batch, **given: Any) -> LossValues:
        targets = jnp.asarray(batch["targets"])
        if not jnp.issubdtype(targets.dtype, jnp.integer) or targets.ndim != 1:
            raise MlgymError(f"class_weighted takes integer targets [batch], found {targets.dtype.name}{targets.shape}")
        found = known(batch)
        if found is not None and not isinstance(weights, str) and found.max() >= len(weights):
            raise UnfitTargets(
                f"class_weighted: the targets hold class {found.max()}, weights has the {len(weights)} of the classes "
                f"0 … {len(weights) - 1}; write {found.max() + 1} of them"
            )
        shape = getattr(outputs, "shape", ())
        if not isinstance(weights, str) and len(shape) == 2 and 1 < shape[1] < len(weights):
            raise MlgymError(f"class_weighted: found {len(weights)} weights, but outputs of {shape[1]} classes")
        values = call_loss(loss, outputs, batch, given)
        return scaled(values, class_weights(weights, batch)[targets])

    weigh.takes = taken_by(loss)
    return weigh


@register("loss", "sample_weighted")
def sample_weighted(*, loss: Any, field: str = "sample_weight") -> Loss:
    """Let examples count by a field of the data, float[batch]: sum w_i l_i / sum w_i, over a batch and over a split.

    That is the `sample_weight` of scikit-learn's metrics. An example of weight 0 does not count; if all have it, the
    loss of a step is 0, that of a split NaN.

    Args:
        loss: a component, such as `component("softmax_cross_entropy")`; where it has weights of its own, such as the
            number of a sequence's tokens, both are multiplied.
        field: the field that holds the weights.

    Raises:
        MlgymError: no such field, or one of another shape; where the values are known, one below 0 or not finite.
    """

    def weigh(outputs: Outputs, batch: Batch, **given: Any) -> LossValues:
        weights = jnp.asarray(with_fields(batch, field)["targets"])
        if weights.shape != batch["mask"].shape:
            raise MlgymError(
                f"sample_weighted: the field {field!r} is one number an example, float[{len(batch['mask'])}]; found "
                f"{shape_of(weights)}"
            )
        check_weights(f"sample_weighted: the field {field!r}", batch[field])
        return weighted_by(call_loss(loss, outputs, batch, given), weights.astype(jnp.float32))

    weigh.takes = taken_by(loss)
    return weigh


def class_weights(weights: tuple[float, ...] | str, batch: Batch) -> jax.Array:
    """Return float32[num_classes], from numbers or from the batch's `class_counts`."""
    if not isinstance(weights, str):
        return jnp.asarray(weights, jnp.float32)
    if "class_counts" not in batch:
        raise MlgymError(
            "class_weighted(weights='balanced') needs batch['class_counts'], int[num_classes] of the training part; "
            "a run adds it where the data set says its num_classes, and component('in_memory') loads it"
        )
    counts = jnp.asarray(batch["class_counts"]).astype(jnp.float32)
    balanced = counts.sum() / (counts.shape[0] * jnp.maximum(counts, 1.0))
    return jnp.where(counts > 0, balanced, 0.0)


@register("loss", "lp", dynamic=("p", "root"))
def lp(*, p: float = 2.0, root: float = 1.0) -> Loss:
    """Average |output - target|^p over an example's outputs, and take the `root`-th root of it.

    lp(p=1) is the mean absolute error, lp(p=2) the mean squared error, lp(p=2, root=2) its root for each example. Where
    the batch has a field `where`, an example counts as often as it has positions that are True there, or by the sum of
    their weights.

    Raises:
        ConfigError: `p` or `root` not above 0.
    """
    check_ranges("lp", {"p": p, "root": root})

    def loss(outputs: Outputs, batch: Batch) -> LossValues:
        outputs, targets = jnp.asarray(one_array(outputs)), jnp.asarray(batch["targets"])
        if outputs.shape == (*targets.shape, 1):
            outputs = outputs[..., 0]
        if outputs.shape != targets.shape:
            raise MlgymError(f"lp takes targets of the outputs' shape {outputs.shape}, found {targets.shape}")
        targets = only_kept(batch.get("where"), targets)
        distance = jnp.abs(outputs - targets.astype(outputs.dtype))
        # A power of 0 has no gradient that a sum would survive: 0^p is 0 with gradient 0 here.
        zero = distance == 0
        powers = jnp.where(zero, 0.0, jnp.where(zero, 1.0, distance) ** jnp.asarray(p, distance.dtype))
        axes = tuple(range(1, powers.ndim))
        kept = kept_of(batch.get("where"), powers)
        number = None if kept is None else kept.sum(axis=axes)
        if kept is None or number is None:
            mean = powers.mean(axis=axes)
        else:
            own = jnp.where(kept.astype(jnp.bool_), powers, 0.0) * kept.astype(powers.dtype)
            mean = own.sum(axis=axes) / jnp.where(number > 0, number, 1).astype(powers.dtype)
        none = mean == 0
        values = jnp.where(none, 0.0, jnp.where(none, 1.0, mean) ** (1 / jnp.asarray(root, mean.dtype)))
        return values if number is None else (values * number.astype(values.dtype), number.astype(jnp.float32))

    return loss


@register("loss", "l1_regularizer")
def l1_regularizer(*, paths: str = "") -> Loss:
    """Sum the magnitudes of the parameters whose path, such as `Dense_0/kernel`, the regular expression is found in."""
    return _regularizer("l1_regularizer", paths, jnp.abs)


@register("loss", "l2_regularizer")
def l2_regularizer(*, paths: str = "") -> Loss:
    """Sum the squares of the parameters whose path, such as `Dense_0/kernel`, the regular expression is found in."""
    return _regularizer("l2_regularizer", paths, jnp.square)


def _regularizer(name: str, paths: str, penalty: Callable[[jax.Array], jax.Array]) -> Loss:
    try:
        expression = re.compile(paths)
    except re.error as error:
        raise MlgymError(f"{name}: paths={paths!r} is no regular expression: {error}") from error

    def loss(outputs: Outputs, batch: Batch, params: Any = None) -> jax.Array:
        found: list[jax.Array] = []
        map_paths(lambda path, leaf: found.append(penalty(leaf).sum()) if path.matches(expression) else None, params)
        if not found:
            raise MlgymError(f"{name}: paths={paths!r} {nowhere(paths, named_leaves(params))}")
        return jnp.broadcast_to(sum(found[1:], start=found[0]), batch["mask"].shape)

    return loss

"""Losses: every loss of optax by its own name, `(outputs, batch) -> float[batch]`, unreduced.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.components.registry import lookup
    >>> loss = lookup("loss", "huber_loss").factory(delta=1.0)
    >>> loss(jnp.array([[0.0], [3.0]]), {"targets": jnp.array([0, 0])}).tolist()
    [0.0, 2.5]

Conventions that hold for all of them:

- The model's outputs are the first parameter of optax's function, `batch["targets"]` its labels or targets. Other
  arrays that it requires (`logit_paddings`, `positives`, …), and `where` and `weights` where it takes them, are found
  by their names in the outputs, if these are a dict, or else in the batch.
- Outputs `[batch, 1]` meet targets `[batch]` as `[batch]`, and the other way round: nothing is ever broadcast.
- A loss over distributions (`softmax_cross_entropy`, `kl_divergence`, `dice_loss`, …) takes integer targets, too.
- A loss of two classes by their signs (`hinge_loss`, `perceptron_loss`), and `sparsemax_loss`, takes targets 0 and 1 as
  well as -1 and 1: what is above 0 is the one class.
- Losses over classes take `label_smoothing` in [0, 1), which may be swept; `losses.smoothing` has the definitions, and
  the reasons of those that take none.
- Targets are checked before anything compiles: class numbers have an output, probabilities are in [0, 1], distributions
  add up to 1.
- What remains besides the batch, such as positions, is averaged. Where there is `where`, bool[batch, positions], the
  loss is (sums, weights): steps and scores average over the positions that are True there, those of all examples alike,
  as metrics do. Numbers there, or float[batch], are weights: sum w l / sum w. A loss that relates the examples of a
  batch to each other (`ntxent`, `multiclass_generalized_dice_loss`) gives every example the batch's one value; padding
  takes part in it, so drop the last, partial batch. `ntxent` takes no `where`; dice losses weigh their sums by it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.losses

from mlgym_jax.components.registry import register
from mlgym_jax.core.metric import shape_of
from mlgym_jax.core.outputs import one_array, parts
from mlgym_jax.core.targets import (
    UnfitTargets,
    check_classes,
    check_distributions,
    check_numbers,
    check_shares,
    check_two,
    check_weights,
    known,
)
from mlgym_jax.core.weighted import INSTEAD, LossValues, kept_of, only_kept, over_positions, refuse_weights
from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.losses.dice import DICE, of_pixels, weighted_dice
from mlgym_jax.losses.ranges import check_ranges
from mlgym_jax.losses.smoothing import NOT_SMOOTHED, SMOOTHED, checked_smoothing, smoothed
from mlgym_jax.optimizers.signatures import (
    by_optax_rules,
    keyword,
    make_factory,
    numbers,
    plain_parameters,
    public_functions,
)

NOT_LOSSES = {
    "cosine_similarity": "grows as the outputs come nearer to the targets; the loss is cosine_distance",
    "ctc_loss_with_forward_probs": "returns forward probabilities, too; the loss is ctc_loss",
    "make_fenchel_young_loss": "makes a loss of a function, which no config holds; register your own loss",
    "smooth_labels": "changes labels; it computes no loss",
}

# Targets are one class number for each output vector.
_INTEGER = {
    "multiclass_hinge_loss",
    "multiclass_perceptron_loss",
    "multiclass_sparsemax_loss",
    "ntxent",
    "softmax_cross_entropy_with_integer_labels",
}
# Targets are a distribution for each output vector; class numbers are made one.
_DISTRIBUTION = {
    "convex_kl_divergence",
    "dice_loss",
    "generalized_kl_divergence",
    "kl_divergence",
    "multiclass_generalized_dice_loss",
    "poly_loss_cross_entropy",
    "safe_softmax_cross_entropy",
    "softmax_cross_entropy",
}
# Targets are signs, -1 or 1, in optax; or 0 and 1, where any other number counts as 1.
_SIGNS = {"hinge_loss", "perceptron_loss"}
_ZERO_OR_ONE = {"sparsemax_loss"}
# Targets are the probability of each output by itself.
_SHARES = {*DICE, "sigmoid_binary_cross_entropy", "sigmoid_focal_loss"}
# Distributions that need not add up to 1: of several labels, or on purpose.
_NOT_NORMALISED = _SHARES | {"generalized_kl_divergence"}
# Losses that compare the outputs with each other.
_OF_CLASSES = {
    "multiclass_hinge_loss",
    "multiclass_perceptron_loss",
    "multiclass_sparsemax_loss",
    "poly_loss_cross_entropy",
    "ranking_softmax_loss",
    "safe_softmax_cross_entropy",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
}
_OF_SHARES = "; distributions over classes, as mixup makes them, are for softmax_cross_entropy"
_OF_FLOATS = "; floats are numbers to predict: write classes as whole numbers, y.astype(int), or task='classification'"
# Shapes are what optax checks.
_FREE = {"ctc_loss", "triplet_margin_loss"}
# A field `where` says nothing of single targets.
_RELATED = _FREE | DICE | {"ntxent"}
_WHOLE = _RELATED - _FREE
_TARGETS = ("labels", "targets", "log_targets")
_OPTIONAL_ARRAYS = ("where", "weights")
# Never plain data, or (without the activation) checked by optax on values that a compiled program does not have.
_LEFT_OUT = (*_OPTIONAL_ARRAYS, "reduce_fn", "apply_softmax", "apply_sigmoid")


def _register_losses() -> None:
    for name, function in public_functions(optax, optax.losses).items():
        if function.__module__.startswith("optax.losses") and name not in NOT_LOSSES:
            factory = _factory(name, function)
            register("loss", name, dynamic=numbers(factory, leave_out=("blank_id", "norm_degree")))(factory)


def _factory(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    found = inspect.signature(function).parameters
    first, *others = (key for key, parameter in found.items() if parameter.default is parameter.empty)
    # `targets=None` of the regression losses is no parameter of the config either.
    arrays = [*others, *(key for key in _TARGETS if key in found and key not in others)]
    optional = [key for key in _OPTIONAL_ARRAYS if key in found]
    parameters = plain_parameters(function, leave_out=(first, *arrays, *_LEFT_OUT))
    if "class_weights" in parameters:
        parameters["class_weights"] = parameters["class_weights"].replace(annotation=tuple[float, ...] | None)
    if name in SMOOTHED:
        parameters["label_smoothing"] = keyword("label_smoothing", float, 0.0)
    fixed = {"reduce_fn": None} if "reduce_fn" in found else {}
    call = by_optax_rules(function)

    def build(given: dict[str, Any]) -> Callable[[Any, Mapping[str, Any]], LossValues]:
        check_ranges(name, given)
        settings = {**fixed, **given}
        smoothing = checked_smoothing(settings.pop("label_smoothing", 0.0))
        if settings.get("class_weights") is not None:
            settings["class_weights"] = jnp.asarray(settings["class_weights"], jnp.float32)

        def loss(outputs: Any, batch: Mapping[str, Any]) -> LossValues:
            of_outputs = parts(outputs)
            scores = jnp.asarray(one_array(of_outputs.get(first, outputs)))
            inputs = {}
            for key in arrays:
                in_batch = {**batch, key: batch["targets"]} if key in _TARGETS and "targets" in batch else batch
                inputs[key] = _field(name, key, of_outputs, in_batch)
            for key in optional:
                if key in of_outputs or key in batch:
                    check_weights(f"the field {key}", batch.get(key))
                    inputs[key] = _field(name, key, of_outputs, batch)
            where = of_outputs.get("where", batch.get("where"))
            if where is not None and where.ndim != scores.ndim:  # of positions, which some of optax's losses broadcast
                inputs.pop("where", None)
            if "where" in inputs:
                refuse_weights(
                    f"loss {name!r}", where, "a field where of the outputs' shape says which classes there are"
                )
            used = call
            target = next((key for key in arrays if key in _TARGETS), None)
            if target is not None:
                axis = settings.get("axis", -1) if name != "dice_loss" else -1
                _check_values(name, scores, inputs[target], batch, axis, settings.get("blank_id"))
                if where is not None and name not in _RELATED:  # what is left out may be anything, also NaN
                    inputs[target] = only_kept(where, inputs[target])
                scores, inputs[target] = _matched(name, scores, inputs[target], axis)
                _check_axis(name, scores, axis if "axis" in found or name in _OF_CLASSES else None)
                if smoothing is not None:
                    if name == "softmax_cross_entropy_with_integer_labels":
                        used = by_optax_rules(optax.softmax_cross_entropy)
                    as_one_hot = functools.partial(_one_hot, name, outputs=scores, axis=axis)
                    used = smoothed(name, used, target, smoothing, as_one_hot, axis)
                elif name == "softmax_cross_entropy" and inputs[target].ndim < scores.ndim:
                    used = by_optax_rules(optax.softmax_cross_entropy_with_integer_labels)
            if name in DICE and of_pixels(where, scores):
                return weighted_dice(name, scores, inputs[target or ""], where, settings)
            try:
                values = used(scores, **inputs, **settings)
            except (ValueError, AssertionError) as error:
                shapes = ", ".join(f"{key} {shape_of(value)}" for key, value in inputs.items())
                raise MlgymError(f"loss {name!r}: {error} (outputs {shape_of(scores)}, {shapes})") from error
            if "where" in inputs and where is not None:  # of classes; a position counts that has any
                where = where.any(axis=settings.get("axis", -1))
            if name in _WHOLE and where is not None and where.ndim > values.ndim:
                _check_where(name, where, scores)
            return over_positions(values, scores.shape[0], kept_of(where, values) if values.ndim else None)

        return loss

    made = make_factory(name, function, parameters.values(), build)
    if name in NOT_SMOOTHED:
        made.__doc__ = f"{made.__doc__} Label smoothing is not defined: {NOT_SMOOTHED[name]}."
    return made


def _check_axis(name: str, scores: jax.Array, axis: Any) -> None:
    """Refuse a loss along the axis of the batch, or of the direction of one number, which has no gradient."""
    if name == "cosine_distance" and isinstance(axis, int) and scores.ndim > 1 and scores.shape[axis] == 1:
        raise MlgymError(
            f"loss {name!r}: outputs {shape_of(scores)} have one number along axis={axis}, whose direction is a sign "
            "without a gradient; it takes several. Of one, take squared_error"
        )
    if isinstance(axis, int) and scores.ndim and axis % scores.ndim == 0 and name not in _RELATED:
        raise MlgymError(
            f"loss {name!r}: axis={axis} of outputs {shape_of(scores)} is that of the batch, whose examples it would "
            "compare; it takes several outputs an example. Of one, take sigmoid_binary_cross_entropy or squared_error"
        )


def _check_where(name: str, where: Any, scores: jax.Array) -> None:
    """Refuse a field `where` of what a loss relates to each other."""
    if where.shape == scores.shape[: where.ndim] or where.dtype != jnp.bool_:
        raise MlgymError(
            f"loss {name!r}: it relates what the field where, {shape_of(where)}, would weigh; name another field, "
            f"{INSTEAD}"
        )


def _field(name: str, key: str, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> jax.Array:
    if key in outputs:
        return jnp.asarray(outputs[key])
    if key in batch:
        return jnp.asarray(batch[key])
    wanted = "targets" if key in _TARGETS else key
    raise MlgymError(
        f"loss {name!r} needs {wanted!r}, in the model's outputs (a dict) or in the batch (a field of the dataset)"
        f"{nearest(wanted, [*outputs, *batch])} Outputs: {listed(outputs)}. Batch: {listed(batch)}."
    )


def _matched(name: str, outputs: jax.Array, targets: jax.Array, axis: Any) -> tuple[jax.Array, jax.Array]:
    """Bring outputs and targets to the shapes and dtypes that optax's function `name` takes; never broadcast."""
    if name in _FREE:
        return outputs, targets
    if name in _INTEGER or name in _DISTRIBUTION:
        classes = _without(outputs.shape, axis)
        if targets.shape == (*classes, 1) and targets.shape != outputs.shape:
            targets = targets[..., 0]
        integer = jnp.issubdtype(targets.dtype, jnp.integer) or targets.dtype == jnp.bool_
        if integer and targets.shape == classes:
            targets = targets.astype(jnp.int32)
            if name in _DISTRIBUTION and name != "softmax_cross_entropy":
                targets = _one_hot(name, targets, outputs, axis)
            return outputs, targets
        if name in _DISTRIBUTION and targets.shape == outputs.shape:
            return outputs, targets.astype(outputs.dtype)
        either = f" or distributions of shape {outputs.shape}" if name in _DISTRIBUTION else ""
        raise MlgymError(
            f"loss {name!r}: outputs {shape_of(outputs)} and targets {shape_of(targets)} do not match; "
            f"it takes integer targets of shape {classes}{either or _OF_SHARES * (targets.shape == outputs.shape)}"
            f"{_OF_FLOATS * (targets.shape == classes)}"
        )
    if outputs.shape == (*targets.shape, 1):
        outputs = outputs[..., 0]
    elif targets.shape == (*outputs.shape, 1):
        targets = targets[..., 0]
    if outputs.shape != targets.shape:
        alike = targets.ndim > 1 and targets.shape[:-1] in (outputs.shape[:-1], outputs.shape)
        hint = f"; write num_outputs={targets.shape[-1]} in the model, for as many targets an example" if alike else ""
        raise MlgymError(
            f"loss {name!r}: outputs {shape_of(outputs)} and targets {shape_of(targets)} do not match; "
            f"it takes targets of the outputs' shape, or [batch] for outputs [batch, 1]{hint}"
        )
    if name in _SIGNS:
        targets = jnp.where(targets.astype(outputs.dtype) > 0, 1, -1)
    elif name in _ZERO_OR_ONE:
        targets = targets.astype(outputs.dtype) > 0
    return outputs, targets.astype(outputs.dtype)


def _one_hot(name: str, classes: jax.Array, outputs: jax.Array, axis: Any) -> jax.Array:
    if not isinstance(axis, int):
        raise MlgymError(f"loss {name!r}: class numbers are of one axis of classes, found axis={axis}; write axis=-1")
    return jax.nn.one_hot(classes, outputs.shape[axis], dtype=outputs.dtype, axis=axis)


def _check_values(
    name: str, outputs: jax.Array, targets: jax.Array, batch: Mapping[str, Any], axis: Any, blank: int | None
) -> None:
    """Refuse targets that are known, and that the loss cannot read rightly of these outputs."""
    found, said = known(batch), f"loss {name!r}"
    if found is None or np.shape(batch["targets"]) != targets.shape:
        return
    if name in _OF_CLASSES and isinstance(axis, int) and outputs.shape[axis] == 1:
        number = max(2, int(found.max()) + 1)
        raise UnfitTargets(
            f"{said}: of a single output it is the same whatever the model says. The targets are {found.min():.6g} … "
            f"{found.max():.6g}: write num_classes={number} in the Dataset, which models take their number of outputs "
            f"from, or num_outputs={number} in the model; or take a loss of one output, such as "
            "sigmoid_binary_cross_entropy"
        )
    if name in _SIGNS | _ZERO_OR_ONE:
        check_two(said, found)
    elif name == "ctc_loss":
        pads = batch.get("label_paddings")
        if isinstance(pads, np.ndarray) and pads.shape == found.shape:
            check_classes(said, found[pads == 0], outputs.shape[-1])
    elif (name in _INTEGER or name in _DISTRIBUTION) and name != "ntxent" and isinstance(axis, int):
        if targets.shape == outputs.shape and name in _DISTRIBUTION:
            if name not in _NOT_NORMALISED:
                check_distributions(said, found, axis if found.ndim == targets.ndim else -1)
            elif name in _SHARES:
                check_shares(said, found)
        elif jnp.issubdtype(targets.dtype, jnp.integer) or targets.dtype == jnp.bool_:
            check_classes(said, found, outputs.shape[axis])
    elif name in _SHARES:
        check_shares(said, found)
    elif name == "kl_divergence_with_log_targets":
        check_distributions(said, np.exp(found))
    elif name not in _FREE:
        check_numbers(said, found)


def _without(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """Return a shape without its class axis or axes."""
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    left_out = {item % len(shape) for item in axes} if shape else set()
    return tuple(size for item, size in enumerate(shape) if item not in left_out)


_register_losses()

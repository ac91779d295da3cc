"""Trace the steps of a group before anything compiles: what does not fit is found here, with its config path."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mlgym_jax.components.graph import Components
from mlgym_jax.core.dead_code import draws, reads
from mlgym_jax.core.metric import shape_of
from mlgym_jax.core.modes import Seen, seeing
from mlgym_jax.core.program import Program, make_program
from mlgym_jax.core.record import Record
from mlgym_jax.core.state import STEPS_PER_EPOCH
from mlgym_jax.core.targets import UnfitTargets, weights_read
from mlgym_jax.core.trees import path_name
from mlgym_jax.core.zero_gradients import without_gradient
from mlgym_jax.errors import ConfigError, MlgymError, in_words, listed
from mlgym_jax.study.activations import misread
from mlgym_jax.study.broadcasts import crossed


class NotTraceable(Exception):
    """Swept values that a component needs as Python numbers; they split the sweep into groups instead."""

    def __init__(self, paths: Sequence[str], reason: str):
        self.paths, self.reason = tuple(paths), reason


class TracedSteps(NamedTuple):
    """What tracing the steps of a group found.

    Attributes:
        abstract: shapes of one experiment's TrainState.
        training: the jaxpr of one training step.
        scores: the names of the scores of a split; records: of what is recorded besides, by name, as shapes.
        outputs: shapes of what `predict` returns of a training batch.
        surprises: what can be meant, but is not likely to be, in words.
    """

    abstract: Any
    training: Any
    scores: list[str]
    records: dict[str, Record]
    outputs: Any
    surprises: tuple[str, ...]


def traced_steps(
    components: Components, program: Program, key: Any, batch: Any, row: Any, rows_evaluated: int
) -> TracedSteps:
    """Trace a training and an evaluation step: every shape error shows here, with a config path.

    Args:
        rows_evaluated: how many examples an evaluation step has.
    """

    def evaluate(state: Any, batch: Any, epoch: Any) -> Any:
        return program.compute(program.eval_step(state, batch, epoch=epoch))

    abstract = None
    try:
        initial, abstract = jax.make_jaxpr(program.init, return_shape=True)(key, batch, row)
        with seeing() as seen:
            # As most groups run it, so that it is traced just once: their folds have equally many steps.
            traced = jax.make_jaxpr(functools.partial(program.train_step, may_be_empty=False))(abstract, batch)
        evaluated = _of_size(batch, rows_evaluated), jax.ShapeDtypeStruct((), np.int32)  # as most groups run it, too
        with seeing() as in_evaluation:
            found = jax.eval_shape(evaluate, abstract, *evaluated)
        predicted, outputs = jax.make_jaxpr(program.predict, return_shape=True)(abstract, batch)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        # Whatever it says, such as a format string that an array does not know: it is the arrays' fault if the same
        # step can be traced with numbers in their place.
        if row and _traceable(components, key, batch, {}):
            blamed = [path for path in row if not _traceable(components, key, batch, {path: row[path]})]
            raise NotTraceable(blamed or list(row), reason) from error
        if isinstance(error, MlgymError):
            raise
        _check_differentiable(getattr(abstract, "params", None), error)
        raise ConfigError("", f"the training step cannot be traced: {in_words(error)}") from error
    records = {name: value for name, value in found.items() if isinstance(value, Record)}
    scores = {name: value for name, value in found.items() if name not in records}
    for name, score in scores.items():
        if getattr(score, "shape", None) != ():
            said = f"shape {score.shape}" if hasattr(score, "shape") else type(score).__name__
            raise ConfigError(
                "loss" if name == "loss" else f"metrics.{name}",
                f"compute returns a scalar or {{name: scalar}}, found {said}; what is no score is recorded by "
                "mg.record: mg.record.curve(…), matrix, histogram, image, table or text",
            )
    surprises = _seedless(initial.jaxpr, key, abstract)
    size = jax.tree.leaves(batch["inputs"])[0].shape[0]
    surprises += _by_example(
        abstract.model_state, lambda: jax.eval_shape(program.init, key, _of_size(batch, size + 1), row), size
    )
    surprises += _surprises(seen, traced.jaxpr, predicted.jaxpr, abstract, batch)
    surprises += crossed(components, outputs, batch, abstract) + misread(components, predicted.jaxpr, outputs)
    if in_evaluation.updated:
        surprises += (
            "config.model: evaluation normalises by the statistics of its own batches, as BatchNorm does that nothing "
            "turns to what training gathered, so scores and predictions depend on which examples come together. If "
            "that is not meant, let the model take the mode, __call__(self, x, train), and hand it on: "
            "nn.BatchNorm(use_running_average=not train)",
        )
    return TracedSteps(abstract, traced.jaxpr, list(scores), records, outputs, surprises)


def _check_differentiable(params: Any, error: Exception) -> None:
    """Say which parameter it is that has no gradient, if a step cannot be traced for that.

    Raises:
        ConfigError: at `model`.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact):
            raise ConfigError(
                "model",
                f"its parameter {path_name(path)!r} is {shape_of(leaf)}, by which nothing has a gradient; keep what is "
                "not trained among its other variables: self.variable('constants', …) of Linen, nnx.Variable of NNX",
            ) from error


def _seedless(initial: Any, key: Any, abstract: Any) -> tuple[str, ...]:
    """Say that the first parameters are drawn at random, but not from the experiment's key."""
    paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(abstract)]
    learnt = [path.startswith("params") for path in paths]
    if any(reads(initial, number, learnt) for number in range(len(jax.tree.leaves(key)))) or not draws(initial, learnt):
        return ()
    return (
        "config.model: its first parameters are drawn with a seed of its own, so that config.seed does not change them "
        "and experiments that differ in it begin alike. If that is not meant, let it draw from what it is given: of "
        "NNX, lambda rngs: Net(rngs=rngs), or seed=jax.random.randint(rngs.params(), (), 0, 2**31 - 1)",
    )


def _by_example(state: Any, of_one_more: Callable[[], Any], size: int) -> tuple[str, ...]:
    """Say that the model carries a value for each example of a batch from that batch to the next."""
    places = [(path, leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(state) if size in leaf.shape]
    if not places:
        return ()
    others = dict(jax.tree_util.tree_leaves_with_path(of_one_more().model_state))
    grown = [path_name(path) for path, shape in places if path in others and others[path].shape != shape]
    if not grown:
        return ()
    return (
        f"config.model: its variables {listed(grown, 3)} have a value for each of the {size} examples of a batch, "
        "which are carried on to the next batch, of other examples; evaluation, whose batches may be larger, needs "
        f"eval_batch_size={size} in config.loader. If that is not meant, make them within the call",
    )


def _surprises(seen: Seen, training: Any, prediction: Any, abstract: Any, batch: Any) -> tuple[str, ...]:
    """Say what of a model's two modes is not as it most often is meant."""
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path((abstract, batch))]
    key = names.index("0/key")
    found = []
    of_inputs = [number for number, name in enumerate(names) if name.split("/")[:2] == ["1", "inputs"]]
    if not any(reads(prediction, number, [True] * len(prediction.outvars)) for number in of_inputs):
        found.append("config.model: what it returns does not depend on its inputs; it says the same of every example")
    if reads(prediction, key, [True] * len(prediction.outvars)):
        found.append(
            "config.model: evaluation draws random numbers, as dropout does that nothing turns off, so scores and "
            "predictions are noisy. If that is not meant, let the model take the mode, __call__(self, x, train), and "
            "hand it on: nn.Dropout(…, deterministic=not train)"
        )
    # The state comes first; its key is an output, too.
    if seen.dropout and not reads(training, key, [number != key for number in range(len(training.outvars))]):
        found.append(
            "config.model: its dropout is off in training, too. If that is not meant, let the model take the mode, "
            "__call__(self, x, train), and hand it on: nn.Dropout(…, deterministic=not train)"
        )
    if seen.statistics and not seen.updated:
        found.append(
            "config.model: training leaves its batch statistics as they are initialised. If they are not frozen on "
            "purpose, let the model take the mode, __call__(self, x, train), and hand it on: "
            "nn.BatchNorm(use_running_average=not train)"
        )
    if idle := without_gradient(training, abstract):
        mask = f"^({'|'.join(map(re.escape, idle[:6]))})$"
        found.append(
            f"config.model: the loss does not depend on its parameter{'s' * (len(idle) > 1)} {listed(idle, 6)}, so "
            "that training learns nothing there. If that is not meant, look for jax.lax.stop_gradient, for rounding, "
            "and for outputs that config.loss does not read; if it is, say so, config.optimizer = "
            f"component('selective_transform', optimizer=…, freeze_mask={mask!r})"
        )
    learnt = [name.startswith("0/params") for name in names] + [False] * (len(training.outvars) - len(names))
    for field, augmentation in seen.unmixed.items():
        of_field = [number for number, name in enumerate(names) if name.split("/")[:2] == ["1", field]]
        if any(reads(training, number, learnt[: len(training.outvars)]) for number in of_field):
            found.append(
                f"config.augmentation: {augmentation} mixes each example with another one, and training reads the "
                f"field {field!r} of the first alone. If it weighs examples, say where={field!r}; if it is another "
                f"target, fields=({field!r},)"
            )
    for field, augmentation in seen.unmoved.items():
        of_field = [number for number, name in enumerate(names) if name.split("/")[1:] == field.split(".")]
        if any(reads(training, number, learnt[: len(training.outvars)]) for number in of_field):
            found.append(
                f"config.augmentation: {augmentation} moves the pixels of each image, and training reads the field "
                f"{field!r}, which has as many, as it was. If it is a map of the image, name both: fields=('inputs', "
                f"{field!r})"
            )
    if seen.overlooked:
        wired = ", ".join(f"{name}={name!r}" for name in seen.overlooked)
        found.append(
            f"config.model: it takes {listed(seen.overlooked)}, of which the data have a field, and is not handed it, "
            f"as it can do without. If it is meant to, say so: component('…', inputs=dict(…='inputs', {wired}))"
        )
    return tuple(found)


def surprises_of_folds(program: Program, key: Any, batch: Any, row: Any) -> tuple[str, ...]:
    """Say that a study of several folds begins with parameters that depend on values of the first fold's examples."""
    initial = jax.make_jaxpr(program.init)(key, batch, row).jaxpr
    paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path((key, batch, row))]
    every = [True] * len(initial.outvars)
    if not any(reads(initial, number, every) for number, path in enumerate(paths) if path.startswith("1/")):
        return ()
    return (
        "config.model: its first parameters depend on values of the data, as in weight normalisation: in all folds on "
        "those of the first examples that fold 0 trains on, some of which other folds hold out. If that is not meant, "
        "initialise by the shapes of the inputs alone",
    )


def check_targets(
    program: Program, abstract: Any, sample: Mapping[str, Any], fields: Mapping[str, np.ndarray]
) -> dict[str, set[str]]:
    """Let losses and metrics see the values of all rows, before anything compiles; see `core.targets`.

    Args:
        sample: a batch, whose other fields are taken as shapes.
        fields: array[n, …] of what is known of all rows that are trained or evaluated on.

    Returns:
        the fields that are read as weights, with the config paths of what reads them.

    Raises:
        ConfigError: targets that what reads them cannot read rightly.
    """
    size = len(next(iter(fields.values())))
    rows = {**fields, "mask": np.ones(size, bool)}
    rest = _of_size({field: array for field, array in sample.items() if field not in rows}, size)
    with weights_read() as read:
        try:
            jax.eval_shape(lambda state, rest: program.eval_step(state, {**rest, **rows}), abstract, rest)
        except ConfigError as error:
            if isinstance(error.__cause__, UnfitTargets):
                raise
        except Exception:  # a component of one's own that asks for JAX's arrays sees them in every other trace
            pass
    found: dict[str, set[str]] = {}
    for path, array in read:
        for field in (field for field, own in rows.items() if own is array):
            found.setdefault(field, set()).add(path)
    return found


def _of_size(batch: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return the shapes of a batch of another number of examples."""

    def resized(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype)

    return {
        field: jax.ShapeDtypeStruct(array.shape, array.dtype)
        if field in ("class_counts", STEPS_PER_EPOCH)
        else jax.tree.map(resized, array)
        for field, array in batch.items()
    }


def _traceable(components: Components, key: Any, batch: Any, row: Mapping[str, Any]) -> bool:
    open_values = {path: components.hyperparams[path] for path in row}
    program = make_program(components.opened(open_values), unmatched=lambda pattern: None)
    try:
        jax.make_jaxpr(program.train_step)(jax.eval_shape(program.init, key, batch, row), batch)
    except Exception:
        return False
    return True

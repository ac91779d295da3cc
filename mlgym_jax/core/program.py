"""The pure functions of one training: init, train_step, eval_step, predict.

Synopsis:

    components = mg.build(config)
    program = mg.make_program(components)
    state = program.init(jax.random.key(0), batch, {"optimizer.learning_rate": 1e-3})
    state, metrics = jax.jit(program.train_step)(state, batch)
    program.compute(metrics)["loss"]
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.core.augmented import augmented, blaming_shapes
from mlgym_jax.core.axes import with_axes
from mlgym_jax.core.blame import named
from mlgym_jax.core.calling import Rewired
from mlgym_jax.core.clock import Clock, ticking
from mlgym_jax.core.evaluated import evaluated_params
from mlgym_jax.core.model import Model, carried
from mlgym_jax.core.modules import adapt
from mlgym_jax.core.paths import Unmatched, noting_unmatched
from mlgym_jax.core.scoring import make_scoring, taken_by
from mlgym_jax.core.state import (
    AUGMENT,
    INIT,
    STEP,
    STEPS_PER_EPOCH,
    Batch,
    MetricState,
    Outputs,
    TrainState,
    key_for,
)
from mlgym_jax.core.step_parts import StepParts
from mlgym_jax.core.training_step import check_stepped, default_step, values_of_examples
from mlgym_jax.core.trees import select
from mlgym_jax.core.weighted import Term
from mlgym_jax.errors import ConfigError, MlgymError, listed


class Program(NamedTuple):
    """Pure functions with everything static closed over.

    Attributes:
        init: (key, batch, hyperparams) -> TrainState; raises MlgymError where a swept value is not said.
        train_step: (TrainState, batch) -> (TrainState, MetricState); a batch whose mask is all False changes nothing,
            which `may_be_empty=False` saves the cost of where it cannot be.
        eval_step: (TrainState, batch) -> MetricState of that batch alone; `epoch=` leaves out metrics that are not due.
        predict: (TrainState, batch) -> outputs of the model in evaluation mode, and those of the post-processors.
        values: (TrainState, batch, train) -> all that a step computes of single examples: the losses, as
            `core.weighted.terms_of` returns each; what `predict` returns, in either mode; what metrics are means of.
        empty: () -> MetricState of no example; where metrics gather, or a loss has weights, it takes its form from
            what it is merged with.
        merge: (MetricState, MetricState) -> MetricState, associative.
        room, put: the same for a known number of examples in a row, without growing; see `core.scoring`.
        compute: MetricState -> {"loss": float[], "accuracy": float[], …}, and a `Record` for what is no score.
    """

    init: Callable[..., TrainState]
    train_step: Callable[..., tuple[TrainState, MetricState]]
    eval_step: Callable[..., MetricState]
    predict: Callable[[TrainState, Batch], Outputs]
    values: Callable[[TrainState, Batch, bool], tuple[dict[str, tuple[Term, ...]], Any]]
    empty: Callable[[], MetricState]
    merge: Callable[[MetricState, MetricState], MetricState]
    room: Callable[[MetricState, int], MetricState]
    put: Callable[[MetricState, MetricState, Any], MetricState]
    compute: Callable[..., dict[str, Any]]


class Averaged(NamedTuple):
    """The optimizer's state beside the running average of the parameters that evaluation uses."""

    optimizer: Any
    averaging: Any
    params: Any


class AveragedWithState(NamedTuple):
    """The same of a model with state, such as batch statistics, which the averaged parameters have their own of."""

    optimizer: Any
    averaging: Any
    params: Any
    model_state: Any


def refuse_unmatched(pattern: Unmatched) -> None:
    """Refuse a pattern that is found in no parameter's path.

    Raises:
        ConfigError: at the optimizer.
    """
    raise ConfigError("optimizer", pattern.words)


def make_program(components: Any, *, unmatched: Callable[[Unmatched], None] = refuse_unmatched) -> Program:
    """Close over built components (`model`, `loss`, `optimizer`, `metrics`, …) and return their pure functions.

    Components with swept dynamic values (`components.hyperparams`) are rebuilt inside the functions, with the values
    of `state.hyperparams` in place, so that one compiled program serves every value. With a section `averaging`, the
    model is evaluated with the averaged parameters, and with the batch statistics that it has with them: those of the
    trained ones are of other activations. They are gathered by one more forward pass in each training step.

    Args:
        unmatched: what is done, while `init` is traced, about a pattern for parameters that is found in none of them.
    """
    choices = getattr(components, "choices", {})
    defaults = {name: value for name, value in getattr(components, "hyperparams", {}).items() if name not in choices}
    scoring = make_scoring(components["loss"], components.get("metrics", {}))
    tells_all = "state" in taken_by(components["loss"])
    microbatches = getattr(components.get("loader"), "microbatches", 1)
    if "training_step" in components and microbatches > 1:
        raise ConfigError(
            "loader.microbatches",
            f"found {microbatches} beside config.training_step, which computes a batch as it likes; leave one of the "
            "two out",
        )

    def parts_of(hyperparams: Mapping[str, Any], batch: Batch) -> StepParts:
        bound = components
        if STEPS_PER_EPOCH in batch:
            bound = components.bind(hyperparams, batch[STEPS_PER_EPOCH])
        elif hyperparams:
            bound = components.bind(hyperparams)

        built = bound["model"]
        written, rewired = (built.model, built.inputs) if isinstance(built, Rewired) else (built, None)

        def adapted(remat: bool) -> Model:
            brought = functools.partial(adapt, tells_all=tells_all)
            model = bound["remat"](written, brought) if remat else brought(written)
            return with_axes(bound["precision"](model) if "precision" in bound else model)

        model = adapted(False)
        return StepParts(bound, scoring, model, adapted(True) if "remat" in bound else model, microbatches, rewired)

    def init(key: jax.Array, batch: Batch, hyperparams: Mapping[str, Any] | None = None) -> TrainState:
        given = {**defaults, **(hyperparams or {})}
        if unsaid := [name for name in choices if name not in given]:
            swept = "; ".join(f"{name} ({listed(choices[name], 6)})" for name in unsaid)
            first = ", ".join(f"{name!r}: {choices[name][0]!r}" for name in unsaid)
            raise MlgymError(
                f"init: say which of the swept values of {swept}: init(key, batch, {{{first}}}), or "
                "components.hyperparams for the first of each"
            )
        hyperparams = {name: jnp.asarray(value) for name, value in given.items()}
        parts = parts_of(hyperparams, batch)
        with named("model"):
            params, model_state = parts.model.init(key_for(key, INIT), parts.handed(batch))
        own = getattr(parts["training_step"], "init", None) if "training_step" in parts else None
        with named("training_step" if own else "optimizer"), noting_unmatched() as noted:
            opt_state = own(params, parts) if own else parts["optimizer"].init(params)
        for pattern in noted:
            unmatched(pattern)
        if "averaging" in parts:
            opt_state = Averaged(opt_state, parts["averaging"].init(params), params)
            if jax.tree.leaves(model_state):
                opt_state = AveragedWithState(*opt_state, model_state)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            hyperparams=hyperparams,
            key=key,
        )

    def train_step(
        state: TrainState, batch: Batch, *, may_be_empty: bool | None = None
    ) -> tuple[TrainState, MetricState]:
        may_be_empty = "mask" in batch if may_be_empty is None else may_be_empty
        parts = parts_of(state.hyperparams, batch)
        of_data = _with_mask(batch)
        batch = _changed(parts, state, of_data)
        averaged: Any = state.opt_state if "averaging" in parts else None
        before = dataclasses.replace(state, opt_state=averaged.optimizer) if averaged else state
        with blaming_shapes(of_data, batch):
            after, metrics = _stepped(parts, before, batch)
        opt_state = after.opt_state
        if averaged:
            with named("averaging"), jax.numpy_dtype_promotion("standard"), ticking(Clock(calls=state.step)):
                average, averaging = parts["averaging"].update(after.params, averaged.averaging)
            opt_state = averaged._replace(optimizer=after.opt_state, averaging=averaging, params=average)
            if isinstance(averaged, AveragedWithState) and microbatches == 1:
                _, own = parts.apply(average, state, batch, model_state=averaged.model_state)
                opt_state = opt_state._replace(model_state=carried(averaged.model_state, own))
        updated = dataclasses.replace(
            state,
            step=state.step + 1,
            params=after.params,
            model_state=after.model_state,
            opt_state=opt_state,
        )
        if may_be_empty:
            updated = select(batch["mask"].any(), updated, state)
        return updated, metrics

    def evaluated(parts: StepParts, state: TrainState) -> tuple[Any, Any]:
        """Return the parameters and the other variables that the model is evaluated with."""
        if "averaging" in parts:
            used: Any = state.opt_state
            return used.params, getattr(used, "model_state", state.model_state)
        return evaluated_params(state.opt_state, state.params), state.model_state

    def outputs_of(parts: StepParts, state: TrainState, batch: Batch) -> tuple[Outputs, Any]:
        """Return the model's outputs, and what a loss may take besides them."""
        params, model_state = evaluated(parts, state)
        outputs, left = parts.apply(params, state, batch, train=False, model_state=model_state)
        return outputs, parts.given(params, left, state, train=False)

    def eval_step(state: TrainState, batch: Batch, *, epoch: Any = None) -> MetricState:
        batch, parts = _with_mask(batch), parts_of(state.hyperparams, batch)
        outputs, given = outputs_of(parts, state, batch)
        return parts.measured(outputs, batch, given, epoch)

    def predict(state: TrainState, batch: Batch) -> Outputs:
        parts = parts_of(state.hyperparams, batch)
        return parts.processed(outputs_of(parts, state, batch)[0])

    def values(state: TrainState, batch: Batch, train: bool) -> tuple[dict[str, tuple[Term, ...]], Any]:
        batch, parts = _with_mask(batch), parts_of(state.hyperparams, batch)
        if train:
            return values_of_examples(parts, state, _changed(parts, state, batch), train=True)
        return values_of_examples(parts, state, batch, train=False, used=evaluated(parts, state))

    return Program(
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        predict=predict,
        values=values,
        empty=scoring.empty,
        merge=scoring.merge,
        room=scoring.room,
        put=scoring.put,
        compute=scoring.compute,
    )


def _changed(parts: StepParts, state: TrainState, batch: Batch) -> Batch:
    """Return the batch that a step trains on."""
    if "augmentation" not in parts:
        return batch
    return augmented(parts["augmentation"], key_for(state.key, AUGMENT, state.step), batch)


def _stepped(parts: StepParts, state: TrainState, batch: Batch) -> tuple[TrainState, MetricState]:
    """Return the state after an update, and the metrics, as the config's own step or the default one brings them."""
    key = key_for(state.key, STEP, state.step)
    if "training_step" not in parts:
        return default_step(state, batch, key, parts)
    with named("training_step", batch):
        found = parts["training_step"](state, batch, key, parts)
        check_stepped(found, state)
    return found


def _with_mask(batch: Batch) -> Batch:
    if "mask" in batch:
        return batch
    size = jax.tree.leaves(batch["inputs"])[0].shape[0]
    return {**batch, "mask": jnp.ones((size,), bool)}

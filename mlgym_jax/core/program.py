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
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlgym_jax.core.clock import Clock, ticking
from mlgym_jax.core.modules import adapt
from mlgym_jax.core.post_processing import process
from mlgym_jax.core.scoring import example_values, loss_values, make_scoring, named
from mlgym_jax.core.state import EVAL, INIT, STEPS_PER_EPOCH, TRAIN, Batch, MetricState, Outputs, TrainState, key_for
from mlgym_jax.core.trees import select


class Program(NamedTuple):
    """Pure functions with everything static closed over.

    Attributes:
        init: (key, batch, hyperparams) -> TrainState.
        train_step: (TrainState, batch) -> (TrainState, MetricState); a batch whose mask is all False changes nothing,
            which `may_be_empty=False` saves the cost of where it cannot be.
        eval_step: (TrainState, batch) -> MetricState of that batch alone; `epoch=` leaves out metrics that are not due.
        predict: (TrainState, batch) -> outputs of the model in evaluation mode, and those of the post-processors.
        values: (TrainState, batch, train) -> all that a step computes of single examples: the losses, {"loss":
            float[batch], …}; what `predict` returns, in either mode, and what metrics are the means of.
        empty: () -> MetricState of no example.
        merge: (MetricState, MetricState) -> MetricState, associative.
        room, put: the same for a known number of examples in a row, without growing; see `core.scoring`.
        compute: MetricState -> {"loss": float[], "accuracy": float[], …}.
    """

    init: Callable[..., TrainState]
    train_step: Callable[..., tuple[TrainState, MetricState]]
    eval_step: Callable[..., MetricState]
    predict: Callable[[TrainState, Batch], Outputs]
    values: Callable[[TrainState, Batch, bool], tuple[dict[str, jax.Array], Any]]
    empty: Callable[[], MetricState]
    merge: Callable[[MetricState, MetricState], MetricState]
    room: Callable[[MetricState, int], MetricState]
    put: Callable[[MetricState, MetricState, Any], MetricState]
    compute: Callable[..., dict[str, jax.Array]]


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


def make_program(components: Any) -> Program:
    """Close over built components (`model`, `loss`, `optimizer`, `metrics`, …) and return their pure functions.

    Components with swept dynamic values (`components.hyperparams`) are rebuilt inside the functions, with the values
    of `state.hyperparams` in place, so that one compiled program serves every value. With a section `averaging`, the
    model is evaluated with the averaged parameters, and with the batch statistics that it has with them: those of the
    trained ones are of other activations. They are gathered by one more forward pass in each training step.
    """
    defaults = dict(getattr(components, "hyperparams", {}))
    scoring = make_scoring(components["loss"], components.get("metrics", {}))

    def bound(hyperparams: Mapping[str, Any], batch: Batch) -> Any:
        if STEPS_PER_EPOCH in batch:
            return components.bind(hyperparams, batch[STEPS_PER_EPOCH])
        return components.bind(hyperparams) if hyperparams else components

    def init(key: jax.Array, batch: Batch, hyperparams: Mapping[str, Any] | None = None) -> TrainState:
        hyperparams = {name: jnp.asarray(value) for name, value in {**defaults, **(hyperparams or {})}.items()}
        parts = bound(hyperparams, batch)
        with named("model"):
            params, model_state = adapt(parts["model"]).init(key_for(key, INIT), batch["inputs"])
        with named("optimizer"):
            opt_state = parts["optimizer"].init(params)
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
        batch = _with_mask(batch)
        parts = bound(state.hyperparams, batch)
        model, optimizer = adapt(parts["model"]), optax.with_extra_args_support(parts["optimizer"])
        key = key_for(state.key, TRAIN, state.step)

        def objective(params: Any) -> tuple[jax.Array, tuple[Any, Any]]:
            with named("model"):
                outputs, model_state = model.apply(params, state.model_state, batch["inputs"], key, True)
            values = loss_values(parts["loss"], outputs, batch, params)["loss"]
            return _masked_mean(values, batch["mask"]), (outputs, model_state)

        (value, (outputs, model_state)), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
        averaged: Any = state.opt_state if "averaging" in parts else None
        averages: Any = None
        # Optax itself relies on implicit promotion (decay ** count), also where a user forbids it to their own code.
        with named("optimizer"), jax.numpy_dtype_promotion("standard"), ticking(Clock(calls=state.step)):
            updates, opt_state = optimizer.update(
                gradients,
                averaged.optimizer if averaged else state.opt_state,
                state.params,
                value=value,
                grad=gradients,
                value_fn=lambda params: objective(params)[0],
            )
            params = optax.apply_updates(state.params, updates)
            if averaged:
                average, averaging = parts["averaging"].update(params, averaged.averaging)
                opt_state = averages = averaged._replace(optimizer=opt_state, averaging=averaging, params=average)
        if isinstance(averaged, AveragedWithState):
            with named("model"):
                _, own = model.apply(averages.params, averaged.model_state, batch["inputs"], key, True)
            opt_state = averages._replace(model_state=own)
        updated = dataclasses.replace(
            state, step=state.step + 1, params=params, model_state=model_state, opt_state=opt_state
        )
        if may_be_empty:
            updated = select(batch["mask"].any(), updated, state)
        processed = process(parts.get("post_processors", {}), outputs)
        return updated, scoring.measure(parts["loss"], outputs, processed, batch, state.params)

    def outputs_of(parts: Any, state: TrainState, batch: Batch) -> tuple[Outputs, Outputs, Any]:
        """Return the model's outputs, the same with those of the post-processors, and the parameters used."""
        used = state.opt_state if "averaging" in parts else state
        params, model_state = used.params, getattr(used, "model_state", state.model_state)
        key = key_for(state.key, EVAL, state.step)
        with named("model"):
            outputs, _ = adapt(parts["model"]).apply(params, model_state, batch["inputs"], key, False)
        return outputs, process(parts.get("post_processors", {}), outputs), params

    def eval_step(state: TrainState, batch: Batch, *, epoch: Any = None) -> MetricState:
        batch, parts = _with_mask(batch), bound(state.hyperparams, batch)
        outputs, processed, params = outputs_of(parts, state, batch)
        return scoring.measure(parts["loss"], outputs, processed, batch, params, epoch)

    def predict(state: TrainState, batch: Batch) -> Outputs:
        return outputs_of(bound(state.hyperparams, batch), state, batch)[1]

    def values(state: TrainState, batch: Batch, train: bool) -> tuple[dict[str, jax.Array], Any]:
        batch, parts = _with_mask(batch), bound(state.hyperparams, batch)
        if train:
            key = key_for(state.key, TRAIN, state.step)
            with named("model"):
                outputs, _ = adapt(parts["model"]).apply(state.params, state.model_state, batch["inputs"], key, True)
            processed, params = process(parts.get("post_processors", {}), outputs), state.params
        else:
            outputs, processed, params = outputs_of(parts, state, batch)
        measured = example_values(components.get("metrics", {}), outputs, processed, batch)
        return loss_values(parts["loss"], outputs, batch, params), (processed, measured)

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


def _with_mask(batch: Batch) -> Batch:
    if "mask" in batch:
        return batch
    size = jax.tree.leaves(batch["inputs"])[0].shape[0]
    return {**batch, "mask": jnp.ones((size,), bool)}


def _masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    kept = jnp.where(mask, values, jnp.zeros_like(values))
    return kept.sum() / jnp.maximum(mask.sum(), 1).astype(values.dtype)

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
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlgym_jax.core.axes import with_axes
from mlgym_jax.core.clock import Clock, ticking
from mlgym_jax.core.evaluated import evaluated_params
from mlgym_jax.core.microbatches import Functions, added_up, check_divisible
from mlgym_jax.core.model import Model, carried
from mlgym_jax.core.modules import adapt
from mlgym_jax.core.outputs import checked
from mlgym_jax.core.paths import Unmatched, noting_unmatched
from mlgym_jax.core.post_processing import process
from mlgym_jax.core.recomputation import computed_again
from mlgym_jax.core.scoring import Given, example_values, loss_values, make_scoring, named, taken_by
from mlgym_jax.core.state import (
    EVAL,
    EVAL_LOSS,
    INIT,
    STEPS_PER_EPOCH,
    TRAIN,
    TRAIN_LOSS,
    Batch,
    MetricState,
    Outputs,
    TrainState,
    key_for,
)
from mlgym_jax.core.trees import select
from mlgym_jax.core.weighted import Term, mean_over_batch, terms_of, total_weights
from mlgym_jax.errors import ConfigError, MlgymError, listed

# What a model and a loss draw from, in evaluation and in training.
_DRAWS = (EVAL, TRAIN)
_DRAWS_OF_LOSS = (EVAL_LOSS, TRAIN_LOSS)


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
        compute: MetricState -> {"loss": float[], "accuracy": float[], …}.
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

    def bound(hyperparams: Mapping[str, Any], batch: Batch) -> Any:
        if STEPS_PER_EPOCH in batch:
            return components.bind(hyperparams, batch[STEPS_PER_EPOCH])
        return components.bind(hyperparams) if hyperparams else components

    def adapted(parts: Any, remat: bool = False) -> Model:
        brought = functools.partial(adapt, tells_all=tells_all)
        model = parts["remat"](parts["model"], brought) if remat else brought(parts["model"])
        return with_axes(parts["precision"](model) if "precision" in parts else model)

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
        parts = bound(hyperparams, batch)
        with named("model"):
            params, model_state = adapted(parts).init(key_for(key, INIT), batch["inputs"])
        with named("optimizer"), noting_unmatched() as noted:
            opt_state = parts["optimizer"].init(params)
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

    def call(
        parts: Any,
        params: Any,
        model_state: Any,
        state: TrainState,
        batch: Batch,
        train: bool,
        *,
        part: Any = None,
        remat: bool = False,
    ) -> Any:
        """Return the model's outputs and the state that it leaves, of these parameters, drawing as the step does."""
        with named("model"):
            model, key = adapted(parts, remat), _key_of_part(state, _DRAWS[train], part)
            outputs, left = model.apply(params, model_state, batch["inputs"], key, train)
            return checked(outputs), left

    def given_to_loss(params: Any, left: Any, state: TrainState, train: bool, part: Any = None) -> Given:
        key = _key_of_part(state, _DRAWS_OF_LOSS[train], part)
        return {"params": params, "state": left, "key": key, "step": state.step, "train": train}

    def train_step(
        state: TrainState, batch: Batch, *, may_be_empty: bool | None = None
    ) -> tuple[TrainState, MetricState]:
        may_be_empty = "mask" in batch if may_be_empty is None else may_be_empty
        batch = _with_mask(batch)
        parts = bound(state.hyperparams, batch)
        remat = "remat" in parts
        optimizer = optax.with_extra_args_support(parts["optimizer"])

        def values_of(params: Any, batch: Batch, part: Any = None) -> tuple[Any, Outputs, Any]:
            outputs, left = call(parts, params, state.model_state, state, batch, True, part=part, remat=remat)
            given = given_to_loss(params, left, state, True, part)
            return loss_values(parts["loss"], outputs, batch, given)["loss"], outputs, left

        def objective(
            params: Any, batch: Batch = batch, part: Any = None, weights_of_all: Any = None
        ) -> tuple[jax.Array, tuple[Outputs, Any]]:
            values, outputs, left = values_of(params, batch, part)
            return mean_over_batch(values, batch["mask"], weights_of_all), (outputs, left)

        def measure(found: Any, batch: Batch, part: Any = None) -> MetricState:
            outputs, left = found
            processed = process(parts.get("post_processors", {}), outputs)
            given = given_to_loss(state.params, left, state, True, part)
            return scoring.measure(parts["loss"], outputs, processed, batch, given)

        def value_and_grad(function: Callable[..., Any]) -> Callable[..., Any]:
            found = jax.value_and_grad(function, has_aux=True)
            return computed_again(found) if remat else found

        if microbatches > 1:
            check_divisible(lambda state, batch: values(state, batch, True), pieces, left_of, state, batch)
        # A batch of another size than the loader's is a sample of a table that has no more.
        number = math.gcd(microbatches, batch["mask"].shape[0])
        if number > 1:

            def weights(params: Any, batch: Batch, part: Any) -> tuple[jax.Array, ...]:
                return total_weights(values_of(params, batch, part)[0], batch["mask"])

            functions = Functions(objective, value_and_grad, weights, measure, scoring.room, scoring.put)
            value, gradients, metrics, value_fn = added_up(functions, state.params, batch, number)
            found, left = None, state.model_state  # which the step is known to leave as it is
        else:
            (value, found), gradients = value_and_grad(objective)(state.params)
            value_fn, metrics, left = lambda params: objective(params)[0], None, found[1]
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
                value_fn=value_fn,
            )
            params = optax.apply_updates(state.params, updates)
            if averaged:
                average, averaging = parts["averaging"].update(params, averaged.averaging)
                opt_state = averages = averaged._replace(optimizer=opt_state, averaging=averaging, params=average)
        if isinstance(averaged, AveragedWithState) and microbatches == 1:
            _, own = call(parts, averages.params, averaged.model_state, state, batch, True)
            opt_state = averages._replace(model_state=carried(averaged.model_state, own))
        updated = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            model_state=carried(state.model_state, left),
            opt_state=opt_state,
        )
        if may_be_empty:
            updated = select(batch["mask"].any(), updated, state)
        return updated, measure(found, batch) if metrics is None else metrics

    def outputs_of(parts: Any, state: TrainState, batch: Batch, train: bool) -> tuple[Outputs, Outputs, Given]:
        """Return the model's outputs, the same with those of the post-processors, and what a loss may take besides."""
        used: Any = state.opt_state if "averaging" in parts and not train else state
        params, model_state = used.params, getattr(used, "model_state", state.model_state)
        if used is state and not train:
            params = evaluated_params(state.opt_state, params)
        outputs, left = call(parts, params, model_state, state, batch, train)
        processed = process(parts.get("post_processors", {}), outputs)
        return outputs, processed, given_to_loss(params, left, state, train)

    def eval_step(state: TrainState, batch: Batch, *, epoch: Any = None) -> MetricState:
        batch, parts = _with_mask(batch), bound(state.hyperparams, batch)
        outputs, processed, given = outputs_of(parts, state, batch, False)
        return scoring.measure(parts["loss"], outputs, processed, batch, given, epoch)

    def predict(state: TrainState, batch: Batch) -> Outputs:
        return outputs_of(bound(state.hyperparams, batch), state, batch, False)[1]

    def values(state: TrainState, batch: Batch, train: bool) -> tuple[dict[str, tuple[Term, ...]], Any]:
        batch, parts = _with_mask(batch), bound(state.hyperparams, batch)
        outputs, processed, given = outputs_of(parts, state, batch, train)
        losses = loss_values(parts["loss"], outputs, batch, given)
        measured = example_values(components.get("metrics", {}), outputs, processed, batch)
        return {name: terms_of(found) for name, found in losses.items()}, (processed, measured)

    def left_of(state: TrainState, batch: Batch) -> Any:
        parts = bound(state.hyperparams, batch)
        return carried(state.model_state, call(parts, state.params, state.model_state, state, batch, True)[1])

    def read(of: Callable[[Any, Outputs, Outputs, Batch, Given], Any]) -> Callable[[TrainState, Batch], Any]:
        """Return what is made of a model's outputs in training."""

        def piece(state: TrainState, batch: Batch) -> Any:
            parts = bound(state.hyperparams, batch)
            outputs, processed, given = outputs_of(parts, state, batch, True)
            return of(parts, outputs, processed, batch, given), ()

        return piece

    pieces = {
        "the model": read(lambda parts, outputs, processed, batch, given: outputs),
        "the loss": read(
            lambda parts, outputs, processed, batch, given: [
                terms_of(found) for found in loss_values(parts["loss"], outputs, batch, given).values()
            ]
        ),
    }
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


def _key_of_part(state: TrainState, purpose: int, part: Any) -> jax.Array:
    """Return the key of a step, or of a part of its batch."""
    key = key_for(state.key, purpose, state.step)
    return key if part is None else jax.random.fold_in(key, part)


def _with_mask(batch: Batch) -> Batch:
    if "mask" in batch:
        return batch
    size = jax.tree.leaves(batch["inputs"])[0].shape[0]
    return {**batch, "mask": jnp.ones((size,), bool)}

"""What a training step is made of: the model, the loss, the optimizer and the metrics as functions of one state.

A config's own `training_step` gets these as `parts`, and so does the step that trains where it names none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from mlgym_jax.core.blame import named
from mlgym_jax.core.calling import handed
from mlgym_jax.core.clock import Clock, ticking
from mlgym_jax.core.model import Model, carried
from mlgym_jax.core.modes import is_seen
from mlgym_jax.core.outputs import checked
from mlgym_jax.core.post_processing import process
from mlgym_jax.core.recomputation import computed_again
from mlgym_jax.core.scoring import Given, Scoring, loss_values
from mlgym_jax.core.state import EVAL, EVAL_LOSS, TRAIN, TRAIN_LOSS, Batch, MetricState, Outputs, TrainState, key_for
from mlgym_jax.core.trees import conjugated
from mlgym_jax.core.weighted import LossValues, mean_over_batch
from mlgym_jax.core.zero_gradients import marked

# What a model and a loss draw from, in evaluation and in training.
_DRAWS = (EVAL, TRAIN)
_DRAWS_OF_LOSS = (EVAL_LOSS, TRAIN_LOSS)


@dataclasses.dataclass(frozen=True)
class StepParts:
    """The components of one experiment, its hyperparameters in place, as the functions that a step calls.

    `parts["section"]` is what a section of the config built, and `"section" in parts` tells whether it is there.

    Attributes:
        components: what the sections built, by section name.
        scoring: the functions of measuring.
        model: what calls the model, with `config.precision`; training_model: the same as a training step calls it, with
            `config.remat`.
        microbatches: into how many parts `loader.microbatches` cuts a batch.
        rewired: argument of the model -> the field of a batch that it is, or None, where the config says so.
    """

    components: Any
    scoring: Scoring
    model: Model
    training_model: Model
    microbatches: int = 1
    rewired: Mapping[str, str | None] | None = None

    def __getitem__(self, section: str) -> Any:
        return self.components[section]

    def __contains__(self, section: object) -> bool:
        return section in self.components

    def handed(self, batch: Batch) -> Any:
        """Return what the model gets of a batch."""
        return handed(batch, self.rewired)

    def apply(
        self,
        params: Any,
        state: TrainState,
        batch: Batch,
        *,
        train: bool = True,
        model_state: Any = None,
        part: Any = None,
    ) -> tuple[Outputs, Any]:
        """Call the model.

        Args:
            params: the parameters, which need not be the state's.
            model_state: its other variables; by default the state's.
            part: int32[], a number from which it draws otherwise; calls with the same one, or with none, draw alike.

        Returns:
            Its outputs, and the variables that the call left.
        """
        # Evaluation keeps nothing for a gradient, of which a part could be computed again.
        model = self.training_model if train else self.model
        with named("model"):
            before = state.model_state if model_state is None else model_state
            key = _key_of_part(state, _DRAWS[train], part)
            outputs, left = model.apply(params, before, self.handed(batch), key, train)
            return checked(outputs), left

    def given(self, params: Any, left: Any, state: TrainState, *, train: bool = True, part: Any = None) -> Given:
        """Return what a loss may take besides outputs and batch, by name; see `core.scoring.call_loss`."""
        key = _key_of_part(state, _DRAWS_OF_LOSS[train], part)
        return {"params": params, "state": left, "key": key, "step": state.step, "train": train}

    def loss_values(
        self, params: Any, state: TrainState, batch: Batch, *, part: Any = None
    ) -> tuple[LossValues, Outputs, Any]:
        """Return the loss's values an example, the model's outputs, and the variables that it left."""
        outputs, left = self.apply(params, state, batch, part=part)
        given = self.given(params, left, state, part=part)
        return loss_values(self["loss"], outputs, batch, given)["loss"], outputs, left

    def objective(
        self, params: Any, state: TrainState, batch: Batch, *, part: Any = None, weights_of_all: Any = None
    ) -> tuple[jax.Array, tuple[Outputs, Any]]:
        """Return the mean loss of a batch, float[], with (outputs, variables that the model left): what a step lowers.

        Examples whose `mask` is False do not count.

        Args:
            part: as in `apply`.
            weights_of_all: what the mean divides by in place of the batch's own; see `core.weighted.mean_over_batch`.
        """
        values, outputs, left = self.loss_values(params, state, batch, part=part)
        return mean_over_batch(values, batch["mask"], weights_of_all), (outputs, left)

    def value_and_grad(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `jax.value_and_grad(function, has_aux=True)` that heeds `config.remat` on every device.

        Gradients by complex parameters are conjugated, as Optax takes them.
        """
        found = jax.value_and_grad(function, has_aux=True)
        found = computed_again(found) if "remat" in self else found

        def call(*args: Any, **named: Any) -> Any:
            value, gradients = found(*args, **named)
            gradients = conjugated(gradients)
            return value, marked(gradients) if is_seen() else gradients

        return call

    def updated(
        self,
        state: TrainState,
        gradients: Any,
        *,
        value: Any = None,
        value_fn: Callable[[Any], jax.Array] | None = None,
        model_state: Any = None,
    ) -> TrainState:
        """Return the state after an update by `config.optimizer`.

        Args:
            value, value_fn: the objective, and the same as a function of parameters, which some optimizers take.
            model_state: the variables that the model left, of which those are carried on that it had before.
        """
        optimizer = optax.with_extra_args_support(self["optimizer"])
        # Optax itself relies on implicit promotion (decay ** count), also where a user forbids it to their own code.
        with named("optimizer"), jax.numpy_dtype_promotion("standard"), ticking(Clock(calls=state.step)):
            updates, opt_state = optimizer.update(
                gradients, state.opt_state, state.params, value=value, grad=gradients, value_fn=value_fn
            )
            params = optax.apply_updates(state.params, updates)
        left = state.model_state if model_state is None else carried(state.model_state, model_state)
        return dataclasses.replace(state, params=params, opt_state=opt_state, model_state=left)

    def measure(
        self, state: TrainState, outputs: Outputs, batch: Batch, *, model_state: Any = None, part: Any = None
    ) -> MetricState:
        """Return the loss and the metrics of a training batch, which is a step's second result.

        Args:
            state: the state that the outputs were computed with.
            model_state: the variables that the model left, where a loss reads them.
            part: as in `apply`.
        """
        left = state.model_state if model_state is None else model_state
        return self.measured(outputs, batch, self.given(state.params, left, state, part=part))

    def measured(self, outputs: Outputs, batch: Batch, given: Given, epoch: Any = None) -> MetricState:
        """Return the loss and the metrics of outputs, with what a loss may take besides."""
        return self.scoring.measure(self["loss"], outputs, self.processed(outputs), batch, given, epoch)

    def processed(self, outputs: Outputs) -> Outputs:
        """Return a model's outputs with those of the post-processors."""
        return process(self.components.get("post_processors", {}), outputs)


def _key_of_part(state: TrainState, purpose: int, part: Any) -> jax.Array:
    """Return the key of a step, or of a part of it."""
    key = key_for(state.key, purpose, state.step)
    return key if part is None else jax.random.fold_in(key, part)

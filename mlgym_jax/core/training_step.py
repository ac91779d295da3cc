"""One update of a training: the step that a config without a section `training_step` has, and what its own may be.

Synopsis:

    @mg.register("training_step", "twice")
    def twice():
        def step(state, batch, key, parts):
            for part in range(2):
                (value, (outputs, left)), gradients = parts.value_and_grad(parts.objective)(
                    state.params, state, batch, part=part
                )
                state = parts.updated(state, gradients, value=value, model_state=left)
            return state, parts.measure(state, outputs, batch, model_state=left)

        return step
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax

from mlgym_jax.core.microbatches import Functions, added_up, check_divisible
from mlgym_jax.core.model import carried
from mlgym_jax.core.scoring import loss_values
from mlgym_jax.core.state import Batch, MetricState, TrainState
from mlgym_jax.core.step_parts import StepParts
from mlgym_jax.core.trees import path_name
from mlgym_jax.core.weighted import terms_of, total_weights
from mlgym_jax.errors import ConfigError, described

Step = Callable[[TrainState, Batch, jax.Array, StepParts], tuple[TrainState, MetricState]]


@dataclasses.dataclass(frozen=True)
class TrainingStep:
    """A training step with an optimizer state of its own, as one with several optimizers has.

    Attributes:
        step: (state, batch, key, parts) -> (state, metrics): a state of the same form, and `parts.measure(…)` of the
            batch. The engine counts the steps, leaves the state as it was where a batch has no example, and keeps the
            averages of `config.averaging`.
        init: (params, parts) -> the optimizer state; None takes that of `config.optimizer`.
    """

    step: Step
    init: Callable[[Any, StepParts], Any] | None = None

    def __call__(self, state: TrainState, batch: Batch, key: jax.Array, parts: StepParts) -> Any:
        return self.step(state, batch, key, parts)


def default_step(state: TrainState, batch: Batch, key: jax.Array, parts: StepParts) -> tuple[TrainState, MetricState]:
    """Lower the mean loss of the batch by one update of the optimizer."""
    # A batch of another size than the loader's is a sample of a table that has no more.
    number = math.gcd(parts.microbatches, batch["mask"].shape[0])
    if parts.microbatches > 1:
        check_divisible(
            functools.partial(values_of_examples, parts, train=True),
            _pieces(parts),
            lambda state, batch: carried(state.model_state, parts.apply(state.params, state, batch)[1]),
            state,
            batch,
        )
    if number > 1:
        return _in_microbatches(state, batch, parts, number)
    (value, (outputs, left)), gradients = parts.value_and_grad(parts.objective)(state.params, state, batch)
    updated = parts.updated(
        state,
        gradients,
        value=value,
        value_fn=lambda params: parts.objective(params, state, batch)[0],
        model_state=left,
    )
    return updated, parts.measure(state, outputs, batch, model_state=left)


def _in_microbatches(state: TrainState, batch: Batch, parts: StepParts, number: int) -> tuple[TrainState, MetricState]:
    def objective(params: Any, batch: Batch, part: Any, weights_of_all: Any) -> Any:
        return parts.objective(params, state, batch, part=part, weights_of_all=weights_of_all)

    def weights(params: Any, batch: Batch, part: Any) -> tuple[jax.Array, ...]:
        return total_weights(parts.loss_values(params, state, batch, part=part)[0], batch["mask"])

    def measure(found: Any, batch: Batch, part: Any) -> MetricState:
        outputs, left = found
        return parts.measure(state, outputs, batch, model_state=left, part=part)

    functions = Functions(objective, parts.value_and_grad, weights, measure, parts.scoring.room, parts.scoring.put)
    value, gradients, metrics, value_fn = added_up(functions, state.params, batch, number)
    return parts.updated(state, gradients, value=value, value_fn=value_fn), metrics


def values_of_examples(parts: StepParts, state: TrainState, batch: Batch, *, train: bool, used: Any = None) -> Any:
    """Return all that a step computes of single examples; see `core.program.Program.values`."""
    params, model_state = (state.params, state.model_state) if used is None else used
    outputs, left = parts.apply(params, state, batch, train=train, model_state=model_state)
    given = parts.given(params, left, state, train=train)
    losses = loss_values(parts["loss"], outputs, batch, given)
    processed = parts.processed(outputs)
    measured = parts.scoring.of_examples(outputs, processed, batch)
    return {name: terms_of(found) for name, found in losses.items()}, (processed, measured)


def _pieces(parts: StepParts) -> dict[str, Callable[[TrainState, Batch], Any]]:
    """Return what may see a whole batch, by its name in words."""

    def outputs(state: TrainState, batch: Batch) -> Any:
        return parts.apply(state.params, state, batch)[0], ()

    def loss(state: TrainState, batch: Batch) -> Any:
        return values_of_examples(parts, state, batch, train=True)[0], ()

    return {"the model": outputs, "the loss": loss}


def check_stepped(found: Any, state: TrainState) -> None:
    """Refuse what a config's own training step returned, where it is no state of the same form with metrics.

    Raises:
        ConfigError: at `training_step`.
    """
    wanted = "it returns (state, metrics), as in `return state, parts.measure(state, outputs, batch)`"
    if not (isinstance(found, tuple) and len(found) == 2):
        raise ConfigError("training_step", f"{wanted}; found {described(found)}")
    if not isinstance(found[0], TrainState) or not isinstance(found[1], Mapping):
        raise ConfigError("training_step", f"{wanted}; found ({', '.join(type(item).__name__ for item in found)})")
    before, after = (dict(_forms(one)) for one in (state, found[0]))
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    if changed:
        path = changed[0]
        raise ConfigError(
            "training_step",
            f"it returns a state of another form: {path} was {before.get(path, 'not there')}, and is "
            f"{after.get(path, 'gone')}. An optimizer state of its own is made by mg.TrainingStep(step, init)",
        )


def _forms(state: TrainState) -> Any:
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        kind = jax.typeof(leaf)
        yield path_name(path), f"{kind.dtype}[{','.join(map(str, kind.shape))}]"

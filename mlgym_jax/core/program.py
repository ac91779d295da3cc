"""The pure functions of one training: init, train_step, eval_step, predict.

Synopsis:

    components = mg.build(config)
    program = mg.make_program(components)
    state = program.init(jax.random.key(0), batch, {"optimizer.learning_rate": 1e-3})
    state, metrics = jax.jit(program.train_step)(state, batch)
    program.compute(metrics)["loss"]
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlgym_jax.core.metrics import Metric, mean_of
from mlgym_jax.core.modules import adapt
from mlgym_jax.core.state import EVAL, INIT, TRAIN, Batch, MetricState, Outputs, TrainState, key_for
from mlgym_jax.errors import ConfigError, MlgymError


class Program(NamedTuple):
    """Pure functions with everything static closed over.

    Attributes:
        init: (key, batch, hyperparams) -> TrainState.
        train_step: (TrainState, batch) -> (TrainState, MetricState); a batch whose mask is all False changes nothing.
        eval_step: (TrainState, batch) -> MetricState of that batch alone.
        predict: (TrainState, batch) -> outputs of the model in evaluation mode.
        empty: () -> MetricState of no example.
        merge: (MetricState, MetricState) -> MetricState, associative.
        compute: MetricState -> {"loss": float[], "accuracy": float[], …}.
    """

    init: Callable[..., TrainState]
    train_step: Callable[[TrainState, Batch], tuple[TrainState, MetricState]]
    eval_step: Callable[[TrainState, Batch], MetricState]
    predict: Callable[[TrainState, Batch], Outputs]
    empty: Callable[[], MetricState]
    merge: Callable[[MetricState, MetricState], MetricState]
    compute: Callable[[MetricState], dict[str, jax.Array]]


def make_program(components: Any) -> Program:
    """Close over built components (`model`, `loss`, `optimizer`, `metrics`) and return their pure functions.

    Components with swept dynamic values (`components.hyperparams`) are rebuilt inside the functions, with the values
    of `state.hyperparams` in place, so that one compiled program serves every value.
    """
    defaults = dict(getattr(components, "hyperparams", {}))
    metrics: dict[str, Metric] = dict(components.get("metrics", {}))
    for name, metric in metrics.items():
        _check_metric(name, metric)

    def bound(hyperparams: Mapping[str, Any]) -> Any:
        return components.bind(hyperparams) if hyperparams else components

    def init(key: jax.Array, batch: Batch, hyperparams: Mapping[str, Any] | None = None) -> TrainState:
        hyperparams = {name: jnp.asarray(value) for name, value in {**defaults, **(hyperparams or {})}.items()}
        parts = bound(hyperparams)
        with _named("model"):
            params, model_state = adapt(parts["model"]).init(key_for(key, INIT), batch["inputs"])
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state=model_state,
            opt_state=parts["optimizer"].init(params),
            hyperparams=hyperparams,
            key=key,
        )

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, MetricState]:
        batch = _with_mask(batch)
        parts = bound(state.hyperparams)
        model, optimizer = adapt(parts["model"]), optax.with_extra_args_support(parts["optimizer"])
        key = key_for(state.key, TRAIN, state.step)

        def objective(params: Any) -> tuple[jax.Array, tuple[Any, Any]]:
            with _named("model"):
                outputs, model_state = model.apply(params, state.model_state, batch["inputs"], key, True)
            return _masked_mean(_per_example(parts["loss"], outputs, batch), batch["mask"]), (outputs, model_state)

        (value, (outputs, model_state)), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
        # Optax itself relies on implicit promotion (decay ** count), also where a user forbids it to their own code.
        with _named("optimizer"), jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(
                gradients,
                state.opt_state,
                state.params,
                value=value,
                grad=gradients,
                value_fn=lambda params: objective(params)[0],
            )
        updated = dataclasses.replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            model_state=model_state,
            opt_state=opt_state,
        )
        return updated, measure(parts, outputs, batch)

    def eval_step(state: TrainState, batch: Batch) -> MetricState:
        batch = _with_mask(batch)
        return measure(bound(state.hyperparams), predict(state, batch), batch)

    def predict(state: TrainState, batch: Batch) -> Outputs:
        model = adapt(bound(state.hyperparams)["model"])
        key = key_for(state.key, EVAL, state.step)
        return model.apply(state.params, state.model_state, batch["inputs"], key, False)[0]

    def all_metrics(loss: Any) -> dict[str, Metric]:
        return {"loss": mean_of(functools.partial(_per_example, loss)), **metrics}

    def measure(parts: Any, outputs: Outputs, batch: Batch) -> MetricState:
        found = {}
        for name, metric in all_metrics(parts["loss"]).items():
            with _named(f"metrics.{name}" if name in metrics else "loss"):
                found[name] = metric.update(metric.init(), outputs, batch)
        return found

    def empty() -> MetricState:
        return {name: metric.init() for name, metric in all_metrics(components["loss"]).items()}

    def merge(one: MetricState, other: MetricState) -> MetricState:
        return {name: metric.merge(one[name], other[name]) for name, metric in all_metrics(components["loss"]).items()}

    def compute(found: MetricState) -> dict[str, jax.Array]:
        scores: dict[str, jax.Array] = {}
        for name, metric in all_metrics(components["loss"]).items():
            with _named(f"metrics.{name}" if name in metrics else "loss"):
                score = metric.compute(found[name])
            if isinstance(score, Mapping):
                scores.update({f"{name}/{part}": jnp.asarray(value) for part, value in score.items()})
            else:
                scores[name] = jnp.asarray(score)
        return scores

    return Program(init, train_step, eval_step, predict, empty, merge, compute)


def _with_mask(batch: Batch) -> Batch:
    if "mask" in batch:
        return batch
    size = jax.tree.leaves(batch["inputs"])[0].shape[0]
    return {**batch, "mask": jnp.ones((size,), bool)}


def _per_example(loss: Callable[[Outputs, Batch], jax.Array], outputs: Outputs, batch: Batch) -> jax.Array:
    with _named("loss"):
        values = loss(outputs, batch)
    if jnp.shape(values) != batch["mask"].shape:
        raise ConfigError(
            "loss",
            f"a loss returns one value an example, float[{batch['mask'].shape[0]}] for this batch; "
            f"found shape {jnp.shape(values)}. Leave the mean over the batch to the engine.",
        )
    return values


def _masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    kept = jnp.where(mask, values, jnp.zeros_like(values))
    return kept.sum() / jnp.maximum(mask.sum(), 1).astype(values.dtype)


def _check_metric(name: str, metric: Any) -> None:
    missing = [part for part in ("init", "update", "merge", "compute") if not callable(getattr(metric, part, None))]
    if missing:
        raise ConfigError(
            f"metrics.{name}",
            f"found {type(metric).__name__} without {', '.join(missing)}; a metric factory returns "
            "mg.Metric(init, update, merge, compute)",
        )


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Put a config path in front of whatever a user's component raises."""
    try:
        yield
    except (MlgymError, jax.errors.JAXTypeError):
        raise
    except Exception as error:
        raise ConfigError(path, f"{type(error).__name__}: {error}") from error

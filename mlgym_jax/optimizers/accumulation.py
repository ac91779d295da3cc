"""Optimizers that gather several steps for one update of what is inside: its counts are updates, not steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mlgym_jax.core.clock import Clock, clock, ticking
from mlgym_jax.errors import ConfigError


def check_count(parameter: str, count: Any) -> None:
    """Refuse to gather fewer than one step, which would never update a parameter; traced counts pass.

    Raises:
        ConfigError: at `optimizer.<parameter>`.
    """
    if isinstance(count, int | float) and count < 1:
        raise ConfigError(
            f"optimizer.{parameter}", f"found {count}, with which no parameter is ever updated; at least 1 is expected"
        )


def multi_steps(given: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
    """Build `optax.MultiSteps`; what counts inside of it knows how many steps an update takes."""
    if given.get("should_skip_update_fn"):
        given["should_skip_update_fn"] = getattr(optax, given["should_skip_update_fn"])
    every = given["every_k_schedule"]
    check_count("every_k_schedule", every)
    varies = callable(every)
    # Optax knows an int, but neither a traced one nor the floats that its own schedules give.
    whole = (lambda step: jnp.round(jnp.asarray(every(step))).astype(jnp.int32)) if varies else (lambda step: every)
    given["every_k_schedule"] = whole
    accumulated = optax.MultiSteps(**given)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        outside, done = clock(), state.gradient_step
        if varies:
            begun = _begun(outside, state, whole)
            now = dataclasses.replace(outside, steps_of=lambda count: outside.steps_of(begun))
            with ticking(now):
                k = whole(done)
            steps_of = lambda count: outside.steps_of(begun + (count - done) * k)  # noqa: E731
        else:
            steps_of = lambda count: outside.steps_of(count * every)  # noqa: E731
        with ticking(Clock(calls=done, steps_of=steps_of)):
            return accumulated.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(accumulated.init, update)


def _begun(outside: Clock, state: Any, every: Callable[[Any], Any]) -> Any:
    """Return how often an accumulation had been called when its present update began."""
    if outside.calls is not None:
        return outside.calls - state.mini_step
    add = lambda update, steps: steps + every(update)  # noqa: E731
    return jax.lax.fori_loop(0, state.gradient_step, add, jnp.zeros((), jnp.int32))


def apply_every(given: dict[str, Any]) -> optax.GradientTransformation:
    """Build `optax.apply_every`; what is chained with it is called at every step."""
    check_count("k", given.get("k", 1))
    return optax.apply_every(**given)

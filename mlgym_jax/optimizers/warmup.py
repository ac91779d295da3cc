"""A warm-up in front of any schedule: from a small learning rate on a line to the schedule's first one.

Synopsis, in a config:

    config.optimizer = component(
        "adamw",
        learning_rate=component(
            "warmup", epochs=5, schedule=component("cosine_decay_schedule", init_value=1e-3, decay_steps=10_000)
        ),
    )
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.clock import Clock, clock, ticking
from mlgym_jax.errors import ConfigError, described
from mlgym_jax.optimizers.signatures import by_optax_rules

Schedule = Callable[[Any], Any]


@register("schedule", "warmup", needs=("steps_per_epoch",), dynamic=("steps", "epochs", "start"))
def warmup(
    steps_per_epoch: int,
    *,
    schedule: Any,
    steps: int | float | None = None,
    epochs: float | None = None,
    start: float = 0.0,
) -> Schedule:
    """Go on a line from `start` to a schedule's first value, and then follow the schedule from its beginning.

    At count c of w: start + (schedule(0) - start) c / w, and schedule(c - w) from w on (Goyal et al., 2017), which is
    `optax.join_schedules` of `optax.linear_schedule` and the schedule.

    Args:
        schedule: a component of that kind, also `in_epochs`.
        steps: how many the warm-up takes; inside of `in_epochs` these are epochs, as all counts there.
        epochs: the same in epochs of the fold that trains, with fractions, in place of `steps`.
        start: the first value, at least 0.

    Raises:
        ConfigError: both lengths or none of them, a length or a start that is negative, or something that is no
            schedule.
    """
    if not callable(schedule):
        raise ConfigError("schedule.schedule", f"a component of kind schedule is expected, found {described(schedule)}")
    if (steps is None) == (epochs is None):
        found = "none of them" if steps is None else "both"
        raise ConfigError("schedule", f"say how long the warm-up is, by steps=… or epochs=…; found {found}")
    for name, value in (("steps", steps), ("epochs", epochs), ("start", start)):
        if isinstance(value, int | float) and value < 0:
            raise ConfigError(f"schedule.{name}", f"at least 0 is expected, found {value}")

    def warmed_up(count: Any) -> jax.Array:
        now = clock()
        if epochs is None or now.in_epochs:
            length = jnp.asarray(steps if epochs is None else epochs, jnp.float32)
        else:  # an optimizer that gathers the gradients of several steps counts its updates
            steps_an_update = jnp.asarray(now.steps_of(count + 1) - now.steps_of(count), jnp.float32)
            length = jnp.asarray(epochs, jnp.float32) * steps_per_epoch / steps_an_update
        counted = jnp.asarray(count, jnp.float32)
        first = jnp.asarray(_asked(schedule, jnp.zeros_like(count), now, length), jnp.float32)
        share = jnp.where(length > 0, counted / jnp.where(length > 0, length, 1.0), 1.0)
        then = _asked(schedule, jnp.maximum(counted - length, 0), now, length)
        return jnp.where(counted < length, start + (first - start) * share, then)

    if isinstance(steps, float) and not steps.is_integer():
        warmed_up.fraction = ("steps", steps)  # type: ignore[attr-defined]
    elif hasattr(schedule, "fraction"):
        name, value = schedule.fraction
        warmed_up.fraction = (f"schedule.{name}", value)  # type: ignore[attr-defined]
    return by_optax_rules(warmed_up)


def _asked(schedule: Schedule, count: Any, now: Clock, begun: Any) -> Any:
    """Ask a schedule that began after so many counts; what it knows of steps begins there, too."""

    def steps_of(count: Any) -> Any:
        return now.steps_of(count + begun) - now.steps_of(begun)

    with ticking(dataclasses.replace(now, steps_of=steps_of)):
        return schedule(count)

"""Optax's schedules for swept numbers, which are arrays while a program is traced.

Optax decides in Python what a schedule of these numbers is (`if decay_steps <= 0: …`), which a traced array cannot
answer. The functions here are the same formulas with the decisions as arrays; `core.optimizers` takes them where a
parameter is an array, and Optax's own everywhere else. Parameters and values are those of the Optax functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mlgym_jax.components.registry import register
from mlgym_jax.core.clock import clock, ticking
from mlgym_jax.errors import MlgymError

Number = Any
Schedule = Callable[[Any], Any]


def polynomial_schedule(
    *, init_value: Number, end_value: Number, power: Number, transition_steps: Number, transition_begin: Number = 0
) -> Schedule:
    """Decay by a power of what remains of the transition."""

    def schedule(count: Any) -> jax.Array:
        steps = _positive(transition_steps)
        done = jnp.clip(count - jnp.maximum(transition_begin, 0), 0, steps)
        value = (init_value - end_value) * ((1 - done / steps) ** power) + end_value
        return jnp.where(jnp.asarray(transition_steps) > 0, value, init_value)

    return schedule


def linear_schedule(
    *, init_value: Number, end_value: Number, transition_steps: Number, transition_begin: Number = 0
) -> Schedule:
    """Go from one value to another on a line."""
    return polynomial_schedule(
        init_value=init_value,
        end_value=end_value,
        power=1,
        transition_steps=transition_steps,
        transition_begin=transition_begin,
    )


def cosine_decay_schedule(
    *, init_value: Number, decay_steps: Number, alpha: Number = 0.0, exponent: Number = 1.0
) -> Schedule:
    """Decay along half a cosine to `alpha * init_value`."""

    def schedule(count: Any) -> jax.Array:
        decay = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count, decay_steps) / decay_steps))
        return init_value * ((1 - alpha) * decay**exponent + alpha)

    return schedule


def exponential_decay(
    *,
    init_value: Number,
    transition_steps: Number,
    decay_rate: Number,
    transition_begin: Number = 0,
    staircase: bool = False,
    end_value: Number | None = None,
) -> Schedule:
    """Multiply by `decay_rate` every `transition_steps`."""

    def schedule(count: Any) -> jax.Array:
        since = count - jnp.maximum(transition_begin, 0)
        power = since / _positive(transition_steps)
        if staircase:
            power = jnp.floor(power)
        value = jnp.where(since <= 0, init_value, init_value * jnp.power(decay_rate, power))
        if end_value is not None:
            bounded = jnp.maximum(value, end_value), jnp.minimum(value, end_value)
            value = jnp.where(jnp.asarray(decay_rate) < 1.0, *bounded)
        constant = (jnp.asarray(transition_steps) <= 0) | (jnp.asarray(decay_rate) == 0)
        return jnp.where(constant, init_value, value)

    return schedule


def warmup_constant_schedule(*, init_value: Number, peak_value: Number, warmup_steps: Number) -> Schedule:
    """Warm up on a line and stay."""
    return linear_schedule(init_value=init_value, end_value=peak_value, transition_steps=warmup_steps)


def warmup_cosine_decay_schedule(
    *,
    init_value: Number,
    peak_value: Number,
    warmup_steps: Number,
    decay_steps: Number,
    end_value: Number = 0.0,
    exponent: Number = 1.0,
) -> Schedule:
    """Warm up on a line, then decay along half a cosine."""
    peak = jnp.asarray(peak_value)
    warmup = linear_schedule(init_value=init_value, end_value=peak_value, transition_steps=warmup_steps)
    decay = cosine_decay_schedule(
        init_value=peak_value,
        decay_steps=decay_steps - warmup_steps,
        alpha=jnp.where(peak == 0, 0.0, end_value / jnp.where(peak == 0, 1.0, peak)),
        exponent=exponent,
    )
    return optax.join_schedules([warmup, decay], [warmup_steps])


def warmup_exponential_decay_schedule(
    *, init_value: Number, peak_value: Number, warmup_steps: Number, **decay: Any
) -> Schedule:
    """Warm up on a line, then decay exponentially."""
    warmup = linear_schedule(init_value=init_value, end_value=peak_value, transition_steps=warmup_steps)
    return optax.join_schedules([warmup, exponential_decay(init_value=peak_value, **decay)], [warmup_steps])


def linear_onecycle_schedule(
    *,
    transition_steps: Number,
    peak_value: Number,
    pct_start: Number = 0.3,
    pct_final: Number = 0.85,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> Schedule:
    """Rise to the peak, fall back and vanish, on lines (Smith and Topin, 2018)."""
    values = _products(peak_value / div_factor, div_factor, 1.0 / div_factor, 1.0 / final_div_factor)

    def bounds() -> list[Any]:
        return [0, _part(pct_start, transition_steps), _part(pct_final, transition_steps), transition_steps]

    return _interpolated(bounds, values, lambda start, end, done: (end - start) * done + start)


def cosine_onecycle_schedule(
    *,
    transition_steps: Number,
    peak_value: Number,
    pct_start: Number = 0.3,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> Schedule:
    """Rise to the peak and vanish, along half cosines (Smith and Topin, 2018)."""
    values = _products(peak_value / div_factor, div_factor, 1.0 / (div_factor * final_div_factor))

    def bounds() -> list[Any]:
        return [0, _part(pct_start, transition_steps), transition_steps]

    return _interpolated(
        bounds, values, lambda start, end, done: end + (start - end) / 2.0 * (jnp.cos(jnp.pi * done) + 1)
    )


@register("schedule", "in_epochs", needs=("steps_per_epoch",))
def in_epochs(steps_per_epoch: int, *, schedule: Any) -> Schedule:
    """Let a schedule count epochs instead of steps: its steps, boundaries and counts are epochs, with fractions.

    in_epochs(schedule=component("warmup_cosine_decay_schedule", warmup_steps=2, decay_steps=20, …)) warms up during the
    first two epochs. Epochs are those of the fold that trains, and of the steps that were taken: an optimizer that
    gathers the gradients of several steps (`MultiSteps`) counts its updates, which here count as those.
    """
    if not callable(schedule):
        raise MlgymError(f"in_epochs: schedule takes a component of kind schedule, found {schedule!r}")

    def in_epochs(count: Any) -> Any:
        now = clock()
        epochs = jnp.asarray(now.steps_of(count), jnp.float32) / steps_per_epoch
        with ticking(dataclasses.replace(now, in_epochs=True)):
            return schedule(epochs)

    return in_epochs


def _positive(steps: Number) -> Any:
    """Return what to divide by: the steps where there are any, else 1."""
    return jnp.where(jnp.asarray(steps) > 0, steps, 1)


def _part(share: Number, steps: Number) -> jax.Array:
    """Return a share of the steps, whole as Optax cuts them; of epochs the fraction counts."""
    part = jnp.asarray(share * steps)
    return part if clock().in_epochs else jnp.floor(part).astype(jnp.int32)


def _products(*factors: Number) -> list[jax.Array]:
    values = [jnp.asarray(factors[0])]
    for factor in factors[1:]:
        values.append(values[-1] * factor)
    return values


def _interpolated(
    bounds: Callable[[], list[Any]], values: Sequence[Any], between: Callable[..., jax.Array]
) -> Schedule:
    def schedule(count: Any) -> jax.Array:
        value = values[-1]
        # From the last piece back to the first, so that the first piece whose end is ahead decides.
        ends = bounds()
        for start, end, first, last in reversed(list(zip(ends, ends[1:], values, values[1:], strict=False))):
            done = (count - start) / _positive(end - start)
            value = jnp.where(count < end, between(first, last, done), value)
        return value

    return schedule


TRACED: dict[str, Callable[..., Schedule]] = {
    function.__name__: function
    for function in (
        cosine_decay_schedule,
        cosine_onecycle_schedule,
        exponential_decay,
        linear_onecycle_schedule,
        linear_schedule,
        polynomial_schedule,
        warmup_constant_schedule,
        warmup_cosine_decay_schedule,
        warmup_exponential_decay_schedule,
    )
}

"""Running averages of the parameters, with which a model is evaluated: `config.averaging = component("ema", …)`.

A factory of this kind returns an `optax.GradientTransformation` that is applied to the parameters after each step. A
model with batch statistics gathers those of its averaged parameters beside them, by one more forward pass in each step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.optimizers.signatures import by_optax_rules


@register("averaging", "ema", dynamic=("decay",))
def ema(*, decay: float = 0.999, debias: bool = True) -> optax.GradientTransformation:
    """Average the parameters exponentially, a <- decay a + (1 - decay) p, by `optax.ema`.

    Args:
        decay: of one step, in [0, 1).
        debias: divide by 1 - decay^t, so that the zeros it begins with do not count.

    Raises:
        ConfigError: a decay outside of [0, 1).
    """
    if isinstance(decay, int | float) and not 0 <= decay < 1:
        raise ConfigError("averaging.decay", f"a number in [0, 1) is expected, found {decay}")
    tx = optax.ema(decay, debias)
    return optax.GradientTransformation(by_optax_rules(tx.init), by_optax_rules(tx.update))


class _Mean(NamedTuple):
    step: jax.Array
    mean: Any


@register("averaging", "mean")
def mean(*, first_step: int = 0) -> optax.GradientTransformation:
    """Average the parameters after all steps from `first_step` on, each alike; until then they are used as they are.

    Stochastic weight averaging (Izmailov et al., 2018, arXiv 1803.05407).

    Raises:
        ConfigError: a negative step.
    """
    if first_step < 0:
        raise ConfigError("averaging.first_step", f"at least 0 is expected, found {first_step}")

    def init(params: Any) -> _Mean:
        return _Mean(jnp.zeros((), jnp.int32), params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _Mean]:
        count = jnp.maximum(state.step - first_step, 0) + 1

        def added(average: jax.Array, new: jax.Array) -> jax.Array:
            return average + (new - average) / count.astype(new.dtype)

        average = jax.tree.map(added, state.mean, updates)
        return average, _Mean(state.step + 1, average)

    return optax.GradientTransformation(init, update)

"""Sharpness-aware minimisation: each training step ascends inside of itself, and keeps nothing of the ascent."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from mlgym_jax.core.clock import Clock, clock, ticking
from mlgym_jax.core.trees import conjugated, select
from mlgym_jax.errors import MlgymError
from mlgym_jax.optimizers.accumulation import check_count


def sam(given: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
    """Build `optax.contrib.sam` in its opaque mode, with the gradients of the step's own loss, `value_fn`.

    A step ascends `sync_period` - 1 times on its batch and then updates the parameters that it began with, so that no
    others are ever evaluated or kept. The model's state is that of the parameters that the step began with.
    """
    period = given.get("sync_period", 2)
    check_count("sync_period", period)
    ascent = optax.with_extra_args_support(given["adv_optimizer"])

    def ascend(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        outside = clock()
        with ticking(Clock(steps_of=lambda count: outside.steps_of(count // max(1, period - 1)))):
            return ascent.update(updates, state, params)

    inside = {**given, "adv_optimizer": optax.GradientTransformation(ascent.init, ascend)}
    tx: Any = optax.contrib.sam(**inside, opaque_mode=True)

    def init(params: Any) -> Any:
        # The form that a state had when each ascent was a training step of its own, for runs that began then.
        return tx.init(params)._replace(cache=params)

    def update(updates: Any, state: Any, params: Any = None, *, value_fn: Any = None, **_: Any) -> tuple[Any, Any]:
        if value_fn is None:
            raise MlgymError(
                "contrib.sam: it needs value_fn, the loss as a function of the parameters, which the training step "
                "hands to its optimizer; what stands around it here does not hand it on"
            )
        hidden = jax.tree.leaves(params, is_leaf=lambda leaf: isinstance(leaf, optax.MaskedNode))
        if any(isinstance(leaf, optax.MaskedNode) for leaf in hidden):
            raise MlgymError(
                "contrib.sam: it ascends with all parameters, and sees a part of them here; let it stand around what "
                "chooses parameters: component('contrib.sam', optimizer=component('partition', …), …)"
            )
        begun = jnp.asarray(state.steps_since_sync) > 0
        true = select(begun, state.cache, params)
        gradient = jax.grad(value_fn)
        change, state = tx.update(
            updates, state._replace(cache=None), true, grad_fn=lambda params, number: conjugated(gradient(params))
        )
        return jax.tree.map(lambda new, old, by: (new - old) + by, true, params, change), state._replace(cache=true)

    return optax.GradientTransformationExtraArgs(init, update)

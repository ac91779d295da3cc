"""The parameters that a model is evaluated with, where an optimizer steps with others."""

from __future__ import annotations

from typing import Any

import jax
import optax
import optax.contrib


def evaluated_params(opt_state: Any, params: Any) -> Any:
    """Return the parameters to evaluate: the slow ones of `lookahead`, the averages of `contrib.schedule_free`.

    Wherever in an optimizer these stand, they are found by their states. Other optimizers evaluate what they step.

    References:
        Zhang et al., Lookahead optimizer: k steps forward, 1 step back, 2019.
        Defazio et al., The road less scheduled, 2024.
    """
    for state in jax.tree.leaves(opt_state, is_leaf=_tells):
        if isinstance(state, optax.contrib.ScheduleFreeState):
            params = _overlaid(state.z, params, lambda z, y, b1=state.b1: ((y - (1.0 - b1) * z) / b1).astype(y.dtype))
        elif _tells(state):
            params = _overlaid(state[0], params, lambda slow, fast: slow)
    return params


def evaluates_others(opt_state: Any) -> bool:
    """Tell whether an optimizer evaluates other parameters than those that it steps with."""
    return any(map(_tells, jax.tree.leaves(opt_state, is_leaf=_tells)))


def _tells(state: Any) -> bool:
    pair = isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], optax.LookaheadState)
    return pair or isinstance(state, optax.contrib.ScheduleFreeState)


def _overlaid(own: Any, params: Any, evaluated: Any) -> Any:
    """Return params, with those that are an optimizer's own replaced; it sees `MaskedNode` in the place of others."""
    hidden = lambda leaf: isinstance(leaf, optax.MaskedNode)  # noqa: E731
    with jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(
            lambda mine, all_: all_ if hidden(mine) else evaluated(mine, all_), own, params, is_leaf=hidden
        )

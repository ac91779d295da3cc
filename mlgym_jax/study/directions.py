"""Say of optimizers where they go, if that is hardly meant: up the gradient, to larger parameters, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlgym_jax.components.graph import Components
from mlgym_jax.components.tree import Node
from mlgym_jax.core.clock import Clock, ticking
from mlgym_jax.core.paths import named_leaves
from mlgym_jax.errors import listed
from mlgym_jax.study.schedules import odd_rates

_STEPS = 4  # that are tried: schedules often begin with 0
_MOST = 64  # assignments that are
_RATES = ("learning_rate", "max_learning_rate")  # what has one turns the sign of the gradient by itself
# What may not move as it is meant though there is a learning rate.
_TURNS = ("add_decayed_weights", "scale", "scale_by_learning_rate", "scale_by_schedule")
_CHOOSES = ("masked", "multi_transform", "partition")
_FREEZES = ("freeze", "selective_transform", "set_to_zero")
_GATHERS = ("MultiSteps", "apply_every", "apply_if_finite", "lookahead")
_DRAWS = ("add_noise", "noisy_sgd")


def odd_optimizer(
    components: Components, params: Any, hyperparams: Mapping[str, Any], num_steps: int, steps_per_epoch: int
) -> tuple[str, ...]:
    """Say what of the optimizer is hardly meant: where it goes, and its learning rates.

    Args:
        params: shapes of the parameters; hyperparams: dotted path -> [experiments].
        num_steps: training steps of an experiment.
    """
    rates = odd_rates(components.config["optimizer"], hyperparams, num_steps, steps_per_epoch)
    turned = _turned_loss(components.config["loss"], hyperparams.get("loss.weight", ()))
    return turned + (rates or odd_directions(components, params, hyperparams))


def odd_directions(components: Components, params: Any, hyperparams: Mapping[str, Any]) -> tuple[str, ...]:
    """Say where steps by the gradient 1 raise parameters, where steps by none make them larger, or nothing ever moves.

    Tried on parameters of the same paths, each of one element, where a config could be wrong: a chain without a
    learning rate, signs or weight decay of one's own behind it, masks.

    """
    node = components.config["optimizer"]
    names = _names(node)
    if not _may_be_wrong(node, names):
        return ()
    swept = {path: np.asarray(values) for path, values in hyperparams.items() if path.startswith("optimizer")}
    rows = {
        tuple(float(values[row]) for values in swept.values()) for row in range(len(next(iter(swept.values()), [0])))
    }
    rows = sorted(rows)[:_MOST]
    given = {path: np.array([row[i] for row in rows], swept[path].dtype) for i, path in enumerate(swept)}
    small = jax.tree.map(lambda leaf: jnp.ones((1,) * len(leaf.shape), leaf.dtype), params)
    nothing = jax.tree.map(jnp.zeros_like, small)

    def moved(values: Mapping[str, Any]) -> Any:
        optimizer = optax.with_extra_args_support(components.bind(values)["optimizer"] if values else built)
        return [_moved(optimizer, small, gradients) for gradients in (small, nothing)]

    built = components["optimizer"]
    try:
        by_one, by_none = jax.jit(jax.vmap(moved) if given else moved)(given)
    except Exception:  # it asks for more than gradients and parameters
        return ()
    leaves = [named_leaves(jax.tree.map(np.asarray, found)) for found in (by_one, by_none)]
    risen, grown = ([name for name, change in found.items() if (change > 0).any()] for found in leaves)
    said = []
    if grown and not any(name in names for name in _DRAWS):
        said.append(
            f"config.optimizer: without any gradient it makes {_some(grown, leaves[1])} larger: weight decay is "
            "subtracted by the learning rate that comes after it, so write component('add_decayed_weights', …) before "
            "the optimizer, or take one with weight_decay, such as adamw"
        )
    elif risen:
        fix = (
            "what 'masked' does not choose passes as it is; component('partition', …) gives the rest an optimizer or "
            "component('set_to_zero')"
            if "masked" in names
            else "nothing in it turns the sign; write a learning_rate, in a chain "
            "by component('scale_by_learning_rate', learning_rate=…) at its end"
        )
        said.append(
            f"config.optimizer: steps go up the gradient of {_some(risen, leaves[0])}, so that the loss is raised: "
            f"{fix}"
        )
    elif (
        any(name in names for name in _FREEZES)
        and not any(name in names for name in _GATHERS)
        and not any(change.any() for found in leaves for change in found.values())
    ):
        said.append(
            f"config.optimizer: it moves none of the parameters ({listed(leaves[0], 4)}), so that nothing is learnt; "
            "let a mask or a label leave some of them to train"
        )
    return tuple(said)


def _turned_loss(loss: Any, swept: Any) -> tuple[str, ...]:
    """Say that the whole loss is weighed by a number that is not above 0; parts of a sum may be."""
    weights = [float(weight) for weight in swept] or [loss.get("weight", 1.0) if isinstance(loss, Node) else 1.0]
    wrong = [weight for weight in weights if isinstance(weight, int | float) and weight <= 0]
    if not wrong:
        return ()
    does = "it is raised" if min(wrong) < 0 else "nothing is learnt"
    return (f"config.loss.weight is {min(wrong):.6g}, so that {does}; is that meant?",)


def _moved(optimizer: Any, params: Any, gradients: Any) -> Any:
    """Return by how much a few steps by one gradient move each parameter away from 0."""
    state, now = optimizer.init(params), params
    for step in range(_STEPS):
        with jax.numpy_dtype_promotion("standard"), ticking(Clock(calls=jnp.int32(step))):
            updates, state = optimizer.update(gradients, state, now, value=jnp.float32(1), grad=gradients)
        now = optax.apply_updates(now, updates)
    return jax.tree.map(lambda new, old: jnp.real(new - old).sum(), now, params)


def _may_be_wrong(node: Any, names: set[str]) -> bool:
    if any("linesearch" in name or "linesearch" in item.entry.parameters for name in names for item in _nodes(node)):
        return False  # they turn the sign, and ask for the loss as a function
    own = isinstance(node, Node) and not node.entry.is_built_in
    return (
        own or not any(map(_has_rate, _nodes(node))) or any(name in names for name in (*_TURNS, *_CHOOSES, *_FREEZES))
    )


def _has_rate(node: Node) -> bool:
    defaults = {key: node.entry.parameters[key].default for key in _RATES if key in node.entry.parameters}
    return any(node.get(key, default) is not None for key, default in defaults.items())


def _names(node: Any) -> set[str]:
    return {item.entry.name for item in _nodes(node) if item.entry.kind == "optimizer"}


def _nodes(node: Any) -> tuple[Node, ...]:
    return (node, *node.inside) if isinstance(node, Node) else ()


def _some(names: list[str], of: Mapping[str, Any]) -> str:
    return "the parameters" if len(names) == len(of) else listed(names, 4)

"""Several optimizers that take turns in a step, each on a part of the parameters and with a loss of its own.

Synopsis, in a config:

    config.loss = component(
        "sum",
        losses=dict(discriminator=component("gan_discriminator"), generator=component("gan_generator")),
    )
    config.optimizer = component("adam", learning_rate=2e-4, b1=0.5)
    config.training_step = component(
        "alternating",
        players=(
            component("player", name="discriminator", parameters="^discriminator/"),
            component("player", name="generator", parameters="^generator/", optimizer=component("adam", …)),
        ),
    )

The model is one module with all parts in it. It is called anew for each update, and draws other random numbers then.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import jax
import optax

from mlgym_jax.components.registry import register
from mlgym_jax.core.clock import Clock, clock, ticking
from mlgym_jax.core.model import carried
from mlgym_jax.core.paths import map_paths, named_leaves, nowhere
from mlgym_jax.core.scoring import loss_values, part_names
from mlgym_jax.core.state import Batch, MetricState, TrainState
from mlgym_jax.core.step_parts import StepParts
from mlgym_jax.core.training_step import TrainingStep
from mlgym_jax.core.weighted import mean_over_batch
from mlgym_jax.errors import ConfigError, described, listed, nearest
from mlgym_jax.optimizers.inside import check_transform, expression


@dataclasses.dataclass(frozen=True)
class Player:
    """What one of several optimizers trains.

    Attributes:
        name: by which its loss is found among the parts of `config.loss`, where it has none of its own.
        parameters: the regular expression that is found in the paths of its parameters.
        optimizer: None takes `config.optimizer`.
        updates: how many of them it does, one after another, when it is its turn.
    """

    name: str
    parameters: re.Pattern[str]
    loss: Callable[..., Any] | None
    optimizer: Any
    updates: int


@register("player", "player")
def player(*, name: str, parameters: str, loss: Any = None, optimizer: Any = None, updates: int = 1) -> Player:
    """Let an optimizer lower a loss by a part of the parameters, as one of those that take turns.

    Args:
        name: of the part of `config.loss` that it lowers (before its weight), where `loss` is left out.
        parameters: a regular expression that is searched in the parameters' paths, such as "^generator/".
        optimizer: by default that of `config.optimizer`, with a state of its own.
        updates: how many it does in each step.

    Raises:
        ConfigError: no regular expression, no updates, or something that is no loss or optimizer.
    """
    if updates < 1:
        raise ConfigError("player.updates", f"at least 1 is expected, found {updates}")
    if loss is not None and not callable(loss):
        raise ConfigError("player.loss", f"a component is expected, found {described(loss)}")
    if optimizer is not None:
        check_transform("optimizer", optimizer)
    return Player(name, expression(parameters, "player.parameters"), loss, optimizer, updates)


@register("training_step", "alternating")
def alternating(*, players: Any, frozen: str | None = None) -> TrainingStep:
    """Train parts of the parameters by optimizers that take turns in each step, in the order of `players`.

    Scores of training are those of `config.loss` and the metrics, of the outputs that the last update began with.

    Args:
        players: components of that kind.
        frozen: a regular expression of parameters that nobody trains.

    Raises:
        ConfigError: no players or two of one name; when a training begins, a pattern that is found in no parameter's
            path, a parameter that nobody trains, or a player without a loss.
    """
    if not isinstance(players, tuple) or not players or not all(isinstance(item, Player) for item in players):
        raise ConfigError(
            "training_step.players",
            f"components are expected, found {described(players)}; write players=(component('player', name='…', "
            "parameters='…'), …)",
        )
    names = [one.name for one in players]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError("training_step.players", f"two players are named {twice!r}; their names tell them apart")
    left_out = None if frozen is None else expression(frozen, "training_step.frozen")

    def init(params: Any, parts: StepParts) -> dict[str, Any]:
        _check_patterns(players, left_out, params)
        for number, one in enumerate(players):
            _check_loss(one, number, parts)
        return {one.name: _optimizer_of(one, parts).init(_own(params, one)) for one in players}

    def step(state: TrainState, batch: Batch, key: jax.Array, parts: StepParts) -> tuple[TrainState, MetricState]:
        number, seen = 0, None
        for one in players:
            for turn in range(one.updates):
                before = state
                state, outputs, left = _updated(one, turn, state, batch, parts, number)
                seen = before, outputs, left, number
                number += 1
        assert seen is not None
        before, outputs, left, part = seen
        return state, parts.measure(before, outputs, batch, model_state=left, part=part)

    return TrainingStep(step, init)


def _updated(
    one: Player, turn: int, state: TrainState, batch: Batch, parts: StepParts, number: int
) -> tuple[TrainState, Any, Any]:
    """Return the state after a player's update, and the outputs and variables that the model's call left."""

    def objective(own: Any) -> tuple[jax.Array, tuple[Any, Any]]:
        params = _together(own, state.params, one)
        outputs, left = parts.apply(params, state, batch, part=number)
        given = parts.given(params, left, state, part=number)
        loss, name = (parts["loss"], f"loss/{one.name}") if one.loss is None else (one.loss, "loss")
        values = loss_values(loss, outputs, batch, given)[name]
        return mean_over_batch(values, batch["mask"]), (outputs, left)

    own, opt_state = _own(state.params, one), state.opt_state[one.name]
    (value, (outputs, left)), gradients = parts.value_and_grad(objective)(own)
    outside = clock()
    # Of an optimizer that is called several times in a step each call counts; schedules of epochs ask for the steps.
    now = Clock(calls=state.step * one.updates + turn, steps_of=lambda count: outside.steps_of(count / one.updates))
    with jax.numpy_dtype_promotion("standard"), ticking(now):
        updates, opt_state = optax.with_extra_args_support(_optimizer_of(one, parts)).update(
            gradients, opt_state, own, value=value, grad=gradients, value_fn=lambda own: objective(own)[0]
        )
        own = optax.apply_updates(own, updates)
    state = dataclasses.replace(
        state,
        params=_together(own, state.params, one),
        opt_state={**state.opt_state, one.name: opt_state},
        model_state=carried(state.model_state, left),
    )
    return state, outputs, left


def _optimizer_of(one: Player, parts: StepParts) -> Any:
    return parts["optimizer"] if one.optimizer is None else one.optimizer


def _own(params: Any, one: Player) -> Any:
    """Return a player's parameters, with nothing in the place of the others, which keeps their paths."""
    return map_paths(lambda path, leaf: leaf if path.matches(one.parameters) else optax.MaskedNode(), params)


def _together(own: Any, params: Any, one: Player) -> Any:
    mine = map_paths(lambda path, _: path.matches(one.parameters), params)
    return jax.tree.map(lambda is_mine, new, old: new if is_mine else old, mine, own, params)


def _check_loss(one: Player, number: int, parts: StepParts) -> None:
    known = part_names(parts["loss"])
    if one.loss is None and one.name not in known:
        raise ConfigError(
            f"training_step.players.{number}",
            f"player {one.name!r} has no loss: config.loss has no part of that name{nearest(one.name, known)} Parts: "
            f"{listed(known)}. Write loss=component(…) in the player, or config.loss = component('sum', "
            f"losses=dict({one.name}=component(…), …))",
        )


def _check_patterns(players: tuple[Player, ...], frozen: re.Pattern[str] | None, params: Any) -> None:
    names = named_leaves(params)
    trained: dict[str, bool] = dict.fromkeys(names, False)

    def check(pattern: re.Pattern[str], where: str) -> None:
        found: list[str] = []
        map_paths(lambda path, _: found.append(path.name) if path.matches(pattern) else None, params)
        if not found:
            raise ConfigError(where, f"{pattern.pattern!r} {nowhere(pattern.pattern, names)}")
        trained.update(dict.fromkeys(found, True))

    for number, one in enumerate(players):
        check(one.parameters, f"training_step.players.{number}.parameters")
    if frozen is not None:
        check(frozen, "training_step.frozen")
    if idle := [name for name, is_trained in trained.items() if not is_trained]:
        raise ConfigError(
            "training_step.players",
            f"no player trains {listed(idle, 5)}; widen a player's parameters=…, or, if these shall stay as they are "
            f"initialised, write frozen={re.escape(idle[0].split('/')[0])!r} beside players",
        )

"""Say of learning rates what hardly is meant: below 0, 0 for most of a training, a warm-up that is longer than it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mlgym_jax.components.graph import build_alone
from mlgym_jax.components.tree import Node
from mlgym_jax.config.traversal import walk
from mlgym_jax.config.words import dotted
from mlgym_jax.core.clock import Clock, ticking
from mlgym_jax.study.in_numpy import in_numpy

_POINTS = 64  # of a training, at which its schedules are looked at
_GATHERING = ("MultiSteps", "apply_every")  # what is inside of them counts updates of several steps


def odd_rates(optimizer: Any, hyperparams: Mapping[str, Any], num_steps: int, steps_per_epoch: int) -> tuple[str, ...]:
    """Say where a learning rate is below 0, is 0 for at least half of a training, or still warms up at its end.

    Args:
        optimizer: its node; num_steps: training steps of an experiment.
        hyperparams: dotted path -> [experiments].
    """
    return _turned_signs(optimizer, hyperparams) + _of_schedules(optimizer, num_steps, steps_per_epoch)


def _turned_signs(optimizer: Any, hyperparams: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which learning rates and weight decays are below 0, in a plain section or among swept values by their paths.

    An optimizer subtracts them: so the loss is raised, and parameters grow. A learning rate of 0 is told, too, where
    all parameters have it and no grid does.
    """
    fixed = [(dotted(("optimizer", *path)), (value,)) for path, value in walk(optimizer)]
    said = []
    for path, values in [*fixed, *((path, values.tolist()) for path, values in hyperparams.items())]:
        does = _DOES_BELOW_ZERO.get(path.rpartition(".")[2]) if path.startswith("optimizer") else None
        if does and (wrong := [v for v in values if isinstance(v, int | float) and v < 0]):
            said.append(f"config.{path} is {wrong[0]:.6g}, below 0, so that {does}; is that meant?")
    for node in _one_after_the_other(optimizer):
        rate, path = node.get("learning_rate"), dotted((*node.path, "learning_rate"))
        if isinstance(rate, int | float) and rate == 0 and path not in hyperparams:
            said.append(f"config.{path} is 0, so that no parameter is ever moved; is that meant?")
    return tuple(dict.fromkeys(said))


def _one_after_the_other(optimizer: Any) -> Iterator[Node]:
    """Return the optimizer, or those of a chain, which all parameters go through."""
    if isinstance(optimizer, Node):
        yield optimizer
        if optimizer.entry.name == "chain":
            for part in optimizer.get("transforms") or ():
                yield from _one_after_the_other(part)


_DOES_BELOW_ZERO = {
    "learning_rate": "steps go up the gradient and the loss is raised",
    "weight_decay": "parameters are made larger",
}


def _of_schedules(optimizer: Any, num_steps: int, steps_per_epoch: int) -> tuple[str, ...]:
    found = []
    for schedule in _rates(optimizer):
        in_epochs = schedule.entry.name == "in_epochs"
        inner = schedule.get("schedule") if in_epochs else schedule
        if not isinstance(inner, Node) or any(one.needs for one in (inner, *inner.inside)):
            continue
        unit, length = ("epoch", num_steps / steps_per_epoch) if in_epochs else ("step", num_steps)
        place = f"config.{dotted(schedule.path)}"
        warm = inner.get("warmup_steps")
        if isinstance(warm, int | float) and warm > length:
            found.append(
                f"{place}: it warms up for {warm:g} {unit}s, and a training has {length:g}, so that its peak is never "
                "reached"
            )
        times = np.linspace(0, length, _POINTS, endpoint=False)
        times = times if in_epochs else np.unique(times.astype(np.int32))
        try:
            with ticking(Clock(calls=0, in_epochs=in_epochs)):
                rates = in_numpy(build_alone(inner), times.astype(np.float32 if in_epochs else int))
        except Exception:  # it asks for more than a number of steps
            continue
        below = rates < -1e-6 * np.abs(rates).max(initial=0)  # rounding leaves some of a line that ends at 0
        if below.any():
            found.append(
                f"{place}: it is {rates[below][0]:.6g} at about {unit} {times[below][0]:g}, below 0, so that "
                f"{_DOES_BELOW_ZERO['learning_rate']}; is that meant?"
            )
        nothing = np.abs(rates) <= 1e-6 * np.abs(rates).max(initial=0)  # rounding leaves some of it
        late = len(rates) - len(np.trim_zeros(~nothing, "b"))
        if len(rates) > 1 and 2 * late >= len(rates):
            epochs = "" if in_epochs else "; schedules count steps, and in_epochs(schedule=…) makes these epochs"
            found.append(
                f"{place}: it is 0 from about {unit} {times[len(rates) - late]:g} on, and a training has {length:g}, "
                f"so that most of it learns nothing{epochs}"
            )
    return tuple(found)


def _rates(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        if value.entry.name in _GATHERING:
            return
        rate = value.get("learning_rate")
        if isinstance(rate, Node) and rate.entry.kind == "schedule":
            yield rate
        for key, item in value.parameters.items():
            if key != "learning_rate":
                yield from _rates(item)
    elif isinstance(value, Mapping | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _rates(item)

"""What every sink says of an experiment: plain values, taken from the views of the log."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mlgym_jax.config.spelling import spelled
from mlgym_jax.events.views import ExperimentView, RunView

STEPS = "step"  # the score that counts training steps; no other has a name without a split


class Epoch(NamedTuple):
    """One epoch's scores: `time_ms` is when they were logged, `step` the training steps by then, if that is known."""

    number: int
    step: int | None
    time_ms: int
    scores: dict[str, float]


def epochs(experiment: ExperimentView, after: int | None) -> Iterator[Epoch]:
    """Yield the epochs behind the one with the number `after`; all if that is None."""
    numbers = experiment.epoch_numbers
    first = 0 if after is None else bisect_right(numbers, after)
    told = {name: experiment.logged(name) for name in experiment.history}
    for index in range(first, len(numbers)):
        scores = {
            name: values[index]
            for name, values in experiment.history.items()
            if (logged := told[name]) is None or logged[index]
        }
        yield Epoch(numbers[index], experiment.epoch_steps[index], experiment.evaluated_ms[index], scores)


def scores_with_steps(epoch: Epoch) -> dict[str, float]:
    """Return an epoch's scores with the count of training steps as one more, for trackers that have one axis."""
    return epoch.scores if epoch.step is None else {**epoch.scores, STEPS: epoch.step}


def hyperparameters(experiment: ExperimentView) -> dict[str, bool | int | float | str]:
    """Return the swept values; what is no number or text, such as a component, in words."""
    return {
        name: value if isinstance(value, bool | int | float | str) else spelled(value, exact=True)
        for name, value in experiment.hyperparameters.items()
    }


def title(run: RunView, run_id: str, experiment: ExperimentView) -> str:
    """Return the name of an experiment among those of other runs."""
    return f"{run.name or run_id} {run_id}/{experiment.experiment_id}"


def key(run_id: str, experiment: ExperimentView) -> str:
    """Return what an experiment is found again by."""
    return f"{run_id}/{experiment.experiment_id}"


def tags(run: RunView, run_id: str, experiment: ExperimentView) -> dict[str, str]:
    """Return what else is known of an experiment, each in a short text."""
    groups = [one["group"] for one in run.groups if experiment.experiment_id in (one.get("experiments") or ())]
    told = {
        "run_id": run_id,
        "run_name": run.name,
        "experiment_id": experiment.experiment_id,
        "config_hash": run.config_hash,
        "fold": experiment.fold,
        "group": groups[-1] if groups else None,
        "refit": None if experiment.refit is None else json.dumps(experiment.refit, sort_keys=True),
        "status": experiment.status,
        "stop_reason": experiment.stop_reason,
        "error": experiment.error,
        "device": experiment.device,
    }
    return {name: str(value) for name, value in told.items() if value is not None}


def began_ms(run: RunView, experiment: ExperimentView) -> int:
    """Return when an experiment began; the run, where nothing says it."""
    return experiment.starting_time or run.started_ms or 0


def ended_ms(experiment: ExperimentView) -> int:
    """Return when an experiment ended, or was last heard of."""
    return experiment.finishing_time or (experiment.evaluated_ms or [experiment.starting_time or 0])[-1]


def state(experiment: ExperimentView) -> tuple[object, ...]:
    """Return what changes whenever a sink has something new to say, beside the epochs."""
    return experiment.status, experiment.stop_reason, experiment.error, experiment.finishing_time


class Names:
    """Spells the names of scores and hyperparameters with the characters that a tracker allows, each differently.

    Args:
        others: a regular expression of the characters that are not allowed; `_` stands for them.
    """

    def __init__(self, others: str):
        self._others = re.compile(others)
        self._spelled: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        found = self._spelled.get(name)
        if found is None:
            taken, found = set(self._spelled.values()), self._others.sub("_", name)
            number = 1
            while found in taken:
                number += 1
                found = f"{self._others.sub('_', name)}_{number}"
            self._spelled[name] = found
        return found


def as_json(values: Mapping[str, object]) -> dict[str, object]:
    """Return values with numbers that JSON does not have as words."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }

"""All curves of a run as arrays, none of their points left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlgym_jax.events import ExperimentView, RunView
from mlgym_jax.events.curves_binary import Series, Times, curves_in_binary

_LEAST, _LARGEST = -(2**31), 2**31 - 1  # of an epoch's number there


def all_in_binary(run_id: str, view: RunView) -> bytes:
    """Return what `GET grid_searches/<run>/scores?format=binary&columns=time` answers, its `event_id` as 0."""
    return curves_in_binary(run_id, 0, _series(view), _times(view))


def _series(view: RunView) -> Iterator[Series]:
    for one in view.experiments.values():
        numbers = _numbers(one)
        for name, values in one.history.items():
            epochs, scores = numbers, np.array(values, "<f8")
            if (logged := one.logged(name)) is not None:
                mask = np.frombuffer(logged, bool)
                epochs, scores = epochs[mask], scores[mask]
            last = int(epochs[-1]) if len(epochs) else None
            yield Series(one.experiment_id, name, len(scores), last, epochs, scores)


def _times(view: RunView) -> Iterator[Times]:
    for one in view.experiments.values():
        ended, seconds = np.array(one.evaluated_ms, "<f8"), np.cumsum(np.array(one.epoch_seconds, "<f8"))
        yield Times(one.experiment_id, _numbers(one), ended, seconds)


def _numbers(one: ExperimentView) -> np.ndarray:
    return np.clip(np.array(one.epoch_numbers, np.float64), _LEAST, _LARGEST).astype("<i4")

"""A run and its experiments as the board answers and its page reads them: plain data, in a file and over REST."""

from __future__ import annotations

import math
from typing import Any

from mlgym_jax.events.layout import spell_number
from mlgym_jax.events.ranking import default_monitor
from mlgym_jax.events.views import ExperimentView, RunView


def run_as_data(run_id: str, view: RunView, event_id: int, published: bool, lost: bool) -> dict[str, Any]:
    """Return what `GET grid_searches/<run>` answers.

    Args:
        event_id: of the last event that the view knows; published: whether another machine writes it; lost: whether
            nobody does any more.
    """
    names = list(dict.fromkeys(name for one in view.experiments.values() for name in one.history))
    monitor, mode = default_monitor(names, view.config)
    return {
        "grid_search_id": run_id,
        "name": view.name,
        "status": "LOST" if lost and view.status == "RUNNING" else view.status,
        "started_ms": view.started_ms,
        "finished_ms": view.finished_ms,
        "num_experiments": view.num_experiments,
        "config": view.config,
        "config_hash": view.config_hash,
        "groups": view.groups,
        "speeds": view.speeds,
        "scores": names,
        "monitor": monitor,
        "mode": mode,
        "event_id": event_id,
        "mismatches": view.mismatches,
        "num_malformed": view.num_malformed,
        "published": published,
    }


def experiment_as_data(one: ExperimentView, last_checkpoint: int, *, with_config: bool) -> dict[str, Any]:
    """Return what `GET grid_searches/<run>/experiments` answers for one; `last_checkpoint` is -1 without one."""
    progress = None
    if one.progress is not None:
        progress = {key: value for key, value in one.progress.items() if key not in ("grid_search_id", "experiment_id")}
    seconds = sum(one.epoch_seconds)
    row = {
        "experiment_id": one.experiment_id,
        "job_id": one.job_id,
        "fold": one.fold,
        "round": one.round,
        "refit": one.refit,
        "hyperparameters": {name: spell_number(value) for name, value in one.hyperparameters.items()},
        "status": one.status,
        "stop_reason": one.stop_reason,
        "stop_epoch": one.stop_epoch,
        "error": one.error,
        "stacktrace": one.stacktrace,
        "device": one.device,
        "starting_time": one.starting_time,
        "finishing_time": one.finishing_time,
        "progress": progress,
        "epochs": one.epochs,
        "epoch_ranges": _ranges(one.epoch_numbers),
        "seconds": seconds if math.isfinite(seconds) else None,
        "last": {name: spell_number(value) for name, value in one.last.items()},
        "best": {name: _extremes(one, values) for name, values in one.history.items()},
        "last_checkpoint_id": last_checkpoint,
    }
    return {**row, "experiment_config": one.config} if with_config else row


def _extremes(one: ExperimentView, values: list[float]) -> dict[str, Any]:
    finite = values if all(map(math.isfinite, values)) else [value for value in values if math.isfinite(value)]
    if not finite:
        return {"min": None, "max": None}
    low, high = min(finite), max(finite)
    return {
        "min": [one.epoch_numbers[values.index(low)], low],
        "max": [one.epoch_numbers[values.index(high)], high],
    }


def _ranges(epochs: list[int]) -> list[list[int]]:
    """Return rising numbers as ranges, [first, last] each; mostly it is one."""
    ranges: list[list[int]] = []
    if epochs and epochs[-1] - epochs[0] == len(epochs) - 1:
        return [[epochs[0], epochs[-1]]]
    for epoch in epochs:
        if ranges and ranges[-1][1] == epoch - 1:
            ranges[-1][1] = epoch
        else:
            ranges.append([epoch, epoch])
    return ranges

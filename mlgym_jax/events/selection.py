"""Select hyperparameters over folds and seeds, from what the log holds. Pure."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mlgym_jax.events.ranking import default_mode, default_monitor
from mlgym_jax.events.views import ExperimentView, RunView

Hyperparameters = dict[str, Any]

_ENCODER = msgspec.json.Encoder(order="sorted")


def selected(
    view: RunView, monitor: str | None = None, mode: str | None = None
) -> tuple[str, dict[str, Any] | None] | None:
    """Return what was selected over the folds of a cross-validated run.

    Args:
        monitor, mode: the score, and which is better; by default what `default_monitor` chooses. A nested run selects
            by what its config says, whatever is given here.

    Returns:
        (`cross_validation`, also of a `time_series`, or `nested_cross_validation`, the selection, None until every fold
        has a score); None for a run without folds.
    """
    validation = view.config.get("validation") if isinstance(view.config, Mapping) else None
    if not isinstance(validation, Mapping):
        return None
    kind = str(validation.get("component")).removeprefix("validation/")
    if kind == "nested_cross_validation":
        inner_folds, by, way = (validation.get(name) for name in ("inner_folds", "monitor", "mode"))
        inner_folds = 3 if inner_folds is None else inner_folds
        if not (isinstance(inner_folds, int) and inner_folds > 0 and isinstance(by, str) and way in ("min", "max")):
            return kind, None  # no config of this engine
        return kind, nested_cross_validated(view.candidates, lambda fold: fold // inner_folds, by, way)
    if kind in ("cross_validation", "time_series"):
        name, known = default_monitor(view.scores, view.config)
        if monitor:
            name, known = monitor, mode or default_mode(monitor, view.config)
        return "cross_validation", cross_validated(view.candidates, name, known) if name else None
    return None


def cross_validated(experiments: Iterable[ExperimentView], monitor: str, mode: str) -> dict[str, Any] | None:
    """Return the hyperparameters with the best mean score over all folds, and their scores fold by fold.

    An experiment's score is that of its best epoch; experiments that differ in their seed alone are averaged.

    Returns:
        {"monitor", "mode", "mean", "std", "scores": [one a fold], "selected": hyperparameters}; `std` is the sample
        standard deviation over the folds, None with one fold. None while no candidate has a score on every fold.
    """
    found = []
    for hyperparameters, members in candidates(experiments):
        scores = _by_fold(members, lambda view: _best(view, monitor, mode))
        if scores:
            found.append((hyperparameters, list(scores.values())))
    if not found:
        return None
    selected, scores = _better(mode)(found, key=lambda candidate: statistics.fmean(candidate[1]))
    return {"monitor": monitor, "mode": mode, **_moments(scores), "scores": scores, "selected": selected}


def nested_cross_validated(
    experiments: Iterable[ExperimentView], outer_of: Callable[[int], int], monitor: str, mode: str
) -> dict[str, Any] | None:
    """Return the hyperparameters selected on the inner folds of each outer fold, and their scores on its outer part.

    The outer score of a training is the one of the same name in the split test, after the epoch that was best on its
    inner fold; it is averaged over the inner folds (and seeds) of the selected hyperparameters.

    Returns:
        {"monitor", "mode", "mean", "std", "scores": [one an outer fold], "selected": [hyperparameters, …]}; None while
        an outer fold has no candidate with scores on all of its inner folds.
    """
    outer: dict[int, list[ExperimentView]] = {}
    for view in experiments:
        outer.setdefault(outer_of(fold_of(view)), []).append(view)
    scores, selected = [], []
    test = "test/" + monitor.removeprefix("val/")
    for number in sorted(outer):
        inner = cross_validated(outer[number], monitor, mode)
        if inner is None:
            return None
        members = dict((key_of(h), m) for h, m in candidates(outer[number]))[key_of(inner["selected"])]
        by_fold = _by_fold(members, lambda view: _at_best(view, test, monitor, mode))
        if not by_fold:
            return None
        scores.append(statistics.fmean(by_fold.values()))
        selected.append(inner["selected"])
    if not scores:
        return None
    return {"monitor": monitor, "mode": mode, **_moments(scores), "scores": scores, "selected": selected}


def fold_of(view: ExperimentView) -> int:
    """Return an experiment's fold; 0 where it has none, or a log has something else in its place."""
    return view.fold if isinstance(view.fold, int) else 0


def without_seed(hyperparameters: Mapping[str, Any]) -> Hyperparameters:
    """Name a candidate: experiments that differ in their seed alone are one."""
    return {name: value for name, value in hyperparameters.items() if name != "seed"}


def key_of(hyperparameters: Mapping[str, Any]) -> str:
    """Return a text that is the same for equal hyperparameters, and for no others."""
    try:
        key = _ENCODER.encode(hyperparameters)
    except (UnicodeEncodeError, TypeError):  # lone surrogates, in a foreign log
        key = b"null"
    # msgspec writes NaN as null, too.
    return json.dumps(hyperparameters, sort_keys=True, default=str) if b"null" in key else key.decode()


def candidates(experiments: Iterable[ExperimentView]) -> list[tuple[Hyperparameters, list[ExperimentView]]]:
    """Group experiments by their hyperparameters without the seed, in the order of their ids."""
    found: dict[str, tuple[Hyperparameters, list[ExperimentView]]] = {}
    for view in experiments:
        hyperparameters = without_seed(view.hyperparameters)
        found.setdefault(key_of(hyperparameters), (hyperparameters, []))[1].append(view)
    return list(found.values())


def _by_fold(
    members: Sequence[ExperimentView], score: Callable[[ExperimentView], float | None]
) -> Mapping[int, float] | None:
    """Return each fold's mean over the seeds; None if any experiment has no score."""
    folds: dict[int, list[float]] = {}
    for view in members:
        value = score(view)
        if value is None:
            return None
        folds.setdefault(fold_of(view), []).append(value)
    return {fold: statistics.fmean(folds[fold]) for fold in sorted(folds)}


def _best(view: ExperimentView, monitor: str, mode: str) -> float | None:
    best = view.best(monitor, mode)
    return None if best is None else best[1]


def _at_best(view: ExperimentView, name: str, monitor: str, mode: str) -> float | None:
    best = view.best(monitor, mode)
    if best is None or name not in view.history:
        return None
    score = view.history[name][view.epoch_numbers.index(best[0])]
    return score if math.isfinite(score) else None


def _moments(scores: Sequence[float]) -> dict[str, float | None]:
    return {"mean": statistics.fmean(scores), "std": statistics.stdev(scores) if len(scores) > 1 else None}


def _better(mode: str) -> Callable[..., Any]:
    return max if mode == "max" else min

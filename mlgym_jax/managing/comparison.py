"""Two runs side by side: what differs in configs, versions and code, and their scores with intervals."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.events import RunView, default_mode, default_monitor, layout, project_log
from mlgym_jax.events.intervals import Interval, difference, interval
from mlgym_jax.events.selection import candidates
from mlgym_jax.events.views import ExperimentView
from mlgym_jax.managing.lineage import launches_of, record_of

_ABSENT = "(absent)"


def compare(run_dirs: Sequence[str], monitor: str | None = None) -> dict[str, Any]:
    """Compare runs, the first with each of the others.

    Of each run that candidate counts which is the best by the mean, over its seeds and folds, of the score at each
    experiment's best epoch. Its scores are those at these epochs, a score a fold and seed. The interval is Student's
    (`events.intervals`), over folds the corrected one of Nadeau and Bengio.

    Args:
        monitor: the score to select by; by default each run's own.

    Returns:
        {"runs": [run ids], "config": {path: [a value a run]}, "versions": {package: […]}, "code": {…: […]},
        "selected": [{"experiments", "hyperparameters", "monitor", "mode"} or None],
        "scores": [{"name", "mode", "runs": [{"mean", "std", "low", "high", "num"} or None],
        "differences": [None, {"mean", "low", "high"}, …]}]}: by how much each is above the first, by Welch's interval.
        Paths and packages that are equal everywhere are left out.

    Raises:
        MlgymError: a log cannot be read, or no run has such a score.
    """
    views = [project_log(os.path.join(run_dir, layout.LOG))[0] for run_dir in run_dirs]
    records = [record_of(run_dir) for run_dir in run_dirs]
    known = list(dict.fromkeys(name for view in views for name in view.scores))
    if monitor is not None and monitor not in known:
        raise MlgymError(f"--monitor={monitor}: no such score{nearest(monitor, known)} Scores: {listed(known, 40)}")
    selected = [_selected(view, monitor) for view in views]
    return {
        "runs": [os.path.basename(os.path.abspath(run_dir)) for run_dir in run_dirs],
        "config": _differing([dict(_flat(view.config)) for view in views]),
        "versions": _differing(list(map(_versions, records))),
        "code": _differing([_code(record) for record in records]),
        "selected": [None if one is None else one[0] for one in selected],
        "scores": [_scored(name, views, selected) for name in known],
    }


def _selected(view: RunView, monitor: str | None) -> tuple[dict[str, Any], list[ExperimentView]] | None:
    """Return the candidate that is best by its mean, and its experiments that have such a score."""
    own, mode = default_monitor(view.scores, view.config)
    name = own if monitor is None else monitor
    mode = mode if name == own else default_mode(str(name), view.config)
    if name not in view.scores:
        return None
    sign, found = (1 if mode == "max" else -1), None
    for hyperparameters, members in candidates(view.candidates):
        best = [one.best(str(name), mode) for one in members]
        scores = [score for _, score in filter(None, best)]
        # One that lacks a score, as it failed or goes on, comes after all that are whole.
        rank = (len(scores) == len(members), sign * sum(scores) / len(scores)) if scores else None
        if rank is not None and (found is None or rank > found[0]):
            found = rank, hyperparameters, members
    if found is None:
        return None
    said = {"hyperparameters": found[1], "experiments": [one.experiment_id for one in found[2]]}
    return {**said, "monitor": name, "mode": mode}, found[2]


def _scored(name: str, views: Sequence[RunView], selected: Sequence[Any]) -> dict[str, Any]:
    config = next(view.config for view in views if name in view.scores)
    pairs = zip(views, selected, strict=True)
    found = [None if one is None else _interval(name, view.config, *one) for view, one in pairs]
    first = found[0]
    differences = [
        None if first is None or other is None else _as_json(difference(other, first)) for other in found[1:]
    ]
    return {
        "name": name,
        "mode": default_mode(name, config),
        "runs": [None if one is None else _as_json(one) for one in found],
        "differences": [None, *differences],
    }


def _interval(name: str, config: Any, said: Mapping[str, Any], members: Sequence[ExperimentView]) -> Interval | None:
    """Return the mean of a score over a candidate's experiments, each at its best epoch; None where none has it."""
    scores = []
    for one in members:
        best = one.best(said["monitor"], said["mode"])
        if best is not None and name in (there := one.scores_of(best[0])):
            scores.append(there[name])
    found = interval(scores, overlap=_overlap(config, len({one.fold for one in members})))
    return found if found.num else None


def _overlap(config: Any, num_folds: int) -> float:
    """Return how many examples a fold tests, of each that it trains on; inner folds are those of one outer part."""
    validation = config.get("validation") if isinstance(config, Mapping) else None
    inner = validation.get("inner_folds") if isinstance(validation, Mapping) else None
    folds = inner if isinstance(inner, int) and 1 < inner <= num_folds else num_folds
    return 1 / (folds - 1) if folds > 1 else 0.0


def _as_json(one: Interval) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name in ("mean", "std", "low", "high", "num")}


def _versions(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the versions of the last launch; older records have those of the first."""
    launches = launches_of(record)
    found = (launches[-1].get("versions") if launches else None) or record.get("versions")
    return found if isinstance(found, Mapping) else {}


def _code(record: Mapping[str, Any]) -> dict[str, Any]:
    git = record.get("git")
    git = git if isinstance(git, Mapping) else {}
    data, launches = record.get("data_fingerprint"), launches_of(record)
    return {
        "git commit": git.get("commit"),
        "uncommitted changes": git.get("dirty"),
        "config file": record.get("config_file"),
        "data": sorted(set(map(str, data.values()))) if isinstance(data, Mapping) else None,
        "devices": launches[-1].get("devices") if launches else None,
        "platform": record.get("platform"),
        "processor": record.get("processor"),
    }


def _differing(sides: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return what is not equal on all sides: name -> a value a side."""
    names = dict.fromkeys(name for side in sides for name in side)
    rows = {name: [side.get(name, _ABSENT) for side in sides] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of a config with their paths; a list is a leaf."""
    if isinstance(value, Mapping) and (value or path):
        inside = [leaf for name, item in value.items() for leaf in _flat(item, f"{path}.{name}" if path else str(name))]
        return inside or [(path, {})]
    return [(path, value)] if path else []

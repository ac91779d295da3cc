"""Runs side by side: what differs in configs, versions and code, and whether their scores can be told apart. Pure.

Synopsis:

    sides = [side(view, record) for view, record in runs]
    found = compared(["first", "second"], sides)
    print(found["sentences"][1])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlgym_jax.events.bounds import bounds_of
from mlgym_jax.events.intervals import Interval, difference, interval
from mlgym_jax.events.ranking import default_mode, default_monitor
from mlgym_jax.events.selection import candidates
from mlgym_jax.events.verdict_words import rounded
from mlgym_jax.events.views import ExperimentView, RunView

_ABSENT = "(absent)"


@dataclass(frozen=True)
class Side:
    """What of one run is compared.

    Attributes:
        selected: {"experiments", "hyperparameters", "monitor", "mode", "best_experiment_id", "best_epoch",
            "best_score", "epochs"}, of the candidate that is best by its mean; None where no experiment has a finite
            score. `best_…` is of the best one of its experiments, `epochs` the last evaluated epoch of all of them.
        scores: the mean of each score over the candidate's experiments, each at its best epoch.
        modes: of each score of the run, which is better.
    """

    config: dict[str, Any]
    versions: Mapping[str, Any]
    code: dict[str, Any]
    selected: dict[str, Any] | None
    scores: dict[str, Interval]
    modes: dict[str, str]


def side(view: RunView, record: Mapping[str, Any], monitor: str | None = None) -> Side:
    """Return what of a run is compared.

    Args:
        record: its `run.json`; an empty one where there is none.
        monitor: the score to select by; by default the run's own.
    """
    selected = _selected(view, monitor)
    scores = {}
    if selected is not None:
        intervals = {name: _interval(name, view.config, *selected) for name in view.scores}
        scores = {name: found for name, found in intervals.items() if found is not None}
    return Side(
        dict(_flat(view.config)),
        _versions(record),
        _code(record),
        None if selected is None else selected[0],
        scores,
        {name: default_mode(name, view.config) for name in view.scores},
    )


def compared(names: Sequence[str], sides: Sequence[Side], monitor: str | None = None) -> dict[str, Any]:
    """Compare runs, the first with each of the others.

    The interval is Student's (`events.intervals`), over folds the corrected one of Nadeau and Bengio.

    Args:
        names: what the sentences call the runs.
        monitor: the score of the sentences; by default the one that the first run was selected by.

    Returns:
        {"config": {path: [a value a run]}, "versions": {package: […]}, "code": {…: […]}, "selected": [as in `Side`],
        "monitor", "scores": [{"name", "mode", "runs": [{"mean", "std", "low", "high", "num"} or None],
        "differences": [None, {"mean", "low", "high"}, …]}]: by how much each is above the first, by Welch's interval,
        "sentences": [None, whether each of the others is better, …]}. Paths and packages that are equal everywhere are
        left out.
    """
    known = list(dict.fromkeys(name for one in sides for name in one.modes))
    scores = [_scored(name, sides) for name in known]
    if monitor is None:
        monitor = next((one.selected["monitor"] for one in sides if one.selected is not None), None)
    told = next((score for score in scores if score["name"] == monitor), None)
    return {
        "config": _differing([one.config for one in sides]),
        "versions": _differing([one.versions for one in sides]),
        "code": _differing([one.code for one in sides]),
        "selected": [one.selected for one in sides],
        "monitor": monitor,
        "scores": scores,
        "sentences": [None if i == 0 or told is None else _sentence(names, told, i) for i in range(len(sides))],
    }


def _sentence(names: Sequence[str], score: Mapping[str, Any], i: int) -> str:
    """Say whether a run is better than the first, and whether that can be told from chance."""
    for name, found in ((names[0], score["runs"][0]), (names[i], score["runs"][i])):
        if found is None:
            return f"{name} has no {score['name']}."
    found = score["differences"][i]
    is_better = found["mean"] > 0 if score["mode"] == "max" else found["mean"] < 0
    better, worse = (names[i], names[0]) if is_better else (names[0], names[i])
    by = f"by {rounded(abs(found['mean']))} in {score['name']}"
    if found["low"] is None:
        return f"{better} is better than {worse} {by}; one score alone cannot tell whether that is more than chance."
    low, high = sorted((abs(found["low"]), abs(found["high"])))
    if found["low"] <= 0 <= found["high"]:
        within = f"from {rounded(found['low'])} to {rounded(found['high'])}"
        return (
            f"{names[i]} and {names[0]} cannot be told apart in {score['name']}: the 95 % interval of their difference "
            f"({rounded(found['mean'])}) goes {within}."
        )
    return f"{better} is better than {worse} {by} (95 % interval {rounded(low)} to {rounded(high)}): can be told apart."


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
    pairs = [(one, best) for one in found[2] if (best := one.best(str(name), mode)) is not None]
    one, (epoch, score) = max(pairs, key=lambda pair: sign * pair[1][1])
    said = {
        "hyperparameters": found[1],
        "experiments": [one.experiment_id for one in found[2]],
        "best_experiment_id": one.experiment_id,
        "best_epoch": epoch,
        "best_score": score,
        "epochs": max(own.epoch_numbers[-1] for own, _ in pairs),
    }
    return {**said, "monitor": name, "mode": mode}, found[2]


def _scored(name: str, sides: Sequence[Side]) -> dict[str, Any]:
    found = [one.scores.get(name) for one in sides]
    first = found[0]
    differences = [
        None if first is None or other is None else _as_json(difference(other, first)) for other in found[1:]
    ]
    return {
        "name": name,
        "mode": next(one.modes[name] for one in sides if name in one.modes),
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
    overlap = _overlap(config, len({one.fold for one in members}))
    found = interval(scores, overlap=overlap, bounds=bounds_of(name, config))
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
    launches = _launches(record)
    found = (launches[-1].get("versions") if launches else None) or record.get("versions")
    return found if isinstance(found, Mapping) else {}


def _launches(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = record.get("launches")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _code(record: Mapping[str, Any]) -> dict[str, Any]:
    git = record.get("git")
    git = git if isinstance(git, Mapping) else {}
    data, launches = record.get("data_fingerprint"), _launches(record)
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

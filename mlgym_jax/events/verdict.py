"""The verdict on a run: what it says about its experiments, as plain data and in words; the same wherever it is told.

Synopsis:

>>> from mlgym_jax.events import evaluation_result, experiment_config, project
>>> from mlgym_jax.events.verdict import verdict
>>> log = []
>>> for number, (rate, seed, score) in enumerate([(1, 0, 0.7), (1, 1, 0.8), (2, 0, 0.5), (2, 1, 0.5)]):
...     swept = {"optimizer.learning_rate": rate, "seed": seed}
...     own = {"job_id": "j", "config": {}, "hyperparameters": swept, "fold": None}
...     log.append(experiment_config("r", experiment_id=number, **own, now_ms=0))
...     scores = {"val/accuracy": score}
...     log.append(evaluation_result("r", experiment_id=number, epoch=1, scores=scores, seconds=0.1, now_ms=0))
>>> verdict(project(log))["headline"]
'best val/accuracy so far 0.8000, experiment 1; 0.7500 ± 0.0707 over its 2 seeds; optimizer.learning_rate explains 83 %'
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Sequence
from typing import Any

from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.events.bounds import bounds_of
from mlgym_jax.events.layout import spell_number
from mlgym_jax.events.ranking import default_mode, default_monitor
from mlgym_jax.events.selection import selected
from mlgym_jax.events.standings import Best, Candidate, Standings, ends_of_mean, influences, standings
from mlgym_jax.events.verdict_words import headline, sentences
from mlgym_jax.events.views import ExperimentView, RunView

_NUM_TOP = 5
_MOST_IDS = 20  # that are named of one kind
_FEWEST_EPOCHS = 5  # of which one can say whether they still get better
_RECENT = 10  # epochs, by whose seconds the time left is reckoned
_LEAST_GAIN = 0.01  # of what was gained since the first epoch: less is not called better
_TOLD_APART = 0.05


def verdict(
    view: RunView, monitor: str | None = None, mode: str | None = None, *, lost: bool = False, name: str | None = None
) -> dict[str, Any]:
    """Return what a run has come to; of a run that goes on, so far.

    Args:
        monitor, mode: the score to judge by, and which is better; by default what `default_monitor` chooses.
        lost: whether nobody writes the run's log any more, though that does not say that the run has ended.
        name: what commands call the run: its id, or its folder; by default its id.

    Returns:
        "headline", a line; "sentences", {what about: a sentence}; and what they are made of: "run_id", "status" (LOST,
        too), "monitor", "mode", "best", "candidate" (best experiment's seeds and folds: mean, std, 95 % interval),
        "next" (the best other candidate, and whether the two can be told apart), "estimate" (over folds), "test",
        "influence", "top", "learning", "counts", "failures", "stopped", "progress", "runs_on", "resume" (a command),
        "load" (a line of Python). What there is not is None, or empty. Numbers that JSON has not are spelled.

    Raises:
        MlgymError: a monitor that the run does not have, or a mode that is neither `max` nor `min`.
    """
    usual, way = default_monitor(view.scores, view.config)
    if monitor is not None and view.scores and monitor not in view.scores:
        raise MlgymError(f"no score {monitor!r}{nearest(monitor, view.scores)} Scores: {listed(view.scores, 40)}")
    if mode not in (None, "min", "max"):
        raise MlgymError(f"mode: 'min' or 'max' is expected, found {mode!r}")
    if monitor is not None and monitor != usual:
        way = default_mode(monitor, view.config)
    monitor, mode = monitor or usual, mode or way
    stands = standings(view, monitor, mode) if monitor else Standings("", mode, {}, [], [])
    status = "LOST" if lost and view.status in ("RUNNING", "INIT") else str(view.status)
    best = stands.order[0] if stands.order else None
    own = None if best is None else stands.candidate_of(best)
    found = {
        "run_id": view.run_id,
        "name": view.name,
        "status": status,
        "monitor": monitor,
        "mode": mode,
        "best": None if best is None else _entry(view.experiments[best], stands.best[best]),
        "candidate": None if own is None else _candidate(own),
        "next": None if own is None else _next(own, stands),
        "estimate": _estimate(view, monitor, mode),
        "test": None if best is None or status == "RUNNING" else _test(view.experiments[best], monitor, stands),
        "influence": [
            {"hyperparameter": name, "share": None if math.isnan(share) else share}
            for name, share in influences(view, stands.best)
        ],
        "top": [_entry(view.experiments[number], stands.best[number]) for number in stands.order[:_NUM_TOP]],
        "learning": None if best is None else _learning(view.experiments[best], str(monitor), mode),
        "counts": _counts(view, stands),
        "failures": _failures(view),
        "stopped": _stopped(view),
        "progress": _progress(view, status),
        "runs_on": _runs_on(view),
        "resume": _resume(name or view.run_id) if status in ("LOST", "INTERRUPTED") else None,
        "load": None if best is None else _load(view, name, stands, best),
    }
    return {"headline": headline(found), "sentences": sentences(found), **found}


def _entry(one: ExperimentView, best: Best) -> dict[str, Any]:
    return {
        "experiment_id": one.experiment_id,
        "epoch": best.epoch,
        "score": best.score,
        "status": one.status,
        "fold": one.fold,
        "hyperparameters": {name: spell_number(value) for name, value in one.hyperparameters.items()},
    }


def _candidate(own: Candidate) -> dict[str, Any]:
    return {
        "experiments": [one.experiment_id for one in own.members],
        "over": own.unit,
        "num_scored": len(own.scores),
        "num": own.num,
        "mean": own.mean,
        "std": own.std,
        "interval": own.interval,
    }


def _next(own: Candidate, stands: Standings) -> dict[str, Any] | None:
    """Return the best of the other candidates, and how it compares; `p` is None where there is one score of either."""
    other = next((one for one in stands.candidates if one is not own), None)
    if other is None:
        return None
    p = own.p_beside(other)
    ahead = other.mean > own.mean if stands.mode == "max" else other.mean < own.mean
    return {**_candidate(other), "p": p, "is_told_apart": None if p is None else p < _TOLD_APART, "is_ahead": ahead}


def _estimate(view: RunView, monitor: str | None, mode: str) -> dict[str, Any] | None:
    """Return how well what the folds select does on data that it has not seen; `mean` is None until all are there."""
    kind, found = selected(view, monitor, mode) or (None, None)
    if kind is None:
        return None
    if found is None:
        return {"kind": kind, "score": None, "mean": None, "std": None, "interval": None, "num_folds": None}
    nested = kind.startswith("nested")
    score = "test/" + found["monitor"].removeprefix("val/") if nested else found["monitor"]
    ends = ends_of_mean(found["scores"], are_folds=True, bounds=bounds_of(score, view.config))
    told = {"mean": found["mean"], "std": found["std"], "interval": ends, "num_folds": len(found["scores"])}
    return {"kind": kind, "score": score, **told}


def _test(one: ExperimentView, monitor: str | None, stands: Standings) -> dict[str, Any] | None:
    """Return what the split test says of the best experiment, after the epoch that was best by validation."""
    split, _, metric = (monitor or "").partition("/")
    score = one.scores_of(stands.best[one.experiment_id].epoch).get(f"test/{metric}")
    if split != "val" or score is None or not math.isfinite(score):
        return None
    return {"score": f"test/{metric}", "value": score}


def _learning(one: ExperimentView, monitor: str, mode: str) -> dict[str, Any]:
    """Judge by the last tenth of its epochs, at least two, whether an experiment still got better.

    It did if its best score is among these, and is better than the best before by a hundredth of what it had gained.
    """
    sign = 1 if mode == "max" else -1
    scores = [sign * score for score in one.history[monitor] if math.isfinite(score)]
    window = max(2, math.ceil(len(scores) / 10))
    found = {"experiment_id": one.experiment_id, "num_epochs": one.epochs, "window_epochs": window}
    if len(scores) < _FEWEST_EPOCHS:
        return {**found, "state": "too early"}
    before, after = max(scores[:-window]), max(scores[-window:])
    improves = after - before > _LEAST_GAIN * max(after - scores[0], 0.0)
    return {**found, "state": "improving" if improves else "levelled off"}


def _counts(view: RunView, stands: Standings) -> dict[str, int]:
    status = [str(one.status) for one in view.candidates]
    unscored = [one for one in view.candidates if one.epochs and one.experiment_id not in stands.best]
    refits = len(view.experiments) - len(status)
    planned = view.num_experiments - refits if isinstance(view.num_experiments, int) else 0
    return {
        "experiments": max(len(status), planned),
        "done": status.count("DONE"),
        "running": status.count("RUNNING"),
        "pending": max(status.count("INIT") + planned - len(status), 0),
        "failed": status.count("FAILED"),
        "unscored": sum(str(one.status) != "FAILED" for one in unscored),
        "refits": refits,
    }


def _failures(view: RunView) -> list[dict[str, Any]]:
    """Return the failed experiments by what ended them, the most frequent first."""
    failed = [one for one in view.experiments.values() if str(one.status) == "FAILED"]
    return _by_kind([(_kind(one.error), one.experiment_id) for one in failed], "kind")


def _kind(error: Any) -> str:
    """Name what an error is about: its first word before a colon, as `diverged: …` and `ValueError: …` have it."""
    text = str(error or "")
    if re.search(r"RESOURCE_EXHAUSTED|out of memory|MemoryError", text, re.IGNORECASE):
        return "out of memory"
    found = re.match(r"[A-Za-z_][\w. -]{0,59}(?=:|$)", text.strip().split("\n")[0])
    return found[0].rpartition(".")[2] if found else "error"


def _stopped(view: RunView) -> list[dict[str, Any]]:
    """Return the experiments that were ended before their last epoch, but did not fail, by the reason."""
    ended = [one for one in view.candidates if one.stop_reason is not None and str(one.status) != "FAILED"]
    return _by_kind([(str(one.stop_reason), one.experiment_id) for one in ended], "reason")


def _by_kind(entries: Sequence[tuple[str, int]], name: str) -> list[dict[str, Any]]:
    found: dict[str, list[int]] = {}
    for kind, number in entries:
        found.setdefault(kind, []).append(number)
    ordered = sorted(found.items(), key=lambda entry: -len(entry[1]))
    return [{name: kind, "number": len(ids), "experiments": ids[:_MOST_IDS]} for kind, ids in ordered]


def _progress(view: RunView, status: str) -> dict[str, Any]:
    """Count epochs, and reckon the seconds that are left by those that the last epochs took; None where nobody knows.

    Seconds are an experiment's share of the time of its group, as the log has them: what early stopping will save is
    not known.
    """
    done = planned = 0
    left, rates, unknown = 0.0, [], 0
    for one in view.experiments.values():
        ended = str(one.status) in ("DONE", "FAILED") or one.stop_reason is not None
        wanted = one.epochs if ended else max(_count(one.planned), one.epochs)
        done, planned = done + one.epochs, planned + wanted
        rate = _rate(one)
        rates += [] if rate is None else [rate]
        missing = wanted - one.epochs - (0 if ended else _part(one))
        if rate is None:
            unknown += max(missing, 0)
        else:
            left += max(missing, 0) * rate
    unannounced = max(_count(view.num_experiments) - len(view.experiments), 0)
    if unannounced and view.experiments:
        each = max(_count(one.planned) for one in view.experiments.values())
        planned, unknown = planned + unannounced * each, unknown + unannounced * each
    goes_on = status == "RUNNING" and bool(rates)
    left += unknown * (sum(rates) / len(rates)) if rates else 0.0
    return {"epochs_done": done, "epochs_planned": planned, "seconds_left": left if goes_on else None}


def _rate(one: ExperimentView) -> float | None:
    known = [seconds for seconds in one.epoch_seconds[-_RECENT:] if math.isfinite(seconds)]
    return sum(known) / len(known) if known else None


def _part(one: ExperimentView) -> float:
    """Return how much of its next epoch an experiment has trained, as its progress tells."""
    progress = one.progress or {}
    at, of = _count(progress.get("current_batch")), _count(progress.get("num_batches"))
    begun = progress.get("status") == "TRAINING" and _count(progress.get("current_epoch")) == one.epochs + 1
    return min(at / of, 1.0) if begun and of else 0.0


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 < value < 2**53 else 0


def _runs_on(view: RunView) -> dict[str, Any]:
    devices = dict.fromkeys(str(one.device) for one in view.experiments.values() if one.device)
    kinds = dict.fromkeys(str(one["device_kind"]) for one in view.speeds if one.get("device_kind"))
    newest = {str(group.get("group")): group for group in view.groups}  # one that was compiled again is there twice
    return {
        "devices": list(devices)[:_MOST_IDS],
        "kinds": list(kinds),
        "num_programs": len(newest),
        "plans": list(dict.fromkeys(str(one["plan"]) for one in newest.values() if one.get("plan"))),
        "meshes": list(dict.fromkeys(str(one["mesh"]) for one in newest.values() if one.get("mesh"))),
    }


def _resume(name: Any) -> str:
    return f"python -m mlgym_jax.run --resume={shlex.quote(str(name))}"


def _load(view: RunView, name: str | None, stands: Standings, best: int) -> dict[str, Any] | None:
    """Return the line that loads the best model, and which epoch that gives; None where nothing was kept yet."""
    epochs = kept_epochs(view, view.experiments[best])
    if not epochs:
        return None
    monitor, epoch = stands.monitor, stands.best[best].epoch
    by = json.dumps(monitor, ensure_ascii=False)
    by += f', mode="{stands.mode}"' if stands.mode != default_mode(monitor, view.config) else ""
    run = json.dumps(str(name or view.run_id), ensure_ascii=False)
    python = f"mg.load_run({run}).best({by}).restore()"
    return {"python": python, "epoch": epoch if epoch in epochs else max(epochs), "is_best": epoch in epochs}


def kept_epochs(view: RunView, one: ExperimentView) -> set[int]:
    """Return the epochs of an experiment that its group's newest checkpoint holds: its newest, and what is kept."""
    own = [group for group in view.groups if _holds(group.get("experiments"), one.experiment_id)]
    saves = [save for save in view.checkpoints if own and save.get("group") == own[-1].get("group")]
    if not saves:
        return set()
    kept = {epoch for number, epoch in _rows(saves[-1].get("kept")) if number == one.experiment_id}
    newest = min(one.epoch_numbers[-1] if one.epoch_numbers else 0, _count(saves[-1].get("epoch")))
    return kept | ({newest} if newest else set())


def _holds(experiments: Any, number: int) -> bool:
    return isinstance(experiments, list) and number in experiments


def _rows(kept: Any) -> list[tuple[int, int]]:
    rows = kept if isinstance(kept, list) else []
    return [(row[0], row[1]) for row in rows if isinstance(row, list) and len(row) == 2 and _is_epoch(row[1])]


def _is_epoch(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

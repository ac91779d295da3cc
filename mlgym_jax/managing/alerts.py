"""What of a folder's runs somebody wants to be told: which events are alerts, and what they say.

Synopsis:

>>> from mlgym_jax.events.alert_conditions import conditions_of
>>> from mlgym_jax.managing.alerts import noticed
>>> event = {"event_type": "experiment_failed", "payload": {"experiment_id": 3, "error": "diverged: train/loss is nan"}}
>>> record = {"grid_search_id": "digits", "event_id": 70, "event": event}
>>> [alert] = noticed(conditions_of("failed,diverged"), [record], told={})
>>> alert.kind, alert.text
('diverged', 'digits: experiment 3 diverged: train/loss is nan')
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mlgym_jax.events.alert_conditions import Condition
from mlgym_jax.events.scores import scores_of
from mlgym_jax.managing.words import brief, duration, number

_MOST_IDS = 20  # that a text names
_LONGEST = 300  # of what a text repeats of an error
_TELLING = ("run_finished", "evaluation_result", "experiment_failed", "job_status")
_QUOTES = str.maketrans({"<": "‹", ">": "›", "&": "+"})  # what chats read as mentions, links and markup


@dataclasses.dataclass(frozen=True)
class Alert:
    """One thing that is told, once.

    Attributes:
        keys: what is told by it of its run, so that it is not told again.
        text: a line for people; what comes from a log is plain text there, whatever chat shows it.
        facts: the same as data.
    """

    kind: str
    run_id: str
    keys: tuple[str, ...]
    text: str
    facts: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"alert": self.kind, "grid_search_id": self.run_id, "text": self.text, "facts": dict(self.facts)}


def noticed(
    conditions: Sequence[Condition],
    records: Iterable[Mapping[str, Any]],
    told: Mapping[str, Collection[str]],
    summaries: Any = lambda run_id: {},
) -> list[Alert]:
    """Return what new events give to tell, in their order; what a run's experiments failed by is told in one alert.

    Args:
        records: as `watching.Watch.new` yields them.
        told: the keys of what was told already of each run.
        summaries: (run_id) -> what `run_summary.load` says; asked for runs that finished.
    """
    found: list[Alert] = []
    failed: dict[tuple[str, str], dict[int, str]] = {}
    for record in records:
        run_id, event = str(record["grid_search_id"]), record["event"]
        kind, payload = event.get("event_type"), event.get("payload")
        if kind not in _TELLING or not isinstance(payload, Mapping):
            continue
        known = set(told.get(run_id, ())) | {key for alert in found if alert.run_id == run_id for key in alert.keys}
        if kind == "run_finished":
            found += _finished(conditions, run_id, payload, known, summaries)
        elif kind == "evaluation_result":
            found += _better(conditions, run_id, payload, known)
        elif error := _error_of(kind, payload):
            name = _kind_of_failure(conditions, error)
            at = payload.get("experiment_id")
            if name and isinstance(at, int) and not {f"failed {at}", f"diverged {at}"} & known:
                failed.setdefault((run_id, name), {}).setdefault(at, error)
    return [_failed(run_id, kind, errors) for (run_id, kind), errors in failed.items()] + found


def lost(run_id: str, launch: int) -> Alert:
    """Return the alert that nobody writes a run any more, though it did not end.

    Args:
        launch: the id of the event by which its newest launch began: a run that was resumed may be lost again.
    """
    text = f"{run_id}: lost: nothing writes it any more, though it did not end; resume it by its id"
    resume = f"python -m mlgym_jax.run --resume={run_id}"
    return Alert("lost", run_id, (f"lost {launch}",), text, {"status": "LOST", "resume": resume})


def _error_of(kind: Any, payload: Mapping[str, Any]) -> str | None:
    """Return the error that ended an experiment; None where it is none."""
    error = payload.get("error")
    if kind == "experiment_failed":
        return str(error or "no error is told")
    is_end = payload.get("status") == "DONE" and payload.get("job_type") != "TERMINATE"  # that is about a worker
    return str(error) if is_end and error is not None else None


def _kind_of_failure(conditions: Sequence[Condition], error: str) -> str | None:
    wanted = {condition.kind for condition in conditions}
    if error.startswith("diverged") and "diverged" in wanted:
        return "diverged"
    return "failed" if "failed" in wanted else None


def _failed(run_id: str, kind: str, errors: Mapping[int, str]) -> Alert:
    ids = sorted(errors)
    first = _said(errors[ids[0]].removeprefix("diverged: "))
    which = f"experiment {ids[0]}" if len(ids) == 1 else f"{len(ids)} experiments ({_ids(ids)})"
    text = f"{run_id}: {which} {kind}: {first}" + (f" (experiment {ids[0]})" if len(ids) > 1 else "")
    facts = {"experiments": ids, "errors": {str(at): errors[at] for at in ids[:_MOST_IDS]}}
    facts |= {"experiment_id": ids[0], "error": errors[ids[0]]}
    return Alert(kind, run_id, tuple(f"{kind} {at}" for at in ids), text, facts)


def _ids(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:_MOST_IDS])) + (", …" if len(ids) > _MOST_IDS else "")


def _finished(
    conditions: Sequence[Condition], run_id: str, payload: Mapping[str, Any], known: set[str], summaries: Any
) -> list[Alert]:
    status, num_failed = str(payload.get("status")), _finite(payload.get("num_failed"))
    wanted = {condition.kind for condition in conditions}
    # A run that failed as a whole, which no experiment's failure tells.
    kind = "finished" if "finished" in wanted else "failed" if status == "FAILED" and not num_failed else None
    key = f"finished {status}"
    if kind is None or kind not in wanted or key in known:
        return []
    summary = summaries(run_id)
    monitor, score = summary.get("monitor"), summary.get("best_score")
    seconds = _finite(payload.get("seconds"))
    words = [f"{run_id}: finished, {_said(status)}"]
    if name := summary.get("name"):
        words[0] = f"{run_id} ({_said(name)}): finished, {_said(status)}"
    if seconds is not None:
        words[0] += f" after {duration(seconds)}"
    if monitor is not None and score is not None:
        words.append(f"best {_said(monitor)} {number(score)}, experiment {summary.get('best_experiment_id')}")
    if num_failed:
        words.append(f"{num_failed} failed")
    facts = {"status": status, "num_failed": num_failed, "seconds": seconds, "name": summary.get("name")}
    facts |= {"monitor": monitor, "score": score, "experiment_id": summary.get("best_experiment_id")}
    return [Alert(kind, run_id, (key,), "; ".join(words), facts)]


def _better(conditions: Sequence[Condition], run_id: str, payload: Mapping[str, Any], known: set[str]) -> list[Alert]:
    wanted = [one for one in conditions if one.kind == "better" and one.words not in known]
    if not wanted:
        return []
    try:
        scores = scores_of(payload)
    except (ValueError, TypeError, KeyError):
        return []
    found = []
    for one in wanted:
        score = scores.get(one.score, math.nan)
        if math.isfinite(score) and one.sign * score > one.sign * one.bound:
            at, epoch = payload.get("experiment_id"), payload.get("epoch")
            text = f"{run_id}: {_said(one.score)} {number(score)} is better than {one.bound:g}: experiment {at}"
            text += f" after epoch {epoch}"
            facts = {"monitor": one.score, "score": score, "bound": one.bound, "experiment_id": at, "epoch": epoch}
            found.append(Alert("better", run_id, (one.words,), text, facts))
    return found


def _finite(value: Any) -> Any:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _said(text: object) -> str:
    """Return a log's text as a line that is no markup to those who show it."""
    return brief(str(text), _LONGEST).translate(_QUOTES)

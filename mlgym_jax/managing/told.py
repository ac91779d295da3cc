"""What the commands of `mlgym_jax.runs` print for people: a comparison, a lineage, an event."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym_jax.config.spelling import spelled
from mlgym_jax.managing.words import brief, moment, number, plain, show, table

_LONGEST = 80


def show_comparison(found: Mapping[str, Any]) -> None:
    """Print what `comparison.compare` found."""
    runs = found["runs"]
    for title, what in (("config", "config"), ("versions", "versions"), ("code and data", "code")):
        rows = [(plain(name), *(_value(value) for value in values)) for name, values in found[what].items()]
        if rows:
            show(table((title, *runs), rows))
            show("")
        else:
            show(f"{title}: no difference")
    for run, selected in zip(runs, found["selected"], strict=True):
        if selected is None:
            show(f"{run}: no score yet")
            continue
        named = ", ".join(f"{name}={spelled(value)}" for name, value in selected["hyperparameters"].items())
        ids = selected["experiments"]
        which = f"experiment {ids[0]}" if len(ids) == 1 else f"experiments {', '.join(map(str, ids[:20]))}"
        show(plain(f"{run}: best by {selected['monitor']}: {which}{f' ({named})' if named else ''}"))
    rows = []
    for score in found["scores"]:
        shown = [_interval(one) for one in score["runs"]]
        rows.append((plain(score["name"]), *shown, *(_difference(one) for one in score["differences"][1:])))
    if rows:
        show("")
        show(table(("score", *runs, *(f"{run} - {runs[0]}" for run in runs[1:])), rows))
        show("mean [95 % interval, Student's t; over folds corrected as Nadeau and Bengio do], of n scores")
        show("")
        for sentence in filter(None, found["sentences"]):
            show(plain(sentence))


def _value(value: Any) -> str:
    text = spelled(value) if not isinstance(value, str) else value
    return brief(text, _LONGEST) or "''"


def _interval(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "-"
    if one["low"] is None:
        return f"{number(one['mean'])} (n = {one['num']})"
    return f"{number(one['mean'])} [{number(one['low'])}, {number(one['high'])}] (n = {one['num']})"


def _difference(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "-"
    if one["low"] is None:
        return f"{one['mean']:+.6g}; one score cannot tell"
    told = "cannot be told apart" if one["low"] <= 0 <= one["high"] else "higher" if one["low"] > 0 else "lower"
    return f"{one['mean']:+.6g} [{one['low']:+.6g}, {one['high']:+.6g}] {told}"


def show_lineage(found: Mapping[str, Any]) -> None:
    """Print what `lineage.lineage` found."""
    show(found["run_id"])
    for one in found["from"]:
        where = one["run_id"] or f"{one['source']} (no run of this folder)"
        which = f", experiment {one['experiment_id']}" if one.get("experiment_id") is not None else ""
        show(plain(f"  from {where} ({one['how'].replace('_', ' ')}{which})"))
    for at, one in enumerate(found["launches"]):
        what = "began" if at == 0 else "resumed"
        command = " ".join(map(str, one["command"])) if isinstance(one["command"], Sequence) else ""
        show(plain(f"  {what} {moment(one['started_ms'])} {one['status'] or ''} {command}".rstrip()))
    for one in found["refits"]:
        of = ", ".join(map(str, one["experiments"] or ()))
        show(plain(f"  refit: experiment {one['experiment_id']}, selected by {one['monitor']} from experiments {of}"))
    for one in found["to"]:
        show(plain(f"  to {one['run_id']} ({one['how'].replace('_', ' ')})"))


def event_line(one: Mapping[str, Any]) -> str:
    """Return an event in a line for people."""
    event = one["event"]
    payload = event.get("payload")
    said = (
        {key: value for key, value in payload.items() if key not in _LONG} if isinstance(payload, Mapping) else payload
    )
    at = event.get("creation_ts")
    words = json.dumps(said, ensure_ascii=False)
    when = moment(at if isinstance(at, int) else None)
    return brief(f"{when} {one['grid_search_id']} {one['event_id']} {event.get('event_type')} {words}", 400)


_LONG = ("grid_search_id", "config", "stacktrace", "job_id")

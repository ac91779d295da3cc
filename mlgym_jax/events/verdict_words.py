"""What is said of a run: a headline and sentences, from the data of `verdict`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym_jax.errors import listed
from mlgym_jax.events.standings import Standings

_LITTLE = 0.05  # a share that is called little
_MOST_NAMED = 6  # experiments in a sentence


def headline(found: Mapping[str, Any]) -> str:
    """Return the run in a line: `best val/accuracy 0.9667, experiment 10; 0.9610 ± 0.0040 over its 5 seeds; …`."""
    parts = [_best(found)]
    candidate, estimate = found["candidate"], found["estimate"]
    if estimate is not None and estimate["mean"] is not None:
        parts.append(_estimated(estimate))
    elif candidate is not None and candidate["std"] is not None:
        parts.append(f"{_spread(candidate)} over {_units(candidate, 'its ')}")
    if found["influence"] and (influence := _influence(found["influence"], short=True)):
        parts.append(influence)
    parts += [f"{one['number']} failed: {one['kind']}" for one in found["failures"]]
    if found["status"] in ("LOST", "INTERRUPTED"):
        parts.append(f"the run was {found['status'].lower()}")
    return "; ".join(parts)


def sentences(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what there is to say, by what it is about."""
    told = {
        "spread": _spread_told(found["candidate"]),
        "next": _next(found["next"], found["candidate"]) if found["best"] else None,
        "estimate": _estimate(found["estimate"]),
        "test": _test(found["test"]),
        "influence": _influence(found["influence"]) if found["best"] else None,
        "learning": _learning(found["learning"], found["status"]),
        "failures": _failures(found["failures"]),
        "experiments": _experiments(found),
        "runs_on": _runs_on(found["runs_on"], found["status"]),
        "resume": _resume(found),
        "load": _load(found),
    }
    return {about: text for about, text in told.items() if text}


def standing(stands: Standings, experiment_id: int) -> str | None:
    """Return how one experiment stands in its run, in a line; None where it has no finite score."""
    place = stands.place_of(experiment_id)
    if place is None:
        return None
    best, own = stands.best[experiment_id], stands.candidate_of(experiment_id)
    rank = "the best" if place == 1 else f"place {place}"
    among = f", {rank} of {len(stands.best)} experiments" if len(stands.best) > 1 else ""
    words = f"{stands.monitor} {rounded(best.score)} at epoch {best.epoch}{among}"
    if own.std is None:
        return words
    units = {"over": own.unit, "num": own.num, "num_scored": len(own.scores)}
    return f"{words}; {rounded(own.mean)} ± {rounded(own.std)} over {_units(units, 'the ')} of its hyperparameters"


def rounded(value: float) -> str:
    """Write a score as the page does: below 1 with four decimals, else with four digits, or all before the point."""
    size = abs(value)
    if float(value).is_integer() and size < 1e15:
        return f"{int(value):,}"
    if not 1e-3 <= size < 1e6:
        digits, _, exponent = f"{value:.3e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(exponent):+}"
    decimals = 4 if size < 1 else max(0, 4 - len(str(int(size))))
    return f"{value:.{decimals}f}"


def duration(seconds: float) -> str:
    """Write a time as people say it: `40 s`, `3 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes < 2880 else f"{minutes / 1440:.1f} days"


def _best(found: Mapping[str, Any]) -> str:
    best, monitor, counts = found["best"], found["monitor"], found["counts"]
    if best is not None:
        so_far = " so far" if found["status"] in ("RUNNING", "INIT") else ""
        only = "the only experiment" if counts["experiments"] == 1 else f"experiment {best['experiment_id']}"
        return f"best {monitor}{so_far} {rounded(best['score'])}, {only}"
    if not counts["experiments"]:
        return "no experiment was scheduled yet"
    if monitor is None:
        return "no experiment was evaluated yet"
    return f"no experiment has a finite {monitor}"


def _spread(of: Mapping[str, Any]) -> str:
    return rounded(of["mean"]) + ("" if of["std"] is None else f" ± {rounded(of['std'])}")


def _units(of: Mapping[str, Any], which: str = "") -> str:
    some = "" if of["num_scored"] == of["num"] else f"{of['num_scored']} of "
    return f"{some}{which}{of['num']} {of['over']}{'s' * (of['num'] != 1)}"


def _spread_told(of: Mapping[str, Any] | None) -> str | None:
    if of is None or of["interval"] is None:
        return None
    low, high = of["interval"]
    return (
        f"Its hyperparameters reach {_spread(of)} over {_units(of)}; "
        f"the mean lies between {rounded(low)} and {rounded(high)} (95 % interval)."
    )


def _next(of: Mapping[str, Any] | None, own: Mapping[str, Any]) -> str:
    if of is None:
        return "" if own["num"] == 1 else "There are no other hyperparameters to compare it with."
    experiments = f"experiment{'s' * (len(of['experiments']) != 1)} {listed(of['experiments'], _MOST_NAMED)}"
    who = f"{experiments} ({_spread(of)})"
    if of["p"] is None:
        return f"The next is {who}; whether that is more than luck, a single training of each does not tell."
    chance = "p < 0.001" if of["p"] < 0.001 else f"p = {of['p']:.2g}"
    if of["is_ahead"]:
        verb = "are better on average" if len(of["experiments"]) != 1 else "is better"
        told = "" if of["is_told_apart"] else ", though the difference can be chance"
        return f"Beside it, {who} {verb}{told} ({chance})."
    if of["is_told_apart"]:
        return f"It can be told from the next, {who}: {chance}."
    return f"It cannot be told from the next, {who}: {chance}."


def _estimated(of: Mapping[str, Any]) -> str:
    return f"{of['kind'].replace('_', ' ')}: {of['score']} {_spread(of)} over {_folds(of)}"


def _folds(of: Mapping[str, Any]) -> str:
    return f"{of['num_folds']} fold{'s' * (of['num_folds'] != 1)}"


def _estimate(of: Mapping[str, Any] | None) -> str | None:
    if of is None:
        return None
    name = of["kind"].replace("_", " ").capitalize()
    if of["mean"] is None:
        return f"{name}: not every fold has a score yet."
    low, high = of["interval"] or (0.0, 0.0)
    ends = f" (95 % interval {rounded(low)} to {rounded(high)})" if of["interval"] else ""
    told = f"{name} estimates {of['score']} {_spread(of)} over {_folds(of)}{ends}"
    if of["kind"].startswith("nested"):
        return f"{told}, of data that took no part in choosing."
    return f"{told}; it flatters a little, as it chose by that score."


def _test(of: Mapping[str, Any] | None) -> str | None:
    if of is None:
        return None
    return f"On data that took no part in choosing, it reaches {of['score']} {rounded(of['value'])}."


def _influence(shares: Sequence[Mapping[str, Any]], *, short: bool = False) -> str:
    known = [(one["hyperparameter"], one["share"]) for one in shares if one["share"] is not None]
    swept = [one for one in known if one[0] != "seed"]
    if not swept:
        return "" if short or not shares else "There are too few scores to say what matters."
    (name, share), seed = swept[0], dict(known).get("seed", 0.0)
    if share < _LITTLE:
        return (
            ""
            if short
            else f"No hyperparameter alone explains more than {100 * _LITTLE:.0f} % of the differences in rank."
        )
    if short:
        return f"{name} explains {100 * share:.0f} %"
    others = ", ".join(f"{other} {100 * part:.0f} %" for other, part in known if other != name)
    words = f"{name} alone explains {100 * share:.0f} % of the differences in rank" + (f" ({others})" if others else "")
    return f"{words}, the seed more than that." if seed > share else f"{words}."


def _learning(of: Mapping[str, Any] | None, status: str) -> str | None:
    if of is None:
        return None
    who = f"experiment {of['experiment_id']}"
    if of["state"] == "too early":
        epochs = f"{of['num_epochs']} epoch{'s' * (of['num_epochs'] != 1)}"
        return f"After {epochs} of {who} it is too early to say whether it still learns."
    by = f"judged by the last {of['window_epochs']} of its {of['num_epochs']} epochs"
    if of["state"] == "levelled off":
        return f"{who.capitalize()} no longer gets better, {by}."
    more = "" if status == "RUNNING" else "; more epochs may help"
    return f"{who.capitalize()} was still getting better, {by}{more}."


def _failures(of: Sequence[Mapping[str, Any]]) -> str:
    told = [f"{one['number']} failed: {one['kind']} ({_named(one)})" for one in of]
    return "; ".join(told) + "." if told else ""


def _named(of: Mapping[str, Any]) -> str:
    cut = of["number"] > _MOST_NAMED
    ids = ", ".join(map(str, of["experiments"][:_MOST_NAMED])) + ", …" * cut
    return f"experiment{'s' * (of['number'] != 1)} {ids}"


def _experiments(found: Mapping[str, Any]) -> str:
    counts, progress, status = found["counts"], found["progress"], found["status"]
    if not counts["experiments"]:
        return ""
    stopped = [f"{one['number']} of them by {one['reason']}" for one in found["stopped"]]
    words = [f"{counts['done']} of {counts['experiments']} done" + (f" ({', '.join(stopped)})" if stopped else "")]
    gone = status not in ("RUNNING", "INIT")
    running = "cut short" if gone else "running"
    words += [f"{counts[name]} {word}" for name, word in (("running", running), ("pending", "pending")) if counts[name]]
    words += [f"{counts['failed']} failed"] if counts["failed"] else []
    words += [f"{counts['unscored']} without a finite {found['monitor']}"] if counts["unscored"] else []
    words += [f"{counts['refits']} refit{'s' * (counts['refits'] != 1)}"] if counts["refits"] else []
    told = f"Experiments: {', '.join(words)}"
    if not gone and progress["epochs_planned"]:
        told += f"; {progress['epochs_done']:,} of {progress['epochs_planned']:,} epochs"
    left = progress["seconds_left"]
    if left is not None and math.isfinite(left) and left > 0:
        told += f", about {duration(left)} left"
    return f"{told}."


def _runs_on(of: Mapping[str, Any], status: str) -> str:
    where = of["kinds"] or of["devices"]
    if not where and not of["num_programs"]:
        return ""
    words = [f"on {listed(where, _MOST_NAMED)}"] if where else []
    if of["num_programs"]:
        programs = f"{of['num_programs']} compiled program{'s' * (of['num_programs'] != 1)}"
        details = [*(f"plan {plan}" for plan in of["plans"][:3]), *(f"mesh {mesh}" for mesh in of["meshes"][:3])]
        words.append(programs + (f" ({', '.join(details)})" if details else ""))
    verb = "trains" if status in ("INIT", "RUNNING") else "trained"
    return f"It {verb} {'' if where else 'as '}{', '.join(words)}."


def _resume(found: Mapping[str, Any]) -> str | None:
    if not found["resume"]:
        return None
    why = "Nothing writes its log any more" if found["status"] == "LOST" else "It was interrupted"
    return f"{why}; to go on with the same numbers: {found['resume']}"


def _load(found: Mapping[str, Any]) -> str | None:
    load = found["load"]
    if load is None:
        return None if found["best"] is None else "No checkpoint of the best experiment is kept."
    told = f"The best model in Python: {load['python']}"
    return told if load["is_best"] else f"{told} (epoch {load['epoch']}, as the best one was not kept)"

"""What a rule chooses among the experiments of a run, as the board's page does (`board_server/page/src/choose.ts`)."""

from __future__ import annotations

import math
import operator
import re
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from mlgym_jax.config.words import canonical_json
from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.events.ranking import default_mode, default_monitor
from mlgym_jax.events.views import ExperimentView, RunView
from mlgym_jax.search.cell_texts import as_json, texts_of
from mlgym_jax.search.rule import Condition, In, Joined, Rule, number, read_rule

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_FIELDS = ("experiment_id", "status", "epoch", "fold", "round", "error")


class Member(NamedTuple):
    """A chosen experiment, its score and the epoch of that."""

    view: ExperimentView
    epoch: int
    score: float


def chosen(rule: Rule, view: RunView) -> list[Member]:
    """Return the experiments that a rule chooses, best first; of a candidate of several, all, by their ids.

    Refits, and what has no finite score, are never chosen; a candidate of which a member has none comes after all that
    are complete; of equal ones the smaller id comes first.

    Raises:
        MlgymError: a score or a name that the run does not have, or nothing is chosen.
    """
    _check_names(rule, view)
    monitor, monitored = default_monitor(view.scores, view.config)
    mode = rule.mode or (monitored if rule.by == monitor else default_mode(rule.by, view.config))

    def cell(one: ExperimentView, name: str) -> Any:
        return _cell(one, name, lambda score: mode if score == rule.by else default_mode(score, view.config))

    groups: dict[str, list[ExperimentView]] = {}
    for one in sorted(view.candidates, key=lambda one: one.experiment_id):
        groups.setdefault(_candidate(one, rule.over), []).append(one)
    folds = {one.fold for one in view.candidates} if "fold" in rule.over else set()
    found: list[tuple[tuple[bool, float, int], list[Member]]] = []
    for group in groups.values():
        fits = [one for one in group if rule.where is None or _holds(rule.where, one, cell)]
        members = [member for one in fits if (member := _member(one, rule, mode)) is not None]
        if members:
            incomplete = len(members) < len(group) or bool(folds - {one.fold for one in group})
            score = _mean(members, by_fold=bool(folds))
            first = fits[0].experiment_id
            found.append(((incomplete, -score if mode == "max" else score, first), members))
    counts: dict[Any, int] = {}
    taken: list[Member] = []
    for _, members in sorted(found, key=lambda entry: entry[0]):
        key = None if rule.per is None else as_json(cell(members[0].view, rule.per))
        counts[key] = counts.get(key, 0) + 1
        if rule.top is None or counts[key] <= rule.top:
            taken += members
    if not taken:
        which = " of those that the rule's condition holds for" if rule.where is not None else ""
        raise MlgymError(f"the rule chooses nothing: no experiment{which} has a finite {rule.by}")
    return taken


def _mean(members: Sequence[Member], *, by_fold: bool) -> float:
    """Return the mean score; as everywhere, seeds within a fold first, then folds."""
    if not by_fold:
        return statistics.fmean(member.score for member in members)
    folds: dict[int | None, list[float]] = {}
    for member in members:
        folds.setdefault(member.view.fold, []).append(member.score)
    return statistics.fmean(map(statistics.fmean, folds.values()))


def _member(one: ExperimentView, rule: Rule, mode: str) -> Member | None:
    if rule.at == "best":
        best = one.best(rule.by, mode)
        return None if best is None else Member(one, *best)
    score = one.last.get(rule.by, math.nan)
    return Member(one, one.epoch_numbers[-1], score) if math.isfinite(score) else None


def _candidate(one: ExperimentView, over: Sequence[str]) -> str:
    """Return all that experiments of one candidate agree in; of a rule that averages over nothing, the id."""
    if not over:
        return str(one.experiment_id)
    same = {name: value for name, value in one.hyperparameters.items() if name not in over}
    return canonical_json({"fold": None if "fold" in over else one.fold, "same": same})


def _check_names(rule: Rule, view: RunView) -> None:
    swept = list(dict.fromkeys(name for one in view.candidates for name in one.hyperparameters))
    if rule.by not in view.scores:
        raise MlgymError(f"rule: no score {rule.by!r}{nearest(rule.by, view.scores)} Scores: {listed(view.scores, 40)}")
    known = [*_FIELDS, *swept, *view.scores, *(f"best {score}" for score in view.scores)]
    names = [*rule.over, *([rule.per] if rule.per else []), *(_names(rule.where) if rule.where else [])]
    for name in names:
        if name not in known:
            shown = listed([*_FIELDS, *swept, *view.scores], 40)
            raise MlgymError(f"rule: no name {name!r}{nearest(name, known)} Names: {shown}")


def _names(condition: Condition) -> list[str]:
    if isinstance(condition, Joined):
        return [name for part in condition.parts for name in _names(part)]
    return [condition.name]


def _cell(one: ExperimentView, name: str, mode_of: Any) -> Any:
    """Return a field, a hyperparameter, a score (its last value), or `best SCORE`; None where there is none."""
    if name in _FIELDS:
        own = {"epoch": one.epoch_numbers[-1] if one.epoch_numbers else 0}
        return own[name] if name in own else getattr(one, name)
    if name in one.hyperparameters:
        return one.hyperparameters[name]
    score = name.removeprefix("best ")
    if score == name:
        return one.last.get(name)
    best = one.best(score, mode_of(score))
    return None if best is None else best[1]


def _holds(condition: Condition, one: ExperimentView, cell: Any) -> bool:
    if isinstance(condition, Joined):
        found = (_holds(part, one, cell) for part in condition.parts)
        return all(found) if condition.kind == "and" else any(found) if condition.kind == "or" else not next(found)
    value = cell(one, condition.name)
    if isinstance(condition, In):
        return any(_same(value, wanted) for wanted in condition.values)
    if condition.operator in ("=", "!="):
        return _same(value, condition.value) == (condition.operator == "=")
    if condition.operator == "~":
        return _occurs(condition.value, value)
    limit = number(condition.value)
    return _is_number(value) and limit is not None and _COMPARE[condition.operator](value, limit)


def _same(value: Any, wanted: str) -> bool:
    if _is_number(value) and value == number(wanted):
        return True
    return wanted.lower() in (text.lower() for text in texts_of(value))


def _occurs(pattern: str, value: Any) -> bool:
    """Tell whether a pattern is found; what has no value is found by its words alone, or as an empty text."""
    found = (re.search(pattern, text, re.IGNORECASE) for text in texts_of(value))
    if value is None and not re.search("none|null", pattern, re.IGNORECASE):
        return next(found) is not None
    return any(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def matching(condition: str, view: RunView) -> set[int]:
    """Return the ids of the experiments for which a condition holds, written as after a rule's `where`.

    Raises:
        MlgymError: no condition, or a name that the run does not have.
    """
    monitor = default_monitor(view.scores, view.config)[0]
    rule = read_rule(f'all by "{monitor}" where {condition}')
    if monitor is not None:
        _check_names(rule, view)

    def cell(one: ExperimentView, name: str) -> Any:
        return _cell(one, name, lambda score: default_mode(score, view.config))

    return {one.experiment_id for one in view.candidates if rule.where is None or _holds(rule.where, one, cell)}

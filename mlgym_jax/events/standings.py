"""How the experiments of a run stand: each one's best score, and the candidates that their seeds and folds make up."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from mlgym_jax.events.bounds import UNBOUNDED, Bounds, bounds_of
from mlgym_jax.events.chance import p_of_difference
from mlgym_jax.events.influence import ranks, share_of_ranks
from mlgym_jax.events.intervals import interval
from mlgym_jax.events.selection import candidates, fold_of
from mlgym_jax.events.views import ExperimentView, RunView


class Best(NamedTuple):
    """An experiment's best score, and the first epoch that has it."""

    epoch: int
    score: float


class Candidate(NamedTuple):
    """Experiments that are equal in all but seed and fold.

    Attributes:
        hyperparameters: those that they share.
        members: in the order of their ids.
        unit: what its mean is over; where there are folds, over these, after the mean over the seeds of each.
        scores: of each unit that has one; `num` units are to be.
        is_whole: whether all of its members have a score, and there are all folds.
        bounds: between which such scores lie.
    """

    hyperparameters: dict[str, Any]
    members: list[ExperimentView]
    unit: Literal["fold", "seed", "training"]
    scores: dict[Hashable, float]
    num: int
    is_whole: bool
    bounds: Bounds = UNBOUNDED

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores.values()) if self.scores else math.nan

    @property
    def std(self) -> float | None:
        """The standard deviation of a sample; None of one score."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean; None of one score."""
        return ends_of_mean(list(self.scores.values()), are_folds=self.unit == "fold", bounds=self.bounds)

    def p_beside(self, other: Candidate) -> float | None:
        """Return how likely so different means are by chance; None where one of them has one score only."""
        return p_of_difference(self.scores, other.scores, overlap=_overlap(len(self.scores), self.unit == "fold"))


@dataclass(frozen=True)
class Standings:
    """How a run's experiments stand by a score; refits, which were not selected among, are left out.

    Attributes:
        best: of each experiment that has a finite score, by its id.
        order: their ids, best first; of equal ones the smaller id comes first.
        candidates: those with a score, best mean first; those that are not whole behind all others.
    """

    monitor: str
    mode: str
    best: dict[int, Best]
    order: list[int]
    candidates: list[Candidate]

    def candidate_of(self, experiment_id: int) -> Candidate:
        """Return the candidate that an experiment with a score belongs to."""
        return next(one for one in self.candidates for own in one.members if own.experiment_id == experiment_id)

    def place_of(self, experiment_id: int) -> int | None:
        """Return an experiment's place by its best score, from 1, equal ones the same; None without a score."""
        if experiment_id not in self.best:
            return None
        own = self.best[experiment_id].score
        better = (lambda score: score > own) if self.mode == "max" else (lambda score: score < own)
        return 1 + sum(better(best.score) for best in self.best.values())


def standing_of(stands: Standings, experiment_id: int) -> dict[str, Any] | None:
    """Return an experiment's place and score as data, with the mean over what its candidate's seeds or folds are.

    Returns:
        "monitor", "mode", "score", "epoch", "place" of "num_placed", "mean", "std" and "interval" (of 95 %; None of
        one score), "over" (fold, seed or training) and "n", how many scores these are of. None without a finite score.
    """
    place = stands.place_of(experiment_id)
    if place is None:
        return None
    best, own = stands.best[experiment_id], stands.candidate_of(experiment_id)
    return {
        "monitor": stands.monitor,
        "mode": stands.mode,
        "score": best.score,
        "epoch": best.epoch,
        "place": place,
        "num_placed": len(stands.best),
        "mean": own.mean,
        "std": own.std,
        "interval": own.interval,
        "over": own.unit,
        "n": len(own.scores),
    }


def ends_of_mean(
    scores: Sequence[float], *, are_folds: bool = False, bounds: Bounds = UNBOUNDED
) -> tuple[float, float] | None:
    """Return the ends of the 95 % interval of a mean; None of one score."""
    found = interval(scores, overlap=_overlap(len(scores), are_folds), bounds=bounds)
    return None if found.low is None or found.high is None else (found.low, found.high)


def _overlap(number: int, are_folds: bool) -> float:
    return 1 / (number - 1) if are_folds and number > 1 else 0.0


def standings(view: RunView, monitor: str, mode: str) -> Standings:
    """Return how the experiments of a run stand by the best score of each.

    Args:
        mode: `max` or `min`.
    """
    found = {view.experiment_id: view.best(monitor, mode) for view in view.candidates}
    best = {number: Best(*scored) for number, scored in found.items() if scored is not None}
    sign = -1 if mode == "max" else 1
    order = sorted(best, key=lambda number: (sign * best[number].score, number))
    has_folds = any(one.fold is not None for one in view.candidates)
    folds = len({fold_of(one) for one in view.candidates}) if has_folds else 0
    made = [_candidate(values, members, best, folds) for values, members in candidates(view.candidates)]
    bounds = bounds_of(monitor, view.config)
    made = [one._replace(bounds=bounds) for one in made if one.scores]
    made.sort(key=lambda one: (not one.is_whole, sign * one.mean, one.members[0].experiment_id))
    return Standings(monitor, mode, best, order, made)


def _candidate(
    hyperparameters: dict[str, Any], members: list[ExperimentView], best: dict[int, Best], folds: int
) -> Candidate:
    scored = [one for one in members if one.experiment_id in best]
    scores: dict[Hashable, float]
    if folds:
        by_fold: dict[Hashable, list[float]] = {}
        for one in scored:
            by_fold.setdefault(fold_of(one), []).append(best[one.experiment_id].score)
        scores = {fold: statistics.fmean(own) for fold, own in by_fold.items()}
        whole = len(scored) == len(members) and len(scores) == folds
        return Candidate(hyperparameters, members, "fold", scores, folds, whole)
    unit = "seed" if len({_seed(one) for one in members}) == len(members) else "training"
    scores = {_seed(one) if unit == "seed" else one.experiment_id: best[one.experiment_id].score for one in scored}
    return Candidate(hyperparameters, members, unit, scores, len(members), len(scored) == len(members))


def _seed(one: ExperimentView) -> str:
    return repr(one.hyperparameters.get("seed"))


def influences(view: RunView, best: dict[int, Best]) -> list[tuple[str, float]]:
    """Return what each swept value alone explains of the differences in rank, most first; NaN of too few scores."""
    scored = [one for one in view.candidates if one.experiment_id in best]
    ranked = ranks([best[one.experiment_id].score for one in scored])
    names = dict.fromkeys(name for one in view.candidates for name in one.hyperparameters)
    shares = [(name, share_of_ranks([one.hyperparameters.get(name) for one in scored], ranked)) for name in names]
    return sorted(shares, key=lambda found: -found[1] if math.isfinite(found[1]) else math.inf)

"""What is known of a run and of its experiments: plain values, which `projection.apply` brings up to date.

Times end in `_ms` (unix milliseconds).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.events.ranking import default_mode

ExperimentState = Literal["INIT", "RUNNING", "DONE", "FAILED"]
RunState = Literal["INIT", "RUNNING", "DONE", "FAILED", "INTERRUPTED"]
Payload = Mapping[str, Any]

_MAX_SCORES = 1_000  # of one experiment


@dataclass(slots=True)
class ExperimentView:
    """What the log says about one experiment.

    Attributes:
        hyperparameters: the swept values, flat.
        refit: of an experiment that trains once more what was selected, from which it was, and by which score.
        history: score name to one value an epoch, ordered as `epoch_numbers`; NaN where an epoch has no such score.
        epoch_seconds: the experiment's share of the time that each epoch took, NaN where the log does not say it.
        epoch_steps: training steps done by each epoch's end, None where the log does not say it.
        evaluated_ms: when each epoch's result was logged.
        progress: the payload of the newest `experiment_status`.
        starting_time, finishing_time, device: as the newest `job_status` gave them.
    """

    experiment_id: int
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    fold: int | None = None
    round: int = 0
    refit: Mapping[str, Any] | None = None
    job_id: str | None = None
    status: ExperimentState = "INIT"
    stop_reason: str | None = None
    stop_epoch: int | None = None
    error: str | None = None
    stacktrace: str | None = None
    device: str | None = None
    starting_time: int | None = None
    finishing_time: int | None = None
    progress: Payload | None = None
    epoch_numbers: list[int] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)
    epoch_seconds: list[float] = field(default_factory=list)
    epoch_steps: list[int | None] = field(default_factory=list)
    evaluated_ms: list[int] = field(default_factory=list)
    _logged: dict[str, bytearray] = field(default_factory=dict, repr=False)  # of scores that some epochs lack
    # By score and mode, what is known: of how many epochs, up to which one, the best epoch and its score.
    _best: dict[tuple[str, str], tuple[int, int, tuple[int, float] | None]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def epochs(self) -> int:
        """The number of evaluated epochs."""
        return len(self.epoch_numbers)

    @property
    def planned(self) -> int | None:
        """The number of epochs that were to be trained, those between evaluations by steps; None where nothing says."""
        config = self.config if isinstance(self.config, Mapping) else {}
        by_steps = config.get("num_steps") or config.get("evaluate_every_steps")
        return (self.progress or {}).get("num_epochs") if by_steps else config.get("num_epochs")

    @property
    def last(self) -> dict[str, float]:
        """The scores of the newest epoch; empty before the first."""
        return self._row(self.epochs - 1) if self.epoch_numbers else {}

    def scores_of(self, epoch: int) -> dict[str, float]:
        """Return the scores of an epoch; empty where it was not evaluated."""
        index = bisect_left(self.epoch_numbers, epoch)
        there = index < self.epochs and self.epoch_numbers[index] == epoch
        return self._row(index) if there else {}

    def rows(self) -> list[dict[str, float]]:
        """Return one mapping an epoch, with just the scores that were logged for it."""
        return [self._row(index) for index in range(self.epochs)]

    def best(self, monitor: str, mode: str) -> tuple[int, float] | None:
        """Return the first epoch with the best score and that score; None if no epoch has a finite one.

        Args:
            monitor: the name of the score, such as `val/accuracy`.
            mode: `max` or `min`.

        Raises:
            MlgymError: any other mode.
        """
        if mode not in ("max", "min"):
            raise MlgymError(f"mode: found {mode!r}; write 'max' or 'min'.")
        seen, last, found = self._best.get((monitor, mode), (0, None, None))
        if seen > self.epochs or (seen and self.epoch_numbers[seen - 1] != last):
            seen, found = 0, None  # an earlier epoch came late
        if seen < self.epochs and monitor in self.history:
            scores = self.history[monitor]
            newer = _best_of(scores[seen:] if seen else scores, mode)
            if newer and (not found or (newer[1] > found[1] if mode == "max" else newer[1] < found[1])):
                found = self.epoch_numbers[seen + newer[0]], newer[1]
            self._best[monitor, mode] = self.epochs, self.epoch_numbers[-1], found
        return found

    def copy(self) -> ExperimentView:
        """Return a view that stays as this one is now."""
        return replace(
            self,
            epoch_numbers=[*self.epoch_numbers],
            history={name: [*values] for name, values in self.history.items()},
            epoch_seconds=[*self.epoch_seconds],
            epoch_steps=[*self.epoch_steps],
            evaluated_ms=[*self.evaluated_ms],
            _logged={name: bytearray(logged) for name, logged in self._logged.items()},
            _best={},
        )

    def logged(self, name: str) -> bytearray | None:
        """Return 1 for each epoch that a score was logged for, else 0; None where it was for all."""
        return self._logged.get(name)

    def _row(self, index: int) -> dict[str, float]:
        if not self._logged:
            return {name: values[index] for name, values in self.history.items()}
        found = {}
        for name, values in self.history.items():
            logged = self._logged.get(name)
            if logged is None or logged[index]:
                found[name] = values[index]
        return found

    def _append_epoch(self, epoch: int, scores: Mapping[str, float], seconds: float, now_ms: int, step: Any) -> bool:
        """Take in what experiments that train bring most: a later epoch with the scores of all before.

        Returns:
            False for anything else, which `_add_epoch` knows what to do with.
        """
        numbers, history = self.epoch_numbers, self.history
        usual = self.status == "RUNNING" and self.stop_epoch is None and not self._logged
        if not usual or not numbers or numbers[-1] >= epoch or history.keys() != scores.keys():
            return False
        for name, score in scores.items():
            history[name].append(score)
        numbers.append(epoch)
        self.epoch_seconds.append(seconds)
        self.epoch_steps.append(step or None)
        self.evaluated_ms.append(now_ms)
        return True

    def _add_epoch(self, epoch: int, scores: Mapping[str, float], seconds: float, now_ms: int, step: Any) -> bool:
        """Take in one epoch's scores; the first ones of an epoch win. Return whether they were taken."""
        index = bisect_left(self.epoch_numbers, epoch)
        if index < self.epochs and self.epoch_numbers[index] == epoch:
            return False
        new = [name for name in scores if name not in self.history]
        if len(self.history) + len(new) > _MAX_SCORES:
            raise ValueError(f"more than {_MAX_SCORES} scores")
        for name in new:
            self.history[name] = [math.nan] * self.epochs
            if self.epochs:
                self._logged[name] = bytearray(self.epochs)
        for name, values in self.history.items():
            if name not in scores and name not in self._logged:
                self._logged[name] = bytearray(b"\1" * self.epochs)
            values.insert(index, scores.get(name, math.nan))
            if name in self._logged:
                self._logged[name].insert(index, name in scores)
        self.epoch_numbers.insert(index, epoch)
        self.epoch_seconds.insert(index, seconds)
        self.epoch_steps.insert(index, step if isinstance(step, int) else None)
        self.evaluated_ms.insert(index, now_ms)
        return True


def _best_of(scores: list[float], mode: str) -> tuple[int, float] | None:
    """Return the place of the first of the best scores, and that score; None if none is finite."""
    better = max if mode == "max" else min
    best = better(scores)  # which passes over NaN behind the first, as that compares as false: one pass, mostly
    if not (math.isfinite(best) and math.isfinite(scores[0])):
        best = better(filter(math.isfinite, scores), default=None)
    return None if best is None else (scores.index(best), best)


@dataclass(slots=True)
class RunView:
    """What the log says about a run; `experiments` is in the order of the ids.

    `groups`, `speeds`, `compactions`, `checkpoints`, `checkpoints_skipped`, `evaluations`, `mismatches` and
    `warm_starts` are the payloads of `group_compiled`, `group_trained`, `group_compacted`, `checkpoint_saved`,
    `checkpoint_skipped`, `model_evaluated`, `resume_mismatch` and `warm_started`, in the order of the log.
    `launches` says when the run began and was resumed, in unix milliseconds.
    `recorded` holds (experiment_id, epoch, `val/roc`) of what metrics recorded besides scores, `messages` and `system`
    the payloads of the newest `message` events and of the newest `system` event.
    `started_ms` is the first event's time; `finished_ms` is None while the run, or its resumption, goes on.
    """

    run_id: str | None = None
    name: str | None = None
    config: Mapping[str, Any] | None = None
    config_hash: str | None = None
    status: RunState = "INIT"
    num_experiments: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    experiments: dict[int, ExperimentView] = field(default_factory=dict)
    groups: list[Payload] = field(default_factory=list)
    speeds: list[Payload] = field(default_factory=list)
    compactions: list[Payload] = field(default_factory=list)
    checkpoints: list[Payload] = field(default_factory=list)
    checkpoints_skipped: list[Payload] = field(default_factory=list)
    evaluations: list[Payload] = field(default_factory=list)
    mismatches: list[Payload] = field(default_factory=list)
    warm_starts: list[Payload] = field(default_factory=list)
    launches: list[int] = field(default_factory=list)
    recorded: set[tuple[int, int, str]] = field(default_factory=set)
    messages: list[Payload] = field(default_factory=list)
    system: Payload | None = None
    num_malformed: int = 0
    _is_in_order: bool = field(default=True, repr=False, compare=False)  # of the ids, or of the log for a while

    @property
    def candidates(self) -> list[ExperimentView]:
        """The experiments that selection is among: all but refits."""
        return [view for view in self.experiments.values() if view.refit is None]

    @property
    def refits(self) -> list[ExperimentView]:
        """The refit, one experiment a seed; the newest, of a run that was resumed with more epochs and refitted."""
        found = [view for view in self.experiments.values() if view.refit is not None]
        newest = max((view.round for view in found), default=0)
        return [view for view in found if view.round == newest]

    @property
    def scores(self) -> list[str]:
        """The names of the scores that were recorded."""
        return list(dict.fromkeys(name for view in self.candidates for name in view.history))

    def best(self, monitor: str, mode: str | None = None) -> tuple[ExperimentView, int]:
        """Return the candidate with the best score over all its epochs, and that epoch; ties go to the smaller id.

        Args:
            mode: `max` or `min`; by default which is better is read from the score, as everywhere (`default_mode`).

        Raises:
            MlgymError: an unknown monitor or mode, or no finite score.
        """
        mode = default_mode(monitor, self.config) if mode is None else mode
        if mode not in ("min", "max"):
            raise MlgymError(f"mode: 'min' or 'max' is expected, found {mode!r}")
        if monitor not in self.scores:
            raise MlgymError(f"no score {monitor!r}{nearest(monitor, self.scores)} Scores: {listed(self.scores, 40)}")
        sign = 1 if mode == "max" else -1
        scored = [
            (sign * best[1], -view.experiment_id, view, best[0])
            for view in self.candidates
            if (best := view.best(monitor, mode))
        ]
        if not scored:
            raise MlgymError(f"{monitor} is finite in no epoch of any experiment")
        *_, view, epoch = max(scored, key=lambda entry: entry[:2])
        return view, epoch

    def copy(self) -> RunView:
        """Return a view that stays as this one is now."""
        return replace(
            self,
            experiments={number: view.copy() for number, view in self.experiments.items()},
            groups=[*self.groups],
            speeds=[*self.speeds],
            compactions=[*self.compactions],
            checkpoints=[*self.checkpoints],
            checkpoints_skipped=[*self.checkpoints_skipped],
            evaluations=[*self.evaluations],
            mismatches=[*self.mismatches],
            warm_starts=[*self.warm_starts],
            launches=[*self.launches],
            recorded={*self.recorded},
            messages=[*self.messages],
        )

    def experiment(self, experiment_id: int) -> ExperimentView:
        """Return the view of one experiment, made if there is none yet; `put_in_order` gives it its place."""
        view = self.experiments.get(experiment_id)
        if view is None:
            if not isinstance(experiment_id, int):
                raise TypeError(f"experiment_id: found {experiment_id!r}, not an integer")
            if self.experiments and experiment_id < next(reversed(self.experiments)):
                self._is_in_order = False
            view = self.experiments[experiment_id] = ExperimentView(experiment_id)
        return view

    def put_in_order(self) -> None:
        """Order the experiments by their ids: once for many events, or a log that counts them down takes for ever."""
        if not self._is_in_order:
            ordered = [(number, self.experiments[number]) for number in sorted(self.experiments)]
            self.experiments.clear()
            self.experiments.update(ordered)
            self._is_in_order = True

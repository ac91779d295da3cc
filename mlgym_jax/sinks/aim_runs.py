"""Aim: a run there an experiment, found again by its name; a point of an epoch is there once.

`aim up` indexes what it shows; before that, Aim's own readers may not see new runs, so these are found in its table.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from mlgym_jax.events.views import ExperimentView, RunView
from mlgym_jax.sinks import facts

_OURS = "mlgym_jax"  # the attribute with all that is not a hyperparameter


class AimRuns:
    """The sink of one run; `folder` holds Aim's repository."""

    def __init__(self, run_id: str, folder: str):
        self._run_id = run_id
        os.makedirs(folder, exist_ok=True)
        self._aim: Any = importlib.import_module("aim")  # here, because not everybody has it who reads this module
        self._repo = self._aim.Repo.from_path(folder, init=not self._aim.Repo.exists(folder))
        self.place = f"{folder}; look at it with: aim up --repo={folder}"
        self._known: dict[str, str] | None = None  # name -> Aim's own, of a run
        self._last: dict[int, int] = {}
        self._told: dict[int, object] = {}

    def write(self, run: RunView, experiment: ExperimentView, *, is_over: bool) -> int:
        number = experiment.experiment_id
        told = facts.tags(run, self._run_id, experiment)
        found = list(facts.epochs(experiment, self._last.get(number)))
        if not found and self._told.get(number) == told:
            return 0
        there = self._open(facts.title(run, self._run_id, experiment), run)
        try:
            if number not in self._last and number not in self._told:
                before = (there.get(_OURS, None) or {}).get("last_epoch")
                found = list(facts.epochs(experiment, before))
                there["hparams"] = facts.as_json(facts.hyperparameters(experiment))
            for epoch in found:
                for name, score in facts.scores_with_steps(epoch).items():
                    _track(there, name, score, epoch)
            last = experiment.epoch_numbers[-1] if experiment.epoch_numbers else None
            there[_OURS] = {**told, "last_epoch": last}
            if last is not None:
                self._last[number] = last
            self._told[number] = told
        finally:
            there.close()
        return len(found)

    def _open(self, title: str, run: RunView) -> Any:
        if self._known is None:
            self._known = {one.name: one.hash for one in self._repo.structured_db.runs()}
        quiet = {"system_tracking_interval": None, "capture_terminal_logs": False, "log_system_params": False}
        if title in self._known:
            return self._aim.Run(self._known[title], repo=self._repo, force_resume=True, **quiet)
        there = self._aim.Run(repo=self._repo, experiment=run.name or self._run_id, **quiet)
        there.name = title  # at once, so that a killed export finds it
        self._known[title] = there.hash
        return there

    def close(self) -> None:
        self._repo.close()


def _track(run: Any, name: str, score: float, epoch: facts.Epoch) -> None:
    """Record a score at its own time. The public `track` knows no other time than now."""
    split, slash, rest = name.partition("/")
    context = {"subset": split} if slash else {}
    run._tracker._track(float(score), epoch.time_ms / 1000, rest or name, epoch.number, epoch.number, context=context)


def open_sink(run_id: str, out: str) -> AimRuns:
    """Make the sink of a run, in the folder `aim` of `out`."""
    return AimRuns(run_id, os.path.join(os.path.abspath(out), "aim"))

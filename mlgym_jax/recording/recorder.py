"""Write one launch's events, knowing what the log held before."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlgym_jax.components.tree import unresolved
from mlgym_jax.config.words import canonical_json, config_hash
from mlgym_jax.events import EventLog, layout, schema
from mlgym_jax.events.views import RunView
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.search.grouping import Experiment
from mlgym_jax.study.expand import Study

# Progress goes out at most four times a second: three times on this clock, and once more at an experiment's end.
# Of many experiments it goes out more seldom, but within two seconds.
_STATUS_INTERVAL_SECONDS = 0.34
_STATUSES_PER_SECOND = 1_000
_LONGEST_INTERVAL_SECONDS = 1.9


class Recorder:
    """Writes one launch's events.

    Args:
        logged: the view of what the log held before this launch, so that a resumed run doubles nothing.

    Attributes:
        ended, failed: the experiments that have ended, and those of them that failed.
        mismatches: (experiment_id, epoch, score) of all that was ever trained again to another value.
    """

    def __init__(self, run_id: str, log: EventLog, logged: RunView, clock: Callable[[], float] = time.time):
        self.run_id, self.log, self.logged, self._clock = run_id, log, logged, clock
        self.started_ms = self.now_ms()
        self.ended: set[int] = set()
        self.failed: set[int] = set()
        self.mismatches = {_place(mismatch) for mismatch in logged.mismatches}
        self._starting: dict[int, int] = {}
        self._status_at = 0.0

    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    def event(self, make: Callable[..., Any], **fields: Any) -> dict[str, Any]:
        return make(self.run_id, **fields, now_ms=self.now_ms())

    def emit(self, make: Callable[..., Any], **fields: Any) -> None:
        self.log.append([self.event(make, **fields)])

    def begin(self, run_dir: str, study: Study) -> None:
        """Record the launch, and every config that the log does not know yet."""
        events = [
            self.event(
                schema.run_started,
                name=study.config["name"],
                config_hash=config_hash(study.config),
                num_experiments=len(study.experiments),
                num_groups=len(study.jobs),
                resumed=bool(self.logged.experiments),
                writer=os.urandom(8).hex(),
            )
        ]
        if self.logged.config is None or canonical_json(self.logged.config) != canonical_json(study.config):
            events.append(self.event(schema.job_scheduled, job_id=self.run_id, config=study.config))
        self.log.append([*events, *self._configs(run_dir, study.experiments)])

    def announce(self, run_dir: str, experiments: Sequence[Experiment]) -> None:
        """Record the configs of experiments that the log does not know yet."""
        self.log.append(self._configs(run_dir, experiments))

    def _configs(self, run_dir: str, experiments: Sequence[Experiment]) -> list[dict[str, Any]]:
        events = []
        for experiment in experiments:
            number, assignment = experiment.experiment_id, experiment.assignment
            before = self.logged.experiments.get(number)
            known = before.config if before is not None else None
            if known is not None and canonical_json(known) == canonical_json(assignment.config):
                continue
            fields = {
                "experiment_id": number,
                "job_id": self.job_id(number),
                "config": unresolved(assignment.config),
                "hyperparameters": assignment.hyperparameters,
                "fold": experiment.fold if experiment.num_folds > 1 else None,
                "round": experiment.round,
            }
            if experiment.refit is not None:
                fields["refit"] = experiment.refit
            path = os.path.join(run_dir, str(number), layout.EXPERIMENT_CONFIG)
            run_folder.write_json(path, fields, fsync=False)
            events.append(self.event(schema.experiment_config, **fields))
            if known is None:
                job_id = fields["job_id"]
                events.append(self.event(schema.job_status, experiment_id=number, job_id=job_id, status="INIT"))
        return events

    def job_id(self, experiment_id: int) -> str:
        return f"{self.run_id}-{experiment_id}"

    def job(self, experiment_id: int, status: str, **fields: Any) -> dict[str, Any]:
        """Build a job_status event with the times that go with it."""
        now = self.now_ms()
        start = self._starting.setdefault(experiment_id, now)
        return self.event(
            schema.job_status,
            experiment_id=experiment_id,
            job_id=self.job_id(experiment_id),
            status=status,
            starting_time=start,
            finishing_time=now if status == "DONE" else None,
            **fields,
        )

    def status_due(self, num_experiments: int) -> bool:
        """Tell whether the progress of so many experiments may be reported again: at most four times a second."""
        now, interval = time.monotonic(), num_experiments / _STATUSES_PER_SECOND
        if now - self._status_at < min(max(interval, _STATUS_INTERVAL_SECONDS), _LONGEST_INTERVAL_SECONDS):
            return False
        self._status_at = now
        return True

    def fail(self, experiment_id: int, epoch: int, error: str, stacktrace: str | None) -> list[dict[str, Any]]:
        self.failed.add(experiment_id)
        self.ended.add(experiment_id)
        fields = {"error": error, "stacktrace": stacktrace}
        return [
            self.event(schema.experiment_failed, experiment_id=experiment_id, epoch=epoch, **fields),
            self.job(experiment_id, "DONE", **fields),
        ]

    def compare(
        self,
        experiment_id: int,
        epoch: int,
        logged: Mapping[str, float],
        repeated: Mapping[str, float],
        tolerance: float = 0.0,
    ) -> list[dict[str, Any]]:
        """Build an event for each score that was trained again and is not the one that the log holds.

        Args:
            tolerance: how far it may be off, absolutely and relatively; by default it is the same to the bit.
        """
        found = []
        for key, value in repeated.items():
            before = logged.get(key, math.nan)
            close = math.isclose(before, value, rel_tol=tolerance, abs_tol=tolerance)
            if close or (math.isnan(before) and math.isnan(value)):
                continue
            fields = {"experiment_id": experiment_id, "epoch": epoch, "key": key, "logged": before, "repeated": value}
            if _place(fields) not in self.mismatches:
                self.mismatches.add(_place(fields))
                found.append(self.event(schema.resume_mismatch, **fields))
        return found

    def finish(self, status: str, seconds: float) -> None:
        self.emit(schema.run_finished, status=status, num_failed=len(self.failed), seconds=seconds)


def _place(mismatch: Mapping[str, Any]) -> tuple[int, int, str]:
    return mismatch["experiment_id"], mismatch["epoch"], mismatch["key"]

"""Write one launch's events, knowing what the log held before."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from mlgym_jax import run_folder
from mlgym_jax.config import config_hash
from mlgym_jax.errors import DiskError
from mlgym_jax.events import EventLog, schema
from mlgym_jax.events.projection import RunView
from mlgym_jax.study import Study

_STATUS_INTERVAL_SECONDS = 0.25


class Recorder:
    """Writes one launch's events.

    Args:
        logged: the view of what the log held before this launch, so that a resumed run doubles nothing.
    """

    def __init__(self, run_id: str, log: EventLog, logged: RunView, clock: Callable[[], float] = time.time):
        self.run_id, self.log, self.logged, self._clock = run_id, log, logged, clock
        self.started_ms = self.now_ms()
        self.ended: set[int] = set()
        self.failed: set[int] = set()
        self.num_mismatches = 0
        self._starting: dict[int, int] = {}
        self._status_at = 0.0

    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    def event(self, make: Callable[..., Any], **fields: Any) -> dict[str, Any]:
        return make(self.run_id, **fields, now_ms=self.now_ms())

    def emit(self, make: Callable[..., Any], **fields: Any) -> None:
        self.log.append([self.event(make, **fields)])

    def begin(self, run_dir: str, study: Study) -> None:
        """Record the launch, and every experiment that the log does not know yet."""
        events = [
            self.event(
                schema.run_started,
                name=study.config["name"],
                config_hash=config_hash(study.config),
                num_experiments=len(study.experiments),
                num_groups=len(study.jobs),
                resumed=bool(self.logged.experiments),
            )
        ]
        if not self.logged.experiments:
            events.append(self.event(schema.job_scheduled, job_id=self.run_id, config=study.config))
        for experiment in study.experiments:
            number, assignment = experiment.experiment_id, experiment.assignment
            if number in self.logged.experiments and self.logged.experiments[number].config is not None:
                continue
            fields = {
                "experiment_id": number,
                "job_id": self.job_id(number),
                "config": assignment.config,
                "hyperparameters": assignment.hyperparameters,
                "fold": experiment.fold if experiment.num_folds > 1 else None,
            }
            path = os.path.join(run_dir, str(number), "experiment_config.json")
            run_folder.write_json(path, {**fields, "fold": fields["fold"]})
            events.append(self.event(schema.experiment_config, **fields))
            events.append(self.event(schema.job_status, experiment_id=number, job_id=fields["job_id"], status="INIT"))
        self.log.append(events)

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

    def status_due(self) -> bool:
        """Tell whether progress may be reported again: at most four times a second."""
        now = time.monotonic()
        if now - self._status_at < _STATUS_INTERVAL_SECONDS:
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

    def finish(self, status: str, seconds: float) -> None:
        try:
            self.emit(schema.run_finished, status=status, num_failed=len(self.failed), seconds=seconds)
        except DiskError:
            if status != "INTERRUPTED":
                raise

"""MLflow: a run there an experiment, all of one study's in one experiment there; found again by a tag.

What a killed export wrote last may be written again: MLflow's database keeps equal points once.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from mlgym_jax.events.views import ExperimentView, RunView
from mlgym_jax.sinks import facts

_KEY, _EPOCH = "mlgym_jax.key", "mlgym_jax.last_epoch"
_MAX_METRICS, _MAX_PARAMS = 1000, 100  # of one request
_MAX_CHARACTERS = 6000  # of a parameter; a tag may have more
_STATUS = {"DONE": "FINISHED", "FAILED": "FAILED"}
_Item = TypeVar("_Item")


class MlflowRuns:
    """The sink of one run.

    Args:
        uri: of MLflow's tracking store.
    """

    def __init__(self, run_id: str, uri: str):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before it is imported: nothing asks the network
        self._entities: Any = importlib.import_module("mlflow.entities")
        tracking: Any = importlib.import_module("mlflow.tracking")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._run_id, self._client = run_id, tracking.MlflowClient(tracking_uri=uri)
        self.place = f"{uri}; look at it with: mlflow ui --backend-store-uri={uri}"
        self._study: str | None = None
        self._runs: dict[int, _Written] = {}
        self._names = facts.Names(r"[^\w\-. :/]|/(?=/|$)|^/|(?<![^/])\.+(?=/|$)")

    def write(self, run: RunView, experiment: ExperimentView, *, is_over: bool) -> int:
        number = experiment.experiment_id
        there = self._runs.get(number)
        if there is None:
            there = self._runs[number] = self._find(run, experiment)
        found = list(facts.epochs(experiment, there.last_epoch))
        points = [
            self._entities.Metric(self._names(name), float(score), epoch.time_ms, epoch.number)
            for epoch in found
            for name, score in facts.scores_with_steps(epoch).items()
        ]
        for part in _parts(points, _MAX_METRICS):
            self._client.log_batch(there.id, metrics=part)
        if found:
            there.last_epoch = found[-1].number
            self._client.set_tag(there.id, _EPOCH, str(there.last_epoch))
        self._tell_state(run, experiment, there, is_over)
        return len(found)

    def _tell_state(self, run: RunView, experiment: ExperimentView, there: _Written, is_over: bool) -> None:
        status = _STATUS.get(experiment.status, "KILLED" if is_over else "RUNNING")
        told = status, facts.tags(run, self._run_id, experiment)
        if told == there.told:
            return
        tags = [self._entities.RunTag(f"mlgym_jax.{name}", text) for name, text in told[1].items()]
        self._client.log_batch(there.id, tags=tags)
        if status == "RUNNING":
            self._client.update_run(there.id, status=status)
        else:
            self._client.set_terminated(there.id, status, end_time=facts.ended_ms(experiment))
        there.told = told

    def _find(self, run: RunView, experiment: ExperimentView) -> _Written:
        key = facts.key(self._run_id, experiment)
        if self._study is None:
            name = run.name or self._run_id
            study = self._client.get_experiment_by_name(name)
            self._study = study.experiment_id if study else self._client.create_experiment(name)
        found = self._client.search_runs([self._study], f"tags.`{_KEY}` = '{key}'", max_results=1)
        if found:
            last = found[0].data.tags.get(_EPOCH)
            there = _Written(found[0].info.run_id, None if last is None else int(last))
        else:
            began = facts.began_ms(run, experiment)
            made = self._client.create_run(self._study, start_time=began, tags={_KEY: key}, run_name=key)
            there = _Written(made.info.run_id, None)
        spell = facts.Names(r"[^\w\-. :/]")
        known = found[0].data.params if found else {}  # not all of them, if an export was killed meanwhile
        given = {spell(name): value for name, value in facts.hyperparameters(experiment).items()}
        params = [self._entities.Param(name, _cut(str(value))) for name, value in given.items() if name not in known]
        for part in _parts(params, _MAX_PARAMS):
            self._client.log_batch(there.id, params=part)
        return there

    def close(self) -> None:
        """Each request is answered when it is done."""


class _Written:
    """What MLflow has of an experiment."""

    def __init__(self, run_id: str, last_epoch: int | None):
        self.id, self.last_epoch = run_id, last_epoch
        self.told: object = None


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"


def _parts(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def open_sink(run_id: str, out: str) -> MlflowRuns:
    """Make the sink of a run: in the store that MLFLOW_TRACKING_URI names, else in `mlflow.db` of `out`."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return MlflowRuns(run_id, uri or f"sqlite:///{re.sub(r'[?%#]', '_', os.path.abspath(out))}/mlflow.db")

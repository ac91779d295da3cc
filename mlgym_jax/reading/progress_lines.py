"""A run told to programs while it goes: one document a line, as `run --json` writes them (docs/programs.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlgym_jax.events import LiveView, default_monitor
from mlgym_jax.events.epoch_results import Appended
from mlgym_jax.reading.results import RunResult
from mlgym_jax.reading.summary import summary

_INTERVAL_SECONDS = 1.0
Tell = Callable[[Mapping[str, Any]], object]


class ProgressLines:
    """A sink of the event log, in the place of a `Terminal`.

    Args:
        tell: takes each document.
        now: the clock, in seconds.

    Attributes:
        live: to be kept up to date with the log that it is a sink of.
    """

    def __init__(self, tell: Tell, *, now: Callable[[], float] = time.monotonic):
        self._tell, self._now = tell, now
        self.live = LiveView()
        self._told_at = now()

    @property
    def run_id(self) -> str | None:
        """The run that events were seen of."""
        return self.live.view.run_id

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave nothing open: lines are written as they come."""

    def __call__(self, first_event_id: int, events: Sequence[Mapping[str, Any]]) -> None:
        for event in Appended.of(events).others:
            self._note(event["event_type"], event["payload"])
        if self.live.view.experiments and self._now() - self._told_at >= _INTERVAL_SECONDS:
            self._told_at = self._now()
            self._tell(self._progress())

    def _note(self, kind: str, payload: Mapping[str, Any]) -> None:
        if kind == "run_started":
            named = {name: payload.get(name) for name in ("name", "num_experiments")}
            self._tell({"type": "started", "run_id": payload["grid_search_id"], **named})
        elif kind == "group_compiled":
            names = ("group", "plan", "reason", "compile_seconds")
            told = {name: payload.get(name) for name in names}
            self._tell({"type": "compiled", **told, "num_experiments": len(payload["experiments"])})
        elif kind == "experiment_failed":
            told = {name: payload.get(name) for name in ("experiment_id", "error")}
            self._tell({"type": "failed", **told})
        elif kind == "checkpoint_skipped":
            told = {name: payload.get(name) for name in ("group", "step", "error")}
            self._tell({"type": "checkpoint_skipped", **told})

    def _progress(self) -> dict[str, Any]:
        view = self.live.view
        every = view.experiments.values()
        planned = [one.epochs if one.status in ("DONE", "FAILED") else one.planned or 0 for one in every]
        return {
            "type": "progress",
            "epochs": sum(one.epochs for one in every),
            "planned_epochs": sum(planned),
            "best": _best(view, *default_monitor(view.scores, view.config)),
        }

    def finish(self, result: RunResult) -> None:
        """Tell what came out of it: what `report --json` does, and the run's status, folder and best experiment."""
        monitor, mode = default_monitor(result.scores, result.view.config)
        self._tell(
            {
                "type": "result",
                "status": result.status,
                "run_dir": result.run_dir,
                "best": _best(result.view, monitor, mode),
                "mismatches": [dict(found) for found in result.mismatches],
                **summary(result, monitor, mode),
            }
        )


def _best(view: Any, monitor: str | None, mode: str) -> dict[str, Any] | None:
    scored = [(found, one) for one in view.candidates if monitor and (found := one.best(monitor, mode))]
    if not scored:
        return None
    sign = 1 if mode == "max" else -1
    (epoch, score), one = max(scored, key=lambda each: (sign * each[0][1], -each[1].experiment_id))
    return {
        "monitor": monitor,
        "mode": mode,
        "score": score,
        "experiment_id": one.experiment_id,
        "epoch": epoch,
        "hyperparameters": one.hyperparameters,
    }

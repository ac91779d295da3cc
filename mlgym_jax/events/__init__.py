"""The events of a run: build them, log them, read them back, and project them to the state of the run.

Synopsis:

>>> import tempfile
>>> from mlgym_jax.events import EventLog, evaluation_result, project, read_events
>>> path = tempfile.mkdtemp() + "/event_storage.log"
>>> with EventLog.open(path) as log:
...     log.append(
...         [
...             evaluation_result(
...                 "2026-11-23--17-59-10",
...                 experiment_id=0,
...                 epoch=epoch,
...                 scores={"train/loss": 1 / epoch, "val/accuracy": accuracy},
...                 seconds=0.1,
...                 now_ms=1_795_456_750_000 + 100 * epoch,
...             )
...             for epoch, accuracy in enumerate([0.7, 0.9, 0.8], start=1)
...         ]
...     )
0
>>> view = project(event for event_id, event in read_events(path))
>>> view.experiments[0].history["val/accuracy"]
[0.7, 0.9, 0.8]
>>> view.experiments[0].best("val/accuracy", mode="max")
(2, 0.9)
"""

from mlgym_jax.events.codec import Event, decode, encode
from mlgym_jax.events.fast_lines import apply_lines, project_log
from mlgym_jax.events.layout import decode_number
from mlgym_jax.events.live_view import LiveView
from mlgym_jax.events.log import EventLog, Sink, is_being_written, read_events, read_log
from mlgym_jax.events.projection import apply, project
from mlgym_jax.events.ranking import default_mode, default_monitor
from mlgym_jax.events.schema import (
    checkpoint_saved,
    checkpoint_skipped,
    evaluation_curves,
    experiment_config,
    experiment_failed,
    experiment_status,
    experiment_stopped,
    group_compacted,
    group_compiled,
    group_trained,
    job_scheduled,
    job_status,
    line_left_out,
    message,
    model_evaluated,
    profile_saved,
    recorded,
    resume_mismatch,
    run_finished,
    run_started,
    system,
    warm_started,
)
from mlgym_jax.events.scores import evaluation_result, scores_of
from mlgym_jax.events.views import ExperimentView, RunView

__all__ = [
    "Event",
    "EventLog",
    "ExperimentView",
    "LiveView",
    "RunView",
    "Sink",
    "apply",
    "apply_lines",
    "checkpoint_saved",
    "checkpoint_skipped",
    "decode",
    "decode_number",
    "default_mode",
    "default_monitor",
    "encode",
    "evaluation_curves",
    "evaluation_result",
    "experiment_config",
    "experiment_failed",
    "experiment_status",
    "experiment_stopped",
    "group_compacted",
    "group_compiled",
    "group_trained",
    "is_being_written",
    "job_scheduled",
    "job_status",
    "line_left_out",
    "message",
    "model_evaluated",
    "profile_saved",
    "project",
    "project_log",
    "read_events",
    "read_log",
    "recorded",
    "resume_mismatch",
    "run_finished",
    "run_started",
    "scores_of",
    "system",
    "warm_started",
]

"""The state of a run as a pure function of its events: `project(events) -> RunView`.

A view is never a second truth: it can be thrown away and made again. Event types and fields that are not known here are
passed over, so logs of newer writers can be read; an event of a known type that cannot be read is counted in
`RunView.num_malformed`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from mlgym_jax.events.codec import Event
from mlgym_jax.events.layout import decode_number
from mlgym_jax.events.scores import scores_of
from mlgym_jax.events.views import ExperimentView, Payload, RunView

MOST_MESSAGES = 1_000  # that a view holds
LARGEST = 2**53  # of the integers that every reader of JSON keeps


def project(events: Iterable[Event]) -> RunView:
    """Return what `events`, in the order of the log, say about their run."""
    view = RunView()
    for event in events:
        take_in(view, event)
    view.put_in_order()
    return view


def apply(view: RunView, event: Event) -> None:
    """Bring `view` up to date with one more event, in place."""
    take_in(view, event)
    view.put_in_order()


def take_in(view: RunView, event: Event) -> None:
    """Do what `apply` does, for one of many events: after the last one `view.put_in_order()` is called."""
    try:
        handler = _HANDLERS.get(event["event_type"])
        if handler is None:
            return
        payload, now_ms = event["payload"], event["creation_ts"]
        if not _is_exact(now_ms):
            raise ValueError(f"creation_ts: found {now_ms}")
        if not isinstance(payload, Mapping):
            raise TypeError(f"payload: found {type(payload).__name__}, not an object")
        handler(view, payload, now_ms)
        if view.started_ms is None:
            view.started_ms = now_ms
        if view.run_id is None:
            view.run_id = payload.get("grid_search_id")
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        view.num_malformed += 1  # one strange event must not make the whole run unreadable


def _is_exact(value: object) -> bool:
    return isinstance(value, int) and abs(value) <= LARGEST


def _run_started(view: RunView, payload: Payload, now_ms: int) -> None:
    view.name, view.config_hash = payload.get("name"), payload.get("config_hash")
    view.num_experiments = payload.get("num_experiments")
    view.status, view.finished_ms = "RUNNING", None
    view.launches.append(now_ms)


def _run_finished(view: RunView, payload: Payload, now_ms: int) -> None:
    view.status, view.finished_ms = payload["status"], now_ms


def _job_scheduled(view: RunView, payload: Payload, _now_ms: int) -> None:
    view.config = payload["config"]
    if view.name is None and isinstance(view.config, Mapping):
        view.name = view.config.get("name")


def _experiment_config(view: RunView, payload: Payload, _now_ms: int) -> None:
    hyperparameters = {key: decode_number(value) for key, value in (payload.get("hyperparameters") or {}).items()}
    experiment = view.experiment(payload["experiment_id"])
    experiment.hyperparameters = hyperparameters
    experiment.config, experiment.fold = payload.get("config"), payload.get("fold")
    experiment.job_id, experiment.round = payload.get("job_id"), payload.get("round") or 0
    experiment.refit = payload.get("refit")


def _job_status(view: RunView, payload: Payload, _now_ms: int) -> None:
    if payload.get("job_type") == "TERMINATE":
        return  # about a worker, not about the experiment
    status, error = payload["status"], payload.get("error")
    experiment = view.experiment(payload["experiment_id"])
    for name in ("job_id", "starting_time", "finishing_time"):
        setattr(experiment, name, payload.get(name))
    experiment.device = payload.get("device") or experiment.device  # a job that is done has none
    if status != "DONE":  # a new attempt: what ended the one before it is over
        experiment.status, experiment.error, experiment.stacktrace = status, None, None
        _mark_running(view, status)
    elif error is not None:
        experiment.status = "FAILED"
        experiment.error, experiment.stacktrace = error, payload.get("stacktrace") or experiment.stacktrace
    elif experiment.status != "FAILED":  # experiment_failed was here before: the job is done, the experiment failed
        experiment.status = "DONE"


def _experiment_status(view: RunView, payload: Payload, _now_ms: int) -> None:
    experiment = view.experiment(payload["experiment_id"])
    experiment.progress = payload
    _set_running(view, experiment)


def _evaluation_result(view: RunView, payload: Payload, now_ms: int) -> None:
    scores, epoch, seconds = scores_of(payload), payload["epoch"], payload.get("seconds")
    seconds = math.nan if seconds is None else float(seconds)
    if not _is_exact(epoch):
        raise TypeError(f"epoch: found {epoch!r}, not an integer of at most 2**53")
    experiment = view.experiment(payload["experiment_id"])
    taken = experiment._add_epoch(epoch, scores, seconds, now_ms, payload.get("step"))
    _set_running(view, experiment)
    if taken and isinstance(experiment.stop_epoch, (int, float)) and epoch > experiment.stop_epoch:
        experiment.stop_epoch = experiment.stop_reason = None  # resumed with more epochs: it goes on after all


def _experiment_stopped(view: RunView, payload: Payload, _now_ms: int) -> None:
    reason = payload["reason"]
    experiment = view.experiment(payload["experiment_id"])
    experiment.stop_reason, experiment.stop_epoch = reason, payload.get("epoch")


def _experiment_failed(view: RunView, payload: Payload, _now_ms: int) -> None:
    experiment = view.experiment(payload["experiment_id"])
    experiment.status = "FAILED"
    experiment.error, experiment.stacktrace = payload.get("error"), payload.get("stacktrace")


def _model_evaluated(view: RunView, payload: Payload, _now_ms: int) -> None:
    dataset, scores = payload["dataset"], payload["scores"]
    whole = all(_is_exact(payload[name]) for name in ("experiment_id", "epoch", "num_examples"))
    if not (whole and isinstance(payload["split"], str) and (dataset is None or isinstance(dataset, Mapping))):
        raise TypeError("an evaluation of another form")
    for score in scores.values():
        float(score)  # reads "NaN" and "Infinity", too
    view.evaluations.append(payload)


def _evaluation_curves(view: RunView, payload: Payload, _now_ms: int) -> None:
    if payload.get("dataset") is None:  # other data are none of the run's own splits
        _note_recorded(view, payload, [f"{one['split']}/{one['metric']}" for one in list.copy(payload["curves"])])


def _recorded(view: RunView, payload: Payload, _now_ms: int) -> None:
    _note_recorded(view, payload, [f"{payload['split']}/{payload['name']}"])


def _note_recorded(view: RunView, payload: Payload, names: list[str]) -> None:
    number, epoch = payload["experiment_id"], payload["epoch"]
    if not (_is_exact(number) and _is_exact(epoch)):
        raise TypeError("experiment_id and epoch: integers of at most 2**53 are expected")
    view.recorded.update((number, epoch, name) for name in names)


def _message(view: RunView, payload: Payload, _now_ms: int) -> None:
    if not isinstance(payload["text"], str):
        raise TypeError("text: no text")
    view.messages.append(payload)
    del view.messages[:-MOST_MESSAGES]


def _system(view: RunView, payload: Payload, _now_ms: int) -> None:
    view.system = payload


def _set_running(view: RunView, experiment: ExperimentView) -> None:
    if experiment.status == "INIT":
        experiment.status = "RUNNING"
    _mark_running(view, experiment.status)


def _mark_running(view: RunView, status: str) -> None:
    if status == "RUNNING" and view.status == "INIT":  # a log without run_started
        view.status = "RUNNING"


def _collect(attribute: str) -> Callable[[RunView, Payload, int], None]:
    def handler(view: RunView, payload: Payload, _now_ms: int) -> None:
        getattr(view, attribute).append(payload)

    return handler


_HANDLERS: dict[str, Callable[[RunView, Payload, int], None]] = {
    "run_started": _run_started,
    "run_finished": _run_finished,
    "job_scheduled": _job_scheduled,
    "job_status": _job_status,
    "experiment_config": _experiment_config,
    "experiment_status": _experiment_status,
    "evaluation_result": _evaluation_result,
    "experiment_stopped": _experiment_stopped,
    "experiment_failed": _experiment_failed,
    "group_compiled": _collect("groups"),
    "group_trained": _collect("speeds"),
    "group_compacted": _collect("compactions"),
    "checkpoint_saved": _collect("checkpoints"),
    "checkpoint_skipped": _collect("checkpoints_skipped"),
    "model_evaluated": _model_evaluated,
    "resume_mismatch": _collect("mismatches"),
    "warm_started": _collect("warm_starts"),
    "evaluation_curves": _evaluation_curves,
    "recorded": _recorded,
    "message": _message,
    "system": _system,
}

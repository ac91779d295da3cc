"""The events of a run, one pure function each.

An event is a plain dict `{"event_type", "creation_ts", "payload"}`. Every builder takes the clock as `now_ms` (unix
milliseconds); nothing here reads a clock or touches a file. Names of types and fields are a contract with the readers
of old logs: fields may be added, none is renamed or dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mlgym_jax.errors import MlgymError
from mlgym_jax.events.codec import Event


def _event(event_type: str, creation_ts: int, **payload: Any) -> Event:
    return {"event_type": event_type, "creation_ts": creation_ts, "payload": payload}


# --- the run -------------------------------------------------------------------------------------------------------


def run_started(
    grid_search_id: str,
    *,
    name: str,
    config_hash: str,
    num_experiments: int,
    num_groups: int,
    resumed: bool,
    now_ms: int,
) -> Event:
    """Build the event of a run that begins, or goes on (`resumed`)."""
    return _event(
        "run_started",
        now_ms,
        grid_search_id=grid_search_id,
        name=name,
        config_hash=config_hash,
        num_experiments=num_experiments,
        num_groups=num_groups,
        resumed=resumed,
    )


def run_finished(
    grid_search_id: str,
    *,
    status: Literal["DONE", "FAILED", "INTERRUPTED"],
    num_failed: int,
    seconds: float,
    now_ms: int,
) -> Event:
    """Build the event of a run that ended; `seconds` is the wall time of this launch."""
    return _event(
        "run_finished", now_ms, grid_search_id=grid_search_id, status=status, num_failed=num_failed, seconds=seconds
    )


def job_scheduled(grid_search_id: str, *, job_id: str, config: Mapping[str, Any], now_ms: int) -> Event:
    """Build the event that carries the run's whole resolved config."""
    return _event("job_scheduled", now_ms, grid_search_id=grid_search_id, job_id=job_id, config=config)


def job_status(
    grid_search_id: str,
    *,
    experiment_id: int,
    job_id: str,
    status: Literal["INIT", "RUNNING", "DONE"],
    now_ms: int,
    job_type: Literal["CALC", "TERMINATE"] = "CALC",
    starting_time: int | None = None,
    finishing_time: int | None = None,
    error: str | None = None,
    stacktrace: str | None = None,
    device: str | None = None,
) -> Event:
    """Build an experiment's job status; `DONE` with an `error` means failed. Times are unix milliseconds."""
    return _event(
        "job_status",
        now_ms,
        grid_search_id=grid_search_id,
        experiment_id=experiment_id,
        job_id=job_id,
        job_type=job_type,
        status=status,
        starting_time=starting_time,
        finishing_time=finishing_time,
        error=error,
        stacktrace=stacktrace,
        device=device,
    )


# --- one experiment ------------------------------------------------------------------------------------------------


def experiment_config(
    grid_search_id: str,
    *,
    experiment_id: int,
    job_id: str,
    config: Mapping[str, Any],
    hyperparameters: Mapping[str, Any],
    now_ms: int,
    fold: int | None = None,
    round: int = 0,
    refit: Mapping[str, Any] | None = None,
) -> Event:
    """Build the event of one experiment's own resolved config; `hyperparameters` are the swept values, flat.

    `round` counts what a search proposes from earlier results. `refit`, {"monitor", "mode", "experiments"}, is there
    only of an experiment that trains once more what was selected: by which score, from which experiments.
    """
    return _event(
        "experiment_config",
        now_ms,
        grid_search_id=grid_search_id,
        experiment_id=experiment_id,
        job_id=job_id,
        config=config,
        hyperparameters=hyperparameters,
        **{"fold": fold, "round": round, **({"refit": refit} if refit is not None else {})},
    )


def experiment_status(
    grid_search_id: str,
    *,
    experiment_id: int,
    status: Literal["TRAINING", "EVALUATING"],
    num_epochs: int,
    current_epoch: int,
    splits: Sequence[str],
    current_split: str,
    num_batches: int,
    current_batch: int,
    now_ms: int,
) -> Event:
    """Build a progress report: where in the epoch and the split the experiment is."""
    return _event(
        "experiment_status",
        now_ms,
        grid_search_id=grid_search_id,
        experiment_id=experiment_id,
        status=status,
        num_epochs=num_epochs,
        current_epoch=current_epoch,
        splits=splits,
        current_split=current_split,
        num_batches=num_batches,
        current_batch=current_batch,
    )


def evaluation_result(
    grid_search_id: str, *, experiment_id: int, epoch: int, scores: Mapping[str, float], seconds: float, now_ms: int
) -> Event:
    """Build the event of all scores of one epoch; `seconds` is the experiment's share of the time that it took.

    Args:
        scores: flat, `{"train/loss": 0.3, "val/accuracy": 0.9, "val/recall_at_k/1": 0.8}`: the part before the first
            `/` is the split; what follows is a loss if it is `loss` or starts with `loss/`, and a metric otherwise.

    Raises:
        MlgymError: a name without a split.
    """
    metric_scores, loss_scores = [], []
    for key, score in scores.items():
        split, slash, name = key.partition("/")
        if not slash:
            raise MlgymError(f"score {key!r} names no split; write it as 'split/name', for example 'val/{key}'.")
        if name == "loss" or name.startswith("loss/"):
            loss_scores.append({"loss": name, "split": split, "score": float(score)})
        else:
            metric_scores.append({"metric": name, "split": split, "score": float(score)})
    return _event(
        "evaluation_result",
        now_ms,
        grid_search_id=grid_search_id,
        experiment_id=experiment_id,
        epoch=epoch,
        metric_scores=metric_scores,
        loss_scores=loss_scores,
        seconds=seconds,
    )


def scores_of(payload: Mapping[str, Any]) -> dict[str, float]:
    """Return an `evaluation_result` payload's scores as the flat mapping that `evaluation_result` took (metrics first).

    Raises:
        ValueError, TypeError, KeyError: the payload is not one of an evaluation_result.
    """
    scores: dict[str, float] = {}
    for kind in ("metric", "loss"):
        for entry in list.copy(payload[f"{kind}_scores"]):  # takes a list and nothing else, as join takes texts
            scores["/".join((entry["split"], entry[kind]))] = float(entry["score"])  # reads "NaN" and "Infinity", too
    return scores


def experiment_stopped(grid_search_id: str, *, experiment_id: int, epoch: int, reason: str, now_ms: int) -> Event:
    """Build the event of an experiment that early stopping, halving or a NaN ended after `epoch`."""
    return _event(
        "experiment_stopped",
        now_ms,
        grid_search_id=grid_search_id,
        experiment_id=experiment_id,
        epoch=epoch,
        reason=reason,
    )


def experiment_failed(
    grid_search_id: str, *, experiment_id: int, epoch: int, error: str, stacktrace: str | None, now_ms: int
) -> Event:
    """Build the event of an experiment that an error ended in `epoch`."""
    return _event(
        "experiment_failed",
        now_ms,
        grid_search_id=grid_search_id,
        experiment_id=experiment_id,
        epoch=epoch,
        error=error,
        stacktrace=stacktrace,
    )


def line_left_out(grid_search_id: str, *, reason: str, bytes: int, crc32: int, now_ms: int = 0) -> Event:
    """Build what a board gets in the place of a line that cannot be sent, so that all others keep their ids.

    It is a function of the line alone: its size, its CRC-32, and why (`damaged`, `no event`, `too large`).
    """
    return _event("line_left_out", now_ms, grid_search_id=grid_search_id, reason=reason, bytes=bytes, crc32=crc32)


def resume_mismatch(
    grid_search_id: str, *, experiment_id: int, epoch: int, key: str, logged: float, repeated: float, now_ms: int
) -> Event:
    """Build the event of a score that a resumed run computed again and found different from the log."""
    return _event(
        "resume_mismatch",
        now_ms,
        grid_search_id=grid_search_id,
        experiment_id=experiment_id,
        epoch=epoch,
        key=key,
        logged=logged,
        repeated=repeated,
    )


# --- a group -------------------------------------------------------------------------------------------------------


def group_compiled(
    grid_search_id: str,
    *,
    group: int,
    experiments: Sequence[int],
    plan: str,
    reason: str,
    compile_seconds: float,
    now_ms: int,
    num_examples: int | None = None,
) -> Event:
    """Build the event of one compiled training program: which experiments it trains, by which plan and why.

    Args:
        num_examples: training examples an experiment and epoch.
    """
    return _event(
        "group_compiled",
        now_ms,
        grid_search_id=grid_search_id,
        group=group,
        experiments=experiments,
        plan=plan,
        reason=reason,
        compile_seconds=compile_seconds,
        num_examples=num_examples,
    )


def warm_started(
    grid_search_id: str,
    *,
    group: int,
    experiments: Sequence[int],
    source: str,
    loaded: Sequence[str],
    left: Sequence[str],
    mismatched: Mapping[str, str],
    checksum: int,
    now_ms: int,
) -> Event:
    """Build the event of experiments that begin with arrays from elsewhere.

    Args:
        loaded: paths of what was loaded; left: of what stays as it was initialised.
        mismatched: path -> why it was skipped.
        checksum: CRC-32 of the loaded arrays.
    """
    return _event(
        "warm_started",
        now_ms,
        grid_search_id=grid_search_id,
        group=group,
        experiments=experiments,
        source=source,
        loaded=loaded,
        left=left,
        mismatched=mismatched,
        checksum=checksum,
    )


def group_compacted(grid_search_id: str, *, group: int, epoch: int, rows: Sequence[int], now_ms: int) -> Event:
    """Build the event of a group that shrank after `epoch` to `rows`, the ids of the experiments that still train."""
    return _event("group_compacted", now_ms, grid_search_id=grid_search_id, group=group, epoch=epoch, rows=rows)


def checkpoint_saved(
    grid_search_id: str,
    *,
    group: int,
    epoch: int,
    kept: Sequence[Sequence[int]],
    bytes: int,
    seconds: float,
    now_ms: int,
) -> Event:
    """Build the event of a group's checkpoint on disk; `kept` lists its `[experiment_id, epoch]` rows."""
    return _event(
        "checkpoint_saved",
        now_ms,
        grid_search_id=grid_search_id,
        group=group,
        epoch=epoch,
        kept=kept,
        bytes=bytes,
        seconds=seconds,
    )


def checkpoint_skipped(grid_search_id: str, *, group: int, step: int, error: str, now_ms: int) -> Event:
    """Build the event of a corrupt checkpoint that a resume passed over."""
    return _event("checkpoint_skipped", now_ms, grid_search_id=grid_search_id, group=group, step=step, error=error)

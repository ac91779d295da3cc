"""Train one group and cause the effects of each epoch: events, comparison with the log, checkpoints."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence

import jax

from mlgym_jax.checkpoint.copies import Copies
from mlgym_jax.checkpoint.middle import MiddleWriter
from mlgym_jax.checkpoint.orbax_later import import_in_background
from mlgym_jax.checkpoint.store import CheckpointStore
from mlgym_jax.errors import DiskError, MlgymError, in_words
from mlgym_jax.events import layout, schema
from mlgym_jax.events.epoch_results import EpochResults
from mlgym_jax.events.layout import History
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.collecting import seldom_collected
from mlgym_jax.execution.engine import EpochReport, Verdict, fit, judge
from mlgym_jax.execution.interruption import insisted, requested, safe_point
from mlgym_jax.execution.memory import is_out_of_memory, too_little_memory
from mlgym_jax.execution.plan import Plan, logged_plan
from mlgym_jax.execution.stretches import Middle, Reached
from mlgym_jax.recording.ahead import Ahead, Compiled
from mlgym_jax.recording.going_back import ROUNDING, begun, can_go_back, compiled, go_back, start
from mlgym_jax.recording.group_checkpoints import (
    Event,
    GroupTraining,
    Rivals,
    Standing,
    copy_wanted,
    finish_save,
    save,
    wanted_epochs,
)
from mlgym_jax.recording.profile import Profile
from mlgym_jax.recording.recorder import Recorder
from mlgym_jax.recording.records import record_events
from mlgym_jax.recording.speed import Speed
from mlgym_jax.recording.within_epochs import own_middle, progress, save_middle, status_at
from mlgym_jax.search.histories import Epochs
from mlgym_jax.study.job import Job
from mlgym_jax.study.less_memory import with_less_memory


def train_group(
    run_dir: str,
    job: Job,
    plan: Plan,
    recorder: Recorder,
    *,
    devices: Sequence[jax.Device],
    ahead: Ahead,
    static_because: Mapping[str, str],
    rivals: Rivals = (),
    profile: Profile | None = None,
) -> Rivals:
    """Train a group to its end; a failure of its program is recorded and leaves other groups unharmed.

    Returns:
        What its experiments have trained, of which a later group's are the rivals.

    Raises:
        DiskError: the disk refused a write. KeyboardInterrupt: after a last checkpoint.
    """
    ids = job.group.ids
    views = [recorder.logged.experiments.get(number) for number in ids]
    checkpoints, name = os.path.join(run_dir, layout.CHECKPOINTS), layout.group_name(job.group.index)
    training = GroupTraining(
        job,
        recorder,
        CheckpointStore(os.path.join(checkpoints, name), job.abstract),
        MiddleWriter(os.path.join(checkpoints, layout.MIDDLE, name)),
        logged=[dict(zip(view.epoch_numbers, view.rows(), strict=True)) if view else {} for view in views],
        histories=[Epochs() for _ in ids],
        standing=Standing(None, (0,) * len(ids), {}, Copies()),
        rivals=rivals,
        written=(0, time.monotonic()),
        tolerance=0.0 if _split_as_before(job, plan, recorder) else ROUNDING,
    )
    runner = None
    try:
        compiled = ahead.runner(job, plan)
        runner = compiled.runner
        with contextlib.closing(runner):
            _train(training, compiled, ahead, plan, devices, static_because, profile)
    except DiskError as error:
        if epoch := training.written[0]:
            error.last_step = os.path.join(layout.CHECKPOINTS, name, str(epoch))
        raise
    except Exception as error:
        _end_if_insisted()
        message = in_words(error)
        if is_out_of_memory(error):
            needed = runner.bytes_per_device if runner is not None else 0
            instead = with_less_memory(job, len(devices))
            message = f"{too_little_memory(devices[0], len(ids), job.state_bytes, needed, instead)} ({message})"
        trace = traceback.format_exc()
        if recorder.ended.issuperset(ids):  # all has trained: what failed is the last checkpoint
            raise DiskError(f"group {job.group.index}: its last checkpoint was not written: {message}") from error
        for row, number in enumerate(ids):
            if number not in recorder.ended:
                recorder.log.append(recorder.fail(number, len(training.histories[row]), message, trace))
    finally:
        refused = isinstance(sys.exc_info()[1], DiskError)  # that is what is said then, and no other refusal
        suppressed = contextlib.suppress(DiskError) if refused else contextlib.nullcontext()
        with suppressed, contextlib.closing(training.store):
            training.middle.finish()
    return list(zip(job.contenders, training.histories, strict=True))


def _split_as_before(job: Job, plan: Plan, recorder: Recorder) -> bool:
    """Tell whether a group's batches and states are split as when it trained before: sums have another order else."""
    logged = [logged_plan(group["plan"]) for group in recorder.logged.groups if group["group"] == job.group.index]
    data, shard = (logged[-1].mesh.data, logged[-1].shard) if logged and logged[-1].mesh else (1, "data")
    return not logged or data == plan.data == 1 or (data, shard) == (plan.data, plan.shard)


def _train(
    training: GroupTraining,
    found: Compiled,
    ahead: Ahead,
    plan: Plan,
    devices: Sequence[jax.Device],
    static_because: Mapping[str, str],
    profile: Profile | None,
) -> None:
    job, recorder, runner = training.job, training.recorder, found.runner
    # The order of initialisation, which must not change:
    #   1. the run's own newest checkpoint that is whole and not ahead of the log, else
    #   2. the warm start, else
    #   3. scratch.
    done, state = begun(training)
    num_epochs = job.cadence.num_evaluations
    left = _stopped(training, training.histories, done) if 0 < done < num_epochs else {}
    for row, history in enumerate(training.histories):
        verdict = judge(history, job.early_stopping)
        if verdict is None and row in left:
            verdict = Verdict(left[row])
        if done >= num_epochs or verdict is not None or len(history) < done:
            recorder.log.append(_end(training, row, verdict))
    if done >= num_epochs or all(number in recorder.ended for number in training.ids):
        return
    runner.programs.while_compiling = import_in_background  # while it is traced, imports would have to wait
    with seldom_collected():
        seconds = start(training, runner, state)
    del state
    ahead.begin(runner.bytes_per_device)
    platform, last = devices[0].platform, plan.mesh.num_devices - 1
    name = f"{platform}:0-{last}" if last else f"{platform}:0"
    apart = [f"{path} is static: {why}" for path, why in static_because.items()]
    told = compiled(training, runner, found.seconds + seconds, found.waited + seconds, apart)
    going_on = [n for row, n in enumerate(training.ids) if n not in recorder.ended and not _settled(training, row)]
    recorder.log.append([told, *(recorder.job(number, "RUNNING", device=name) for number in going_on)])
    used = devices[: plan.mesh.num_devices]
    while True:
        middle = own_middle(training, runner, done)
        try:
            with seldom_collected():  # histories grow by objects that stay; no epoch leaves any that only a look finds
                return _fit(training, runner, done + 1, middle, used, profile)
        except jax.errors.JaxRuntimeError as error:
            if not can_go_back(error, runner):
                raise
        profile = None
        done, seconds = go_back(training, runner)
        recorder.log.append([compiled(training, runner, seconds, seconds, apart)])


def _fit(
    training: GroupTraining,
    runner: GroupRunner,
    first_epoch: int,
    middle: Middle | None,
    devices: Sequence[jax.Device],
    profile: Profile | None,
) -> None:
    job, speed, recorder = training.job, Speed(training.job), training.recorder
    interval, num_epochs = job.group.config["checkpoint_interval_seconds"], job.cadence.num_evaluations
    reports = fit(
        runner,
        training.histories,
        num_epochs=num_epochs,
        first_epoch=first_epoch,
        early_stopping=job.early_stopping,
        stopped=functools.partial(_stopped, training),
        kept=functools.partial(_kept, training),
        intervals=job.intervals,
        middle=middle,
        rests=profile.choose(job, first_epoch) if profile else (),
    )
    if profile:
        reports = profile.traced(reports, job, recorder)
    try:
        for report in reports:
            _end_if_insisted()
            if isinstance(report, Reached):
                recorder.log.append(progress(training, report))
                is_due = requested() or time.monotonic() - training.written[1] >= interval
                if is_due and save_middle(training, report, at_once=requested()) and requested():
                    break
                continue
            if report.replanned is not None:
                recorder.log.append([compiled(training, runner, report.replanned, report.replanned)])
            recorder.log.append(_events(training, report))
            speed.add(report)
            copy_wanted(training, report)
            if requested():
                break
            # What an epoch in stretches is kept on top of is to be there when its middle is due.
            ahead = report.seconds if runner.plan.loop == "stretch" else 0.0
            if time.monotonic() + ahead - training.written[1] >= interval:
                save(training)
    finally:
        reports.close()
        # Also after an interruption or a failure: what was trained since the last write is not lost. An epoch whose
        # wanted rows were not all copied is trained again; its state without them would be taken for all there is.
        if training.standing.report is not None and not isinstance(sys.exc_info()[1], DiskError):
            save(training)
            finish_save(training)
            if not can_go_back(sys.exc_info()[1], runner):
                recorder.emit(schema.group_trained, group=job.group.index, **speed.told(devices))
    safe_point()
    training.middle.remove()  # all has trained to its end, of which a checkpoint is on the disk


def _end_if_insisted() -> None:
    """End at once, and record nothing, where a second signal was raised in what was then taken for a failure."""
    if insisted():
        raise KeyboardInterrupt


def _events(training: GroupTraining, report: EpochReport) -> list[Event | EpochResults]:
    """Turn an epoch report into events; epochs that the log holds already are compared instead."""
    recorder, job = training.recorder, training.job
    events: list[Event | EpochResults] = []
    num_epochs = job.cadence.num_evaluations
    progress = recorder.status_due(len(report.scores)) or report.epoch == num_epochs
    steps, last = job.cadence.stretch, job.names[-1].split("/", 1)[0]
    status = status_at(training, report.epoch, Reached(last, True, steps, steps))
    for recorded in record_events(training, report).values():
        events += recorded  # before the scores: an epoch that the log holds needs none of it any more
    new: dict[int, dict[str, float]] = {}
    folds: list[int] = []
    for row, scores in report.scores.items():
        number = training.ids[row]
        if report.epoch in training.logged[row]:
            events += recorder.compare(
                number, report.epoch, training.logged[row][report.epoch], scores, training.tolerance
            )
        else:
            new[number] = scores
            folds.append(int(job.fold_of_row[row]))
    if new:
        steps_of = {fold: job.cadence.steps_after(report.epoch, fold) for fold in {*folds}}
        steps = [steps_of[fold] for fold in folds]
        seconds = report.seconds / len(report.scores)
        events.append(EpochResults(recorder.run_id, report.epoch, new, seconds, steps, recorder.now_ms()))
    if progress:
        events += [status(training.ids[row]) for row in report.scores]
    for row in report.scores if report.epoch == num_epochs else report.ended:
        events += _end(training, row, report.ended.get(row))
    if report.compacted is not None:
        rows = [training.ids[row] for row in report.compacted]
        events.append(recorder.event(schema.group_compacted, group=job.group.index, epoch=report.epoch, rows=rows))
    return events


def _stopped(training: GroupTraining, histories: Sequence[History], epoch: int) -> Mapping[int, str]:
    """Ask a search that drops the worst which rows train no further, and why."""
    rivals, others = zip(*training.rivals, strict=True) if training.rivals else ((), ())
    found = training.job.search.stopped((*training.job.contenders, *rivals), (*histories, *others), epoch)
    return {row: reason for row, reason in found.items() if row < len(histories)}


def _kept(training: GroupTraining, epoch: int, rows: Sequence[int]) -> list[int]:
    """Return the rows whose state after this epoch `copy_wanted` will ask for."""
    with contextlib.suppress(MlgymError):  # a strategy that fails is told of when its epoch is logged
        return [row for row in rows if epoch in wanted_epochs(training, row)]
    return []


def _settled(training: GroupTraining, row: int) -> bool:
    """Tell whether the log holds an experiment's end: what it trains again is only compared."""
    before = training.recorder.logged.experiments.get(training.ids[row])
    if before is None or before.status not in ("DONE", "FAILED"):
        return False
    history = [training.logged[row][epoch] for epoch in sorted(training.logged[row])]
    if before.status == "FAILED":
        verdict = judge(history, training.job.early_stopping)
        return verdict is not None and verdict.error is not None  # one that its program failed is tried again
    return before.stop_epoch is not None or len(history) >= training.job.cadence.num_evaluations


def _end(training: GroupTraining, row: int, verdict: Verdict | None) -> list[Event]:
    """Build the events of an experiment's end, once; a resumed run may find that they are in the log."""
    recorder, number, epoch = training.recorder, training.ids[row], len(training.histories[row])
    if number in recorder.ended:
        return []
    recorder.ended.add(number)
    if verdict is not None and verdict.error is not None:
        recorder.failed.add(number)
    if _settled(training, row):
        return []
    if verdict is not None and verdict.error is not None:
        return recorder.fail(number, epoch, verdict.error, verdict.stacktrace)
    stopped = []
    if verdict is not None:
        fields = {"experiment_id": number, "epoch": epoch, "reason": verdict.reason}
        stopped.append(recorder.event(schema.experiment_stopped, **fields))
    return [*stopped, recorder.job(number, "DONE")]

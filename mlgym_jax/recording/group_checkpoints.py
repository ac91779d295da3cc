"""Where one group's training stands, and writing it to checkpoints."""

from __future__ import annotations

import dataclasses
import operator
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from mlgym_jax.checkpoint.copies import Copies
from mlgym_jax.checkpoint.middle import MiddleWriter
from mlgym_jax.checkpoint.store import CheckpointStore
from mlgym_jax.core.state import TrainState
from mlgym_jax.errors import MlgymError, described, in_words
from mlgym_jax.events import schema
from mlgym_jax.events.layout import History
from mlgym_jax.execution.engine import EpochReport
from mlgym_jax.recording.recorder import Recorder
from mlgym_jax.search.contest import Contender
from mlgym_jax.study.job import Job

Event = dict[str, Any]
Rivals = Sequence[tuple[Contender, History]]


class Standing(NamedTuple):
    """What a checkpoint would hold by now. One fact: it is replaced whole, so an interruption leaves none half made.

    Attributes:
        report: of the epoch that it stands after, whose states it would hold; None before this launch's first.
        row_epochs: row -> how many epochs it has trained by then.
        wanted: row -> the epochs that its strategy wants kept.
        pending: copies of rows that a strategy wants and no checkpoint holds yet.
    """

    report: EpochReport | None
    row_epochs: tuple[int, ...]
    wanted: Mapping[int, frozenset[int]]
    pending: Copies


@dataclasses.dataclass
class GroupTraining:
    """Where a group's training stands.

    Attributes:
        logged: row -> the epochs that the log held before this launch; repeated ones are compared with them.
        histories: row -> the epochs trained, up to now.
        rivals: the experiments that other groups have trained, with whom a search may compare this one's.
        standing: what a checkpoint would hold by now.
        written: the epoch of the last checkpoint, and when it was written (monotonic seconds).
        unfinished: what to log of a checkpoint once it is whole.
        tolerance: how far scores that are trained again may be off those of the log.
    """

    job: Job
    recorder: Recorder
    store: CheckpointStore
    middle: MiddleWriter
    logged: list[dict[int, dict[str, float]]]
    histories: list[list[dict[str, float]]]
    standing: Standing
    rivals: Rivals = ()
    written: tuple[int, float] = (0, 0.0)
    unfinished: Event | None = None
    tolerance: float = 0.0

    @property
    def ids(self) -> list[int]:
        return self.job.group.ids


def own_checkpoint(training: GroupTraining) -> tuple[int, TrainState | None]:
    """Restore the newest whole checkpoint that the log can account for; histories are filled up to it."""
    recorder, ids = training.recorder, training.ids

    skipped: list[dict[str, Any]] = []

    def skip(step: int, error: str, now_at: str) -> None:
        moved_to = os.path.relpath(now_at, recorder.log.path.parent)
        skipped.append({"step": step, "error": error, "moved_to": moved_to})

    def ahead_of_log(experiments: Sequence[int], row_epochs: Sequence[int]) -> str | None:
        if list(experiments) != ids:
            return f"it holds the experiments {list(experiments)}, not {ids}"
        for row, epochs in enumerate(row_epochs):
            missing = next((epoch for epoch in range(1, epochs + 1) if epoch not in training.logged[row]), None)
            if missing is not None:
                return (
                    f"it is after epoch {epochs} of experiment {ids[row]}, whose epoch {missing} the log does not hold"
                )
        return None

    try:
        found = training.store.restore_newest(skip, ahead_of_log)
        if found is None:
            return 0, None
        saved, state = found
        for row, epochs in enumerate(saved.row_epochs):
            training.histories[row].extend(training.logged[row][epoch] for epoch in range(1, epochs + 1))
        if skipped and (lost := _lost(training)):
            skipped[-1]["lost"] = lost
    finally:  # what was moved is told, whatever comes
        for fields in skipped:
            recorder.emit(schema.checkpoint_skipped, group=training.job.group.index, **fields)
    training.standing = Standing(None, saved.row_epochs, {}, Copies())
    training.written = (saved.epoch, time.monotonic())
    return saved.epoch, state


def _lost(training: GroupTraining) -> list[list[int]]:
    """Return the rows that a strategy wants, that no step holds, and that no epoch will bring again."""
    held = training.store.kept().keys() | training.store.states()
    wanted = [(number, epoch) for row, number in enumerate(training.ids) for epoch in wanted_epochs(training, row)]
    return sorted([number, epoch] for number, epoch in wanted if (number, epoch) not in held)


def make_good(training: GroupTraining) -> None:
    """Take the rows that a strategy wants, and no step keeps, from the states of steps; some launch was cut short."""
    standing, kept, found = training.standing, training.store.kept(), Copies()
    for row, epochs in standing.wanted.items():
        for epoch in epochs:
            who = training.ids[row], epoch
            state = None if who in kept else training.store.state_of(*who)
            if state is not None:
                found = found.and_of([who], jax.tree.map(lambda leaf: leaf[None], state))
    training.standing = standing._replace(pending=found)


def wanted_epochs(training: GroupTraining, row: int) -> frozenset[int]:
    """Ask the strategy which epochs of a row to keep."""
    history = training.histories[row]
    if not history:
        return frozenset()
    try:
        epochs = training.job.checkpointing(history)
    except Exception as error:
        raise MlgymError(f"checkpointing raised {in_words(error)}") from error
    try:
        found = frozenset(map(operator.index, epochs))
    except TypeError:
        found = None
    if found is None or min(found, default=1) < 1:
        shape = f"a set of epochs, which count from 1, is expected, such as {{{len(history)}}}"
        raise MlgymError(f"checkpointing returned {described(epochs)}; {shape}")
    return found


def copy_wanted(training: GroupTraining, report: EpochReport) -> None:
    """Stand after this epoch: copy its rows that a strategy wants to the host, forget those that it wants no more.

    What is raised on the way, by a strategy or a signal, leaves the standing after the epoch before.
    """
    ids, before = training.ids, training.standing
    wanted = {**before.wanted, **{row: wanted_epochs(training, row) for row in report.scores}}
    new = [row for row in report.scores if report.epoch in wanted[row]]
    pending = before.pending
    if any(wanted[row] != before.wanted.get(row) for row in report.scores):
        epochs_of = {ids[row]: epochs for row, epochs in wanted.items()}
        pending = pending.only(lambda who: who[1] in epochs_of[who[0]])
    if new:
        copies = report.copies
        state = copies.read() if copies is not None and [*copies.rows] == new else report.snapshot.rows(new)
        pending = pending.and_of([(ids[row], report.epoch) for row in new], state)
    row_epochs = tuple(report.epoch if row in report.scores else was for row, was in enumerate(before.row_epochs))
    training.standing = Standing(report, row_epochs, wanted, pending)


def save(training: GroupTraining) -> None:
    """Start writing where the training stands in the background, once the checkpoint before is whole.

    States that an epoch has begun to overwrite are left out: what was written before them stands.
    """
    standing, job = training.standing, training.job
    report = standing.report
    if report is None or training.written[0] == report.epoch or report.snapshot.is_gone:
        return
    finish_save(training)
    training.recorder.log.check_place()  # so that no folder is made under the name that a moved one had
    started = time.perf_counter()
    held = {*training.store.kept(), *standing.pending}
    wanted = frozenset((training.ids[row], epoch) for row, epochs in standing.wanted.items() for epoch in epochs) & held
    size = training.store.save(
        report.snapshot.states_later(),
        epoch=report.epoch,
        experiments=training.ids,
        row_epochs=standing.row_epochs,
        kept=standing.pending,
        wanted=wanted,
    )
    event = training.recorder.event(
        schema.checkpoint_saved,
        group=job.group.index,
        epoch=report.epoch,
        step=max(job.cadence.steps_after(report.epoch, int(fold)) for fold in {*job.fold_of_row.tolist()}),
        kept=sorted(list(who) for who in wanted),
        bytes=size,
        seconds=time.perf_counter() - started,
    )
    written, standing = (report.epoch, time.monotonic()), standing._replace(pending=Copies())
    # Without a call between them, so no signal comes between them, either.
    training.unfinished, training.written, training.standing = event, written, standing


def finish_save(training: GroupTraining) -> None:
    """Wait until the checkpoint that is being written is on disk, and log it."""
    training.store.finish()
    event, training.unfinished = training.unfinished, None
    if event is not None:
        training.recorder.log.append([event])

"""What is recorded inside of a long epoch: how far it is, and where it stands, should it be cut short."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from mlgym_jax.checkpoint.middle import read_middle
from mlgym_jax.checkpoint.refused import move_aside
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout, schema
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.stretches import Middle, Reached, StretchRunner
from mlgym_jax.recording.group_checkpoints import Event, GroupTraining, finish_save, save


def progress(training: GroupTraining, reached: Reached) -> list[Event]:
    """Tell of each experiment that trains where in the epoch it is; nothing if that was told a moment ago."""
    recorder = training.recorder
    if not recorder.status_due(len(training.ids)):
        return []
    done = max(map(len, training.histories))
    status = status_at(training, done + 1, reached)
    return [
        status(number)
        for row, number in enumerate(training.ids)
        if len(training.histories[row]) == done and number not in recorder.ended
    ]


def status_at(training: GroupTraining, epoch: int, reached: Reached) -> Callable[[int], Event]:
    """Return what makes the `experiment_status` of an experiment, by its id, that stands there."""
    recorder, job = training.recorder, training.job
    fields = {
        "status": "TRAINING" if reached.is_training else "EVALUATING",
        "num_epochs": job.cadence.num_evaluations,
        "current_epoch": epoch,
        "splits": list(dict.fromkeys(name.split("/", 1)[0] for name in job.names)),
        "current_split": reached.split,
        "num_batches": reached.num_batches,
        "current_batch": reached.batch,
    }
    return lambda number: recorder.event(schema.experiment_status, experiment_id=number, **fields)


def save_middle(training: GroupTraining, reached: Reached, *, at_once: bool) -> bool:
    """Begin to write where an epoch stands, beside the checkpoint of the epoch before, which is there before it.

    Args:
        at_once: wait until it is on the disk, and for what has to be there first. Else training goes on meanwhile, and
            where something is still being written, this is to be tried again a stretch later.

    Returns:
        Whether it was begun. It is not where the epoch before is neither on the disk nor held any more: then this one
        is short beside `checkpoint_interval_seconds`, and its end is what there is to wait for.

    Raises:
        DiskError: the disk refused, now or a moment ago.
    """
    standing = training.standing.report
    is_held = standing is None or training.written[0] == standing.epoch or not standing.snapshot.is_gone
    if reached.middle is None or not is_held:
        return False
    due_since = training.written[1]
    save(training)
    if not at_once and (training.store.is_writing or training.middle.is_writing):
        training.written = training.written[0], due_since  # whatever was just begun, this is due still
        return False
    finish_save(training)
    training.recorder.log.check_place()
    middle = reached.middle()
    fields = {"epoch": middle.epoch, "position": middle.position, "experiments": training.ids}
    training.middle.begin(fields, lambda: middle.leaves)
    training.written = training.written[0], time.monotonic()
    if at_once:
        training.middle.finish()
    return True


def own_middle(training: GroupTraining, runner: GroupRunner, done: int) -> Middle | None:
    """Return where the epoch after `done` stood when this group was cut short; None if it is to begin anew.

    What is damaged is put aside and told.
    """
    path = training.middle.path
    if not isinstance(runner, StretchRunner):
        return None
    try:
        found = read_middle(path)
    except MlgymError as error:
        folder = os.path.dirname(training.store.folder)
        group = os.path.basename(path)
        now_at = move_aside(path, os.path.join(folder, layout.REFUSED, group), layout.MIDDLE)
        moved_to = os.path.relpath(now_at, training.recorder.log.path.parent)
        fields = {"step": done + 1, "error": str(error), "moved_to": moved_to}
        training.recorder.emit(schema.checkpoint_skipped, group=training.job.group.index, **fields)
        return None
    if found is None:
        return None
    fields, arrays = found
    if fields["experiments"] != training.ids or fields["epoch"] != done + 1:
        return None
    return runner.middle(fields["epoch"], fields["position"], arrays)

"""A group that begins: from where its checkpoints are, its warm start, or nothing; and one whose memory ran out.

An epoch that overwrites the states before it leaves nothing to try it again with. Then the group goes back to what is
on the disk, as a resume does, with fewer experiments at once; epochs that it trains again are compared with those that
were logged.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax

from mlgym_jax.checkpoint.copies import Copies
from mlgym_jax.core.state import TrainState
from mlgym_jax.events import schema
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.memory import beyond_memory, is_out_of_memory
from mlgym_jax.recording.group_checkpoints import (
    Event,
    GroupTraining,
    Standing,
    finish_save,
    make_good,
    own_checkpoint,
    wanted_epochs,
)
from mlgym_jax.search.histories import Epochs

# Scores that are trained again in other batches are taken for the same if they are so close.
ROUNDING = 1e-5


def begun(training: GroupTraining) -> tuple[int, TrainState | None]:
    """Stand where the newest checkpoint does; return its epoch, 0 without one, and its states."""
    done, state = own_checkpoint(training)
    wanted = {row: wanted_epochs(training, row) for row in range(len(training.ids))}
    training.standing = training.standing._replace(wanted=wanted)
    return done, state


def start(training: GroupTraining, runner: GroupRunner, state: TrainState | None) -> float:
    """Put states on the devices, those of the warm start or new ones where there are none; return the seconds."""
    job = training.job
    make_good(training)
    if state is not None:
        return runner.start(state)
    seconds = runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    _warm_start(training, runner)
    return seconds


def can_go_back(error: BaseException | None, runner: GroupRunner) -> bool:
    """Tell whether memory ran out, and a call can have fewer experiments."""
    return error is not None and is_out_of_memory(error) and runner.can_be_fewer


def go_back(training: GroupTraining, runner: GroupRunner) -> tuple[int, float]:
    """Stand where the newest checkpoint does, with half as many experiments a call.

    Returns:
        The epochs that are done, and the seconds that compiling took.
    """
    finish_save(training)
    training.middle.finish()
    for row, history in enumerate(training.histories):
        training.logged[row] |= dict(enumerate(history, 1))
        training.histories[row] = Epochs()
    if runner.plan.batching == "vmap":
        training.tolerance = max(training.tolerance, ROUNDING)
    training.standing = Standing(None, (0,) * len(training.ids), {}, Copies())
    training.written = 0, training.written[1]
    done, state = begun(training)
    while True:
        runner.take_half()
        try:
            return done, start(training, runner, state)
        except jax.errors.JaxRuntimeError as error:
            if not can_go_back(error, runner):
                raise


def compiled(
    training: GroupTraining, runner: GroupRunner, seconds: float, waited: float, apart: Sequence[str] = ()
) -> Event:
    """Return what is logged of a group's programs.

    Args:
        apart: why it is a group of its own.
    """
    job, plan = training.job, runner.plan
    short = [] if runner.can_be_fewer else [beyond_memory(jax.local_devices()[0], runner.bytes_per_device)]
    return training.recorder.event(
        schema.group_compiled,
        group=job.group.index,
        experiments=training.ids,
        plan=str(plan),
        reason="; ".join(filter(None, [plan.reason, *short, *apart])),
        compile_seconds=seconds,
        waited_seconds=waited,
        num_examples=max(job.folds.sizes["train"]),
        mesh=runner.mesh,
        flops_per_step=None if job.flops is None else job.flops.total,
        bytes_per_device=runner.bytes_per_device,
    )


def _warm_start(training: GroupTraining, runner: GroupRunner) -> None:
    """Put what the config's warm start brings into every row of a group that was just initialised."""
    loaded = training.job.warm_start()
    if loaded is None:
        return
    runner.start(loaded.applied(runner.snapshot().states()))
    training.recorder.emit(
        schema.warm_started,
        group=training.job.group.index,
        experiments=training.ids,
        source=loaded.source,
        loaded=loaded.names,
        left=loaded.left,
        mismatched=loaded.mismatched,
        checksum=loaded.checksum,
    )

"""Compile a group's programs and time a few epochs, to say how long a run would take; nothing is recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Sequence

import jax

from mlgym_jax.checkpoint.orbax_later import wait_for_import
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.engine import EpochReport, fit
from mlgym_jax.execution.interruption import safe_point
from mlgym_jax.execution.peaks import peak_flops
from mlgym_jax.execution.plan import Plan
from mlgym_jax.recording.speed import work
from mlgym_jax.study.job import Job
from mlgym_jax.study.runners import make_runner
from mlgym_jax.study.tuning import shortened

# So long are epochs timed, once one has warmed up what there is to warm up.
_TIMED_SECONDS = 1.0
_MAX_EPOCHS = 20
# An epoch that would take longer is timed on a part of its steps. How long it takes is guessed from its operations:
# devices whose peak nobody says are taken for a core of a CPU.
_LONG_SECONDS = 2.0
_MIN_STEPS = 8
_CORE_FLOPS, _SHARE_OF_PEAK = 5e9, 0.2


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """What a group was measured to take here.

    Attributes:
        plan: as it is carried out, in chunks where memory asks for them.
        compile_seconds: until its programs are there; init_seconds: until its states are.
        first_epoch_seconds, epoch_seconds: of the whole group, evaluation included: the first one, and those after it.
        num_steps: training steps of the epochs that were timed.
        bytes_per_device: what a call of the programs needs there.
    """

    plan: Plan
    compile_seconds: float
    init_seconds: float
    first_epoch_seconds: float
    epoch_seconds: float
    num_steps: int
    bytes_per_device: int

    def train_seconds(self, num_epochs: int) -> float:
        return self.first_epoch_seconds + (num_epochs - 1) * self.epoch_seconds


def rehearse(job: Job, plan: Plan, devices: Sequence[jax.Device]) -> Rehearsal:
    """Compile a group as a run would, and train a few of its epochs."""
    shape = shortened(job.shape, _steps_to_time(job, devices[: plan.mesh.num_devices]))
    started = time.perf_counter()
    with contextlib.closing(make_runner(job, plan, devices)) as runner:
        compiling = runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
        began = time.perf_counter() - started
        plan, needed = runner.plan, runner.bytes_per_device
        if shape is job.shape:
            seconds = _timed(job, runner)
    if shape is not job.shape:
        with contextlib.closing(make_runner(job, plan, devices, shape)) as runner:
            runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
            seconds = _timed(job, runner)
    times = job.shape.steps_at_once / shape.steps_at_once
    return Rehearsal(
        plan=plan,
        compile_seconds=compiling,
        init_seconds=max(0.0, began - compiling),
        first_epoch_seconds=seconds[0] * times,
        epoch_seconds=statistics.median(seconds[1:] or seconds) * times,
        num_steps=shape.steps_at_once,
        bytes_per_device=needed,
    )


def _timed(job: Job, runner: GroupRunner) -> list[float]:
    """Train a few epochs with a started runner and return the seconds of each."""
    wait_for_import()  # it takes a core from what is timed
    histories: list[list[dict[str, float]]] = [[] for _ in job.group.experiments]
    seconds: list[float] = []
    num_epochs = 1
    while len(seconds) < num_epochs:
        safe_point()
        reports = fit(runner, histories, num_epochs=num_epochs, first_epoch=len(seconds) + 1, early_stopping=None)
        seconds += [report.seconds for report in reports if isinstance(report, EpochReport)]
        if len(seconds) < num_epochs:
            break  # all have diverged
        if num_epochs == 1:
            more = min(_MAX_EPOCHS, math.ceil(_TIMED_SECONDS / seconds[0]), job.cadence.num_evaluations - 1)
            num_epochs += more
    return seconds


def _steps_to_time(job: Job, devices: Sequence[jax.Device]) -> int:
    """Return how many steps an epoch needs to have for its time to say how long whole ones take."""
    if job.flops is None or isinstance(job.table, StreamedTable):  # a stream is read ahead, at its own pace
        return job.shape.steps_at_once
    peak = peak_flops(devices[0].device_kind, job.flops.widest)
    rate = len(devices) * (_CORE_FLOPS if peak is None else _SHARE_OF_PEAK * peak)
    guessed = job.flops.total * work(job, 1, range(len(job.group.experiments)))[0] / rate
    return max(_MIN_STEPS, math.ceil(job.shape.steps_at_once * min(1.0, _LONG_SECONDS / guessed)))

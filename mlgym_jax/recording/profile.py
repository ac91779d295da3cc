"""`--profile=STEPS`: a trace of JAX's profiler of some training steps, once they are compiled and warm."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from typing import Any

import jax

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout, schema
from mlgym_jax.execution.engine import EpochReport
from mlgym_jax.execution.stretches import Reached
from mlgym_jax.recording.recorder import Recorder
from mlgym_jax.recording.speed import work
from mlgym_jax.study.job import Job

_LOG = logging.getLogger(__name__)


class Profile:
    """The one trace of a launch: of epochs of the group that trains first, which hold so many steps of an experiment.

    A trace begins and ends between two epochs, as an epoch is one program; the first epoch is left out where another
    is to follow. What a disk or the profiler refuses is told, and ends no training.

    Args:
        num_steps: training steps of an experiment that the trace holds at least, if it trains so many.

    Raises:
        MlgymError: it is no number of steps.
    """

    def __init__(self, num_steps: Any):
        if isinstance(num_steps, bool) or not isinstance(num_steps, int) or num_steps < 1:
            raise MlgymError(
                f"--profile={num_steps}: a number of training steps is expected, at least 1, such as --profile=100"
            )
        self._num_steps = num_steps
        self._job: Job | None = None
        self._first = self._last = 0
        self._is_cold = False  # whether there is no epoch before them

    def choose(self, job: Job, first_epoch: int) -> set[int]:
        """Choose the epochs of a group that is about to train, unless those of another were.

        Returns:
            The epochs after which nothing may be under way.
        """
        if self._job is not None:
            return set()
        self._job, final = job, job.cadence.num_evaluations
        self._is_cold = first_epoch == final
        self._first = self._last = final if self._is_cold else first_epoch + 1
        while self._last < final and self._held(job) < self._num_steps:
            self._last += 1
        return {self._first - 1, self._last}

    def traced(
        self, reports: Generator[EpochReport | Reached, None, None], job: Job, recorder: Recorder
    ) -> Generator[EpochReport | Reached, None, None]:
        """Hand on the reports of a group's epochs, and trace those that were chosen of it."""
        if job is not self._job:
            yield from reports
            return
        folder = os.path.join(recorder.log.path.parent, layout.PROFILE)
        num_steps, epoch = 0, self._first - 1
        is_tracing = self._is_cold and _start(folder)
        try:
            for report in reports:
                if not isinstance(report, EpochReport):
                    yield report
                    continue
                if is_tracing:
                    epoch = report.epoch
                    num_steps += work(job, epoch, list(report.scores))[0]
                if report.epoch == self._first - 1 and len(report.ended) == len(report.scores):
                    self._job = None  # nothing of it goes on: the next group is traced
                elif report.epoch == self._first - 1:
                    is_tracing = _start(folder)
                elif report.epoch == self._last and is_tracing:
                    is_tracing = False
                    self._stop(recorder, epoch, num_steps)
                yield report
        finally:
            if is_tracing:
                self._stop(recorder, epoch, num_steps)

    def _held(self, job: Job) -> int:
        """Count the steps of one experiment in the epochs that were chosen."""
        return sum(work(job, epoch, [0])[0] for epoch in range(self._first, self._last + 1))

    def _stop(self, recorder: Recorder, epoch: int, num_steps: int) -> None:
        """Write the trace, which ends with `epoch`, and log what it holds."""
        assert self._job is not None
        try:
            jax.profiler.stop_trace()
        except Exception as error:
            _LOG.warning("--profile: the trace was not written: %s", str(error).split("\n")[0])
            return
        recorder.emit(
            schema.profile_saved,
            group=self._job.group.index,
            first_epoch=self._first,
            last_epoch=epoch,
            num_steps=num_steps,
            folder=layout.PROFILE,
        )


def profile_of(num_steps: Any) -> Profile | None:
    """Return the trace that was asked for; None where none was.

    Raises:
        MlgymError: it is no number of steps.
    """
    return None if num_steps is None else Profile(num_steps)


def _start(folder: str) -> bool:
    """Begin a trace; tell whether it could be."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # programs and their operations: with each call of Python, steps would be slow
    try:
        jax.profiler.start_trace(folder, profiler_options=options)
    except Exception as error:
        _LOG.warning("--profile: no trace can be begun: %s", str(error).split("\n")[0])
        return False
    return True

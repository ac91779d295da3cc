"""The programs of groups that come next, compiled in threads while one trains.

A group compiled ahead holds no memory of a device until its turn. Whatever goes wrong ahead is forgotten: at its turn
the group is compiled as if nothing had been tried, and meets the same error if there is one.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from mlgym_jax.execution.backend import tracing_context
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.interruption import safe_point
from mlgym_jax.execution.memory import memory_limit
from mlgym_jax.execution.plan import Plan
from mlgym_jax.study.job import Job
from mlgym_jax.study.runners import make_runner

# Groups ahead: as many as there are cores for, beside those that train, or feed what does.
_MOST = max(1, min(4, (os.cpu_count() or 1) // 2))
_LOOK_SECONDS = 0.1  # between two looks for an interruption


class Compiled(NamedTuple):
    """A runner; the seconds that compiling took it ahead, and for how many of them it was waited at its turn."""

    runner: GroupRunner
    seconds: float = 0.0
    waited: float = 0.0


class Ahead:
    """Compiles what comes next.

    Args:
        plan_of: the plan by which a group will train; None where that is not known before its turn.
    """

    def __init__(self, devices: Sequence[jax.Device], plan_of: Callable[[Job], Plan | None]):
        self._devices, self._plan_of = devices, plan_of
        self._pool = concurrent.futures.ThreadPoolExecutor(_MOST, "compiling ahead")
        self._coming: dict[int, tuple[Plan, concurrent.futures.Future[Compiled]]] = {}
        self._tracing = threading.Lock()  # Python traces one at a time in any case; in turn, the first is there first
        self._is_left = False
        self.next: Sequence[Job] = ()  # what follows the group whose turn it is, in order

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        """Let what is compiled now end by itself: nobody waits for it."""
        self._is_left = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, bytes_per_device: int) -> None:
        """Begin to compile what comes next.

        Args:
            bytes_per_device: what the group needs that trains meanwhile. An accelerator's compiler tries programs out
                there, for which as much is to be left.
        """
        if self._devices[0].platform != "cpu":
            limit = memory_limit(self._devices[0])
            if limit is None or 2 * bytes_per_device > limit:
                return
        for job in self.next[:_MOST]:
            if job.group.index not in self._coming and (plan := self._plan_of(job)) is not None:
                future = self._pool.submit(self._compile, job, plan, tracing_context())
                self._coming[job.group.index] = plan, future

    def runner(self, job: Job, plan: Plan) -> Compiled:
        """Return what runs a group, compiled if that was begun, and then waited for.

        Raises:
            KeyboardInterrupt: it was asked for.
        """
        found = self._coming.pop(job.group.index, None)
        if found is None or found[0] != plan:
            return Compiled(make_runner(job, plan, self._devices))
        started = time.perf_counter()
        while concurrent.futures.wait([found[1]], timeout=_LOOK_SECONDS).not_done:
            safe_point()
        waited = time.perf_counter() - started
        if found[1].exception() is not None:
            return Compiled(make_runner(job, plan, self._devices), waited, waited)
        return found[1].result()._replace(waited=waited)

    def _compile(self, job: Job, plan: Plan, context: object) -> Compiled:
        if context != tracing_context():
            raise RuntimeError("settings of JAX that hold in one thread alone would not be those of these programs")
        with contextlib.ExitStack() as turn:
            turn.enter_context(self._tracing)
            self._look()
            runner = make_runner(job, plan, self._devices)
            runner.programs.look = self._look
            runner.programs.while_compiling = turn.close
            seconds = runner.compile(job.seeds, dict(job.hyperparams), job.sample)
        runner.programs.look, runner.programs.while_compiling = safe_point, lambda: None
        return Compiled(runner, seconds)

    def _look(self) -> None:
        if self._is_left:
            raise KeyboardInterrupt

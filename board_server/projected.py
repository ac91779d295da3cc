"""What a run's log says, kept up to date: the projection that answers every question but the events themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from board_server.file_work import Lane
from board_server.precedence import ASKED
from board_server.run_log import Cursor, RunLog
from mlgym_jax.events import ExperimentView, RunView, apply_lines
from mlgym_jax.events.values import all_readable

Found = TypeVar("Found")

_START = Cursor(0, 0)
_BLOCK_BYTES = 1 << 20
# What is made of a log larger than this, or of one with news, is made in a thread: others are served meanwhile.
_AT_ONCE_BYTES = 1 << 18


class Columns:
    """The curves of a view as arrays, kept until their experiment has another epoch."""

    def __init__(self) -> None:
        self._epochs: dict[int, np.ndarray] = {}
        self._scores: dict[tuple[int, str], tuple[int, np.ndarray, np.ndarray]] = {}

    def epochs(self, experiment: ExperimentView) -> np.ndarray:
        """Return the numbers of the evaluated epochs, int32; one beyond its range is cut to it."""
        found = self._epochs.get(experiment.experiment_id)
        if found is None or len(found) != experiment.epochs:
            wide = np.array(experiment.epoch_numbers, np.float64)
            found = self._epochs[experiment.experiment_id] = np.clip(wide, -(2**31), 2**31 - 1).astype(np.int32)
        return found

    def scores(self, experiment: ExperimentView, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the epochs for which a score was logged, int32, and its values, float64."""
        key = experiment.experiment_id, name
        found = self._scores.get(key)
        if found is None or found[0] != experiment.epochs:
            epochs, scores = self.epochs(experiment), np.array(experiment.history[name], np.float64)
            logged = experiment.logged(name)
            if logged is not None:
                mask = np.frombuffer(logged, bool)
                epochs, scores = epochs[mask], scores[mask]
            found = self._scores[key] = experiment.epochs, epochs, scores
        return found[1:]


class Projected:
    """A run's view, made from its log when first asked for and then brought up to date by each new event."""

    def __init__(self, log: RunLog):
        self._log = log
        self._lane = Lane()
        # Held by whoever uses the view, in that very thread: a client that leaves cancels its request, not the thread.
        self._lock = threading.Lock()
        self._num_asked, self._is_asked = 0, False  # who waits for it; whether it is read for one, who may have left
        self._forget()

    def _forget(self) -> None:
        self._view, self._columns = RunView(), Columns()
        self._cursor, self._generation = _START, self._log.generation

    def forget(self) -> None:
        """Give the memory back, unless the view is in use."""
        if self._lock.acquire(blocking=False):
            try:
                self._forget()
            finally:
                self._lock.release()

    @property
    def is_loaded(self) -> bool:
        return self._cursor.offset > 0

    @property
    def is_begun(self) -> bool:
        """Whether the view is there, in part at least, or about to be made."""
        return self.is_in_use or self.is_loaded

    @property
    def is_in_use(self) -> bool:
        """Whether somebody reads it, or waits for it."""
        return self._lock.locked() or self._num_asked > 0

    async def warm(self) -> None:
        """Bring the view up to date though nobody asks for it, when nobody waits for another one."""
        await self._lane.do(self.read_here, lambda *_: None)

    async def read(self, make: Callable[[RunView, Columns, int], Found], *, at_once: bool = True) -> Found:
        """Return what `make` makes of the view of all that the log holds now; nothing changes it meanwhile.

        Args:
            make: (view, its curves, id of the last event) -> anything that does not keep the view.
            at_once: whether it is quick where the log is small, so that no thread need be waited for.
        """
        if at_once and self._is_small_and_current() and self._lock.acquire(blocking=False):
            try:
                if self._is_small_and_current():
                    return self._made(make)
            finally:
                self._lock.release()
        self._num_asked += 1
        try:
            return await self._lane.do(self._read_asked, make)
        finally:
            self._num_asked -= 1

    def _is_small_and_current(self) -> bool:
        head = self._log.head
        return head.offset < _AT_ONCE_BYTES and self._cursor == head and self._generation == self._log.generation

    def _read_asked(self, make: Callable[[RunView, Columns, int], Found]) -> Found:
        with ASKED:
            self._is_asked = True
            try:
                return self.read_here(make)
            finally:
                self._is_asked = False

    def read_here(self, make: Callable[[RunView, Columns, int], Found]) -> Found:
        """Return what `read` does, in this thread; it rests while others are waited for."""
        with self._lock:
            return self._read(make)

    def _read(self, make: Callable[[RunView, Columns, int], Found]) -> Found:
        if self._generation != self._log.generation:
            self._forget()
        while self._cursor.event_id < self._log.head.event_id:
            ASKED.give_way(unless=lambda: self._is_asked or self._num_asked)
            lines, cursor = self._log.read(self._cursor, max_bytes=_BLOCK_BYTES)
            if not lines:
                break
            apply_lines(self._view, all_readable(lines))
            self._cursor = cursor
        return self._made(make)

    def _made(self, make: Callable[[RunView, Columns, int], Found]) -> Found:
        return make(self._view, self._columns, self._cursor.event_id - 1)

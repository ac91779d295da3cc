"""What a run's log says, kept up to date: the projection that answers every question but the events themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from board_server.run_log import Cursor, RunLog
from mlgym_jax.events import RunView, apply, decode

_START = Cursor(0, 0)
_BLOCK_BYTES = 1 << 20
# Up to so many new bytes are taken in at once; more are read in a thread, so that others are served meanwhile.
_AT_ONCE_BYTES = 1 << 18


class Projected:
    """A run's view, made from its log when first asked for and then brought up to date by each new event."""

    def __init__(self, log: RunLog):
        self._log = log
        self._lock = asyncio.Lock()
        self.forget()

    def forget(self) -> None:
        self._view, self._cursor, self._generation = RunView(), _START, self._log.generation

    @property
    def is_loaded(self) -> bool:
        return self._cursor.offset > 0

    @contextlib.asynccontextmanager
    async def view(self) -> AsyncIterator[tuple[RunView, int]]:
        """Yield the view of all that the log holds now, and the id of its last event; nothing changes it meanwhile."""
        async with self._lock:
            if self._log.head.offset - self._cursor.offset > _AT_ONCE_BYTES:
                await asyncio.to_thread(self._take_in)
            else:
                self._take_in()
            yield self._view, self._cursor.event_id - 1

    def _take_in(self) -> None:
        if self._generation != self._log.generation:
            self.forget()
        while self._cursor.event_id < self._log.head.event_id:
            lines, cursor = self._log.read(self._cursor, max_bytes=_BLOCK_BYTES)
            if not lines:
                break
            for line in lines:
                try:
                    event = decode(line)
                except ValueError:
                    self._view.num_malformed += 1  # a damaged line must not hide the others
                    continue
                apply(self._view, event)
            self._cursor = cursor

"""Requests are begun a few at a time and, where more come than can be answered, the newest first.

Who came with many others then waits behind who comes alone, and nobody waits behind what nobody waits for any more.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

MAX_BEGUN = 8
BEGUN_SECONDS = 0.05  # what takes longer waits for a thread, a file or its client, and keeps nobody from beginning


class Turns:
    """Whose turn it is; anything hashable may take one."""

    def __init__(self) -> None:
        self._begun: dict[Any, float] = {}  # since when, the longest first
        self._waiting: dict[Any, asyncio.Future[None]] = {}  # the newest last
        self._timer: asyncio.TimerHandle | None = None

    def is_free(self) -> bool:
        """Whether `begin` would not wait."""
        self._expire()
        return len(self._begun) < MAX_BEGUN and not self._waiting

    async def begin(self, one: Any) -> None:
        """Wait for a turn; it ends by `end`, or by itself after a while."""
        if self.is_free():
            self._begun[one] = time.monotonic()
            return
        self._waiting[one] = turn = asyncio.get_running_loop().create_future()
        self._call()
        try:
            await turn
        finally:
            self._waiting.pop(one, None)

    def end(self, one: Any) -> None:
        """End a turn, or the waiting for one."""
        if self._begun.pop(one, None) is None and one in self._waiting:
            self._wake(one)
        self._call()

    def _wake(self, one: Any) -> None:
        turn = self._waiting.pop(one)
        if not turn.done():
            turn.set_result(None)

    def _call(self) -> None:
        """Begin what may begin."""
        self._expire()
        while self._waiting and len(self._begun) < MAX_BEGUN:
            newest = next(reversed(self._waiting))
            self._begun[newest] = time.monotonic()
            self._wake(newest)
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BEGUN_SECONDS, self._call_again)

    def _call_again(self) -> None:
        self._timer = None
        self._call()

    def _expire(self) -> None:
        now = time.monotonic()
        while self._begun and next(iter(self._begun.values())) < now - BEGUN_SECONDS:
            del self._begun[next(iter(self._begun))]

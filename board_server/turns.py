"""Requests are begun a few at a time and, where more come than can be answered, the newest first.

Who came with many others then waits behind who comes alone, and nobody waits behind what nobody waits for any more. The
newest is who began last to say what it asks for: who takes long to say it does not come before those that came later.
"""

from __future__ import annotations

import asyncio
import bisect
import time
from typing import Any

MAX_BEGUN = 8
BEGUN_SECONDS = 0.05  # what takes longer waits for a thread, a file or its client, and keeps nobody from beginning
# It does so only if the loop went around so often meanwhile: else it may wait for its own next step.
_MIN_TICKS = 15
_TICK_SECONDS = 0.002
_MAX_BEGUN_SECONDS = 0.5


class _Queue:
    """Who waits, the newest first."""

    def __init__(self) -> None:
        self._waiting: dict[Any, tuple[int, asyncio.Future[None]]] = {}
        self._order: list[tuple[float, int, Any]] = []  # also of those that wait no more, until they are passed over
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, one: Any, since: float) -> asyncio.Future[None]:
        """Let one wait that began then; return what is done when its turn has come."""
        turn = asyncio.get_running_loop().create_future()
        self._number += 1
        self._waiting[one] = self._number, turn
        bisect.insort(self._order, (since, self._number, one), key=lambda entry: entry[:2])
        if len(self._order) > 2 * len(self._waiting) + 64:
            self._order = [entry for entry in self._order if self._is_there(entry)]
        return turn

    def _is_there(self, entry: tuple[float, int, Any]) -> bool:
        return self._waiting.get(entry[2], (0,))[0] == entry[1]

    def newest(self) -> Any:
        """Return who began last."""
        while not self._is_there(self._order[-1]):
            self._order.pop()
        return self._order[-1][2]

    def pop(self, one: Any) -> asyncio.Future[None] | None:
        """Let one wait no more; return what it waits for, None where it does not."""
        return self._waiting.pop(one, (0, None))[1]


class Turns:
    """Whose turn it is; anything hashable may take one.

    Args:
        behind: whose turns come first: while any of those is begun, only one of these is at a time.
    """

    def __init__(self, behind: Turns | None = None) -> None:
        self._others = behind
        self._begun: dict[Any, tuple[float, int]] = {}  # since when and since which tick, the longest first
        self._waiting, self._behind = _Queue(), _Queue()  # the latter behind all of the former
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0

    def is_free(self) -> bool:
        """Whether `begin` would not wait."""
        return self._has_room() and not self._waiting and not self._behind

    def is_begun(self, one: Any) -> bool:
        """Whether it has a turn."""
        return one in self._begun

    async def begin(self, one: Any, *, is_early: bool = False) -> None:
        """Wait for a turn; it ends by `end`, or by itself after a while.

        Args:
            is_early: who asks for more before it has its answer has its turn when nobody else waits.
        """
        if self.is_free():
            self.note(one)
            return
        turn = self.asked(one, is_early=is_early)
        try:
            await turn
        finally:
            (self._behind if is_early else self._waiting).pop(one)

    def asked(self, one: Any, *, is_early: bool = False, since: float | None = None) -> asyncio.Future[None]:
        """Return what is done when a turn has come, or was given up by `end`; see `begin`.

        Args:
            since: when it began to say what it asks for, by the loop's clock; now by default.
        """
        queue = self._behind if is_early else self._waiting
        turn = queue.add(one, asyncio.get_running_loop().time() if since is None else since)
        self._call()
        return turn

    def end(self, one: Any) -> None:
        """End a turn, or the waiting for one."""
        if self._begun.pop(one, None) is None:
            self._wake(one)
        self._call()

    def note(self, one: Any) -> None:
        """Let one begin at once."""
        self._begun[one] = time.monotonic(), self._ticks

    def _wake(self, one: Any) -> None:
        turn = self._waiting.pop(one) or self._behind.pop(one)
        if turn is not None and not turn.done():
            turn.set_result(None)

    def _call(self) -> None:
        """Begin what may begin."""
        if not self._waiting and not self._behind:
            return
        while self._has_room() and (waiting := self._waiting or self._behind):
            newest = waiting.newest()
            self.note(newest)
            self._wake(newest)
        if (self._waiting or self._behind) and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _has_room(self) -> bool:
        self._expire()
        return len(self._begun) < (MAX_BEGUN if self._others is None or self._others.is_idle() else 1)

    def is_idle(self) -> bool:
        """Whether nobody has a turn, or waits for one."""
        self._expire()
        return not self._begun and not self._waiting and not self._behind

    def _tick(self) -> None:
        self._timer = None
        self._ticks += 1
        self._call()

    def _expire(self) -> None:
        now = time.monotonic()
        while self._begun:
            first = next(iter(self._begun))
            seconds, ticks = now - self._begun[first][0], self._ticks - self._begun[first][1]
            if seconds < BEGUN_SECONDS or (ticks < _MIN_TICKS and seconds < _MAX_BEGUN_SECONDS):
                return
            del self._begun[first]

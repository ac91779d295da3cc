"""The door: who connects costs next to nothing until a request is there and has its turn.

Until then a connection is a socket in a table, without a stream or a task, so that who asks for something hardly waits
for those that only came. What shows no token, and needs one, is refused here.
"""

from __future__ import annotations

import asyncio
import errno
import math
import resource
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from board_server.held import (
    HELD_SECONDS,
    is_body_missing,
    is_coming,
    is_head_missing,
    is_head_too_large,
    is_more,
    what_is_shown,
)
from board_server.waiting import Waiting, address_of
from board_server.waits import Waits

MAX_CONNECTIONS = 2_000  # with the WebSockets
_FILES_BESIDE = 256  # may be open besides connections
_AT_ONCE = 64  # are let in before those that are there go on
_READ_BYTES = 1 << 16
# What most have to say is heard at once; of who has more to say, so long each time that the loop goes around.
_FIRST_BYTES, _ROUND_SECONDS = 1 << 12, 0.004
_LOOK_SECONDS = 0.5  # for those whose time is over
# So long, and so much of it, what was refused may still come: who is cut off while it sends loses the answer.
_LEAVING_SECONDS, _LEAVING_BYTES = 2.0, 1 << 20
_REFUSED_AT_ONCE, _REFUSED_A_SECOND = 50, 500  # who is refused may come again at once
_RETRY_SECONDS = 1.0  # after which it is tried again to let in who comes, when the system has refused it
_OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Guest:
    """Who has connected, and not yet asked for anything that is being answered.

    Attributes:
        address, is_known: see `waiting.Waiter`; data: what was said; began_at: when, by the loop's clock; until: when
            its time is over.
    """

    __slots__ = (
        "_door",
        "address",
        "began_at",
        "data",
        "is_known",
        "is_read",
        "kind",
        "num_held",
        "socket",
        "turn",
        "until",
    )

    def __init__(self, door: Door, opened: socket.socket, address: str, until: float):
        self._door, self.socket, self.address, self.until = door, opened, address, until
        self.is_known, self.is_read, self.data, self.began_at = False, False, b"", -math.inf
        self.num_held = 0  # bytes that are counted there
        self.kind: Waiting | None = None  # what it waits among; None once it is gone, or served
        self.turn: asyncio.Future[None] | None = None

    def let_go(self) -> None:
        """End it at once."""
        self._door.dismiss(self)


class Door:
    """Lets connections in, and has them served once they ask for something.

    Args:
        listening: where they come.
        waits: among which they wait.
        seconds: so long one may say nothing.
        serve: answers a guest, and whatever else it asks, until it leaves.
        knows: whether headers show a token.
        refusal: what is answered at once to what a guest has said, whose rest may have not come in time; None where the
            application is to answer.
    """

    def __init__(
        self,
        listening: socket.socket,
        waits: Waits,
        *,
        seconds: float,
        serve: Callable[[Guest], Coroutine[Any, Any, None]],
        knows: Callable[[list[tuple[bytes, bytes]]], bool],
        refusal: Callable[[bytes, bool], bytes | None],
    ):
        self._listening, self._waits, self._seconds = listening, waits, seconds
        self._serve, self._knows, self._refusal = serve, knows, refusal
        self._loop = asyncio.get_running_loop()
        self._guests: dict[Guest, None] = {}
        self._leaving: dict[Guest, int] = {}  # was refused -> how much still came
        self._refused: dict[Guest, bytes] = {}  # and with what, once it is its turn; the newest last
        self._allowed, self._allowed_at = float(_REFUSED_AT_ONCE), self._loop.time()  # how many may be refused now
        self._served: set[asyncio.Task[None]] = set()
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._round_ends: float | None = None
        self._open()
        self._look()

    async def close(self, seconds: float) -> None:
        """Let nobody in any more, and wait until who is served has left, at most so long."""
        self._loop.remove_reader(self._listening)
        for timer in self._timers.values():
            timer.cancel()
        for guest in [*self._guests, *self._leaving]:
            self.dismiss(guest)
        if self._served:
            _, late = await asyncio.wait(self._served, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # -- coming ----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._loop.add_reader(self._listening, self._let_in)

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        self._timers[work] = self._loop.call_later(seconds, work)

    def _let_in(self) -> None:
        until = self._loop.time() + self._seconds
        for _ in range(_AT_ONCE):
            try:
                opened, peer = self._listening.accept()
            except OSError as error:
                if error.errno not in _OUT_OF:
                    return  # nobody is there, or has left again
                words = "a connection cannot be accepted"
                self._loop.call_exception_handler({"message": words, "exception": error})
                if not self._waits.make_room():
                    self._loop.remove_reader(self._listening)
                    self._later(_RETRY_SECONDS, self._open)
                return
            if (
                len(self._guests) + len(self._leaving) + len(self._served) >= max_connections()
                and not self._waits.make_room()
            ):
                opened.close()
                continue
            opened.setblocking(False)
            guest = Guest(self, opened, address_of(peer), until)
            self._guests[guest] = None
            guest.kind = self._waits.idle
            self._waits.idle.begin(guest)
            if guest.kind is not None:
                self._hear(guest)

    def _is_enough(self) -> bool:
        """Whether others are to go on, before more is heard of who has much to say."""
        now = self._loop.time()
        if self._round_ends is None:
            self._round_ends = now + _ROUND_SECONDS
            self._loop.call_soon(self._end_round)
        return now > self._round_ends

    def _end_round(self) -> None:
        self._round_ends = None

    def _hear(self, guest: Guest) -> None:
        """Take what a guest says."""
        if guest.data and self._is_enough():
            return
        try:
            more = guest.socket.recv(_READ_BYTES if guest.data else _FIRST_BYTES)
        except (BlockingIOError, InterruptedError):
            self._listen_to(guest)
            return
        except OSError:
            more = b""
        if not more:
            self.dismiss(guest)
        elif guest in self._leaving:
            self._leaving[guest] += len(more)
            if self._leaving[guest] > _LEAVING_BYTES:
                self.dismiss(guest)
        else:
            if not guest.data:
                guest.began_at = self._loop.time()
            guest.data += more
            self._consider(guest)

    def _listen_to(self, guest: Guest) -> None:
        if not guest.is_read:
            guest.is_read = True
            self._loop.add_reader(guest.socket, self._hear, guest)

    def _consider(self, guest: Guest) -> None:
        """Have a guest served, or refused, if enough was said."""
        data = guest.data
        if is_head_too_large(data):
            self._answer(guest)
        elif is_head_missing(data):
            self._listen_to(guest)
        elif is_body_missing(data):
            if guest.kind is self._waits.idle:
                guest.until = guest.began_at + HELD_SECONDS
                self._move(guest, self._waits.unfinished)
            if guest.kind is not None:
                self._listen_to(guest)
        else:
            self._answer(guest)

    # -- being answered --------------------------------------------------------------------------------------------

    def _answer(self, guest: Guest, *, is_late: bool = False) -> None:
        guest.is_known = not is_head_too_large(guest.data) and self._knows(what_is_shown(guest.data))
        answer = None if guest.is_known else self._refusal(guest.data, is_late)
        self._listen_no_more(guest)
        if answer is not None:
            self._refuse_in_turn(guest, answer)
            return
        turns = self._waits.turns_of(guest)
        if turns.is_free():
            turns.note(guest)
            self._begin(guest)
            return
        guest.until = math.inf
        self._move(guest, self._waits.queued, len(guest.data))
        if guest.kind is not None:
            guest.turn = turns.asked(guest, is_early=is_more(guest.data), since=guest.began_at)
            guest.turn.add_done_callback(lambda _: self._turn_came(guest))

    def _turn_came(self, guest: Guest) -> None:
        if guest.kind is None:
            return
        try:
            has_left = not guest.socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            has_left = False
        except OSError:
            has_left = True
        if has_left:
            self.dismiss(guest)
        else:
            self._begin(guest)

    def _begin(self, guest: Guest) -> None:
        self._forget(guest)
        task = self._loop.create_task(self._serve(guest))
        self._served.add(task)
        task.add_done_callback(self._served.discard)

    def _refuse_in_turn(self, guest: Guest, answer: bytes) -> None:
        if not self._refused and self._may_refuse():
            self._refuse(guest, answer)
            return
        guest.until = math.inf
        self._move(guest, self._waits.queued, len(guest.data))
        if guest.kind is not None:
            if not self._refused:
                self._later(_LOOK_SECONDS / 50, self._refuse_more)
            self._refused[guest] = answer

    def _refuse_more(self) -> None:
        while self._refused and self._may_refuse():
            self._refuse(*self._refused.popitem())
        if self._refused:
            self._later(_LOOK_SECONDS / 50, self._refuse_more)

    def _may_refuse(self) -> bool:
        now = self._loop.time()
        since, self._allowed_at = now - self._allowed_at, now
        self._allowed = min(self._allowed + since * _REFUSED_A_SECOND, _REFUSED_AT_ONCE) - 1
        if self._allowed < 0:
            self._allowed += 1
            return False
        return True

    def _refuse(self, guest: Guest, answer: bytes) -> None:
        try:
            guest.socket.send(answer)
            guest.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.dismiss(guest)
            return
        if not is_coming(guest.data):
            self.dismiss(guest)
            return
        guest.data, guest.until = b"", self._loop.time() + _LEAVING_SECONDS
        self._move(guest, self._waits.unfinished)
        if guest.kind is not None:
            del self._guests[guest]
            self._leaving[guest] = 0
            self._listen_to(guest)

    # -- going -----------------------------------------------------------------------------------------------------

    def dismiss(self, guest: Guest) -> None:
        """End a connection that is not served."""
        if guest.kind is not None:
            self._listen_no_more(guest)
            self._forget(guest)
            guest.socket.close()
            if guest.turn is not None:
                self._waits.end_turn(guest)

    def _forget(self, guest: Guest) -> None:
        self._move(guest, None)
        self._guests.pop(guest, None)
        self._leaving.pop(guest, None)
        self._refused.pop(guest, None)

    def _move(self, guest: Guest, kind: Waiting | None, num_bytes: int = 0) -> None:
        before, guest.kind = guest.kind, kind
        if before is not None:
            before.end(guest, guest.num_held)
        guest.num_held = num_bytes
        if kind is not None:
            kind.begin(guest, num_bytes)  # which may let it go at once

    def _listen_no_more(self, guest: Guest) -> None:
        if guest.is_read:
            guest.is_read = False
            self._loop.remove_reader(guest.socket)

    def _look(self) -> None:
        """End who has said nothing, and answer who does not go on."""
        now = self._loop.time()
        for guest in [one for one in [*self._guests, *self._leaving] if one.until < now]:
            if guest.kind is self._waits.unfinished and guest in self._guests:
                self._answer(guest, is_late=True)  # the application, if it is to, bounds what it still waits for
            else:
                self.dismiss(guest)
        self._later(_LOOK_SECONDS, self._look)


def max_connections() -> int:
    """Return how many connections may be open, so that files can be, too."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if files < 0 else min(MAX_CONNECTIONS, max(files - _FILES_BESIDE, files // 2))

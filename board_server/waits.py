"""What connections of a server wait for: their client, each kind for itself, their turn, or room for what they send."""

from __future__ import annotations

import asyncio
import math

from board_server.turns import Turns
from board_server.waiting import Waiter, Waiting

_PARTS = 4  # of bodies and messages, of at most 64 KiB, are taken in before others go on
# So much is kept of bodies and messages before their clients have to wait; after a while one is let go each time.
_MUCH_BYTES = 1 << 26
_PATIENCE_SECONDS, _LETTING_SECONDS, _BODY_SECONDS = 0.5, 0.05, 60.0


class Waits:
    """Connections of a server that wait.

    Who keeps half of a request back competes with such alone, not with the idle.
    """

    def __init__(self) -> None:
        self.idle, self.unfinished, self.taking, self.queued = Waiting(), Waiting(), Waiting(), Waiting()
        self._let_go_at = -math.inf
        self._parts = asyncio.Semaphore(_PARTS)
        self.known_turns = Turns()
        self.turns = Turns(behind=self.known_turns)

    def turns_of(self, one: Waiter) -> Turns:
        """Return among which turns a connection has its own: who has shown a token waits for none that has not."""
        return self.known_turns if one.is_known else self.turns

    def end_turn(self, ticket: object) -> None:
        """End a turn, or the waiting for one."""
        self.known_turns.end(ticket)
        self.turns.end(ticket)

    async def pause(self) -> None:
        """Wait until a part of something long may be taken in: a few each time that the loop goes around.

        Where much is kept already the client has to keep the rest, until others have sent all of theirs, or those that
        send nothing more are let go, one after the other.
        """
        loop = asyncio.get_running_loop()
        patient_until = loop.time() + _PATIENCE_SECONDS
        while self.unfinished.num_bytes > _MUCH_BYTES and (now := loop.time()) < patient_until + _BODY_SECONDS:
            if now > max(patient_until, self._let_go_at + _LETTING_SECONDS):
                self._let_go_at = now
                self.unfinished.make_room()
            await asyncio.sleep(_LETTING_SECONDS)
        async with self._parts:
            await asyncio.sleep(0)

    def make_room(self) -> bool:
        """Let one go that waits; return whether there was one."""
        return any(kind.make_room() for kind in (self.unfinished, self.taking, self.queued, self.idle))

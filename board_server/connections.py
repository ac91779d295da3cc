"""Connections as the server below does not keep them: it holds back a fast client, bounds idle, odd and slow ones.

A new connection waits in a lobby, where it costs next to nothing, until its first request is there and has its turn.

Wraps, in this file alone, what is no public interface of Hypercorn 0.18 (pinned): `TCPServer` with `_close`,
`_initiate_server_close`, `_read_data`, `protocol_send`, `config`, `send_lock`, `idle_task`, `protocol`, `reader`,
`state` and `writer`, made in `asyncio.run`. `protocols.py` does so with what is spoken on them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import resource
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import h11
from hypercorn.asyncio import run as hypercorn_run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, RawData
from hypercorn.events import Event as HypercornEvent
from hypercorn.protocol.ws_stream import WSStream
from werkzeug.datastructures import Headers

from board_server.auth import Access
from board_server.held import HELD_SECONDS, is_body_missing, is_head_missing, is_more, what_is_shown
from board_server.idle import IdleTimer
from board_server.protocols import mend_protocols
from board_server.turns import Turns
from board_server.waiting import MAX_WAITING, Waiting, address_of

MAX_IDLE = MAX_WAITING  # connections that wait for a request, or for anything else of their client
MAX_CONNECTIONS = 2_000  # with the WebSockets
_FILES_BESIDE = 256  # may be open besides connections
_TAKING_SECONDS = 60.0  # so long a client may take next to nothing of its answer: looked at so often, less than so much
_LOOK_SECONDS = 5.0
_MIN_TAKEN_BYTES = 1 << 13
_CLOSE_SECONDS = 5.0
_REST_SECONDS = 75.0  # so long nothing may come of the rest of a request or message
_READ_BYTES = 1 << 16
_BYTES_OF_A_LETTER = 4  # at most, in memory


class BoundedServer(TCPServer):
    """A connection that ends with its client, and while it waits for it also when too many others do.

    Hypercorn 0.18 bounds how long a connection waits for its next request, but neither how many do, nor how long one
    waits for the rest of a request or for its answer to be taken, nor does it notice that an idle client is gone.
    """

    # Apart, so that who keeps half of a request back competes with such alone, not with the idle.
    idle, unfinished, taking, queued = Waiting(), Waiting(), Waiting(), Waiting()
    turns = Turns()
    lobby: set[BoundedServer] = set()  # noqa: RUF012  (of the process, as the others)
    num_open = 0
    is_ending = False
    knows: Callable[[Headers], bool] = staticmethod(lambda _: False)  # whether a request shows a token

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.idle_task = IdleTimer(self)  # type: ignore[assignment]
        self.address = address_of(self.writer.get_extra_info("peername"))
        self.is_known = False
        self.began_at = -math.inf  # when the first byte of a request came
        self.state = {**self.state, "connection": self}  # by which the application finds it
        self._num_body_bytes = 0
        self._ending: asyncio.Future[None] | None = None
        self._first: bytes | None = b""  # what it said in the lobby
        self._is_gone = False

    async def run(self) -> None:
        if BoundedServer.num_open >= _max_connections() and not any(
            kind.make_room() for kind in (self.unfinished, self.taking, self.queued, self.idle)
        ):
            self.writer.transport.abort()
            return
        BoundedServer.num_open += 1
        try:
            if await self._enter():
                await super().run()
            else:
                self.writer.transport.close()
        except OSError:
            self.writer.transport.abort()
        finally:
            self.end_turn()
            self._cut_circles()
            BoundedServer.num_open -= 1

    def _cut_circles(self) -> None:
        """Let go of what refers to this connection, whose memory then is free before garbage is looked for."""
        self._is_gone, self.state, self._ending = True, {}, None  # type: ignore[assignment]
        for name in ("protocol", "_task_group", "idle_task"):
            self.__dict__.pop(name, None)

    async def _enter(self) -> bool:
        """Wait for a first request, and for its turn; return whether they came."""
        if self.is_ending:
            return False
        self.lobby.add(self)
        try:
            with self._among(self.idle), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.keep_alive_timeout):
                    self._first = await self._with_head(b"")
            if self._first:
                self._first = await self._with_body(self._first)
            if self._first and not self._is_gone:
                await self.take_turn(what_is_shown(self._first), is_early=is_more(self._first))
        finally:
            self.lobby.discard(self)
        return bool(self._first) and not self._is_gone

    def let_go(self) -> None:
        """End the connection at once, whatever its client has not taken yet."""
        self._is_gone = True
        transport = self.writer.transport
        if transport.get_write_buffer_size():
            transport.abort()
        else:
            transport.close()
        self.end_turn()
        if "protocol" in self.__dict__:
            protocol: Any = self.protocol.protocol
            protocol.hear_no_more()
            self._ending = asyncio.ensure_future(self.protocol.handle(Closed()))
        elif self in self.lobby:
            self.reader.feed_eof()

    async def take_turn(self, headers: Iterable[tuple[bytes, bytes]], *, is_early: bool) -> None:
        """Wait until a request of this connection may begin; who has shown a token need not wait."""
        if self._hear(headers) or self.turns.is_begun(self):
            return
        if self.turns.is_free():
            await self.turns.begin(self)
            return
        with self._among(self.queued):
            await self.turns.begin(self, is_early=is_early)

    def end_turn(self) -> None:
        """Let others begin."""
        self.turns.end(self)

    def _hear(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Take note of whether a request shows a token; return whether this client has shown one."""
        if not self.is_known:
            shown = [(name, value) for name, value in headers if name in (b"authorization", b"cookie")]
            self.is_known = bool(shown) and self.knows(
                Headers([(name.decode(), value.decode("latin-1")) for name, value in shown])
            )
        return self.is_known

    async def pause(self, seconds: float) -> None:
        """Let a client wait that asks too fast."""
        with self._among(self.queued):
            await asyncio.sleep(seconds)

    @contextlib.contextmanager
    def _among(self, kind: Waiting, num_bytes: int = 0) -> Iterator[None]:
        kind.begin(self, num_bytes)
        try:
            yield
        finally:
            kind.end(self, num_bytes)

    async def protocol_send(self, event: HypercornEvent) -> None:
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                self.writer.write(event.data)
                await self._taken()
            except (OSError, RuntimeError):
                await self.protocol.handle(Closed())

    async def _taken(self) -> None:
        """Wait until the client has taken most of what was written, but not for one that takes next to nothing."""
        if not (left := self.writer.transport.get_write_buffer_size()):
            await self.writer.drain()
            return
        self.end_turn()  # from now on it waits for its client
        num_looks = 0
        while True:
            with self._among(self.taking, 2 * left), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self.writer.drain()
                return
            now_left = self.writer.transport.get_write_buffer_size()
            num_looks = 0 if now_left <= left - _MIN_TAKEN_BYTES else num_looks + 1
            left = min(left, now_left) if num_looks else now_left
            if num_looks * _LOOK_SECONDS >= _TAKING_SECONDS:
                self.let_go()
                return

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await super()._close()
        except TimeoutError:  # what was written last is not taken
            self.writer.transport.abort()

    def end_idle(self) -> None:
        """Close the connection, because nothing is asked for; what was answered is still sent."""
        self._ending = asyncio.ensure_future(self._initiate_server_close())
        asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self.writer.transport.abort)

    async def _read_data(self) -> None:
        while self._first or not self.reader.at_eof():
            data, self._first = self._first, b""
            if not data:
                data = await self._read(self._num_unfinished_bytes(), _REST_SECONDS)
                if data and self._is_between_requests():
                    data = await self._with_head(data)
                    data = data and await self._with_body(data)
            if data is None:
                break
            self._num_body_bytes += len(data)
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())
        await self.idle_task.stop()

    async def _read(self, num_bytes: int | None, seconds: float) -> bytes | None:
        """Return what comes next; None where nothing comes, or not in time.

        Args:
            num_bytes: how much is kept of what is not whole yet, None where nothing is.
        """
        if num_bytes is None:
            try:
                return await self.reader.read(_READ_BYTES)
            except OSError:
                return None
        self.end_turn()  # others may begin while it waits for its client
        with self._among(self.unfinished, num_bytes):
            try:
                async with asyncio.timeout(seconds):
                    return await self.reader.read(_READ_BYTES)
            except OSError:  # a TimeoutError, too
                return None

    def _is_between_requests(self) -> bool:
        protocol: Any = self.protocol.protocol
        return (
            not self.is_known
            and protocol.connection.their_state is h11.IDLE
            and not protocol.connection.trailing_data[0]
        )

    async def _with_head(self, data: bytes) -> bytes:
        """Return the beginning of a request with the end of its head, or what there is when its client says no more."""
        self.began_at = -math.inf
        while is_head_missing(data):  # so long the connection is an idle one
            more = await self._read(None, 0)
            if not more:
                break
            if not data:
                self.began_at = asyncio.get_running_loop().time()
            data += more
        return data

    async def _with_body(self, data: bytes) -> bytes | None:
        """Return a request with its body, if that is short, or what there is of it after a while."""
        if not is_body_missing(data):
            return data
        await self.idle_task.stop()
        limit = self.began_at + HELD_SECONDS
        while is_body_missing(data) and (seconds := limit - asyncio.get_running_loop().time()) > 0:
            more = await self._read(len(data), seconds)
            if more is None:
                break
            if not more:
                return None  # its client has left before all was said
            data += more
        return data

    def _num_unfinished_bytes(self) -> int | None:
        """Return how much is kept of a request or message whose rest is still to come; None where there is none."""
        protocol: Any = self.protocol.protocol
        if isinstance(protocol.stream, WSStream):
            length = protocol.stream.buffer.length
            return _BYTES_OF_A_LETTER * length if length else None
        if protocol.connection.their_state is h11.SEND_BODY:
            return self._num_body_bytes
        self._num_body_bytes = 0
        return None


def tell_known(scope: Any, access: Access) -> None:
    """Tell the connection of a request that it showed a token: such a one need not queue, and is let go last."""
    connection = scope.get("state", {}).get("connection")
    if connection is not None and not access.is_open:
        connection.is_known = True


def end_idle_connections() -> None:
    """End the connections that ask for nothing; called when the server ends."""
    BoundedServer.is_ending = True
    waiting = [one for one in BoundedServer.idle if isinstance(one, BoundedServer) and one not in BoundedServer.lobby]
    for one in list(BoundedServer.lobby):
        one.let_go()
    for one in waiting:
        one.end_idle()


def began_at(scope: Any, now: float) -> float:
    """Return when a request began to come, by the loop's clock; `now` where nobody knows."""
    connection = scope.get("state", {}).get("connection")
    return now if connection is None else max(connection.began_at, now - HELD_SECONDS)


def _max_connections() -> int:
    """Return how many connections may be open, so that files can be, too."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if files < 0 else min(MAX_CONNECTIONS, max(files - _FILES_BESIDE, files // 2))


def mend_hypercorn(access: Access) -> None:
    """Let Hypercorn use these classes; called once, before it serves.

    Args:
        access: by which a client is known that shows a token.
    """
    BoundedServer.knows = staticmethod(lambda headers: not access.is_open and access.role_shown(headers) is not None)
    mend_protocols()
    hypercorn_run.TCPServer = BoundedServer  # type: ignore[misc]

"""Connections as the server below does not keep them: it holds back a fast client, bounds idle, odd and slow ones.

A new connection waits at the door (`door.py`) until its first request is there and has its turn.

Wraps, in this file alone, what is no public interface of Hypercorn 0.18 (pinned): `TCPServer` with `_close`,
`_initiate_server_close`, `_read_data`, `protocol_send`, `config`, `send_lock`, `idle_task`, `protocol`, `reader`,
`state` and `writer`; `WorkerContext` and `wrap_app`, with which it is made. `protocols.py` does so with what is spoken
on them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import h11
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.events import Event as HypercornEvent
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.utils import wrap_app
from quart import Quart
from werkzeug.datastructures import Headers

from board_server.auth import Access
from board_server.door import Door, Guest
from board_server.held import HELD_SECONDS, is_body_missing, is_head_missing
from board_server.idle import IdleTimer
from board_server.protocols import mend_protocols
from board_server.waiting import MAX_WAITING, Waiting
from board_server.waits import Waits

MAX_IDLE = MAX_WAITING  # connections that wait for a request, or for anything else of their client
_TAKING_SECONDS = 60.0  # so long a client may take next to nothing of its answer: looked at so often, less than so much
_LOOK_SECONDS = 5.0
_MIN_TAKEN_BYTES = 1 << 13
_CLOSE_SECONDS = 5.0
_REST_SECONDS = 75.0  # so long nothing may come of the rest of a request or message
_READ_BYTES = 1 << 16
_BYTES_OF_A_LETTER = 4  # at most, in memory
_SHOWING = (b"authorization", b"cookie")
Knows = Callable[[Iterable[tuple[bytes, bytes]]], bool]
Refusal = Callable[[bytes, bool], bytes | None]


class BoundedServer(TCPServer):
    """A connection that ends with its client, and while it waits for it also when too many others do.

    Hypercorn 0.18 bounds how long a connection waits for its next request, but neither how many do, nor how long one
    waits for the rest of a request or for its answer to be taken, nor does it notice that an idle client is gone.
    """

    def __init__(self, guest: Guest, waits: Waits, knows: Knows, *arguments: Any):
        super().__init__(*arguments)
        self._guest, self._waits, self._knows = guest, waits, knows
        self.idle = waits.idle
        self.idle_task = IdleTimer(self)  # type: ignore[assignment]
        self.address, self.is_known = guest.address, guest.is_known
        self.began_at = guest.began_at  # when the first byte of a request came
        self.state = {**self.state, "connection": self}  # by which the application finds it
        self._num_body_bytes = 0
        self._ending: asyncio.Future[None] | None = None
        self._first: bytes | None = guest.data

    async def run(self) -> None:
        try:
            await super().run()
        except OSError:
            self.writer.transport.abort()
        finally:
            self.end_turn()
            self._cut_circles()

    def _cut_circles(self) -> None:
        """Let go of what refers to this connection, whose memory then is free before garbage is looked for."""
        self.state, self._ending = {}, None  # type: ignore[assignment]
        for name in ("protocol", "_task_group", "idle_task"):
            self.__dict__.pop(name, None)

    def let_go(self) -> None:
        """End the connection at once, whatever its client has not taken yet."""
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

    async def take_turn(self, headers: Iterable[tuple[bytes, bytes]], *, is_early: bool) -> None:
        """Wait until a request of this connection may begin."""
        self._hear(headers)
        turns = self._waits.turns_of(self)
        if turns.is_begun(self._guest):
            return
        if turns.is_free():
            turns.note(self._guest)
            return
        with self._among(self._waits.queued):
            await turns.begin(self._guest, is_early=is_early)

    def end_turn(self) -> None:
        """Let others begin."""
        self._waits.end_turn(self._guest)

    def _hear(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take note of whether a request shows a token."""
        if not self.is_known:
            self.is_known = self._knows((name, value) for name, value in headers if name in _SHOWING)

    async def pause(self, seconds: float) -> None:
        """Let a client wait that asks too fast."""
        with self._among(self._waits.queued):
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
            with self._among(self._waits.taking, 2 * left), contextlib.suppress(TimeoutError):
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
            if (num_bytes := self._num_unfinished_bytes()) is not None:
                with self._among(self._waits.unfinished, num_bytes + len(data)):
                    await self._waits.pause()
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
        with self._among(self._waits.unfinished, num_bytes):
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


def began_at(scope: Any, now: float) -> float:
    """Return when a request began to come, by the loop's clock; `now` where nobody knows."""
    connection = scope.get("state", {}).get("connection")
    return now if connection is None else max(connection.began_at, now - HELD_SECONDS)


async def serve(
    app: Quart, access: Access, config: Config, listening: socket.socket, refusal: Refusal, ended: asyncio.Event
) -> None:
    """Serve an application until it is to end.

    Args:
        access: by which a client is known that shows a token.
        config: what Hypercorn is to do; nothing for it to listen on.
        refusal: see `door.Door`.
        ended: set when it is to end.
    """
    mend_protocols()
    config.bind = []
    waits, context, wrapped = Waits(), WorkerContext(None), wrap_app(app, config.wsgi_max_body_size, None)

    def knows(shown: Iterable[tuple[bytes, bytes]]) -> bool:
        headers = Headers([(name.decode(), value.decode("latin-1")) for name, value in shown])
        return bool(headers) and not access.is_open and access.role(headers) is not None

    async def served(guest: Guest) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ_BYTES // 2, loop=loop)
        try:
            transport, protocol = await loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader, loop=loop), guest.socket
            )
            transport.max_size = _READ_BYTES  # type: ignore[attr-defined]  # at once, of which asyncio takes four times as much
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await BoundedServer(guest, waits, knows, wrapped, loop, config, context, {}, reader, writer)
        finally:
            waits.end_turn(guest)

    async def until_ended() -> None:
        door = Door(listening, waits, seconds=config.keep_alive_timeout, serve=served, knows=knows, refusal=refusal)
        await ended.wait()
        await context.terminated.set()
        for one in waits.idle:
            if isinstance(one, BoundedServer):
                one.end_idle()
        await door.close(config.graceful_timeout)

    await hypercorn_serve(app, config, shutdown_trigger=until_ended)

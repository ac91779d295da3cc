"""What the server below does not do by itself: hold back a fast client, notice an odd one, bound idle and large ones.

Wraps, in this file alone, what is no public interface of

- Hypercorn 0.18 (pinned): `HTTPStream` with `app_send`; `WSStream` with `handle`, `app_put`, `buffer` and
  `WebsocketBuffer`; both made in `protocol.h11`; `H11Protocol` with `_check_protocol`, `_create_stream`,
  `_maybe_recycle`, `_send_error_response`, `can_read`, `connection`, `connection_state`, made in `protocol`;
  `TCPServer` with `_close`, `_idle_timeout`, `_read_data`, `protocol_send`, `send_lock`, `idle_task`, `protocol`,
  `reader`, `state`, `writer`, made in `asyncio.run`;
- wsproto, as of 1.2: `PerMessageDeflate`, made in Hypercorn's `protocol.ws_stream`, with `_decompressor`,
  `_inbound_compressed` and `_inbound_is_compressible`.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import zlib
from collections.abc import Iterator
from typing import Any

import h11
import hypercorn.protocol
from hypercorn.asyncio import run as hypercorn_run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, RawData
from hypercorn.events import Event as HypercornEvent
from hypercorn.protocol import h11 as hypercorn_h11
from hypercorn.protocol import ws_stream
from hypercorn.protocol.events import Event, StreamClosed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import FrameTooLargeError, WebsocketBuffer, WSStream
from hypercorn.typing import ASGISendEvent
from wsproto.events import Message
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol

from board_server.auth import Access
from board_server.live import MAX_FRAME_BYTES
from board_server.turns import Turns
from board_server.waiting import MAX_WAITING, Waiting, address_of

MAX_IDLE = MAX_WAITING  # connections that wait for a request, or for anything else of their client
MAX_CONNECTIONS = 2_000  # with the WebSockets
_FILES_BESIDE = 256  # may be open besides connections
_TAKING_SECONDS = 60.0  # so long a client may take next to nothing of its answer: looked at so often, less than so much
_LOOK_SECONDS = 5.0
_MIN_TAKEN_BYTES = 1 << 13
_CLOSE_SECONDS = 5.0
_EARLY_SECONDS = 0.01
_MAX_EARLY_SECONDS = 4.0
_REST_SECONDS = 75.0  # so long nothing may come of the rest of a request or message
_READ_BYTES = 1 << 16
_BYTES_OF_A_LETTER = 4  # at most, in memory
# Hypercorn measures a text in characters, of at most four bytes each: what inflates to more than this is too large.
_MAX_INFLATED_BYTES = 4 * MAX_FRAME_BYTES


class _BoundedBuffer(WebsocketBuffer):
    """A message in parts, of which nothing is kept once it is too large.

    Hypercorn 0.18 refuses such a message, but goes on to add the parts that still come.
    """

    def extend(self, event: Message) -> None:
        if self.length > self.max_length:
            raise FrameTooLargeError
        super().extend(event)


class _BoundedDeflate(PerMessageDeflate):
    """Compression that inflates no message much further than it may be long.

    wsproto inflates whatever comes: 500 KiB become 512 MiB.
    """

    _inflated = 0  # bytes of the message that is coming

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        if not self._inbound_compressed or not self._inbound_is_compressible:
            return data
        if self._inflated > _MAX_INFLATED_BYTES:
            return b""
        assert self._decompressor is not None
        try:
            found = self._decompressor.decompress(bytes(data), _MAX_INFLATED_BYTES + 1 - self._inflated)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._inflated += len(found)
        return found

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        ends_message = fin and self._inbound_is_compressible
        inflated = self._inflated
        if ends_message:
            self._inflated = 0
        if ends_message and inflated > _MAX_INFLATED_BYTES:  # refused already; the rest of it is not looked at
            self._decompressor = self._inbound_compressed = None
            return b""
        return super().frame_inbound_complete(proto, fin)


class _MendedAnswer(HTTPStream):
    """An answer that ends with its client; Hypercorn 0.18 would log a traceback for each."""

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if not self.closed:
            await super().app_send(message)


class _MendedStream(WSStream):
    """A stream whose application is told that it ended also where the client spoke before it was accepted.

    Hypercorn 0.18 answers 400 to such a client and then waits for ever for an application that waits for messages.
    """

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.buffer = _BoundedBuffer(self.config.websocket_max_message_size)

    async def handle(self, event: Event) -> None:
        was_open = not self.closed
        await super().handle(event)
        if was_open and self.closed and self.app_put is not None and not isinstance(event, StreamClosed):
            await self.app_put({"type": "websocket.disconnect", "code": 1006})


class _Connection(h11.Connection):
    """What a client says, until the server has heard enough."""

    is_over = False

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        return h11.NEED_DATA if self.is_over else super().next_event()


class _PlainProtocol(H11Protocol):
    """HTTP/1.0, HTTP/1.1 and WebSockets on top of it, nothing else.

    Hypercorn 0.18 also speaks cleartext HTTP/2, where a client may hold the answers of 100 requests open at no cost,
    and takes `Upgrade: h2c`, behind which a proxy no longer sees what is asked. No browser and no proxy needs either.
    """

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.connection = _Connection(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        self._server: BoundedServer = self.connection_state["connection"]
        self._num_too_early = 0

    def hear_no_more(self) -> None:
        """Pass over what the client has said, and may still say."""
        if isinstance(self.connection, _Connection):
            self.connection.is_over = True

    async def handle(self, event: HypercornEvent) -> None:
        if isinstance(event, Closed):
            self.hear_no_more()
            await self.can_read.set()  # Hypercorn would wait for the end of an answer that has none any more
        await super().handle(event)

    async def _maybe_recycle(self) -> None:
        self._server.turns.end(self._server)
        self._num_too_early = self._num_too_early + 1 if self.connection.trailing_data[0] else 0
        await super()._maybe_recycle()
        if self.connection.our_state is not h11.IDLE:  # the last answer: Hypercorn would wait to read what follows
            self.hear_no_more()
            await self.can_read.set()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ask for no other protocol: an upgrade to HTTP/2 is passed over, as RFC 9110, section 7.8, allows."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version not in (b"1.0", b"1.1"):
            await self._send_error_response(505)
            self.hear_no_more()
            await self.send(Closed())
            return
        # No browser and no proxy asks before it has its answer. (One is let pass: the end of an answer may come late.)
        if self._num_too_early > 1:
            await self._server.pause(min(_EARLY_SECONDS * 2**self._num_too_early, _MAX_EARLY_SECONDS))
        if not self._server.is_known:
            await self._server.take_turn()
        if not getattr(self.connection, "is_over", False):
            await super()._create_stream(request)


class BoundedServer(TCPServer):
    """A connection that ends with its client, and while it waits for it also when too many others do.

    Hypercorn 0.18 bounds how long a connection waits for its next request, but neither how many do, nor how long one
    waits for the rest of a request or for its answer to be taken, nor does it notice that an idle client is gone.
    """

    # Apart, so that who keeps half of a request back competes with such alone, not with the idle.
    idle, unfinished, taking, queued = Waiting(), Waiting(), Waiting(), Waiting()
    turns = Turns()
    num_open = 0

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.address = address_of(self.writer.get_extra_info("peername"))
        self.is_known = False
        self.state = {**self.state, "connection": self}  # by which the application finds it
        self._num_body_bytes = 0
        self._ending: asyncio.Future[None] | None = None

    async def run(self) -> None:
        if BoundedServer.num_open >= _max_connections() and not any(
            kind.make_room() for kind in (self.unfinished, self.taking, self.queued, self.idle)
        ):
            self.writer.transport.abort()
            return
        BoundedServer.num_open += 1
        try:
            await super().run()
        finally:
            BoundedServer.num_open -= 1

    def let_go(self) -> None:
        """End the connection at once, whatever its client has not taken yet."""
        transport = self.writer.transport
        if transport.get_write_buffer_size():
            transport.abort()
        else:
            transport.close()
        protocol: Any = self.protocol.protocol
        protocol.hear_no_more()
        self.turns.end(self)
        self._ending = asyncio.ensure_future(self.protocol.handle(Closed()))

    async def take_turn(self) -> None:
        """Wait until a request of this connection may begin."""
        if self.turns.is_free():
            await self.turns.begin(self)
            return
        with self._among(self.queued):
            await self.turns.begin(self)

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

    async def _idle_timeout(self) -> None:
        with self._among(self.idle, 2 * self.writer.transport.get_write_buffer_size()):
            await super()._idle_timeout()
        asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self.writer.transport.abort)

    async def _read_data(self) -> None:
        while not self.reader.at_eof():
            num_bytes = self._num_unfinished_bytes()
            with contextlib.nullcontext() if num_bytes is None else self._among(self.unfinished, num_bytes):
                try:
                    async with asyncio.timeout(None if num_bytes is None else _REST_SECONDS):
                        data = await self.reader.read(_READ_BYTES)
                except OSError:  # a TimeoutError, too
                    break
            self._num_body_bytes += len(data)
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())
        await self.idle_task.stop()

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


def _max_connections() -> int:
    """Return how many connections may be open, so that files can be, too."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if files < 0 else min(MAX_CONNECTIONS, max(files - _FILES_BESIDE, files // 2))


def mend_hypercorn() -> None:
    """Let Hypercorn use these classes; called once, before it serves."""
    hypercorn.protocol.H11Protocol = _PlainProtocol  # type: ignore[misc]
    hypercorn_h11.HTTPStream = _MendedAnswer  # type: ignore[misc]
    hypercorn_h11.WSStream = _MendedStream  # type: ignore[misc]
    ws_stream.PerMessageDeflate = _BoundedDeflate  # type: ignore[misc]
    hypercorn_run.TCPServer = BoundedServer  # type: ignore[misc]

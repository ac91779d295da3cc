"""HTTP and WebSockets as the board speaks them: what the server below does not bound or mend by itself.

Wraps, in this file alone, what is no public interface of

- Hypercorn 0.18 (pinned): `HTTPStream` with `app_send`; `WSStream` with `handle`, `app_put`, `buffer` and
  `WebsocketBuffer`; both made in `protocol.h11`; `H11Protocol` with `_check_protocol`, `_create_stream`,
  `_maybe_recycle`, `_send_error_response`, `_send_h11_event`, `can_read`, `connection`, `connection_state`, made in
  `protocol`;
- wsproto, as of 1.2: `PerMessageDeflate`, made in Hypercorn's `protocol.ws_stream`, with `_decompressor`,
  `_inbound_compressed` and `_inbound_is_compressible`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Protocol

import h11
import hypercorn.protocol
from hypercorn.events import Closed, RawData
from hypercorn.events import Event as HypercornEvent
from hypercorn.protocol import h11 as hypercorn_h11
from hypercorn.protocol import ws_stream
from hypercorn.protocol.events import Event, StreamClosed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import FrameTooLargeError, WebsocketBuffer, WSStream
from hypercorn.typing import ASGISendEvent, H11SendableEvent
from wsproto.events import Message
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol

from board_server.held import is_head_too_large
from board_server.live import MAX_FRAME_BYTES

_COPIED_BYTES = 1 << 16
_SMALL_CHUNKS, _MIN_CHUNK_BYTES = 100, 64  # of a body: so many may be small, those beyond have as much on average
_EARLY_SECONDS = 0.01
_MAX_EARLY_SECONDS = 4.0
# Hypercorn measures a text in characters, of at most four bytes each: what inflates to more than this is too large.
_MAX_INFLATED_BYTES = 4 * MAX_FRAME_BYTES


class Server(Protocol):
    """The connection that a protocol is spoken on."""

    async def take_turn(self, headers: Iterable[tuple[bytes, bytes]], *, is_early: bool) -> None: ...

    def end_turn(self) -> None: ...

    async def pause(self, seconds: float) -> None: ...


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
    """What a client says, until the server has heard enough, or too much of one head: h11 counts no fields."""

    is_over = False
    _num_chunks = _num_bytes = 0  # of the body that comes

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        if self.is_over:
            return h11.NEED_DATA
        if self.their_state is h11.IDLE and is_head_too_large(self.trailing_data[0]):
            raise h11.RemoteProtocolError("a head larger than is read", error_status_hint=431)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._num_chunks = self._num_bytes = 0
        elif isinstance(event, h11.Data):
            self._num_chunks += event.chunk_start
            self._num_bytes += len(event.data)
            if self._num_bytes < _MIN_CHUNK_BYTES * (self._num_chunks - _SMALL_CHUNKS):
                raise h11.RemoteProtocolError("chunks of next to nothing", error_status_hint=400)
        return event


class _PlainProtocol(H11Protocol):
    """HTTP/1.0, HTTP/1.1 and WebSockets on top of it, nothing else.

    Hypercorn 0.18 also speaks cleartext HTTP/2, where a client may hold the answers of 100 requests open at no cost,
    and takes `Upgrade: h2c`, behind which a proxy no longer sees what is asked. No browser and no proxy needs either.
    """

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.connection = _Connection(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        self._server: Server = self.connection_state["connection"]
        self._num_too_early = 0
        self._head = b""  # of an answer, which goes out with the beginning of its body

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
        self._server.end_turn()
        self._num_too_early = self._num_too_early + 1 if self.connection.trailing_data[0] else 0
        await super()._maybe_recycle()
        if self.connection.our_state is not h11.IDLE:  # the last answer: Hypercorn would wait to read what follows
            self.hear_no_more()
            await self.can_read.set()

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            self._head = data
            return
        head, self._head = self._head, b""
        if head and len(data) > _COPIED_BYTES:
            await self.send(RawData(data=head))
            head = b""
        if head or data:
            await self.send(RawData(data=head + data))

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
        await self._server.take_turn(request.headers, is_early=self._num_too_early > 0)
        if not getattr(self.connection, "is_over", False):
            await super()._create_stream(request)


def mend_protocols() -> None:
    """Let Hypercorn speak these; called once, before it serves."""
    hypercorn.protocol.H11Protocol = _PlainProtocol  # type: ignore[misc]
    hypercorn_h11.HTTPStream = _MendedAnswer  # type: ignore[misc]
    hypercorn_h11.WSStream = _MendedStream  # type: ignore[misc]
    ws_stream.PerMessageDeflate = _BoundedDeflate  # type: ignore[misc]

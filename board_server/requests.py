"""What the application keeps of requests and messages that are not taken yet: a bounded part of each.

Wraps, in this file alone, what is no public interface of

- Quart, as of 0.20: `ASGIWebsocketConnection.queue`, and from 0.23 on `Websocket.buffer`, `Body.put`; in both
  `handle_messages`, `handle_websocket`, `_create_websocket_from_scope`, and of a `Body` its `_must_raise`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.typing import WebsocketScope
from quart import Quart, Request, Websocket
from quart.asgi import ASGIWebsocketConnection
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

_MAX_MESSAGES = 1  # of a WebSocket, not taken yet


class BoundedConnection(ASGIWebsocketConnection):
    """A connection that reads on only when what came before was taken, and not at all once its handler has ended."""

    def __init__(self, app: Quart, scope: WebsocketScope):
        super().__init__(app, scope)
        self.queue = asyncio.Queue(maxsize=_MAX_MESSAGES)  # where Quart 0.22 looks
        self._reading: asyncio.Task[Any] | None = None
        self._is_over = False

    def _create_websocket_from_scope(self, send: Any) -> Websocket:
        websocket = super()._create_websocket_from_scope(send)
        buffer = getattr(websocket, "buffer", None)  # where Quart 0.23 looks
        if buffer is not None:
            buffer._queue = asyncio.Queue(maxsize=_MAX_MESSAGES)
        return websocket

    async def handle_messages(self, *words: Any) -> None:
        if not self._is_over:
            self._reading = asyncio.current_task()
            await super().handle_messages(*words)

    async def handle_websocket(self, websocket: Websocket, send: Any) -> None:
        try:
            await super().handle_websocket(websocket, send)
        finally:
            self._is_over = True
            if self._reading is not None:  # Quart 0.23 would wait for the client to leave, behind a full queue for ever
                self._reading.cancel()


class _BoundedBody(Body):
    """A body that is refused as soon as it is too large; Quart 0.23 looks only when all of it is there."""

    _num_bytes = 0

    async def put(self, data: bytes) -> None:
        self._num_bytes += len(data)
        if self._must_raise is None and self._num_bytes > (self._max_content_length or self._num_bytes):
            self._must_raise = RequestEntityTooLarge()
            self.set_complete()
        if self._must_raise is None:
            await super().put(data)  # type: ignore[misc]  # Quart 0.22 has no such method, and needs none


class BoundedRequest(Request):
    """A request of whose body no more is kept than it may have."""

    body_class = _BoundedBody


def host_of(scope: Any) -> str | None:
    """Return the header Host of a request; None without one, for which Quart gives an empty one."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"), None)

"""What the server below does not do for a WebSocket by itself: hold back a fast client, notice an odd one."""

from __future__ import annotations

import asyncio

from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Event, StreamClosed
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import WebsocketScope
from quart import Quart
from quart.asgi import ASGIWebsocketConnection


class BoundedConnection(ASGIWebsocketConnection):
    """A connection that reads on only when what came before was taken."""

    def __init__(self, app: Quart, scope: WebsocketScope):
        super().__init__(app, scope)
        self.queue = asyncio.Queue(maxsize=4)


class _ToldStream(WSStream):
    """A stream whose application is told that it ended also where the client spoke before it was accepted.

    Hypercorn 0.18 answers 400 to such a client and then waits for ever for an application that waits for messages.
    """

    async def handle(self, event: Event) -> None:
        was_open = not self.closed
        await super().handle(event)
        if was_open and self.closed and self.app_put is not None and not isinstance(event, StreamClosed):
            await self.app_put({"type": "websocket.disconnect", "code": 1006})


def tell_applications_of_odd_ends() -> None:
    """Let Hypercorn use that stream; called once, before it serves."""
    h11.WSStream = h2.WSStream = _ToldStream  # type: ignore[misc]

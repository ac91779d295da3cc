"""What the server below does not do by itself: hold back a fast client, notice an odd one, bound the idle ones."""

from __future__ import annotations

import asyncio

from hypercorn.asyncio import run as hypercorn_run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Event, StreamClosed
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import WebsocketScope
from quart import Quart
from quart.asgi import ASGIWebsocketConnection

MAX_IDLE = 256  # connections that wait for a request; a browser opens six


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


class _BoundedServer(TCPServer):
    """A connection that ends with its client, and while it is idle also when too many others are.

    Hypercorn 0.18 bounds how long a connection waits for its next request, but neither how many do, nor does it
    notice before then that an idle client is gone.
    """

    idle: dict[TCPServer, asyncio.Task] = {}  # noqa: RUF012  # of all connections, the longest idle first

    async def _idle_timeout(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.idle[self] = task
        if len(self.idle) > MAX_IDLE:
            longest = next(iter(self.idle))
            self.idle.pop(longest).cancel()
            longest.writer.close()
        try:
            await super()._idle_timeout()
        finally:
            self.idle.pop(self, None)

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


def mend_hypercorn() -> None:
    """Let Hypercorn use these classes; called once, before it serves."""
    h11.WSStream = h2.WSStream = _ToldStream  # type: ignore[misc]
    hypercorn_run.TCPServer = _BoundedServer  # type: ignore[misc]

"""What ends a connection that asks for nothing."""

from __future__ import annotations

import asyncio
from typing import Any


class IdleTimer:
    """Ends a connection that waits too long for its next request; Hypercorn starts three tasks for each request."""

    def __init__(self, server: Any):
        self._server = server
        self._begun: tuple[int, asyncio.TimerHandle] | None = None

    async def restart(self, *_: object) -> None:
        """Begin to wait, anew."""
        self._stop()
        server = self._server
        num_bytes = 2 * server.writer.transport.get_write_buffer_size()
        seconds = server.config.keep_alive_timeout
        self._begun = num_bytes, asyncio.get_running_loop().call_later(seconds, self._end)
        server.idle.begin(server, num_bytes)

    async def stop(self) -> None:
        """Wait no more: something is asked for, or the connection has ended."""
        self._stop()

    def _stop(self) -> None:
        if self._begun is not None:
            num_bytes, timer = self._begun
            self._begun = None
            timer.cancel()
            self._server.idle.end(self._server, num_bytes)

    def _end(self) -> None:
        self._stop()
        self._server.end_idle()

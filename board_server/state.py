"""What one running server holds: the store, who may use it, what it has counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from quart import current_app

from board_server.auth import Access
from board_server.errors import RequestError
from board_server.exporter import Exporter
from board_server.file_work import Lane, Rounds
from board_server.leftovers import remove_leftovers
from board_server.listing import Listing
from board_server.live import Subscriptions
from board_server.run import Run
from board_server.store import Store

_LOG = logging.getLogger("board_server")
_FOLLOW_SECONDS = 0.1
_WARM_AFTER_SECONDS = 0.2
_WARMED_BYTES = 1 << 30
_METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "POST", "DELETE")


class Overview(NamedTuple):
    """The list of runs as it is sent.

    Attributes:
        rows: of each run its summary as JSON, in the list's order.
        hidden: JSON of the folders that are not shown, if there are any; it goes on where the list ends.
    """

    rows: dict[str, bytes]
    hidden: bytes

    def whole(self) -> bytes:
        """Return an object of all."""
        return b'{"grid_searches":%s%s}' % (_listed(self.rows), self.hidden)

    def changes(self, before: Overview) -> bytes | None:
        """Return an object of the runs that are others than `before`; None where it takes more to tell them."""
        if self.hidden != before.hidden or list(self.rows) != list(before.rows):
            return None
        changed = [row for run_id, row in self.rows.items() if row != before.rows[run_id]]
        return b'{"changed":[%s]}' % b",".join(changed)


def _listed(rows: dict[str, bytes]) -> bytes:
    return b"[%s]" % b",".join(rows.values())


class Board:
    """The state of a server, made by `create_app`, found by `board()`."""

    def __init__(self, store: Store, access: Access):
        self.store = store
        self.access = access
        self.closing = asyncio.Event()
        self.listing = Listing(store)
        self.subscriptions = Subscriptions(self.closing)
        self.exporter = Exporter()
        # What was said of a run, by all that it depends on: computing it for 200 experiments takes 50 ms.
        self.verdicts: OrderedDict[tuple[Any, ...], tuple[bytes, int]] = OrderedDict()
        self.num_sockets = 0
        self._listing_lock = asyncio.Lock()
        self._rows: list[dict[str, Any]] = []
        self._listed_at = -math.inf
        self._written: dict[str, bytes] = {}  # of each run that is not deleted its row as JSON, in the list's order
        self._make_metrics()

    async def listed(self, *, max_age_seconds: float = 0.0) -> bytes:
        """Return the summaries of all runs as JSON, deleted ones aside; many who ask at once get one look's answer."""
        await self._look(max_age_seconds)
        return _listed(self._written)

    async def rows(self, *, max_age_seconds: float = 0.0) -> list[dict[str, Any]]:
        """Return the summaries of all runs, deleted ones, too; they are not to be changed."""
        await self._look(max_age_seconds)
        return self._rows

    async def _look(self, max_age_seconds: float, *, summarise: bool = True) -> None:
        asked = time.monotonic()
        async with self._listing_lock:
            if self._listed_at < asked - max_age_seconds:
                self._listed_at = time.monotonic()
                rows = await self.listing.look(summarise=summarise)
                if rows is not self._rows:
                    self._rows, self._written = rows, self._encode(rows)

    def _encode(self, rows: list[dict[str, Any]]) -> dict[str, bytes]:
        before = {row["grid_search_id"]: row for row in self._rows}
        written = {}
        for row in rows:
            if not row["deleted"]:
                run_id = row["grid_search_id"]
                is_same = before.get(run_id) is row  # and was not deleted either
                written[run_id] = self._written[run_id] if is_same else msgspec.json.encode(row)
        return written

    async def overview(self, *, max_age_seconds: float = 0.0) -> Overview:
        """Return these summaries and which folders are not shown."""
        await self._look(max_age_seconds)
        number, named = self.listing.not_shown()
        hidden = b',"num_not_shown":%d,"not_shown":%s' % (number, msgspec.json.encode(named)) if number else b""
        return Overview(self._written, hidden)

    def begin(self) -> None:
        """Follow the logs of local runs; called when the server starts."""
        self._following = asyncio.ensure_future(self._follow())
        self._warming = asyncio.ensure_future(self._warm())
        self._tidying = asyncio.ensure_future(self._tidy(time.time()))

    async def end(self) -> None:
        """Let everybody go, and bring what was published to the disk."""
        self.closing.set()
        self._warming.cancel()
        try:
            await self._following
            self._tidying.cancel()
        finally:
            await self.store.end()
            self.exporter.close()

    async def _tidy(self, started: float) -> None:
        await self.pause(_WARM_AFTER_SECONDS)
        try:
            names = await self.store.looking.do(self.store.names)
            num_removed = await Lane().do(remove_leftovers, self.store.folder, names, started=started)
        except OSError as error:
            _LOG.warning("cannot look for what a killed board has left: %s", error)
            return
        if num_removed:
            _LOG.info("removed %d files that a killed board had not finished", num_removed)

    async def _warm(self) -> None:
        """Read the newest run, which is what people open a board for, before they ask."""
        await self.pause(_WARM_AFTER_SECONDS)  # who asks at once has it faster alone
        with contextlib.suppress(RequestError, OSError):
            await self._look(0.0, summarise=False)  # or the newest would be read for its summary, too
            newest = next((row for row in self._rows if not row["deleted"]), None)
            if newest is not None and newest["bytes"] <= _WARMED_BYTES:
                run = await self.store.opened(newest["grid_search_id"])
                await self.store.projecting(run).warm()
                await self.rows()  # whose summary is made of it

    async def _follow(self) -> None:
        """Look at the logs of runs that somebody waits for, ten times a second, until the server ends."""
        rounds = Rounds(_refresh)
        while not self.closing.is_set():
            watched = self.store.watched()
            await rounds.go(watched)
            for run in watched:
                run.tell()
            await self.pause(_FOLLOW_SECONDS)

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds)

    def count_received(self, num_events: int, num_bytes: int) -> None:
        self._received.inc(num_events)
        self.subscriptions.ration.taken_in(num_bytes)

    def count_refused(self) -> None:
        self._refused.inc()

    def count_request(self, method: str, status: int) -> None:
        self._requests.labels(method if method in _METHODS else "other", str(status)).inc()

    def _make_metrics(self) -> None:
        self.metrics = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        name = "mlgym_board"
        self._received = Counter(f"{name}_events_received", "Events taken in from publishers", registry=registry)
        self._refused = Counter(f"{name}_frames_refused", "Frames of publishers that were refused", registry=registry)
        self._requests = Counter(f"{name}_requests", "HTTP requests", ["method", "status"], registry=registry)
        for gauge, text, value in (
            ("events_sent", "Events sent to subscribers", lambda: self.subscriptions.num_events_sent),
            ("subscribers", "Subscribers now", lambda: self.subscriptions.num_subscribers),
            ("websockets", "WebSockets open now", lambda: self.num_sockets),
            ("publishers", "Publishers now", self.store.num_publishers),
        ):
            Gauge(f"{name}_{gauge}", text, registry=registry).set_function(value)


def _refresh(run: Run) -> None:
    try:
        run.refresh()
    except Exception as error:  # a log that cannot be read just now is looked at again
        _LOG.warning("cannot follow run=%s: %s", run.run_id, error)


def board() -> Board:
    """Return the state of the server that answers the current request."""
    return current_app.extensions["board"]

"""Send a log's events to one board, in order, until all are acknowledged and no more will come."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from mlgym_jax.publishing.address import Address
from mlgym_jax.publishing.outgoing import OutgoingLog, Position
from mlgym_jax.publishing.requests import Answer, Requests, parsed, refusal

_MAX_FRAME_BYTES = 1_000_000  # a board takes 1 MiB
_FRAMES_IN_FLIGHT = 8
_GATHER_SECONDS = 0.1  # news is collected for so long, so that a busy run sends few large frames
_IDLE_SECONDS = 1.0
_OWN_LOG_SECONDS = 2.0
_SEND_SECONDS = 30

_LOGGER = logging.getLogger("mlgym_jax.publishing.websockets")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False


class Source(Protocol):
    """The run whose log is sent."""

    def head(self) -> int | None:
        """Return how many events may be sent, None for all that can be read."""
        ...

    def is_over(self) -> bool:
        """Tell whether nothing more will be written."""
        ...


class AnotherRun(Exception):
    """The board holds other events under this run's id: nothing may be sent."""


class Interrupted(Exception):
    """The connection is of no more use, and a new one may be."""


class Stopped(Exception):
    """Whoever started the sending does not wait for it any more."""


class _Frame(NamedTuple):
    data: bytes
    end: Position

    @property
    def is_large(self) -> bool:
        return len(self.data) > _MAX_FRAME_BYTES


class EventStream:
    """One board's share of a log.

    Args:
        news: set by the source when there is more; cleared here.
        stop: ends everything.
        verified: set here once the board is known to hold this run, or nothing yet.

    Attributes:
        acknowledged: how many events the board is known to hold.
    """

    def __init__(
        self,
        address: Address,
        run_id: str,
        log_path: str,
        source: Source,
        *,
        news: threading.Event,
        stop: threading.Event,
        verified: threading.Event,
        ack_seconds: float,
        on_progress: Callable[[], None] = lambda: None,
    ):
        self._address, self._run_id, self._source = address, run_id, source
        self._log = OutgoingLog(log_path, run_id)
        self._news, self._stop, self._verified = news, stop, verified
        self._ack_seconds = ack_seconds
        self._on_progress = on_progress
        self.acknowledged = 0

    def close(self) -> None:
        self._log.close()

    def num_unsent(self) -> int:
        """Count the events that may be sent and are not acknowledged."""
        position, count = self._log.at(self.acknowledged), 0
        while position is not None:
            lines, position = self._log.read(position, until=self._source.head(), max_events=10_000)
            if not lines:
                break
            count += len(lines)
        return count

    def send_all(self) -> None:
        """Connect, send and return when the source is over and all is acknowledged.

        Raises:
            AnotherRun, Refused, Interrupted, Stopped, OSError, WebSocketException: see there; events are in the log.
        """
        requests = Requests(self._address)
        try:
            while True:
                was_over = self._source.is_over()
                with self._connected() as connection:
                    position = self._verify(connection)
                    if not self._is_followed(requests):
                        self._send_all(connection, requests, position)
                        return
                # The board reads the file that this process writes, or one like it: sending would double events.
                if was_over and not self._log.read(position, until=self._source.head())[0]:
                    return
                if was_over:
                    raise Interrupted("it has a run of this id in a folder of its own, which lacks events")
                while not self._source.is_over():
                    if self._stop.wait(0.1):
                        raise Stopped
        finally:
            requests.close()

    def _connected(self) -> ClientConnection:
        try:
            connection = connect(
                self._address.publish_socket(self._run_id),
                additional_headers=self._address.headers,
                proxy=None if self._address.is_loopback else True,
                compression=None,
                max_size=1 << 20,
                open_timeout=10,
                close_timeout=1,
                logger=_LOGGER,
            )
        except InvalidStatus as error:
            answer = error.response
            headers = {name.lower(): value for name, value in answer.headers.raw_items()}
            body = parsed(bytes(answer.body or b""))
            raise refusal(Answer(answer.status_code, headers, body), self._address) from error
        _bound_sends(connection)
        return connection

    def _is_followed(self, requests: Requests) -> bool:
        """Ask whether the run is the board's own, not a published one."""
        answer = requests.send("GET", self._address.path("grid_searches", self._run_id))
        return answer.status == 200 and isinstance(answer.body, dict) and answer.body.get("published") is False

    def _verify(self, connection: ClientConnection) -> Position:
        """Ask what the board holds and compare it with the log; return from where to go on."""
        connection.send("[]")
        answer = self._answer(connection)
        if "error" in answer:
            raise Interrupted(str(answer["error"])[:500])
        if any(type(answer.get(name)) is not int for name in ("ack", "bytes", "crc32")):
            raise Interrupted("it does not say what it holds; is this a board of this version?")
        count = answer["ack"] + 1
        # What the board holds more than this log may be written this moment, where it reads the run's own file.
        limit = time.monotonic() + _OWN_LOG_SECONDS
        while (position := self._log.at(count)) is None and time.monotonic() < limit and not self._stop.is_set():
            time.sleep(0.05)
        theirs = answer["bytes"], answer["crc32"]
        if position is None:
            self.acknowledged = 0
            raise AnotherRun(
                f"it holds {count:,} events of a run {self._run_id}, more than the log here. That is another run with "
                "this id, or this is an older copy of the log; nothing is sent"
            )
        if theirs not in ((position.size, position.crc32), (position.offset, position.raw_crc32)):
            raise self._another_run("not even its beginning is the same")
        self._verified.set()
        self._acknowledge(count)
        return position

    def _send_all(self, connection: ClientConnection, requests: Requests, start: Position) -> None:
        waiting: deque[_Frame] = deque()
        in_flight: deque[Position] = deque()
        read_to = start
        while True:
            if not waiting and len(in_flight) < _FRAMES_IN_FLIGHT:
                self._news.clear()  # before it is looked at, so that what comes meanwhile is seen
                over, head = self._source.is_over(), self._source.head()
                lines, end = self._log.read(read_to, until=head)
                if lines and not self._log.bring_to_disk(end):
                    raise Interrupted("the log became shorter while it was read")
                waiting.extend(_frames(lines, read_to, end))
                read_to = end
                if not waiting and not in_flight:
                    if over:
                        return
                    self._idle(connection)
                    continue
            if waiting and waiting[0].is_large and not in_flight:
                frame = waiting.popleft()
                path = self._address.path("grid_searches", self._run_id, "events")
                answer = requests.send("POST", path, frame.data, {"Content-Type": "application/json"})
                if isinstance(answer.body, dict) and "conflict" in answer.body:
                    self._check(answer.body, frame.end)
                if answer.status != 200:
                    raise refusal(answer, self._address)
                self._check(answer.body, frame.end)
            elif waiting and not waiting[0].is_large and len(in_flight) < _FRAMES_IN_FLIGHT:
                frame = waiting.popleft()
                connection.send(frame.data, text=True)
                in_flight.append(frame.end)
            else:
                self._check(self._answer(connection), in_flight.popleft())

    def _idle(self, connection: ClientConnection) -> None:
        """Wait for news, and notice at once that a connection has ended."""
        try:
            connection.recv(timeout=0)
        except TimeoutError:
            if self._news.wait(_IDLE_SECONDS) and not self._source.is_over():
                self._stop.wait(_GATHER_SECONDS)
        if self._stop.is_set():
            raise Stopped

    def _answer(self, connection: ClientConnection) -> dict[str, Any]:
        limit = time.monotonic() + self._ack_seconds
        while not self._stop.is_set():
            try:
                found = json.loads(connection.recv(timeout=_IDLE_SECONDS))
            except TimeoutError:
                if time.monotonic() > limit:
                    raise Interrupted(f"no answer for {self._ack_seconds:g} s") from None
            except ValueError as error:
                raise Interrupted(f"its answer is no JSON: {error}") from error
            else:
                if isinstance(found, dict):
                    return found
                raise Interrupted("its answer is no JSON object")
        raise Stopped

    def _check(self, answer: dict[str, Any], end: Position) -> None:
        """Take note of what a frame's answer acknowledges."""
        acknowledged = answer.get("ack")
        if "conflict" in answer:
            raise self._another_run(f"event {str(answer['conflict'])[:40]} is another one there")
        if type(acknowledged) is int:
            # More than was sent is possible where the board reads the run's own file.
            self._acknowledge(min(acknowledged + 1, end.event_id))
        if "error" in answer:
            raise Interrupted(str(answer["error"])[:500])
        if type(acknowledged) is not int or acknowledged + 1 < end.event_id:
            raise Interrupted(f"event {end.event_id - 1} was sent, but {str(acknowledged)[:40]} is acknowledged")

    def _another_run(self, why: str) -> AnotherRun:
        self.acknowledged = 0  # what the board holds are not this run's events, whatever their number
        return AnotherRun(
            f"it holds a run {self._run_id} with other events ({why}). Nothing more is sent, so that the two are not "
            "mixed; publish to another board, or rename this run's folder and publish it under that name"
        )

    def _acknowledge(self, count: int) -> None:
        self.acknowledged = count
        self._on_progress()


def _bound_sends(connection: ClientConnection) -> None:
    """Let a send fail that a board does not take, so that one which stands still is tried anew."""
    with contextlib.suppress(OSError, AttributeError):
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0))


def _frames(lines: list[bytes], start: Position, end: Position) -> Iterator[_Frame]:
    """Put lines, as they are, into frames; the last one ends at `end`."""
    parts: list[bytes] = []
    size, first = 0, start.event_id
    for number, line in enumerate(lines, start.event_id):
        part = b'{"event_id":%d,"data":%b}' % (number, line)
        if parts and size + len(part) + 2 > _MAX_FRAME_BYTES:
            yield _Frame(b"[" + b",".join(parts) + b"]", Position(event_id=first + len(parts)))
            parts, size, first = [], 0, number
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield _Frame(b"[" + b",".join(parts) + b"]", end)

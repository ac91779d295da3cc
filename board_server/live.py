"""Events as they come: to subscribers, each from its own place in the log, and from publishers, in order.

A subscriber has no queue that could overflow. It has a cursor into the log, and a slow one just reads from further
back, in larger frames; ingest never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, NamedTuple
from weakref import WeakValueDictionary

import msgspec

from board_server.errors import Conflict, RequestError, TryLater, WrongRequest
from board_server.run import Run
from board_server.run_log import Cursor
from mlgym_jax.events import decode
from mlgym_jax.events.fast_lines import is_plain_result
from mlgym_jax.events.projection import LARGEST
from mlgym_jax.events.values import TOO_MANY, has_too_many_values, readable

Send = Callable[[str], Awaitable[None]]

MAX_FRAME_BYTES = 1 << 20  # of what a client sends
_SENT_FRAME_BYTES = 1 << 19
_MAX_SINGLE = 50  # so many new events go out one by one; more make a batch
_SEND_SECONDS = 60.0
# News for a subscriber is collected for so long after each frame: a person sees no difference, and under a heavy load
# the server sends a few large frames instead of many small ones.
_COLLECT_SECONDS = 0.05
BEAT_SECONDS = 25.0
_RATE_SECONDS = 0.3
_BUSY_BYTES_PER_SECOND = 2e6
_SENT_BYTES_PER_SECOND = 5e6
_SLICE_SECONDS = 0.1


# -- subscribers ------------------------------------------------------------------------------------------------------


class Frame(NamedTuple):
    """A stretch of a log, ready to be sent."""

    events: list[tuple[int, str]]
    end: Cursor

    def batch(self, newest: int) -> str:
        inside = ",".join([f'{{"event_id":{event_id},"data":{text}}}' for event_id, text in self.events])
        return f'{{"event_id":"batched_events","data":[{inside}],"last_event_id":{newest}}}'


def read_frame(run: Run, cursor: Cursor, *, max_bytes: int = _SENT_FRAME_BYTES, max_events: int = 10_000) -> Frame:
    """Read what follows `cursor`; damaged lines, and too heavy ones, are left out, and their ids with them."""
    lines, end = run.log.read(cursor, max_bytes=max_bytes, max_events=max_events)
    events = []
    for event_id, line in enumerate(lines, cursor.event_id):
        try:
            decode(readable(line))
            events.append((event_id, line.decode()))
        except ValueError:
            continue
    return Frame(events, end)


class Ration:
    """How much all subscribers together are sent while much comes in, so that taking in is not slowed down by them.

    They read from the log, so whoever gets less now gets it when it is quieter.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._rate, self._rate_at, self._free_at = 0.0, -math.inf, -math.inf

    def taken_in(self, num_bytes: int) -> None:
        """Take note of what came in just now."""
        self._rate = self._rate_now() + num_bytes / _RATE_SECONDS
        self._rate_at = self._clock()

    def is_busy(self) -> bool:
        """Whether more comes in than can be sent on without a thought."""
        return self._rate_now() > _BUSY_BYTES_PER_SECOND

    def _rate_now(self) -> float:
        """Return about how many bytes a second came in of late."""
        return self._rate * math.exp((self._rate_at - self._clock()) / _RATE_SECONDS) if self._rate else 0.0

    def due(self, num_bytes: int) -> float:
        """Return when so many bytes may be sent, if it stays busy until then."""
        now = self._clock()
        if not self.is_busy():
            return now
        begin = max(now, self._free_at)
        self._free_at = begin + num_bytes / _SENT_BYTES_PER_SECOND
        return begin


class Subscriptions:
    """What the subscribers of all runs share: counts, and the newest frame of each run, made once for all of them."""

    def __init__(self, closing: asyncio.Event):
        self._closing = closing
        self.ration = Ration()
        self._shared: dict[str, tuple[tuple[int, Cursor, Cursor], asyncio.Future[_Texts]]] = {}
        self._replays: WeakValueDictionary[tuple[Any, ...], asyncio.Future[_Texts]] = WeakValueDictionary()
        self.num_subscribers = 0
        self.num_events_sent = 0

    async def serve(self, run: Run, after: int, send: Send) -> tuple[int, str]:
        """Send a run's events behind `after`, and all that follow; return why it ended (a close code and a reason)."""
        run.num_subscribers += 1
        self.num_subscribers += 1
        try:
            return await self._serve(run, after, send)
        finally:
            run.num_subscribers -= 1
            self.num_subscribers -= 1
            if not run.num_subscribers:
                self._shared.pop(run.run_id, None)

    async def _serve(self, run: Run, after: int, send: Send) -> tuple[int, str]:
        generation, replaying = run.log.generation, True
        cursor = await run.files.do(run.log.seek, after + 1)
        if after + 1 > run.log.head.event_id:
            await send(Frame([], cursor).batch(run.log.head.event_id - 1))  # by which the client sees it, too
            return 4000, f"the log has {run.log.head.event_id} events, so {after} is not one of it; subscribe anew"
        while not self._closing.is_set():
            if run.log.generation != generation:
                return 4000, "the log was replaced; subscribe anew"
            made = self._made(run, cursor, replaying)
            frame, texts = await asyncio.shield(made)  # who leaves takes it from nobody else
            if run.log.generation != generation:
                continue  # what was read may be of another log
            cursor = frame.end
            due = self.ration.due(sum(map(len, texts)))
            while time.monotonic() < due and self.ration.is_busy() and not self._closing.is_set():
                await asyncio.sleep(min(due - time.monotonic(), _SLICE_SECONDS))
            for text in texts:
                await asyncio.wait_for(send(text), _SEND_SECONDS)
            self.num_events_sent += len(frame.events)
            del made, frame, texts  # not kept while it waits
            if cursor.event_id < run.log.head.event_id:
                replaying = True  # behind by more than a frame
                await asyncio.sleep(0)
                continue
            if not replaying:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), _COLLECT_SECONDS)
            replaying = False
            if cursor == run.log.head and run.log.generation == generation:
                changed, *_ = await first_of(run.changed(), self._closing.wait(), asyncio.sleep(BEAT_SECONDS))
                replaying = changed.cancelled()  # an empty batch, so that proxies see that this connection lives
        return 1001, "the board is shutting down"

    def _made(self, run: Run, cursor: Cursor, replaying: bool) -> asyncio.Future[_Texts]:
        """Return the future of what follows `cursor`, and the texts to send; those at the same place get the same."""
        key = run.log.generation, cursor, run.log.head
        if replaying:
            replay = self._replays.get((run.run_id, *key))
            if replay is None or _has_failed(replay):
                replay = self._replays[(run.run_id, *key)] = run.files.do(_texts, run, cursor, replaying)
                replay.add_done_callback(_looked_at)
            return replay
        known = self._shared.get(run.run_id)
        if known is None or known[0] != key or _has_failed(known[1]):
            known = self._shared[run.run_id] = key, run.files.do(_texts, run, cursor, replaying)
            known[1].add_done_callback(_looked_at)
        return known[1]


_Texts = tuple[Frame, list[str]]


def _texts(run: Run, cursor: Cursor, replaying: bool) -> _Texts:
    frame = read_frame(run, cursor)
    if replaying or len(frame.events) > _MAX_SINGLE:
        return frame, [frame.batch(run.log.head.event_id - 1)]
    return frame, [f'{{"event_id":{event_id},"data":{text}}}' for event_id, text in frame.events]


async def first_of(*waiting: Awaitable[Any]) -> Sequence[asyncio.Future[Any]]:
    """Wait until one of several is done, give up the others, and return them all."""
    futures = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in futures:
            if not future.done():
                future.cancel()
            else:
                _looked_at(future)
    return futures


def _has_failed(future: asyncio.Future[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


def _looked_at(future: asyncio.Future[Any]) -> None:
    """Take note of an error that asyncio would print where nobody looks any more."""
    if not future.cancelled():
        future.exception()


# -- publishers -------------------------------------------------------------------------------------------------------


class _Published(msgspec.Struct, gc=False):
    event_id: Annotated[int, msgspec.Meta(ge=0)]
    data: msgspec.Raw


_FRAMES = msgspec.json.Decoder(list[_Published] | _Published)


def receive(run: Run, frame: bytes | str | None, *, look: bool = True) -> tuple[dict[str, Any], int]:
    """Take in one published frame; return its answer and how many events were new.

    What comes before a gap is stored. An event that the log holds already is compared with it and passed over.

    Args:
        look: whether others may have changed the log since it was looked at.

    Raises:
        Conflict: the log holds another event under an id, so another run has it, too; nothing of the frame was stored.
        WrongRequest: no frame of events; nothing of it from the first wrong event on was stored.
        Conflict, TryLater: see `Run.append`.
    """
    items = _items(frame)
    if look or not items:
        run.refresh()
    if not items:
        head = run.log.head
        return {"ack": head.event_id - 1, "bytes": head.offset, "crc32": run.log.crc32()}, 0
    expected = run.num_events
    passed_over = [item for item in items if item.event_id < expected]
    if passed_over and run.is_published:  # what a local process writes nobody else can
        _compare(run, passed_over)
    lines: list[bytes] = []
    wrong, gap = None, None
    for item in items:
        if item.event_id < expected:
            continue
        if item.event_id > expected:
            gap = item.event_id
            break
        try:
            lines.append(_line(item))
        except WrongRequest as error:
            wrong = error
            break
        expected += 1
    if lines:
        try:
            run.append(expected - len(lines), lines)
        except Conflict:
            run.refresh()  # what a local process writes is here as soon as it is in the file
            if run.num_events < expected:
                raise
    ack = run.num_events - 1
    if wrong is not None:
        wrong.details["ack"] = ack
        raise wrong
    if gap is not None:
        message = f"event {gap} does not follow event {ack}; send from event {ack + 1} on"
        return {"ack": ack, "expected": ack + 1, "error": message}, len(lines)
    return {"ack": ack}, len(lines)


def _compare(run: Run, items: Sequence[_Published]) -> None:
    """Compare events with those of the log that have their ids.

    Raises:
        Conflict: they differ; TryLater: a thread has not yet counted so far.
    """
    held: list[bytes] = []
    first = 0
    for item in items:
        if not first <= item.event_id < first + len(held):
            held, _ = run.log.read(run.log.seek(item.event_id), max_bytes=_SENT_FRAME_BYTES, max_events=len(items))
            first = item.event_id
            if not held or first >= run.log.head.event_id:
                raise TryLater(f"the board still counts the log of {run.run_id!r}")
        line = _one_line(bytes(item.data))
        # A local log's damaged lines go out as events of this type.
        if held[item.event_id - first].strip() != line and b'"line_left_out"' not in line[:64]:
            error = Conflict(
                f"event {item.event_id} of {run.run_id!r} is another one here: another run has this id, or another "
                "process goes on with a copy of this run; publish under another id"
            )
            error.details["conflict"] = item.event_id
            raise error


def _one_line(line: bytes) -> bytes:
    return msgspec.json.format(line, indent=-1) if b"\n" in line or b"\r" in line else line


def _items(frame: bytes | str | None) -> list[_Published]:
    try:
        found = _FRAMES.decode(frame if frame is not None else b"")
    except RecursionError as error:
        raise WrongRequest("the frame is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise WrongRequest(
            f'no frame of events: {str(error)[:300]}; send {{"event_id": n, "data": {{event}}}} or a list of those'
        ) from error
    return found if isinstance(found, list) else [found]


def _line(item: _Published) -> bytes:
    """Return an event as a line of the log: the bytes as they were sent, if they are one line.

    Raises:
        WrongRequest: it is no event.
    """
    line = bytes(item.data)
    if has_too_many_values(line):
        raise WrongRequest(f"event {item.event_id}: too many values: {TOO_MANY}")
    line = _one_line(line)
    if is_plain_result(line):
        return line
    try:
        event = decode(line)
    except ValueError as error:
        raise WrongRequest(f"event {item.event_id}: no event: {str(error)[:300]}") from error
    for name, kind, words in _FIELDS:
        if type(event.get(name)) is not kind:
            raise WrongRequest(f"event {item.event_id}: {name} must be {words}; an event is {_EVENT}")
    if abs(event["creation_ts"]) > LARGEST:
        raise WrongRequest(f"event {item.event_id}: creation_ts must be unix milliseconds; an event is {_EVENT}")
    return line


_FIELDS = (("event_type", str, "a string"), ("creation_ts", int, "an integer"), ("payload", dict, "an object"))
_EVENT = '{"event_type": "…", "creation_ts": unix milliseconds, "payload": {…}}'


def error_answer(error: RequestError) -> dict[str, Any]:
    """Return the JSON of an error."""
    return {**error.details, "error": str(error)}

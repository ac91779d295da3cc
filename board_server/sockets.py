"""The WebSockets: `/ws/subscribe`, `/ws/publish`, `/ws/grid_searches`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import msgspec
from quart import Blueprint, websocket

from board_server.addresses import check_query, checked_after
from board_server.connections import tell_known
from board_server.errors import RequestError, TryLater, WrongRequest, cannot_read, disk_refuses
from board_server.live import BEAT_SECONDS, error_answer, first_of, receive
from board_server.requests import host_of
from board_server.run import Run
from board_server.state import Board, board

sockets = Blueprint("sockets", __name__)
_MAX_SOCKETS = 1_000
_MAX_CLIENT_MESSAGES = 1_000  # of a subscriber, who has nothing to say
_LIST_SECONDS = 1.0
_MAX_TOGETHER = 2  # frames of a publisher that are stored at once
# Hypercorn ends a connection together with its close frame; a client whose own reply then fails may drop what it had
# received, so it is given a moment to read why.
_ANSWER_SECONDS = 0.1
_DRAIN_SECONDS = 30.0


@sockets.before_websocket
async def _admit() -> None:
    access = board().access
    host = host_of(websocket.scope)
    access.check_host(host)
    access.check_origin(websocket.headers.get("Origin"), host)
    access.require("write" if websocket.path == "/ws/publish" else "read", websocket.headers)
    check_query(websocket.query_string)
    tell_known(websocket.scope, access)
    if board().num_sockets >= _MAX_SOCKETS:
        raise TryLater(f"the board serves {_MAX_SOCKETS} WebSockets already; try again later")


@sockets.websocket("/ws/subscribe")
async def subscribe() -> None:
    """Send a run's events behind `after`, then each new one."""
    after = checked_after(websocket.args.get("after", "-1"))
    run = await board().store.opened(_run_id())
    await websocket.accept()
    await _with_silent_client(board().subscriptions.serve(run, after, websocket.send))


@sockets.websocket("/ws/grid_searches")
async def grid_searches() -> None:
    """Send the list of runs, and again when it has changed; with `changes=1` then only the runs that have."""
    changes = websocket.args.get("changes", "0")
    if changes not in ("0", "1"):
        raise WrongRequest(f"changes: found {changes[:40]!r}; allowed are 0 and 1")
    await websocket.accept()
    await _with_silent_client(_send_lists(board(), changes == "1"))


async def _send_lists(here: Board, only_changes: bool) -> tuple[int, str]:
    sent, sent_at = None, 0.0
    while not here.closing.is_set():
        listed = await here.overview(max_age_seconds=_LIST_SECONDS)
        if listed != sent or time.monotonic() - sent_at > BEAT_SECONDS:
            changes = listed.changes(sent) if only_changes and sent is not None else None
            sent, sent_at = listed, time.monotonic()
            await websocket.send((listed.whole() if changes is None else changes).decode())
        await here.pause(_LIST_SECONDS)
    return 1001, "the board is shutting down"


@sockets.websocket("/ws/publish")
async def publish() -> None:
    """Take in a run's events, and acknowledge each frame."""
    here = board()
    run = here.store.receiving(_run_id())
    run.publisher_came()
    here.num_sockets += 1
    frames = _Frames()
    reading: asyncio.Future[None] | None = None
    try:
        await run.prepare()
        await websocket.accept()
        reading = asyncio.ensure_future(frames.read())
        while not here.closing.is_set():
            if not frames.some.is_set():
                await first_of(frames.some.wait(), here.closing.wait(), asyncio.shield(reading))
                if reading.done() or not frames.some.is_set():
                    break
            taken = frames.take()
            answers, error = await run.change(_received, run, taken)
            for frame, (answer, num_new) in zip(taken, answers, strict=False):
                here.count_received(num_new, len(frame or b""))
                await websocket.send(msgspec.json.encode(answer).decode())
            if error is not None:
                here.count_refused()
                details = {"ack": run.num_events - 1, **error_answer(error)}
                await websocket.send(msgspec.json.encode(details).decode())
                await asyncio.sleep(_ANSWER_SECONDS)
                reading.cancel()  # what still comes is taken by `_close`
                await _close(error.close_code, str(error)[:100])
                return
        reading.cancel()
        await _close(1012, "the board is restarting")
    finally:
        if reading is not None:
            reading.cancel()
        run.publisher_left()
        here.num_sockets -= 1


class _Frames:
    """Frames of a publisher that come while earlier ones are stored: they are stored together."""

    def __init__(self) -> None:
        self.some = asyncio.Event()
        self._room = asyncio.Event()
        self._held: list[bytes | str | None] = []

    async def read(self) -> None:
        """Take in what comes, as long as there is room."""
        while True:
            frame = await websocket.receive()  # meanwhile the others may be taken
            self._held.append(frame)
            self.some.set()
            if len(self._held) >= _MAX_TOGETHER:
                self._room.clear()
                await self._room.wait()

    def take(self) -> list[bytes | str | None]:
        """Return those that are there."""
        taken, self._held = self._held, []
        self.some.clear()
        self._room.set()
        return taken


def _received(
    run: Run, frames: list[bytes | str | None]
) -> tuple[list[tuple[dict[str, Any], int]], RequestError | None]:
    """Store frames in order, until one is refused; return the answers to those before it, and why it was."""
    answers: list[tuple[dict[str, Any], int]] = []
    try:
        for frame in frames:
            answers.append(receive(run, frame, look=not answers))
    except RequestError as error:
        return answers, error
    except OSError as error:
        return answers, disk_refuses(error)
    return answers, None


def _run_id() -> str:
    run_id = websocket.args.get("grid_search_id")
    if run_id is None:
        raise WrongRequest("grid_search_id is missing; write ?grid_search_id=RUN_ID")
    return run_id


async def _with_silent_client(serving: Any) -> None:
    """Serve a client that only listens, until it leaves, talks too much, or the serving ends."""
    here = board()
    here.num_sockets += 1
    try:
        served, _ = await first_of(serving, _listen())
        if served.cancelled() or not served.done():
            code, reason = 1008, "this socket only sends"
        else:
            try:
                code, reason = served.result()
            except TimeoutError:
                code, reason = 1013, "too slow: nothing was taken for a minute"
            except OSError as error:
                refused = cannot_read(error)
                code, reason = refused.close_code, str(refused)
        await _close(code, reason)
    finally:
        here.num_sockets -= 1


async def _close(code: int, reason: str) -> None:
    """Close, and take what the client still sends, because the server reads on to its end only when all is taken."""
    await websocket.close(code, reason)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while True:
                await websocket.receive()


async def _listen() -> None:
    for _ in range(_MAX_CLIENT_MESSAGES):
        await websocket.receive()

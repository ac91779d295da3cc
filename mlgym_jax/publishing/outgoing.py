"""A run's log as it goes out: which bytes a board's copy has, and how to read on from any event.

A board numbers what it gets by lines, as the log does, and takes whole events only. A line in the middle of a log that
is none (a damaged disk), or one that is larger than a board takes, goes out as an event `line_left_out` in its place,
a pure function of the line; all other lines go out as they are. Damaged lines at the very end wait: whoever opens the
log for writing cuts them off.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import decode, encode, line_left_out
from mlgym_jax.events.lines import BLOCK_BYTES
from mlgym_jax.events.values import has_too_many_values

MAX_EVENT_BYTES = (1 << 24) - 4096  # of one event in a request of at most 16 MiB


class Position(NamedTuple):
    """Between two lines of the log.

    Attributes:
        event_id: the id of the event behind it.
        offset: how many bytes of the file are before it; `raw_crc32` is their checksum.
        size: how many bytes a board's copy has before it; `crc32` is their checksum.
    """

    event_id: int = 0
    offset: int = 0
    size: int = 0
    crc32: int = 0
    raw_crc32: int = 0

    def behind(self, raw: bytes, line: bytes) -> Position:
        """Return the position behind one more line of the file, which goes out as `line`."""
        sent = line + b"\n"
        return Position(
            self.event_id + 1,
            self.offset + len(raw),
            self.size + len(sent),
            zlib.crc32(sent, self.crc32),
            zlib.crc32(raw, self.raw_crc32),
        )


class OutgoingLog:
    """Reads a log, also while it is written; close it by `close` or `with`.

    Raises:
        MlgymError: there is no such log.
    """

    def __init__(self, path: str, run_id: str):
        self._run_id = run_id
        try:
            self._fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise MlgymError(f"{path}: cannot read the event log: {error.strerror}.") from error
        self._known = [Position()]  # where reading ended before, in order: from there a prefix is found without a scan

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> OutgoingLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(
        self, start: Position, *, until: int | None = None, max_bytes: int = 1 << 18, max_events: int = 500
    ) -> tuple[list[bytes], Position]:
        """Return the lines behind `start` as they go out, without newlines, and the position behind them.

        Args:
            until: the number of events that are safely in the log; by default as far as it can be read.
            max_bytes: stop after the line that reaches this many.
        """
        lines, held, size = [], [], 0
        end = reached = start
        for raw in self._lines(start.offset):
            if (until is not None and reached.event_id >= until) or len(lines) >= max_events or size >= max_bytes:
                break
            line, is_whole = _outgoing(raw, self._run_id)
            reached = reached.behind(raw, line)
            held.append(line)
            if is_whole:
                lines += held
                size += sum(map(len, held))
                held, end = [], reached
        if end.event_id > self._known[-1].event_id:
            self._known.append(end)
        return lines, end

    def at(self, event_id: int) -> Position | None:
        """Return the position before an event, if the log reaches that far."""
        size = os.fstat(self._fd).st_size
        while self._known[-1].offset > size:  # a write that failed half-way was cut back
            self._known.pop()
        reached = next(known for known in reversed(self._known) if known.event_id <= event_id)
        for raw in self._lines(reached.offset):
            if reached.event_id == event_id:
                break
            reached = reached.behind(raw, _outgoing(raw, self._run_id)[0])
        return reached if reached.event_id == event_id else None

    def bring_to_disk(self, end: Position) -> bool:
        """Bring what was read to the disk before it is sent; tell whether it is still there."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that cannot
                raise
        return os.fstat(self._fd).st_size >= end.offset

    def has_more(self, end: Position) -> bool:
        return os.fstat(self._fd).st_size > end.offset

    def _lines(self, offset: int) -> Iterator[bytes]:
        """Yield the lines from an offset on, each with its newline; one without is not yet whole."""
        rest: list[bytes] = []
        while block := os.pread(self._fd, BLOCK_BYTES, offset):
            offset += len(block)
            first, *others = block.splitlines(keepends=True) if b"\r" not in block else _split(block)
            for line in (first, *others):
                rest.append(line)
                if line.endswith(b"\n"):
                    yield b"".join(rest)
                    rest = []


def _split(block: bytes) -> list[bytes]:
    """Split behind newlines alone."""
    lines = [line + b"\n" for line in block.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _outgoing(raw: bytes, run_id: str) -> tuple[bytes, bool]:
    """Return a line of the file as it goes out, and whether it is an event as it stands."""
    line = raw.strip(b" \t\r\n")
    try:
        event = decode(line)
    except ValueError:
        return _left_out(raw, run_id, "damaged"), False
    if not _is_event(event):
        return _left_out(raw, run_id, "no event"), True
    if b"\r" in line:  # white space that a board does not keep
        line = encode(event)
    if len(line) > MAX_EVENT_BYTES or has_too_many_values(line):
        return _left_out(raw, run_id, "too large"), True
    return line, True


def _is_event(event: dict[str, Any]) -> bool:
    return (
        isinstance(event.get("event_type"), str)
        and type(event.get("creation_ts")) is int
        and isinstance(event.get("payload"), dict)
    )


def _left_out(raw: bytes, run_id: str, reason: str) -> bytes:
    return encode(line_left_out(run_id, reason=reason, bytes=len(raw), crc32=zlib.crc32(raw), now_ms=0))

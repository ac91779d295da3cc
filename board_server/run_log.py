"""One run's event log as the board reads it: whole lines, counted once, found by their id."""

from __future__ import annotations

import os
import stat
import threading
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from mlgym_jax.events.values import MAX_LINE_BYTES  # of what is longer no more is read than where it ends

_TOO_LONG = b"too long"  # which is no JSON, either
_BLOCK_BYTES = 1 << 16
_SEARCHED_BYTES = 1 << 20
_KNOWN_BYTES = 512  # of the beginning and of the end of what was read, by which a log is known again


class Cursor(NamedTuple):
    """A place in a log: the id of the next event, and the offset of its line."""

    event_id: int
    offset: int


class RunLog:
    """A log that this or another process appends to.

    Attributes:
        head: behind the last whole line; `head.event_id` is the number of events, `head.offset` their bytes.
        generation: raised when what was read before is no longer in the file (replaced, or cut back).
        modified_ns: when the file was last changed.
    """

    def __init__(self, path: str):
        self.path = path
        self.generation = 0
        self._lock = threading.Lock()  # a large log is counted in a thread
        self._forget()

    def _forget(self) -> None:
        self.head = Cursor(0, 0)
        self.modified_ns = 0
        self._seen = (-1, -1, -1)  # inode, size and time of the last look
        self._begin = self._end = b""
        self._marks = [Cursor(0, 0)]  # about one a block, so that an id is found by reading one block
        self._crc = 0, 0  # up to which offset, and the checksum of it

    @property
    def modified_ms(self) -> int:
        return self.modified_ns // 1_000_000

    @property
    def identity(self) -> tuple[int, int, Cursor]:
        """What differs when the log holds anything else, also after a restart of the server."""
        return zlib.crc32(self._begin), self.modified_ns, self.head

    def refresh(self, *, wait: bool = False) -> bool:
        """Take in what was appended; return whether anything changed. A line without its end is left for later.

        Args:
            wait: until a thread that is at it has ended; without it `head` may stand anywhere on its way.
        """
        if not self._lock.acquire(blocking=wait):
            return False  # a thread is at it
        try:
            return self._refresh()
        finally:
            self._lock.release()

    def _refresh(self) -> bool:
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return self._replaced() if self.head.offset else False
        seen = status.st_ino, status.st_size, status.st_mtime_ns
        if seen == self._seen or not stat.S_ISREG(status.st_mode):
            return False
        with open(self.path, "rb", buffering=0) as file:
            replaced = not self._still_there(file.fileno()) and self._replaced()
            self._seen, self.modified_ns = seen, status.st_mtime_ns
            return self._count_to(file.fileno(), status.st_size) or replaced

    def appended(self, first_event_id: int, lines: Sequence[bytes]) -> None:
        """Take in whole lines that the caller has just appended; a head that is not there yet comes by itself."""
        if not self._lock.acquire(blocking=False):
            return  # a thread counts what was there before
        try:
            if self.head.event_id == first_event_id:
                self._advance(len(lines), sum(map(len, lines)) + len(lines))
                self._begin = self._begin or (lines[0] + b"\n")[:_KNOWN_BYTES]
                self._end = (lines[-1] + b"\n")[-_KNOWN_BYTES:]
        finally:
            self._lock.release()

    def _replaced(self) -> bool:
        self.generation += 1
        self._forget()
        return True

    def _still_there(self, fd: int) -> bool:
        begin = os.pread(fd, len(self._begin), 0)
        return begin == self._begin and os.pread(fd, len(self._end), self.head.offset - len(self._end)) == self._end

    def _count_to(self, fd: int, size: int) -> bool:
        before = self.head
        offset = tail = self.head.offset
        while offset < size:
            block = os.pread(fd, min(_BLOCK_BYTES, size - offset), offset)
            if not block:
                break
            lines = block.count(b"\n")
            if lines:
                end = offset + block.rfind(b"\n") + 1
                self._advance(lines, end - tail)
                tail = end
            offset += len(block)
        if self.head == before:
            return False
        if not self._begin:
            self._begin = os.pread(fd, min(_KNOWN_BYTES, self.head.offset), 0)
        length = min(_KNOWN_BYTES, self.head.offset)
        self._end = os.pread(fd, length, self.head.offset - length)
        return True

    def _advance(self, num_events: int, num_bytes: int) -> None:
        self.head = Cursor(self.head.event_id + num_events, self.head.offset + num_bytes)
        if self.head.offset - self._marks[-1].offset >= _BLOCK_BYTES:
            self._marks.append(self.head)

    def seek(self, event_id: int) -> Cursor:
        """Return the cursor of an event; the head for ids that are not there yet."""
        if event_id >= self.head.event_id:
            return self.head
        cursor = self._marks[bisect_right(self._marks, event_id, key=lambda mark: mark.event_id) - 1]
        while cursor.event_id < event_id:
            missing = event_id - cursor.event_id
            lines, cursor = self.read(cursor, max_bytes=_BLOCK_BYTES, max_events=missing)
            if not lines:
                break
        return cursor

    def read(self, cursor: Cursor, *, max_bytes: int, max_events: int = 1 << 30) -> tuple[list[bytes], Cursor]:
        """Return lines from `cursor` on, without their ends, and where the next one begins.

        At most `max_bytes` bytes of lines, but always at least one line where there is one; one that is too long comes
        alone, as words that are no JSON.
        """
        available = self.head.offset - cursor.offset
        if available <= 0 or max_events <= 0:
            return [], cursor
        with open(self.path, "rb", buffering=0) as file:
            data = os.pread(file.fileno(), min(max_bytes, available), cursor.offset)
            end = data.rfind(b"\n") + 1
            if not end:  # one line is longer than what was asked for
                end = _line_end(file.fileno(), cursor.offset + len(data), self.head.offset) - cursor.offset
                if end > MAX_LINE_BYTES:
                    return [_TOO_LONG], Cursor(cursor.event_id + 1, cursor.offset + end)
                data = os.pread(file.fileno(), max(end, 0), cursor.offset)
                end = data.rfind(b"\n") + 1  # none where the file was cut back meanwhile
        lines = data[:end].split(b"\n")[:-1]
        if len(lines) > max_events:
            lines = lines[:max_events]
            end = sum(map(len, lines)) + len(lines)
        return lines, Cursor(cursor.event_id + len(lines), cursor.offset + end)

    def crc32(self) -> int:
        """Return the CRC-32 of all whole lines; only what is new since the last call is read."""
        head, (offset, crc) = self.head, self._crc
        if offset < head.offset:
            with open(self.path, "rb", buffering=0) as file:
                while offset < head.offset:
                    block = os.pread(file.fileno(), min(1 << 20, head.offset - offset), offset)
                    if not block:
                        break
                    crc, offset = zlib.crc32(block, crc), offset + len(block)
            self._crc = offset, crc
        return crc


def _line_end(fd: int, offset: int, size: int) -> int:
    """Return the offset behind the first newline from `offset` on; 0 where there is none before `size`."""
    while offset < size and (block := os.pread(fd, min(_SEARCHED_BYTES, size - offset), offset)):
        newline = block.find(b"\n")
        if newline >= 0:
            return offset + newline + 1
        offset += len(block)
    return 0

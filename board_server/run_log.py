"""One run's event log as the board reads it: whole lines, counted once, found by their id."""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from typing import NamedTuple

_BLOCK_BYTES = 1 << 16


class Cursor(NamedTuple):
    """A place in a log: the id of the next event, and the offset of its line."""

    event_id: int
    offset: int


class RunLog:
    """A log that this or another process appends to.

    Attributes:
        head: behind the last whole line; `head.event_id` is the number of events, `head.offset` their bytes.
        generation: raised when what was read before is no longer in the file (replaced, or cut back).
    """

    def __init__(self, path: str):
        self.path = path
        self.generation = 0
        self.modified_ms = 0
        self._forget()

    def _forget(self) -> None:
        self.head = Cursor(0, 0)
        self._inode = -1
        self._marks = [Cursor(0, 0)]  # about one a block, so that an id is found by reading one block
        self._crc = 0, 0  # up to which offset, and the checksum of it

    def refresh(self) -> bool:
        """Take in what was appended; return whether anything changed. A line without its end is left for later."""
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return self._replaced() if self.head.offset else False
        self.modified_ms = status.st_mtime_ns // 1_000_000
        if status.st_ino == self._inode and status.st_size == self.head.offset:
            return False
        replaced = False
        if self.head.offset and (status.st_ino != self._inode or not self._still_there()):
            replaced = self._replaced()
        self._inode = status.st_ino
        return self._count_to(status.st_size) or replaced

    def appended(self, num_events: int, num_bytes: int) -> None:
        """Take in whole lines that the caller has just appended at the head."""
        self._advance(num_events, num_bytes)

    def _replaced(self) -> bool:
        self.generation += 1
        self._forget()
        return True

    def _still_there(self) -> bool:
        with open(self.path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), 1, self.head.offset - 1) == b"\n"

    def _count_to(self, size: int) -> bool:
        before = self.head
        with open(self.path, "rb", buffering=0) as file:
            offset, tail = self.head.offset, self.head.offset
            pending = 0
            while offset < size:
                block = os.pread(file.fileno(), min(_BLOCK_BYTES, size - offset), offset)
                if not block:
                    break
                lines = block.count(b"\n")
                if lines:
                    end = offset + block.rfind(b"\n") + 1
                    self._advance(lines, end - tail)
                    tail = end
                pending += len(block)
                offset += len(block)
        return self.head != before

    def _advance(self, num_events: int, num_bytes: int) -> None:
        self.head = Cursor(self.head.event_id + num_events, self.head.offset + num_bytes)
        if self.head.offset - self._marks[-1].offset >= _BLOCK_BYTES:
            self._marks.append(self.head)

    def seek(self, event_id: int) -> Cursor:
        """Return the cursor of an event; the head for ids that are not there yet."""
        if event_id >= self.head.event_id:
            return self.head
        mark = self._marks[bisect_right(self._marks, event_id, key=lambda mark: mark.event_id) - 1]
        lines, cursor = self._read_exactly(mark, max(event_id, 0) - mark.event_id)
        del lines
        return cursor

    def _read_exactly(self, cursor: Cursor, count: int) -> tuple[list[bytes], Cursor]:
        found: list[bytes] = []
        while len(found) < count:
            lines, after = self.read(cursor, max_bytes=_BLOCK_BYTES, max_events=count - len(found))
            if not lines:
                break
            found += lines
            cursor = after
        return found, cursor

    def read(self, cursor: Cursor, *, max_bytes: int, max_events: int = 1 << 30) -> tuple[list[bytes], Cursor]:
        """Return lines from `cursor` on, without their ends, and where the next one begins.

        At most `max_bytes` bytes of lines, but always at least one line where there is one.
        """
        available = self.head.offset - cursor.offset
        if available <= 0 or max_events <= 0:
            return [], cursor
        with open(self.path, "rb", buffering=0) as file:
            wanted = min(max_bytes, available)
            data = os.pread(file.fileno(), wanted, cursor.offset)
            end = data.rfind(b"\n") + 1
            while not end and len(data) < available:  # one line is longer than what was asked for
                more = os.pread(
                    file.fileno(), min(len(data) or _BLOCK_BYTES, available - len(data)), cursor.offset + len(data)
                )
                if not more:
                    break
                data += more
                end = data.find(b"\n") + 1
        lines = data[:end].split(b"\n")[:-1]
        if len(lines) > max_events:
            lines = lines[:max_events]
            end = sum(map(len, lines)) + len(lines)
        return lines, Cursor(cursor.event_id + len(lines), cursor.offset + end)

    def crc32(self) -> int:
        """Return the CRC-32 of all whole lines; only what is new since the last call is read."""
        offset, crc = self._crc
        if offset < self.head.offset:
            with open(self.path, "rb", buffering=0) as file:
                while offset < self.head.offset:
                    block = os.pread(file.fileno(), min(1 << 20, self.head.offset - offset), offset)
                    if not block:
                        break
                    crc, offset = zlib.crc32(block, crc), offset + len(block)
            self._crc = offset, crc
        return crc

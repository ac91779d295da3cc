"""Lines of a file by their descriptor: write them whole, find them from the end, count them in blocks."""

from __future__ import annotations

import errno
import os

from mlgym_jax.events.codec import decode

BLOCK_BYTES = 1 << 20


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, also where the system takes it in parts (a disk nearly full, a limit near)."""
    rest = memoryview(data)
    while rest:
        written = os.write(fd, rest)
        if not written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = rest[written:]


def repair(fd: int) -> tuple[int, int]:
    """Cut off what follows the last whole event; return the bytes kept and the bytes dropped."""
    size = os.fstat(fd).st_size
    end = line_start(fd, size)
    while end > 0:
        start = line_start(fd, end - 1)
        try:
            decode(os.pread(fd, end - start, start))
            break
        except ValueError:
            end = start
    if end < size:
        os.ftruncate(fd, end)
        os.fsync(fd)
    return end, size - end


def line_start(fd: int, end: int) -> int:
    """Return the offset behind the last newline before `end`."""
    while end > 0:
        start = max(end - BLOCK_BYTES, 0)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def count_lines(fd: int, size: int, start: int = 0) -> int:
    """Count the newlines in the bytes from `start` to `size`."""
    blocks = range(start, size, BLOCK_BYTES)
    return sum(os.pread(fd, min(BLOCK_BYTES, size - offset), offset).count(b"\n") for offset in blocks)

"""Lines of a file by their descriptor: write them whole, find them from the end, count them in blocks."""

from __future__ import annotations

import errno
import logging
import os

from mlgym_jax.events.codec import decode

BLOCK_BYTES = 1 << 20
_LOG = logging.getLogger(__name__)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, also where the system takes it in parts (a disk nearly full, a limit near)."""
    rest = memoryview(data)
    while rest:
        written = os.write(fd, rest)
        if not written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rest = rest[written:]


def repair(fd: int, path: str) -> tuple[int, int]:
    """Cut off what follows the last whole event; return the bytes kept and the bytes dropped.

    What is more than one torn line is kept in `<path>.damaged`, or with a number behind it, and that is told.
    """
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
        _put_aside(fd, end, size, f"{path}.damaged")
        os.ftruncate(fd, end)
        os.fsync(fd)
    return end, size - end


def _put_aside(fd: int, start: int, size: int, aside: str) -> None:
    """Copy the bytes from `start` to `size`, unless they are a line that was not written to its end, or nothing."""
    blocks = [(offset, min(BLOCK_BYTES, size - offset)) for offset in range(start, size, BLOCK_BYTES)]
    is_torn = os.pread(fd, 1, start) == b"{" and not count_lines(fd, size, start)
    if is_torn or not any(os.pread(fd, length, offset).strip(b"\0\n") for offset, length in blocks):
        return
    target, attempt = aside, 1
    while os.path.lexists(target):
        attempt += 1
        target = f"{aside}-{attempt}"
    with open(target, "xb") as file:
        for offset, length in blocks:
            file.write(os.pread(fd, length, offset))
        file.flush()
        os.fsync(file.fileno())
    _LOG.warning(
        "%s: the last %d bytes of this run's log are no whole events; they are now in that file, and the run goes on "
        "without what they said",
        target,
        size - start,
    )


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

"""Write a file whole or not at all, and bring it to the disk."""

from __future__ import annotations

import contextlib
import os
import re

_UNFINISHED = re.compile(r".+\.[0-9a-f]{8}\.tmp")  # as `write_whole` names it


def write_whole(path: str, *data: bytes | memoryview, fsync: bool = True) -> None:
    """Write a file so that whoever reads it finds what was there before, or all of `data`; its folder is made.

    Args:
        data: one part behind the other.
        fsync: bring the file and its name to the disk, so that this holds after a loss of power, too. It costs some
            milliseconds; what can be made again from a log does without.

    Raises:
        OSError: the system refuses; what was there before is there still.
    """
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    temporary = f"{path}.{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "xb") as file:
            for part in data:
                file.write(part)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if fsync:
        fsync_folder(folder)


def remove_unfinished(folder: str) -> None:
    """Remove what a killed `write_whole` has left in a folder and those right inside; nobody else may write there."""
    for where in (folder, *(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))):
        with contextlib.suppress(OSError):
            for name in os.listdir(where):
                if _UNFINISHED.fullmatch(name):
                    os.unlink(os.path.join(where, name))


def at_once(path: str, flags: int) -> int:
    """Open a file as `open(…, opener=at_once)`: of a pipe that nobody writes nothing is read, and nobody waits."""
    return os.open(path, flags | os.O_NONBLOCK)


def fsync_folder(folder: str | os.PathLike[str]) -> None:
    """Bring a new file's name to the disk; not every file system can."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

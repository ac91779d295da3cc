"""A run's folder before it has a log: one process at a time begins it, and may take over what a kill left there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator

from mlgym_jax.events import layout

_BEFORE_THE_LOG = tuple(map(re.escape, (*layout.RUN_FILES, layout.PUBLISHED_MARK)))
_LEFT = re.compile(rf"(?:{'|'.join(map(re.escape, layout.RUN_FILES))})|(?:{'|'.join(_BEFORE_THE_LOG)})\.[0-9a-f]+\.tmp")
# Of folders that are filled before the log, once the config is there, what they hold.
_INSIDE = {
    layout.SOURCES: re.compile(r".+\.py(?:\.[0-9a-f]+\.tmp)?"),
    layout.DATA: re.compile(r"arrays\.npz|dataset\.json(?:\.[0-9a-f]+\.tmp)?"),
}


def never_began(folder: str) -> bool:
    """Tell whether a folder holds no more than what the beginning of a run leaves that was ended before its log."""
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return all(_LEFT.fullmatch(name) or (layout.CONFIG in names and _is_left(folder, name)) for name in names)


def _is_left(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    if name not in _INSIDE or os.path.islink(path) or not os.path.isdir(path):
        return False
    return all(_INSIDE[name].fullmatch(file) for _, _, files in os.walk(path) for file in files)


def remove_left(folder: str) -> None:
    """Remove, of a folder that never began, the folders that are filled before the log."""
    for name in _INSIDE:
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def is_empty(folder: str) -> bool:
    """Tell whether this is a folder, no link to one, in which nothing is."""
    try:
        return not os.path.islink(folder) and not os.listdir(folder)
    except OSError:
        return False


@contextlib.contextmanager
def claimed(folder: str) -> Iterator[None]:
    """Be the one process that makes a folder a run; a process that ends, however it does, lets go of it.

    Raises:
        BlockingIOError: another process is at it; OSError: the folder cannot be opened.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass  # a file system without locks for folders
        yield
    finally:
        os.close(fd)

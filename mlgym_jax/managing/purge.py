"""Remove from the disk what was deleted long enough ago; what goes on, or was touched since, stays."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout
from mlgym_jax.events.annotation_log import RefusedError, locked, read_annotations
from mlgym_jax.run_folder import folder as run_folder

DAY_MS = 86_400_000
_LEFT = re.compile(r"\.purged-.+-[0-9a-f]{8}")  # by a purge that was killed


class Removable(NamedTuple):
    """A run that may be removed for ever: its folder, since when it is deleted, its size on the disk."""

    run_dir: str
    deleted_ms: int
    bytes: int


def removable(event_storage: str, *, older_than_days: float, now_ms: int) -> tuple[list[Removable], list[str]]:
    """Return the runs that were deleted at least so many days ago, and in words which of these must stay, and why."""
    found, stay = [], []
    for name in run_folder.runs_in(event_storage):
        run_dir = os.path.join(event_storage, name)
        since = read_annotations(run_dir).run.deleted_ms
        if since is None or now_ms - since < older_than_days * DAY_MS:
            continue
        why = _stays_because(run_dir, since)
        if why is None:
            found.append(Removable(run_dir, since, _size(run_dir)))
        else:
            stay.append(f"{name} stays: {why}")
    return found, stay


def remove(one: Removable) -> None:
    """Remove a run for ever; a kill in the midst leaves a hidden folder, which `remove_leftovers` finds.

    Raises:
        MlgymError: it was restored, goes on, or cannot be removed.
    """
    storage, name = os.path.split(one.run_dir)
    gone = os.path.join(storage, f".purged-{name}-{os.urandom(4).hex()}")
    with locked(one.run_dir), _unwritten(one.run_dir):
        if read_annotations(one.run_dir).run.deleted_ms != one.deleted_ms:
            raise RefusedError(f"{name} stays: it was restored meanwhile")
        why = _stays_because(one.run_dir, one.deleted_ms)
        if why is not None:
            raise RefusedError(f"{name} stays: {why}")
        try:
            os.rename(one.run_dir, gone)
        except OSError as error:
            raise MlgymError(f"{one.run_dir}: cannot be removed: {error.strerror}") from error
    _remove_tree(gone)


def remove_leftovers(event_storage: str) -> int:
    """Remove what purges that were killed have left; return of how many runs."""
    left = [name for name in os.listdir(event_storage) if _LEFT.fullmatch(name)]
    for name in left:
        _remove_tree(os.path.join(event_storage, name))
    return len(left)


def _remove_tree(folder: str) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise MlgymError(f"{folder}: not all of it can be removed ({error.strerror}: {error.filename})") from error


def _stays_because(run_dir: str, deleted_ms: int) -> str | None:
    log = os.path.join(run_dir, layout.LOG)
    if os.path.islink(run_dir):
        return "its folder is a link; remove the link and what it leads to by hand"
    try:
        touched_ms = os.stat(log).st_mtime_ns // 1_000_000
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    return "it went on after it was deleted; restore it, or delete it anew" if touched_ms > deleted_ms else None


@contextmanager
def _unwritten(run_dir: str) -> Iterator[None]:
    """Hold the lock of a run's log, so that nobody goes on with it meanwhile."""
    name = os.path.basename(run_dir)
    try:
        fd = os.open(os.path.join(run_dir, layout.LOG), os.O_RDWR | os.O_APPEND)
    except OSError as error:
        raise MlgymError(f"{name} stays: its log cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"{name} stays: it is being written") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(fd)


def _size(folder: str) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total

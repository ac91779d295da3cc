"""The annotations log on disk: many append to it, one after the other; whoever reads waits for nobody.

An append is one write of whole lines under the file's lock, and is on the disk when it returns. A torn end, which a
power loss may leave, stays where it is: the next line begins behind it, and readers pass it over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence

from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.events import layout
from mlgym_jax.events.annotations import (
    Annotations,
    Change,
    Deleted,
    checked,
    checked_name,
    event_of,
    project_annotations,
)
from mlgym_jax.events.codec import encode
from mlgym_jax.events.files import fsync_folder
from mlgym_jax.events.lines import write_all
from mlgym_jax.events.log import is_being_written
from mlgym_jax.events.place import is_at

MAX_LOG_BYTES = 1 << 26  # of which no more is read, or written
_LOCK_SECONDS = 5.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class RefusedError(MlgymError):
    """What is to be said contradicts how the run stands."""


class UnwritableError(MlgymError):
    """Nothing can be said here: the folder is read-only, or somebody else's."""


def annotate(run_dir: str, changes: Sequence[Change], *, by: str | None, now_ms: int) -> Annotations:
    """Record changes, all or none, and return what is said of the run then; what changes nothing is not recorded.

    Args:
        by: who says it, in at most 64 characters.
        now_ms: the clock, unix milliseconds.

    Raises:
        RefusedError: a run that is being written is to be deleted, one tag too many, or the run is gone.
        UnwritableError: this process may not write there. DiskError: there is no room, or others hold the lock.
        MlgymError: a note, tag or name that cannot be kept.
    """
    changes, by = [checked(change) for change in changes], checked_name(by)
    run_id = os.path.basename(os.path.abspath(run_dir))
    if any(isinstance(change, Deleted) and change.experiment_id is None for change in changes):
        refuse_while_written(run_dir)
    with locked(run_dir) as fd:
        data = _read(fd)
        found, lines = project_annotations(data.split(b"\n")), []
        for change in changes:
            try:
                if found.apply(change, now_ms):
                    lines.append(encode(event_of(run_id, change, by=by, now_ms=now_ms)) + b"\n")
                    found.num_events += 1
            except MlgymError as error:
                raise RefusedError(str(error)) from error
        if lines:
            torn = bool(data) and not data.endswith(b"\n")
            _append(fd, _path(run_dir), b"\n" * torn + b"".join(lines))
    return found


def refuse_while_written(run_dir: str) -> None:
    """Refuse to delete a run that goes on.

    Raises:
        RefusedError: it does.
    """
    if is_being_written(os.path.join(run_dir, layout.LOG)):
        name = os.path.basename(os.path.abspath(run_dir))
        raise RefusedError(f"run {name!r} is being written, so it cannot be deleted; end it first, or archive it")


def read_annotations(run_dir: str) -> Annotations:
    """Return what is said of a run; nothing, where there is no such log, or it cannot be read."""
    return project_annotations(annotation_lines(run_dir))


def annotation_lines(run_dir: str) -> list[bytes]:
    """Return the lines of a run's annotations log as they are, a torn one at the end, too."""
    try:
        fd = os.open(_path(run_dir), os.O_RDONLY | _FLAGS)
    except OSError:
        return []
    try:
        return [line for line in _read(fd).split(b"\n") if line]
    except OSError:
        return []
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(run_dir: str) -> Iterator[int]:
    """Be the one that writes a run's annotations log: yields its descriptor, the file made if there was none.

    Raises: as `annotate`.
    """
    path = _path(run_dir)
    is_new = not os.path.lexists(path)
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FLAGS, 0o666)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UnwritableError(f"{path}: it is no file, so nothing can be recorded there")
        _lock(fd, path)
        if not is_at(fd, path):  # it was purged, or moved, while this waited
            raise RefusedError(f"{run_dir}: the run was removed or moved meanwhile; nothing was recorded")
        if is_new:
            fsync_folder(run_dir)
        yield fd
    finally:
        os.close(fd)


def _path(run_dir: str) -> str:
    return os.path.join(run_dir, layout.ANNOTATIONS)


def _lock(fd: int, path: str) -> None:
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise DiskError(
                    f"{path}: another process has held its lock for {_LOCK_SECONDS:g} s; try again"
                ) from None
            time.sleep(0.005)
        except OSError:
            return  # a file system without locks, where one append is still one write


def _read(fd: int) -> bytes:
    parts, at = [], 0
    while at < MAX_LOG_BYTES and (part := os.pread(fd, min(1 << 20, MAX_LOG_BYTES - at), at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _append(fd: int, path: str, data: bytes) -> None:
    """Write all of `data` at the end and bring it to the disk, or leave the file as it was."""
    size = os.fstat(fd).st_size
    if size + len(data) > MAX_LOG_BYTES:
        raise RefusedError(
            f"{path}: it would have more than {MAX_LOG_BYTES:,} bytes, which is the most; nothing was said"
        )
    try:
        write_all(fd, data)
        os.fsync(fd)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
        if isinstance(error, OSError):
            raise _refused(path, error) from error
        raise


def _refused(path: str, error: OSError) -> MlgymError:
    folder = os.path.dirname(path)
    if error.errno in _NO_ROOM:
        return DiskError(f"{path}: cannot be written: {error.strerror}; nothing was recorded")
    if error.errno == errno.ELOOP:
        return UnwritableError(f"{path}: it is a link, which is not followed; nothing was recorded")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return RefusedError(f"{folder}: there is no such run any more; nothing was recorded")
    return UnwritableError(
        f"{path}: cannot be written ({error.strerror}), so nothing was recorded. Notes, tags and the rest stand beside "
        "the run; ask its owner, or copy the run where you may write"
    )

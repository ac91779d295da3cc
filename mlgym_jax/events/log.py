"""The event log on disk: one writer that appends whole lines, and readers that may read along.

After `EventLog.append` returns, the events are in the operating system and survive the death of the process; a
background thread brings them to the disk within `fsync_interval_seconds`. An event's id is its line number, from 0.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.events.codec import Event, decode
from mlgym_jax.events.epoch_results import Appended, EpochResults
from mlgym_jax.events.files import fsync_folder
from mlgym_jax.events.lines import BLOCK_BYTES, count_lines, repair, write_all
from mlgym_jax.events.place import check_place

Sink = Callable[[int, Sequence[Event]], object]
Follower = Callable[[Sequence[bytes | EpochResults]], object]
_LOCK_ATTEMPTS = 5


class EventLog:
    """The one writer of a run's log; make it with `EventLog.open`, end it with `close` or `with`.

    Attributes:
        path: the file.
        repaired_bytes: how many bytes of a torn end were cut off at open; 0 for a whole log; see `lines.repair`.
    """

    def __init__(
        self,
        path: Path,
        fd: int,
        *,
        fsync_interval_seconds: float,
        sinks: Iterable[Sink],
        follower: Follower | None,
        counted: tuple[int, int],
    ):
        """Take over `fd`, open for appending and locked; `EventLog.open` is the way in."""
        self.path = path
        self._fd = fd
        whole_bytes, self.repaired_bytes = repair(fd, os.fspath(path))
        start, lines = counted if counted[0] <= whole_bytes else (0, 0)
        self._head = whole_bytes, lines + count_lines(fd, whole_bytes, start)
        self._sinks, self._follower = list(sinks), follower
        self._fsync_interval_seconds = fsync_interval_seconds
        self._lock = threading.RLock()
        self._closed = False
        self._failure: str | None = None  # why nothing may be appended any more
        self._unsynced = threading.Event()
        self._closing = threading.Event()
        self._syncer = threading.Thread(target=self._sync_until_closed, name="event-log-fsync", daemon=True)
        self._syncer.start()
        _OPEN_LOGS.add(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        fsync_interval_seconds: float = 0.2,
        sinks: Iterable[Sink] = (),
        follower: Follower | None = None,
        counted: tuple[int, int] = (0, 0),
    ) -> EventLog:
        """Create the log, or reopen it for appending and repair a torn end.

        Args:
            fsync_interval_seconds: at most one fsync in so many seconds, in the background.
            sinks: called with `(first_event_id, events)` after each append, in order, on the appending thread. A sink
                that raises is dropped with a warning; the log goes on.
            follower: called before them with what `append` has written, lines and results of epochs; it must not raise.
            counted: (bytes, lines) of a beginning that is known to hold so many whole lines, which is not read again.

        Raises:
            MlgymError: the file cannot be opened, or another writer holds it.
        """
        path = Path(path)
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            kind = DiskError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else MlgymError
            raise kind(f"{path}: cannot open the event log: {error.strerror}.") from error
        try:
            # The lock is never released by hand: it ends with the last descriptor, so a dead process holds none.
            _lock(fd)
            log = cls(
                path,
                fd,
                fsync_interval_seconds=fsync_interval_seconds,
                sinks=sinks,
                follower=follower,
                counted=counted,
            )
        except BlockingIOError:
            os.close(fd)
            raise MlgymError(
                f"{path}: another process is writing this run. Wait until it ends, or stop it, and then try again."
            ) from None
        except OSError as error:
            os.close(fd)
            raise MlgymError(f"{path}: cannot lock or repair the event log: {error.strerror}.") from error
        except BaseException:
            os.close(fd)
            raise
        if log.next_event_id == 0:
            fsync_folder(path.parent)
        return log

    @property
    def next_event_id(self) -> int:
        """The id that the next event will get: the number of lines."""
        return self._head[1]

    def check_place(self) -> None:
        """Raise MovedError where the path does not name the file any more that this writes."""
        if not self._closed:
            check_place(self._fd, self.path)

    def append(self, events: Iterable[Event | EpochResults]) -> int:
        """Append `events`, all or none, and return the id of the first.

        Raises:
            DiskError: the write failed, or the log is not where it was; it is whole, with what was appended before.
            MlgymError: the log is closed.
            TypeError: an event holds something that JSON cannot; nothing was written.
        """
        appended = Appended(events)
        written, lines = appended.encoded()
        with self._lock:
            self.check_place()
            first = self._append(b"".join(lines), len(lines))
            if self._follower is not None:
                self._follower(written)
            if lines:
                self._tell_sinks(first, appended)
        return first

    def append_lines(self, lines: Sequence[bytes]) -> int:
        """Append events that are JSON already, one a line without its newline, byte by byte; return the first id.

        Sinks are not called. The caller has checked that `decode` reads every line.

        Raises:
            DiskError: the write failed; the log is whole and holds what was appended before.
            MlgymError: the log is closed.
        """
        with self._lock:
            return self._append(b"".join([line + b"\n" for line in lines]), len(lines))

    def _append(self, data: bytes, num_events: int) -> int:
        self._check_usable()
        size, first = self._head
        try:
            write_all(self._fd, data)
            self._head = size + len(data), first + num_events  # one assignment: an interrupt sees both or neither
        except BaseException as error:
            self._cut_back()
            if isinstance(error, OSError):
                raise self._write_error(error) from error
            raise
        if num_events:
            self._unsynced.set()
        return first

    def close(self) -> None:
        """Bring everything to the disk, and let go of the file and its lock; again is harmless.

        Raises:
            DiskError: the last fsync failed.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            _OPEN_LOGS.discard(self)
            self._closing.set()
            self._unsynced.set()
            self._syncer.join()  # before the descriptor goes: its number may be given to another file
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise self._sync_error(error) from error
            finally:
                os.close(self._fd)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_usable(self) -> None:
        if self._closed:
            raise MlgymError(f"{self.path}: this event log is closed here; open it again to append.")
        if self._failure:
            raise DiskError(self._failure)

    def _tell_sinks(self, first: int, events: Sequence[Event]) -> None:
        for sink in tuple(self._sinks):
            try:
                sink(first, events)
            except Exception as error:
                self._sinks.remove(sink)
                warnings.warn(
                    f"{self.path}: a sink of the event log failed and is dropped: {sink!r}: {error!r}. "
                    "The log itself is whole.",
                    RuntimeWarning,
                    stacklevel=3,
                )

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._head[0])
        except OSError as error:
            self._failure = (
                f"{self.path}: the last write failed half-way and could not be undone ({error.strerror}). "
                "Everything logged before is safe: the torn end is cut off when the run is resumed."
            )

    def _write_error(self, error: OSError) -> DiskError:
        return DiskError(
            f"{self.path}: cannot write the event log: {error.strerror}. Everything logged before is safe; "
            f"once there is room, the run can be resumed with --resume={self.path.absolute().parent.name}."
        )

    def _sync_error(self, error: OSError) -> DiskError:
        return DiskError(
            f"{self.path}: cannot bring the event log to the disk: {error.strerror}. The events of about the last "
            f"{self._fsync_interval_seconds} s may be missing after a power loss; "
            f"once the disk is well, the run can be resumed with --resume={self.path.absolute().parent.name}."
        )

    def _sync_until_closed(self) -> None:
        while True:
            self._unsynced.wait()
            if self._closing.is_set():
                return
            self._unsynced.clear()  # before the fsync, so that an append during it asks for another one
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._failure = str(self._sync_error(error))  # raised by the next append
            self._closing.wait(self._fsync_interval_seconds)

    def _forget_in_forked_child(self) -> None:
        """Let go of the descriptor without flushing or unlocking: the log is the parent's."""
        self._lock = threading.RLock()  # the parent's may have been held at the fork
        if not self._closed:
            self._closed = True
            os.close(self._fd)


def read_events(path: str | os.PathLike[str], *, after: int = -1) -> Iterator[tuple[int, Event]]:
    """Yield `(event_id, event)` of all whole lines behind the event `after`, without disturbing a writer.

    An incomplete last line ends the reading. A damaged line is passed over, and its id with it.

    Raises:
        MlgymError: there is no such log.
    """
    for event_id, line in read_lines(path, max(after + 1, 0)):
        try:
            event = decode(line)
        except ValueError:
            continue
        yield event_id, event


def read_log(path: str | os.PathLike[str]) -> tuple[list[Event], list[int]]:
    """Return the events of all whole, undamaged lines, and the numbers of the damaged ones.

    Raises:
        MlgymError: there is no such log.
    """
    events, damaged = [], []
    for event_id, line in read_lines(path):
        try:
            events.append(decode(line))
        except ValueError:
            damaged.append(event_id)
    return events, damaged


def read_lines(path: str | os.PathLike[str], start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield `(event_id, line)` of all whole lines from the event `start` on, as they are.

    Raises:
        MlgymError: there is no such log.
    """
    try:
        file = open(path, "rb", buffering=BLOCK_BYTES)  # noqa: SIM115 (closed below)
    except OSError as error:
        raise MlgymError(f"{os.fspath(path)}: cannot read the event log: {error.strerror}.") from error
    with file:
        for number, line in enumerate(islice(file, start, None), start):
            if not line.endswith(b"\n"):
                return
            yield number, line


def _lock(fd: int) -> None:
    """Take the writer's lock; wait for a moment, because `is_being_written` may be looking at it."""
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if attempt == _LOCK_ATTEMPTS - 1:
                raise
            time.sleep(0.02)


def is_being_written(path: str | os.PathLike[str]) -> bool:
    """Tell whether a process has this log open for writing; False where there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(fd)
    return False


_OPEN_LOGS: weakref.WeakSet[EventLog] = weakref.WeakSet()


def _forget_logs_in_forked_child() -> None:
    for log in tuple(_OPEN_LOGS):
        log._forget_in_forked_child()


os.register_at_fork(after_in_child=_forget_logs_in_forked_child)

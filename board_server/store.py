"""The folder of runs: find them, follow their logs, append what remote runs publish, keep the files beside them.

<event_storage>/<run_id>/event_storage.log     the one truth; everything else that the board shows is read from it
<event_storage>/<run_id>/.published            says that the run was received, so that no local process writes it
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from board_server.errors import Conflict, NotFound, TryLater, WrongRequest
from board_server.projected import Projected
from board_server.run_log import RunLog
from mlgym_jax.errors import DiskError, MlgymError, nearest
from mlgym_jax.events import EventLog, is_being_written

LOG_NAME = "event_storage.log"
PUBLISHED_MARK = ".published"
RUN_FILES = ("config.py", "config.json", "run.json")
EXPERIMENT_FILES = ("experiment_config.json", "model_card.json", "model_card.md")
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MAX_KNOWN = 512  # runs whose line offsets are kept in memory
_MAX_PROJECTED = 16  # runs whose curves are kept in memory


def checked_id(value: str, what: str) -> str:
    """Return an id that may be a part of a path.

    Raises:
        WrongRequest: it may not.
    """
    if not _ID.fullmatch(value) or value.startswith("."):
        raise WrongRequest(
            f"{what}: {value[:140]!r} is no id; allowed are 1 to 128 of the characters A-Z a-z 0-9 . _ -, "
            "not beginning with a dot"
        )
    return value


def checked_number(value: str, what: str) -> int:
    """Return a number of a path, such as an experiment's id.

    Raises:
        WrongRequest: it is none.
    """
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise WrongRequest(f"{what}: {value[:40]!r} is no number; write it in decimal digits, such as 0")
    return int(value)


class Run:
    """One run: its log, followed; its projection, made when asked for; who waits for news of it."""

    def __init__(self, folder: str):
        self.folder = folder
        self.run_id = os.path.basename(folder)
        self.log = RunLog(os.path.join(folder, LOG_NAME))
        self.projected = Projected(self.log)
        self.num_publishers = 0
        self.num_subscribers = 0
        self._writer: EventLog | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def is_published(self) -> bool:
        return os.path.exists(os.path.join(self.folder, PUBLISHED_MARK))

    @property
    def is_written(self) -> bool:
        """Whether somebody holds the log for writing: a local process, or a publisher through this server."""
        return self._writer is not None or self.num_publishers > 0 or is_being_written(self.log.path)

    def refresh(self) -> None:
        """Look for lines that a local process has appended, and wake who waits for them."""
        generation = self.log.generation
        if self.log.refresh():
            if self.log.generation != generation:
                self.close_writer()  # the file that it writes is no longer the run's
            self.wake()

    def wake(self) -> None:
        for waiting in list(self._waiting):
            if not waiting.done():
                waiting.set_result(None)

    def changed(self) -> asyncio.Future[None]:
        """Return what is done when there is news; who looked at the log just before, without awaiting, misses none."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        return waiting

    def append(self, first_event_id: int, lines: Sequence[bytes]) -> None:
        """Append published events, the first of which is to get the id `first_event_id`.

        Raises:
            Conflict: the log is a local process's to write, or it has another number of events by now.
            TryLater: the disk refuses; what was acknowledged is whole.
        """
        try:
            if self._writer is None:
                self._writer = self._open_writer()
            if self.log.head.event_id != first_event_id:
                raise Conflict(f"the log has {self.log.head.event_id} events by now")
            self._writer.append_lines(lines)
        except DiskError as error:
            self.close_writer()
            raise TryLater(f"the board's disk refuses: {error.__cause__ or error}") from error
        self.log.appended(len(lines), sum(map(len, lines)) + len(lines))
        self.wake()

    def _open_writer(self) -> EventLog:
        self._make_folder()
        if not self.is_published:
            raise self._local()
        try:
            writer = EventLog.open(self.log.path)
        except MlgymError as error:
            if is_being_written(self.log.path):
                raise self._local() from error
            raise TryLater(f"the board cannot write the log of {self.run_id!r}: {error.__cause__ or error}") from error
        self.log.refresh()  # opening may have cut off a torn end
        return writer

    def _local(self) -> Conflict:
        return Conflict(
            f"run {self.run_id!r} is written by processes on the board's own machine; "
            "the board follows its file, so there is nothing to publish"
        )

    def close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(MlgymError):
                writer.close()
            self.log.refresh()

    def publisher_came(self) -> None:
        self.num_publishers += 1

    def publisher_left(self) -> None:
        self.num_publishers -= 1
        if not self.num_publishers:
            self.close_writer()

    @property
    def is_busy(self) -> bool:
        return bool(self.num_publishers or self.num_subscribers or self._waiting or self._writer)

    # -- files beside the log --------------------------------------------------------------------------------------

    def path_of(self, name: str, experiment_id: int | None = None) -> str:
        """Return the path of one of the run's files.

        Raises:
            NotFound: it is no file that a run has.
        """
        allowed = (*RUN_FILES, LOG_NAME) if experiment_id is None else EXPERIMENT_FILES
        if name not in allowed:
            raise NotFound(f"no file {name[:140]!r}{nearest(name, allowed)} Files here: {', '.join(allowed)}")
        middle = () if experiment_id is None else (str(experiment_id),)
        return os.path.join(self.folder, *middle, name)

    def _make_folder(self) -> None:
        if not os.path.exists(self.log.path) and not self.is_published:
            write_whole(os.path.join(self.folder, PUBLISHED_MARK), b"")

    def require_received(self) -> None:
        """Make the folder of a run that is new; refuse what would change one that is not the board's to change.

        Raises:
            Conflict: the run was written by a process on this machine; TryLater: the disk refuses.
        """
        self._make_folder()
        if not self.is_published or (self._writer is None and is_being_written(self.log.path)):
            raise Conflict(f"run {self.run_id!r} was written on the board's own machine; its files are not replaced")


class Store:
    """All runs of one folder."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = os.path.abspath(os.fspath(folder))
        self._known: OrderedDict[str, Run] = OrderedDict()

    def names(self) -> list[str]:
        """List the ids of the runs in the folder."""
        try:
            with os.scandir(self.folder) as entries:
                return [entry.name for entry in entries if _ID.fullmatch(entry.name) and entry.name[0] != "."]
        except FileNotFoundError:
            return []

    def run(self, run_id: str) -> Run:
        """Return a run, its log looked at anew.

        Raises:
            WrongRequest: no id; NotFound: no such run.
        """
        checked_id(run_id, "grid_search_id")
        run = self._known.get(run_id)
        if run is None:
            folder = os.path.join(self.folder, run_id)
            if not os.path.isfile(os.path.join(folder, LOG_NAME)) and not os.path.isfile(
                os.path.join(folder, PUBLISHED_MARK)
            ):
                raise NotFound(f"no run {run_id!r}{nearest(run_id, self.names())} GET grid_searches lists them")
            run = self._remember(Run(folder))
        elif not os.path.isdir(run.folder):
            if not run.is_busy:
                del self._known[run_id]
            raise NotFound(f"no run {run_id!r}; it was deleted, or has no event yet")
        self._known.move_to_end(run_id)
        run.refresh()
        return run

    def receiving(self, run_id: str) -> Run:
        """Return a run to publish to; what is not there yet is made on the disk when something is stored of it.

        Raises:
            WrongRequest: no id.
        """
        try:
            return self.run(run_id)
        except NotFound:
            known = self._known.get(run_id)
            return known if known is not None else self._remember(Run(os.path.join(self.folder, run_id)))

    def projecting(self, run: Run) -> Projected:
        """Return a run's projection; of those in memory that nobody follows, only the newest few stay."""
        self._known.move_to_end(run.run_id)
        idle = [other for other in self._known.values() if other.projected.is_loaded and not other.is_busy]
        for other in idle[: max(len(idle) - _MAX_PROJECTED, 0)]:
            if other is not run:
                other.projected.forget()
        return run.projected

    def watched(self) -> Iterable[Run]:
        """Return the runs that somebody waits for."""
        return [run for run in self._known.values() if run.num_subscribers]

    def num_publishers(self) -> int:
        return sum(run.num_publishers for run in self._known.values())

    def known(self, run_id: str) -> Run | None:
        return self._known.get(run_id)

    def close(self) -> None:
        """Bring all that was published to the disk."""
        for run in self._known.values():
            run.close_writer()

    def _remember(self, run: Run) -> Run:
        for run_id in [run_id for run_id, other in self._known.items() if not other.is_busy][:-_MAX_KNOWN]:
            del self._known[run_id]
        self._known[run.run_id] = run
        return run


def write_whole(path: str, data: bytes) -> None:
    """Write a file whole or not at all, and bring it to the disk.

    Raises:
        TryLater: the disk refuses.
    """
    folder = os.path.dirname(path)
    temporary = None
    try:
        os.makedirs(folder, exist_ok=True)
        fd, temporary = tempfile.mkstemp(prefix=".receiving-", dir=folder)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise TryLater(f"the board's disk refuses: {error.strerror}") from error

"""The folder of runs: find them, follow their logs, append what remote runs publish, keep the files beside them.

<event_storage>/<run_id>/event_storage.log     the one truth; everything else that the board shows is read from it
<event_storage>/<run_id>/.published            says that the run was received, so that no local process writes it;
<event_storage>/<run_id>/received.txt          the same in words, beside files that could be executed
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from board_server.addresses import checked_id
from board_server.errors import Conflict, NotFound, RequestError, TryLater, disk_refuses, without_folders
from board_server.projected import Projected
from board_server.run_log import RunLog
from mlgym_jax.errors import DiskError, MlgymError, nearest
from mlgym_jax.events import EventLog, is_being_written, layout
from mlgym_jax.events.files import fsync_folder, write_whole

_MAX_KNOWN = 512  # runs whose line offsets are kept in memory
_MAX_PROJECTED = 16  # runs whose curves are kept in memory
_MAX_NEAREST = 200  # names that a wrong one is compared with
_MANY_BYTES = 1 << 23  # more of a log is counted in a thread
_LINGER_SECONDS = 5.0


class Run:
    """One run: its log, followed; its projection, made when asked for; who waits for news of it."""

    def __init__(self, folder: str):
        self.folder = folder
        self.run_id = os.path.basename(folder)
        self.log = RunLog(os.path.join(folder, layout.LOG))
        self.projected = Projected(self.log)
        self.num_publishers = 0
        self.num_subscribers = 0
        self._writer: EventLog | None = None
        self._opening = asyncio.Lock()
        self._waiting: set[asyncio.Future[None]] = set()
        self._told = self.log.generation, self.log.head

    @property
    def is_published(self) -> bool:
        return os.path.exists(os.path.join(self.folder, layout.PUBLISHED_MARK))

    @property
    def is_busy(self) -> bool:
        return bool(self.num_publishers or self.num_subscribers or self._waiting or self._writer)

    # -- following -------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look for lines that a local process has appended, and wake who waits for them."""
        self.log.refresh()
        if (self.log.generation, self.log.head) != self._told:
            if self.log.generation != self._told[0]:
                self.close_writer()  # the file that it writes is no longer the run's
            self._wake()

    async def catch_up(self) -> None:
        """Refresh; what takes long is done in a thread."""
        if self.log.is_counting or self.log.unread_bytes() > _MANY_BYTES:
            await asyncio.to_thread(self.log.refresh, wait=True)
        self.refresh()

    def _wake(self) -> None:
        self._told = self.log.generation, self.log.head
        for waiting in list(self._waiting):
            if not waiting.done():
                waiting.set_result(None)

    def changed(self) -> asyncio.Future[None]:
        """Return what is done when there is news; who looked at the log just before, without awaiting, misses none."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        return waiting

    # -- being published -------------------------------------------------------------------------------------------

    def publisher_came(self) -> None:
        self.num_publishers += 1

    def publisher_left(self) -> None:
        """Close the log a while after the last publisher has left; it may come again at once."""
        self.num_publishers -= 1
        if not self.num_publishers:
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if not self.num_publishers:
            self.close_writer()

    async def prepare(self) -> None:
        """Open a published log for writing, repaired and summed up, in a thread: it may be large."""
        async with self._opening:
            if self._writer is None and self.is_published and os.path.exists(self.log.path):
                opening = asyncio.ensure_future(asyncio.to_thread(self._open_writer))
                opening.add_done_callback(self._adopt)  # also where this client does not wait for it
                with contextlib.suppress(RequestError):  # said when something is to be appended
                    await asyncio.shield(opening)
            await self.catch_up()
            await asyncio.to_thread(self.log.crc32)

    def _adopt(self, opening: asyncio.Future[EventLog]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._writer = opening.result()
            self._close_if_idle()

    @property
    def num_events(self) -> int:
        """How many events the log holds: its writer knows, also while a thread counts what readers have seen of it."""
        return self._writer.next_event_id if self._writer is not None else self.log.head.event_id

    def append(self, first_event_id: int, lines: Sequence[bytes]) -> None:
        """Append published events, the first of which is to get the id `first_event_id`.

        Raises:
            Conflict: the log is a local process's to write, or it has another number of events by now.
            TryLater: the disk refuses; what was acknowledged is whole.
        """
        try:
            if self._writer is None:
                self._make_folder()
                self._writer = self._open_writer()
                self.log.refresh()  # opening may have cut off a torn end
            if self._writer.next_event_id != first_event_id:
                raise Conflict(f"the log has {self._writer.next_event_id} events by now")
            self._writer.append_lines(lines)
        except DiskError as error:
            self.close_writer()
            raise disk_refuses(error.__cause__ or error) from error
        self.log.appended(first_event_id, lines)
        self._wake()

    def _open_writer(self) -> EventLog:
        if not self.is_published:
            raise self._local()
        try:
            return EventLog.open(self.log.path, counted=(self.log.head.offset, self.log.head.event_id))
        except MlgymError as error:
            if is_being_written(self.log.path):
                raise self._local() from error
            raise TryLater(
                f"the board cannot write the log of {self.run_id!r}: {without_folders(str(error.__cause__ or error))}"
            ) from error

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

    def _make_folder(self) -> None:
        """Make the folder of a new run; a folder that somebody else has made is not taken over."""
        if self.is_published or os.path.exists(self.log.path):
            return
        if os.path.lexists(self.folder):
            raise self._not_ours()
        # Made under another name and marked before it has its own, so that a board that ends here leaves no folder that
        # no board takes over. If a local process makes one meanwhile, it finds that this one is taken.
        parent, name = os.path.split(self.folder)
        new = os.path.join(parent, f".{name}.{os.urandom(4).hex()}.tmp")
        try:
            os.makedirs(new)
            keep_file(os.path.join(new, layout.PUBLISHED_MARK), b"")
            os.rename(new, self.folder)
            fsync_folder(parent)
        except TryLater:
            shutil.rmtree(new, ignore_errors=True)
            raise
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            if os.path.lexists(self.folder):  # somebody has made it this moment
                raise self._not_ours() from error
            raise disk_refuses(error) from error

    def _not_ours(self) -> Conflict:
        return Conflict(
            f"{self.run_id!r} is there in the board's folder, and is no published run; publish under another id"
        )

    # -- files beside the log --------------------------------------------------------------------------------------

    def path_of(self, name: str, experiment_id: int | None = None) -> str:
        """Return the path of one of the run's files.

        Raises:
            NotFound: it is no file that a run has.
        """
        allowed = (*layout.RUN_FILES, layout.LOG) if experiment_id is None else layout.EXPERIMENT_FILES
        if name not in allowed:
            raise NotFound(f"no file {name[:140]!r}{nearest(name, allowed)} Files here: {', '.join(allowed)}")
        middle = () if experiment_id is None else (str(experiment_id),)
        return self.checked_inside(os.path.join(self.folder, *middle, name))

    def checked_inside(self, path: str) -> str:
        """Return a path in the run's folder.

        Raises:
            NotFound: it is a link that leads out of the folder of runs.
        """
        if not is_inside(os.path.dirname(self.folder), path):
            raise NotFound(f"{os.path.basename(path)!r} is a link out of the board's folder, which is not followed")
        return path

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
                return [entry.name for entry in entries if layout.is_id(entry.name) and self._is_own(entry)]
        except FileNotFoundError:
            return []

    def _is_own(self, entry: os.DirEntry[str]) -> bool:
        log = os.path.join(entry.path, layout.LOG)
        return not (entry.is_symlink() or os.path.islink(log)) or is_inside(self.folder, log)

    def run(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            WrongRequest: no id; NotFound: no such run.
        """
        run = self._find(run_id)
        if run is None:
            newest = sorted(self.names(), reverse=True)[:_MAX_NEAREST]
            raise NotFound(f"no run {run_id!r}{nearest(run_id, newest)} GET grid_searches lists them")
        return run

    async def opened(self, run_id: str) -> Run:
        """Return a run, its log looked at anew.

        Raises:
            WrongRequest: no id; NotFound: no such run.
        """
        run = self.run(run_id)
        await run.catch_up()
        return run

    def receiving(self, run_id: str) -> Run:
        """Return a run to publish to; what is not there yet is made on the disk when something is stored of it.

        Raises:
            WrongRequest: no id.
        """
        run = self._find(run_id) or self._known.get(run_id)
        return run if run is not None else self._remember(Run(os.path.join(self.folder, run_id)))

    def _find(self, run_id: str) -> Run | None:
        folder = os.path.join(self.folder, checked_id(run_id, "grid_search_id"))
        names = (layout.LOG, layout.PUBLISHED_MARK)
        is_there = any(os.path.isfile(path) for path in (os.path.join(folder, name) for name in names))
        is_there = is_there and is_inside(self.folder, os.path.join(folder, layout.LOG))
        run = self._known.get(run_id)
        if not is_there:
            if run is not None:
                run.refresh()
                if not run.is_busy:
                    del self._known[run_id]
            return None
        if run is None:
            return self._remember(Run(folder))
        self._known.move_to_end(run_id)
        return run

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


def is_inside(folder: str, path: str) -> bool:
    """Tell whether a path, links followed, lies in a folder."""
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))


def keep_file(path: str, data: bytes) -> None:
    """Write a file whole or not at all, and bring it to the disk.

    Raises:
        TryLater: the disk refuses.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        raise disk_refuses(error) from error

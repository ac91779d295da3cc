"""One run of the board: its log, followed or taken in, the files beside it, and who waits for news of it.

What is not `async` here may wait for the disk: the server calls it in the run's own threads, `Run.files` for what only
reads or stands beside the log, `Run.changing` for the log itself, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, TypeVar

from board_server.errors import Conflict, NotFound, RequestError, TryLater, disk_refuses, without_folders
from board_server.file_work import Lane
from board_server.projected import Projected
from board_server.run_log import RunLog
from mlgym_jax.errors import DiskError, MlgymError, nearest
from mlgym_jax.events import EventLog, is_being_written, layout
from mlgym_jax.events.files import fsync_folder, write_whole

Found = TypeVar("Found")

_LINGER_SECONDS = 5.0
_THREADS = 4  # that read one run's files at once, besides those that project it and change it


class Run:
    """One run: its log, followed; its projection, made when asked for; who waits for news of it."""

    def __init__(self, folder: str):
        self.folder = folder
        self.run_id = os.path.basename(folder)
        self.files, self.changing = Lane(_THREADS), Lane()
        self.log = RunLog(os.path.join(folder, layout.LOG))
        self.projected = Projected(self.log)
        self.num_publishers = 0
        self.num_subscribers = 0
        self._writer: EventLog | None = None
        self._writing = threading.RLock()
        self._waiting: set[asyncio.Future[None]] = set()
        self._told = self.log.generation, self.log.head
        self._generation = self.log.generation

    @property
    def is_published(self) -> bool:
        return os.path.exists(os.path.join(self.folder, layout.PUBLISHED_MARK))

    @property
    def is_busy(self) -> bool:
        return bool(self.num_publishers or self.num_subscribers or self._waiting or self._writer)

    # -- following -------------------------------------------------------------------------------------------------

    def is_there(self) -> bool:
        """Whether the run's log, or its announcement, is on the disk, in the folder of runs."""
        names = (layout.LOG, layout.PUBLISHED_MARK)
        there = any(os.path.isfile(os.path.join(self.folder, name)) for name in names)
        return there and self.is_inside(self.log.path)

    def refresh(self, *, wait: bool = False) -> None:
        """Look for lines that a local process has appended.

        Args:
            wait: until a thread that is at it has ended.
        """
        self.log.refresh(wait=wait)
        if self.log.generation != self._generation:
            self._generation = self.log.generation
            self.close_writer()  # the file that it writes is no longer the run's

    def _look(self) -> bool:
        is_there = self.is_there()
        self.refresh(wait=True)
        return is_there

    async def look(self) -> bool:
        """Take in what the log holds by now, and return whether the run is there at all."""
        return await self.change(self._look)

    async def change(self, work: Callable[..., Found], *arguments: Any) -> Found:
        """Return what `work` does to the log, after all that was to be done to it before; tell whoever waits."""
        try:
            return await self.changing.do(work, *arguments)
        finally:
            self.tell()

    def tell(self) -> None:
        """Wake who waits for news, if there are any."""
        now = self.log.generation, self.log.head
        if now != self._told:
            self._told = now
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
            # In a context of its own: that of the connection would keep all of it until then.
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._close_if_idle, context=Context())

    def _close_if_idle(self) -> None:
        if not self.num_publishers and self._writer is not None:
            self.changing.do(self._close_if_left)

    def _close_if_left(self) -> None:
        if not self.num_publishers:
            self.close_writer()

    async def prepare(self) -> None:
        """Open a published log for writing, repaired and summed up."""
        await self.change(self._prepare)

    def _prepare(self) -> None:
        with self._writing:
            if self._writer is None and self.is_published and os.path.exists(self.log.path):
                with contextlib.suppress(RequestError):  # said when something is to be appended
                    self._writer = self._open_writer()
        self.refresh(wait=True)
        self.log.crc32()

    @property
    def num_events(self) -> int:
        """How many events the log holds: its writer knows, also while a thread counts what readers have seen of it."""
        writer = self._writer
        return writer.next_event_id if writer is not None else self.log.head.event_id

    def append(self, first_event_id: int, lines: Sequence[bytes]) -> None:
        """Append published events, the first of which is to get the id `first_event_id`.

        Raises:
            Conflict: the log is a local process's to write, or it has another number of events by now.
            TryLater: the disk refuses; what was acknowledged is whole.
        """
        with self._writing:
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

    def _open_writer(self) -> EventLog:
        self.checked_inside(self.log.path)
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
        with self._writing:
            writer, self._writer = self._writer, None
            if writer is not None:
                with contextlib.suppress(MlgymError):
                    writer.close()
                self.log.refresh()

    def _make_folder(self) -> None:
        """Make the folder of a new run; a folder that somebody else has made is not taken over."""
        self.checked_inside(self.log.path)
        with self._writing:
            self._make_new_folder()

    def _make_new_folder(self) -> None:
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

    def is_inside(self, path: str) -> bool:
        """Whether a path of the run, links followed, lies in the folder of runs."""
        return is_inside(os.path.dirname(self.folder), path)

    def checked_inside(self, path: str) -> str:
        """Return a path in the run's folder.

        Raises:
            NotFound: it is a link that leads out of the folder of runs.
        """
        if not self.is_inside(path):
            raise NotFound(f"{os.path.basename(path)!r} is a link out of the board's folder, which is not followed")
        return path

    def require_received(self) -> None:
        """Make the folder of a run that is new; refuse what would change one that is not the board's to change.

        Raises:
            Conflict: the run was written by a process on this machine; TryLater: the disk refuses.
        """
        self._make_folder()
        with self._writing:  # the log that is being opened just now is the board's own to write
            local = not self.is_published or (self._writer is None and is_being_written(self.log.path))
        if local:
            raise Conflict(f"run {self.run_id!r} was written on the board's own machine; its files are not replaced")


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

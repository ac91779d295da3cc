"""The folder of runs: find them, and remember those that somebody asks for.

<event_storage>/<run_id>/event_storage.log     the one truth; everything else that the board shows is read from it
<event_storage>/<run_id>/.published            says that the run was received, so that no local process writes it;
<event_storage>/<run_id>/received.txt          the same in words, beside files that could be executed
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Iterable
from weakref import WeakValueDictionary

from board_server.addresses import checked_id
from board_server.errors import NotFound
from board_server.file_work import Lane
from board_server.projected import Projected
from board_server.run import Run
from mlgym_jax.errors import nearest
from mlgym_jax.events import layout

_MAX_KNOWN = 512  # runs whose line offsets are kept in memory
# Runs whose curves are kept in memory: so many at least, and more while their logs together are no larger; curves of an
# engine's log take about two thirds of its bytes.
_MIN_PROJECTED = 16
_PROJECTED_BYTES = 1 << 30
_MAX_NEAREST = 200  # names that a wrong one is compared with
_END_SECONDS = 2.0  # a disk that has not answered by then is not waited for


class Store:
    """All runs of one folder."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = os.path.abspath(os.fspath(folder))
        self._known: OrderedDict[str, Run] = OrderedDict()
        self.looking = Lane()  # at the folder itself
        self._asked_for: WeakValueDictionary[str, Run] = WeakValueDictionary()

    def entries(self) -> dict[str, bool]:
        """Return all names in the folder of runs but hidden ones, and whether they are links; nothing else is read."""
        try:
            with os.scandir(self.folder) as entries:
                return {one.name: one.is_symlink() for one in entries if not one.name.startswith(".")}
        except FileNotFoundError:
            return {}

    def names(self) -> list[str]:
        """List those that are ids."""
        return [name for name in self.entries() if layout.is_id(name)]

    def run(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            WrongRequest: no id; NotFound: no such run.
        """
        run = self._candidate(run_id)
        is_there = run.is_there()
        return self._found(run, is_there, () if is_there else self.names())

    async def opened(self, run_id: str) -> Run:
        """Return a run whose log was taken in to its end.

        Raises:
            WrongRequest: no id; NotFound: no such run.
        """
        run = self._candidate(run_id)
        is_there = await run.look()
        return self._found(run, is_there, () if is_there else await self.looking.do(self.names))

    def receiving(self, run_id: str) -> Run:
        """Return a run to publish to; what is not there yet is made on the disk when something is stored of it.

        Raises:
            WrongRequest: no id.
        """
        return self._remember(self._candidate(run_id))

    def _candidate(self, run_id: str) -> Run:
        """Return the run that has this id, if there is one: who asks at the same time gets the same."""
        checked_id(run_id, "grid_search_id")
        run = self._known.get(run_id) or self._asked_for.get(run_id)
        if run is None:
            run = self._asked_for[run_id] = Run(os.path.join(self.folder, run_id))
        return run

    def _found(self, run: Run, is_there: bool, names: Iterable[str]) -> Run:
        if is_there:
            return self._remember(run)
        if not run.is_busy:
            self._known.pop(run.run_id, None)
        newest = sorted(names, reverse=True)[:_MAX_NEAREST]
        raise NotFound(f"no run {run.run_id!r}{nearest(run.run_id, newest)} GET grid_searches lists them")

    def projecting(self, run: Run) -> Projected:
        """Return a run's projection; of those in memory that nobody follows, only the newest few stay."""
        if run.run_id in self._known:  # it may have been removed, or forgotten, while something was waited for
            self._known.move_to_end(run.run_id)
        idle = [other for other in self._known.values() if other.projected.is_loaded and not other.is_busy]
        num_bytes = run.log.head.offset
        for number, other in enumerate(one for one in reversed(idle) if one is not run):
            num_bytes += other.log.head.offset
            if number >= _MIN_PROJECTED and num_bytes > _PROJECTED_BYTES:
                other.projected.forget()
        return run.projected

    def watched(self) -> list[Run]:
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

    async def end(self) -> None:
        """Bring all that was published to the disk, as far as that answers."""
        closing = [run.changing.do(run.close_writer) for run in self._known.values()]
        if closing:
            await asyncio.wait(closing, timeout=_END_SECONDS)

    def _remember(self, run: Run) -> Run:
        if run.run_id not in self._known:
            for run_id in [run_id for run_id, other in self._known.items() if not other.is_busy][:-_MAX_KNOWN]:
                del self._known[run_id]
            self._known[run.run_id] = run
        self._known.move_to_end(run.run_id)
        return run

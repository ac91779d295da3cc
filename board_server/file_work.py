"""Threads that wait for files, so that the event loop never does: of one run a few, whatever its disk does.

A file system that does not answer keeps the threads of its own runs; all other runs, and whatever needs no file, go on.
The threads are daemons: a disk that never answers does not keep the server from ending, either.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from queue import SimpleQueue
from typing import Any, TypeVar

Found = TypeVar("Found")

MAX_THREADS = 512
_MAX_IDLE = 16
_MAX_WIDTH = 32  # threads of a round
PATIENCE_SECONDS = 0.2  # so long others wait for one that is looked at


class _Job:
    """What is to be done, and who waits for it."""

    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop):
        self._work, self._loop = work, loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def do(self) -> None:
        if self.future.cancelled():
            return
        found, error = None, None
        try:
            found = self._work()
        except BaseException as raised:  # whoever waits gets it
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            self._loop.call_soon_threadsafe(_tell, self.future, found, error)
        # An error refers to this frame, and must not be referred to by it, or it is freed only as garbage.
        del found, error, self


def _tell(future: asyncio.Future[Any], found: Any, error: BaseException | None) -> None:
    if future.done():
        return  # who waited has left
    if error is None:
        future.set_result(found)
    else:
        future.set_exception(error)


class _Threads:
    """As many as there are lanes that have something to do, at most `MAX_THREADS`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._idle: list[SimpleQueue[tuple[Lane, _Job]]] = []
        self._num = 0
        self._waiting: deque[tuple[Lane, _Job]] = deque()

    def begin(self, lane: Lane, job: _Job) -> None:
        """Do a job of a lane, and then what else it has by then; called with the lock."""
        if self._idle:
            self._idle.pop().put((lane, job))
        elif self._num < MAX_THREADS:
            self._num += 1
            threading.Thread(target=self._live, args=(lane, job), name="files", daemon=True).start()
        else:
            self._waiting.append((lane, job))

    def _live(self, lane: Lane, job: _Job) -> None:
        inbox: SimpleQueue[tuple[Lane, _Job]] = SimpleQueue()
        while True:
            job.do()
            del job  # what it holds is not kept while the thread waits
            with self.lock:
                more = lane.next_job()
                if more is not None:
                    job = more
                    continue
                if self._waiting:
                    lane, job = self._waiting.popleft()
                    continue
                if len(self._idle) >= _MAX_IDLE:
                    self._num -= 1
                    return
                self._idle.append(inbox)
            del lane
            lane, job = inbox.get()


_THREADS = _Threads()


class Lane:
    """Work on the files of one run: at most `width` pieces at a time, the others in order behind them."""

    def __init__(self, width: int = 1):
        self._width, self._num_running = width, 0
        self._waiting: deque[_Job] = deque()

    def next_job(self) -> _Job | None:
        """Return what a thread of this lane does next; None frees its place. Called with the threads' lock."""
        while self._waiting:
            job = self._waiting.popleft()
            if not job.future.cancelled():
                return job
        self._num_running -= 1
        return None

    def do(self, work: Callable[..., Found], *arguments: Any, **named: Any) -> asyncio.Future[Found]:
        """Return the future of what `work` returns or raises, done in a thread; cancelled, it may still be done."""
        job = _Job(lambda: work(*arguments, **named), asyncio.get_running_loop())
        with _THREADS.lock:
            if self._num_running < self._width:
                self._num_running += 1
                _THREADS.begin(self, job)
            else:
                self._waiting.append(job)
        return job.future


class Rounds:
    """Looks at many things in turn, in one thread; what takes long is left to it, and others go on with the rest.

    Args:
        look: is called with each thing, in some thread; it raises nothing.
    """

    def __init__(self, look: Callable[[Any], object]):
        self._look = look
        # Each is changed in one step, so the loop and the threads need no lock; whoever comes late comes next time.
        self._since: dict[Hashable, float] = {}  # what is looked at now
        self._slow: set[Hashable] = set()  # these get a thread of their own until they have answered in time

    def is_late(self, thing: Hashable) -> bool:
        """Whether the last look at it has not ended yet."""
        return thing in self._slow and thing in self._since

    async def go(self, things: Iterable[Hashable]) -> None:
        """Look at all of them, but wait for none longer than about `PATIENCE_SECONDS`."""
        rest: deque[Hashable] = deque()
        for thing in things:
            if thing not in self._slow:
                rest.append(thing)
            elif thing not in self._since:
                Lane().do(self._go, deque([thing]), [])
        going: dict[asyncio.Future[None], list[Hashable]] = {}  # and what each has looked at
        width, late = 1, True
        while rest or going:
            if rest and (late or not going):
                for _ in range(width):
                    looked: list[Hashable] = []
                    going[Lane().do(self._go, rest, looked)] = looked
                width = min(2 * width, _MAX_WIDTH)  # where one does not answer, others of its disk do not, either
            await asyncio.wait(going, timeout=PATIENCE_SECONDS / 4)
            late = self._some_are_late()
            going = {one: at for one, at in going.items() if not one.done() and not (at and at[-1] in self._slow)}

    def _some_are_late(self) -> bool:
        """Whether a look has just become a late one, after which its thread ends."""
        limit = time.monotonic() - PATIENCE_SECONDS
        late = {thing for thing, since in list(self._since.items()) if since < limit} - self._slow
        self._slow |= late
        return bool(late)

    def _go(self, rest: deque[Hashable], looked: list[Hashable]) -> None:
        is_slow = False
        while not is_slow:
            try:
                thing, began = rest.popleft(), time.monotonic()
            except IndexError:
                return
            self._since[thing] = began
            looked[:] = [thing]
            try:
                self._look(thing)
            finally:
                self._since.pop(thing, None)
                is_slow = thing in self._slow
                if is_slow and time.monotonic() - began < PATIENCE_SECONDS:
                    self._slow.discard(thing)

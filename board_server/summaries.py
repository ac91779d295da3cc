"""What the list shows of runs besides their status, made of whole logs behind its back: it waits for none of them.

One thread reads one log after the other, the newest first; what is read to answer somebody is not read once more. What
a log said when it was read last stands until it was read again; what is read of a log that ended is kept for later
(`mlgym_jax.events.run_summary`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from board_server.file_work import Lane
from board_server.precedence import ASKED
from board_server.store import Store
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import RunView, apply_lines, layout, run_summary
from mlgym_jax.events.run_summary import EMPTY, Key
from mlgym_jax.events.values import MAX_LINE_BYTES, all_readable

_BLOCK_BYTES = 1 << 20
_END_BYTES = 1 << 10  # by which a log is known again
_STUCK_SECONDS = 5.0  # a disk that has not answered by then is left to its thread
_AGAIN_FACTOR = 10  # a log that grows is read again after so many times as long as it took
_MAX_GROWING = 16  # logs whose views are kept in memory, so that only what is new is read
_AT_ONCE = 32  # of them before it is looked for newer ones
_FEW = 50  # of so many new ones an answer waits a moment
_MOMENT_SECONDS = 0.1
_GOING_ON = ("RUNNING", "INIT")


class _Growing:
    """A log that was read to `offset`, what it said until then, and by which bytes it is known again."""

    def __init__(self) -> None:
        self.view, self.offset, self._ends = RunView(), 0, (b"", b"")

    def goes_on(self, fd: int) -> bool:
        """Whether an open log begins with what was read."""
        return self._read_ends(fd) == self._ends

    def read_to(self, fd: int, offset: int) -> None:
        self.offset = offset
        self._ends = self._read_ends(fd)

    def _read_ends(self, fd: int) -> tuple[bytes, bytes]:
        number = min(_END_BYTES, self.offset)
        return os.pread(fd, number, 0), os.pread(fd, number, self.offset - number)


class Summaries:
    """Summaries of the runs of a folder, as they were read last."""

    def __init__(self, store: Store):
        self._store = store
        self._known: dict[str, tuple[Key, dict[str, Any]]] = {}
        self._wanted: dict[str, Key] = {}  # whose log is another one by now
        self._not_before: dict[str, float] = {}
        self._growing: OrderedDict[str, _Growing] = OrderedDict()
        self._stuck: set[str] = set()
        self._at: tuple[str, float] | None = None  # which log is read, and since when nothing came of it
        self._working: asyncio.Future[None] | None = None

    def of(self, name: str, key: Key | None) -> tuple[Mapping[str, Any], bool]:
        """Return the newest summary of a run, and whether it is of the log as it is, by its `key`."""
        known = self._known.get(name)
        if key is None or (known is not None and known[0] == key):
            self._wanted.pop(name, None)
        else:
            self._wanted[name] = key
        return (EMPTY, False) if known is None else (known[1], known[0] == key)

    def forget(self, names: Iterable[str]) -> None:
        """Forget all runs but these."""
        there = names if isinstance(names, Mapping) else dict.fromkeys(names)
        for held in (self._known, self._wanted, self._not_before, self._growing):
            if not held.keys() <= there.keys():
                for name in held.keys() - there.keys():
                    held.pop(name, None)

    async def catch_up(self) -> bool:
        """Let a thread read what is wanted, and wait a moment where that is not much; return whether any came of it."""
        new = [name for name in list(self._wanted) if name not in self._known]  # a thread changes it
        if self._at is not None and time.monotonic() - self._at[1] > _STUCK_SECONDS:
            self._stuck.add(self._at[0])  # its thread waits for it, and then ends
            self._at = self._working = None
        working = self._working
        if working is not None and (working.done() or working.get_loop() is not asyncio.get_running_loop()):
            self._working = None
        if self._wanted and self._working is None:
            self._working = asyncio.ensure_future(Lane().do(self._work))
        if not new or len(new) > _FEW or self._working is None:
            return False
        await asyncio.wait([self._working], timeout=_MOMENT_SECONDS)
        return any(name in self._known for name in new)

    def _work(self) -> None:
        """Read what is wanted; runs in a thread, at most half of the time."""
        while ready := self._ready():
            for name in ready:
                wanted = self._wanted.pop(name, None)
                if wanted is None:
                    continue  # the run is gone
                began = time.monotonic()
                self._at = name, began
                pause = _AGAIN_FACTOR
                with contextlib.suppress(OSError, MlgymError):
                    read = self._read(os.path.join(self._store.folder, name), name)
                    if read is None:
                        self._wanted.setdefault(name, wanted)
                        pause = 0
                    else:
                        # Written once, as the list is written again whenever a run has changed.
                        sparkline = msgspec.Raw(msgspec.json.encode(read[1]["sparkline"]))
                        self._known[name] = read[0], {**read[1], "sparkline": sparkline}
                took = time.monotonic() - began
                self._not_before[name] = time.monotonic() + max(pause * took, _MOMENT_SECONDS)
                if name in self._stuck:
                    self._stuck.discard(name)
                    return
                time.sleep(min(took, 1.0))
        self._at = None

    def _ready(self) -> list[str]:
        """Return the newest few runs that are to be read."""
        now = time.monotonic()
        wanted = [name for name in list(self._wanted) if name not in self._stuck]
        return sorted((name for name in wanted if self._not_before.get(name, 0.0) <= now), reverse=True)[:_AT_ONCE]

    def _read(self, run_dir: str, name: str) -> tuple[Key, dict[str, Any]] | None:
        """Return a summary and by what its log is known; None while that log is read for somebody."""
        path = os.path.join(run_dir, layout.LOG)
        status = os.stat(path)
        key = run_summary.key_of(status)
        if name not in self._growing and (kept := run_summary.kept(run_dir, key)) is not None:
            return key, kept
        growing, run = self._growing.pop(name, None), self._store.known(name)
        if run is not None and run.projected.is_begun:
            if run.projected.is_in_use:
                return None
            run.log.refresh(wait=True)
            found = run.projected.read_here(lambda view, *_: run_summary.summarise(view))
        else:
            with open(path, "rb", buffering=0) as file:
                if growing is None or not growing.goes_on(file.fileno()):
                    growing = _Growing()
                if not self._take_in(file.fileno(), growing, status.st_size, name):
                    return None
            found = run_summary.summarise(growing.view)
            if found["status"] in _GOING_ON:
                self._growing[name] = growing
                while len(self._growing) > _MAX_GROWING:
                    self._growing.popitem(last=False)
        found["owner"] = run_summary.owner(run_dir)
        if found["status"] not in _GOING_ON:
            run_summary.keep(run_dir, key, found)
        return key, found

    def _take_in(self, fd: int, growing: _Growing, size: int, name: str) -> bool:
        """Bring a view up to date with the whole lines of the log's first `size` bytes.

        Returns:
            Whether it did; it stops when the log is read for somebody meanwhile.
        """
        rest, at = b"", growing.offset
        while at < size and (block := os.pread(fd, min(_BLOCK_BYTES, size - at), at)):
            self._at = self._at and (self._at[0], time.monotonic())
            ASKED.give_way()
            run = self._store.known(name)
            if run is not None and run.projected.is_begun:
                return False
            at += len(block)
            *lines, rest = (rest + block).split(b"\n")
            apply_lines(growing.view, all_readable(lines))
            if len(rest) > MAX_LINE_BYTES:
                break  # no log of ours: what follows is not looked at
        growing.read_to(fd, at - len(rest))
        return True

"""The list of all runs, read from the beginning and the end of their logs: thousands cost what their changes cost."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from board_server.file_work import Rounds
from board_server.precedence import ASKED
from board_server.run import Run, is_inside
from board_server.store import Store
from board_server.summaries import Summaries
from mlgym_jax.events import decode, is_being_written, layout
from mlgym_jax.events.annotation_log import read_annotations
from mlgym_jax.events.annotations import Annotated
from mlgym_jax.events.run_summary import Key, key_of
from mlgym_jax.events.run_summary import row as run_row

_LOG = logging.getLogger("board_server")
_HEAD_BYTES = 1 << 16
_TAIL_BYTES = 1 << 16
# A run whose log says RUNNING is lost when nobody holds it and nothing was added for so long; publishers may be
# connecting again.
_LOST_AFTER_SECONDS = {"local": 5.0, "published": 30.0}
_MAX_NAMED = 20  # of the folders that are not shown
_NOTHING_SAID: dict[str, Any] = Annotated().in_a_row()


class Listing:
    """Summaries of the runs of a store; what did not change since the last look is not read again."""

    def __init__(self, store: Store):
        self._store = store
        self._rounds = Rounds(self._look)
        self._names: dict[str, bool] = {}  # and whether they are links
        self._read: dict[str, tuple[Key, dict[str, Any]]] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._said: dict[str, tuple[Key, dict[str, Any]]] = {}
        self._summaries = Summaries(store)
        self._whole: dict[str, tuple[dict[str, Any], Mapping[str, Any], bool, dict[str, Any]]] = {}  # and what of
        self._listed: list[dict[str, Any]] = []
        self._seen: dict[str, tuple[Key, float, bool]] = {}  # since when, and whether it changed then
        self._hidden: dict[str, str] = {}  # names of folders that hold a log and are not shown -> why
        self._complained_of: set[str] = set()

    def summaries(self) -> list[dict[str, Any]]:
        """Return one summary a run, newest first."""
        self._take_names(self._store.entries())
        for name in self._names:
            self._look(name)
        return self._list()

    async def look(self, *, summarise: bool = True) -> list[dict[str, Any]]:
        """Return what `summaries` does, but wait for no run whose files do not answer; it stands as it did.

        A run that has not changed is the same object as before, and so is the list if none has.

        Args:
            summarise: whether logs are read for what stands in their middle.
        """
        with ASKED:  # each of thousands of calls would wait for a thread that reads a log
            self._take_names(await self._store.looking.do(self._store.entries))
            await self._rounds.go(self._names)
            listed = self._list()
            self._complain()
        return self._list() if summarise and await self._summaries.catch_up() else listed

    def not_shown(self) -> tuple[int, list[dict[str, str]]]:
        """Return how many folders look like runs and are not in the list, and of some their names and why."""
        hidden = dict(self._hidden)
        for name in self._names:
            if name not in self._rows and self._rounds.is_late(name):
                hidden.setdefault(name, "its files do not answer")
        named = sorted(hidden.items())[:_MAX_NAMED]
        return len(hidden), [{"name": _printable(name), "reason": reason} for name, reason in named]

    def _complain(self) -> None:
        if set(self._hidden) <= self._complained_of:
            return
        self._complained_of |= set(self._hidden)
        number, named = self.not_shown()
        words = "; ".join(f"{one['name']!r}: {one['reason']}" for one in named)
        _LOG.warning("not shown folders=%d %s%s", number, words, "; …" if number > len(named) else "")

    def _take_names(self, names: dict[str, bool]) -> None:
        self._names = names
        for known in (self._read, self._rows, self._seen, self._hidden, self._said):
            if not known.keys() <= names.keys():
                for name in known.keys() - names.keys():
                    known.pop(name, None)
        self._summaries.forget(names)

    def _list(self) -> list[dict[str, Any]]:
        before, self._whole, num_kept = self._whole, {}, 0
        for name in self._names:
            row, read = self._rows.get(name), self._read.get(name)
            if row is None:
                continue
            summary, is_newest = self._summaries.of(name, read[0] if read else None)
            known = before.get(name)
            if known is not None and known[0] is row and known[1] is summary and known[2] == is_newest:
                num_kept += 1
            else:  # the row knows what is lost
                known = row, summary, is_newest, run_row(name, summary, is_newest=is_newest, **row)
            self._whole[name] = known
        if num_kept != len(self._whole) or num_kept != len(before):
            listed = [whole for *_, whole in self._whole.values()]
            self._listed = sorted(listed, key=lambda run: (run["started_ms"] or 0, run["grid_search_id"]), reverse=True)
        return self._listed

    def _look(self, name: str) -> None:
        """Bring what is known of a folder up to date."""
        try:
            row, reason = self._row(name)
        except (FileNotFoundError, NotADirectoryError):
            row, reason = None, None
        except OSError as error:
            row, reason = None, f"its log cannot be read: {error.strerror}"
        if row is None:
            self._rows.pop(name, None)
        else:
            self._rows[name] = row
        if reason is None:
            self._hidden.pop(name, None)
        else:
            self._hidden[name] = reason

    def _row(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        """Return what is known of a run besides its summary, as `run_summary.row` takes it.

        Or why a folder is none that is shown; neither for one that is no run at all.
        """
        folder = f"{self._store.folder}/{name}"
        path = f"{folder}/{layout.LOG}"
        if name not in self._read and not layout.is_id(name):
            return None, f"its name is no id: {layout.ID_RULE}" if os.path.isfile(path) else None
        try:
            status = os.lstat(path)
            is_link = stat.S_ISLNK(status.st_mode)
        except FileNotFoundError:
            status, is_link = None, False
        if (self._names.get(name) or is_link) and not is_inside(self._store.folder, path):
            return None, "it is a link out of the board's folder" if os.path.isfile(path) else None
        published = os.access(f"{folder}/{layout.PUBLISHED_MARK}", os.F_OK)
        try:
            status = os.stat(path) if is_link else status
        except FileNotFoundError:
            status = None
        if status is None:
            if not published:
                return None, None
            # Announced, but without an event yet.
            facts = {**_facts(None, 0), "published": True, "modified_ms": 0, "num_bytes": 0}
            self._read.pop(name, None)
            return {**facts, "said": self._said_of(name)}, None
        if not stat.S_ISREG(status.st_mode):
            return None, "its log is no file"
        key, known, before = key_of(status), self._read.get(name), self._rows.get(name)
        if known is None or known[0] != key:
            known, before = (key, _facts(path, status.st_size)), None
            self._read[name] = known
        stands, said = known[1]["status"], self._said_of(name)
        if stands == "RUNNING" and self._is_lost(name, status, published):
            stands = "LOST"
        if before and (before["status"], before["published"], before["said"]) == (stands, published, said):
            return before, None
        row = {
            **known[1],
            "status": stands,
            "published": published,
            "modified_ms": status.st_mtime_ns // 1_000_000,
            "num_bytes": status.st_size,
            "said": said,
        }
        return row, None

    def _said_of(self, name: str) -> dict[str, Any]:
        """Return what people say of a run; of its note the beginning of the first line."""
        folder = f"{self._store.folder}/{name}"
        path = f"{folder}/{layout.ANNOTATIONS}"
        if not os.access(path, os.F_OK):  # mostly so, and cheaper to ask than what raises
            return _NOTHING_SAID
        try:
            key = key_of(os.lstat(path))
        except OSError:
            return _NOTHING_SAID
        known = self._said.get(name)
        if known is None or known[0] != key:
            known = self._said[name] = key, read_annotations(folder).run.in_a_row()
        return known[1]

    def stands(self, run: Run) -> tuple[bool, bool]:
        """Return whether a run is published, and whether nobody writes it any more."""
        published = run.is_published
        try:
            return published, self._is_lost(run.run_id, os.stat(run.log.path), published)
        except OSError:
            return published, False

    def _is_lost(self, run_id: str, status: os.stat_result, published: bool) -> bool:
        if self._quiet_seconds(run_id, status) < _LOST_AFTER_SECONDS["published" if published else "local"]:
            return False
        run = self._store.known(run_id)
        if run is not None and run.num_publishers:
            return False
        return not is_being_written(os.path.join(self._store.folder, run_id, layout.LOG))

    def _quiet_seconds(self, run_id: str, status: os.stat_result) -> float:
        """Return for how long nothing was added; of a log whose machine has another clock, by what was seen here."""
        key, now, seen = key_of(status), time.monotonic(), self._seen.get(run_id)
        if seen is None or seen[0] != key:
            seen = self._seen[run_id] = key, now, seen is not None
        age, watched = time.time() - status.st_mtime, now - seen[1]
        if age < 0:
            return watched
        return min(age, watched) if seen[2] else age


def _printable(name: str) -> str:
    """Return a name whose bytes may be no UTF-8 as a text."""
    return os.fsencode(name).decode(errors="replace")


def _facts(path: str | None, size: int) -> dict[str, Any]:
    """Return what the first and the last lines of a log say of its run."""
    facts: dict[str, Any] = {"name": None, "status": "INIT", "started_ms": None, "num_experiments": None}
    if path is None:
        return facts
    with open(path, "rb", buffering=0) as file:
        head = os.pread(file.fileno(), _HEAD_BYTES, 0)
        tail = os.pread(file.fileno(), _TAIL_BYTES, max(size - _TAIL_BYTES, 0)) if size > _HEAD_BYTES else head
    for event in _events(head.split(b"\n")[:-1], b""):
        facts["started_ms"] = facts["started_ms"] or event["creation_ts"]
        if event["event_type"] == "run_started":
            facts["status"] = "RUNNING"
            facts["name"] = _if(str, event["payload"].get("name"))
            facts["num_experiments"] = _if(int, event["payload"].get("num_experiments"))
            break
        if event["event_type"] in ("evaluation_result", "experiment_status"):  # a log without run_started
            facts["status"] = "RUNNING"
    for event in _events(reversed(tail.split(b"\n")[:-1]), b'"run_'):
        if event["event_type"] == "run_started":
            facts["num_experiments"] = _if(int, event["payload"].get("num_experiments"))
            break
        if event["event_type"] == "run_finished":
            facts["status"] = _if(str, event["payload"].get("status")) or "DONE"
            break
    return facts


def _if(kind: type, value: Any) -> Any:
    return value if type(value) is kind else None


def _events(lines: Iterable[bytes], part: bytes) -> Iterator[dict[str, Any]]:
    """Yield the events of the lines that hold `part`; the first line of a tail may be torn."""
    for line in lines:
        if part not in line:
            continue
        try:
            event = decode(line)
        except ValueError:
            continue
        if isinstance(event.get("payload"), dict) and type(event.get("creation_ts")) is int:
            yield {"event_type": None, **event}

"""The list of all runs, read from the beginning and the end of their logs: thousands cost what their changes cost."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from typing import Any

from board_server.store import Store
from mlgym_jax.events import decode, is_being_written, layout

_HEAD_BYTES = 1 << 16
_TAIL_BYTES = 1 << 16
# A run whose log says RUNNING is lost when nobody holds it and nothing was added for so long; publishers may be
# connecting again.
_LOST_AFTER_MS = {"local": 5_000, "published": 30_000}


class Listing:
    """Summaries of the runs of a store; what did not change since the last look is not read again."""

    def __init__(self, store: Store):
        self._store = store
        self._read: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {}

    def summaries(self) -> list[dict[str, Any]]:
        """Return one summary a run, newest first."""
        found, now_ms = {}, int(time.time() * 1000)
        for run_id in self._store.names():
            folder = os.path.join(self._store.folder, run_id)
            published = os.path.exists(os.path.join(folder, layout.PUBLISHED_MARK))
            path = os.path.join(folder, layout.LOG)
            try:
                status = os.stat(path)
                if not stat.S_ISREG(status.st_mode):
                    continue
                key = status.st_ino, status.st_size, status.st_mtime_ns
                known = self._read.get(run_id)
                facts = known[1] if known and known[0] == key else _facts(path, status.st_size)
            except FileNotFoundError:
                if published:  # announced, but without an event yet
                    found[run_id] = (0, 0, 0), {**_facts(None, 0), "published": True, "modified_ms": 0, "bytes": 0}
                continue
            except OSError:
                continue
            modified_ms = status.st_mtime_ns // 1_000_000
            found[run_id] = key, {**facts, "published": published, "modified_ms": modified_ms, "bytes": status.st_size}
        self._read = found
        listed = []
        for run_id, (_, facts) in found.items():
            state = facts["status"]
            if state == "RUNNING" and self._is_lost(run_id, facts, now_ms):
                state = "LOST"
            listed.append({"grid_search_id": run_id, **facts, "status": state})
        return sorted(listed, key=lambda run: (run["started_ms"] or 0, run["grid_search_id"]), reverse=True)

    def status(self, run_id: str, status: str, modified_ms: int, published: bool) -> str:
        """Return a run's status with LOST for one that nobody writes any more."""
        facts = {"modified_ms": modified_ms, "published": published}
        lost = status == "RUNNING" and self._is_lost(run_id, facts, int(time.time() * 1000))
        return "LOST" if lost else status

    def _is_lost(self, run_id: str, facts: dict[str, Any], now_ms: int) -> bool:
        # A log that seems to be of later is as quiet as one that is so much older: somebody has set the clock back.
        if abs(now_ms - facts["modified_ms"]) < _LOST_AFTER_MS["published" if facts["published"] else "local"]:
            return False
        run = self._store.known(run_id)
        if run is not None and run.num_publishers:
            return False
        return not is_being_written(os.path.join(self._store.folder, run_id, layout.LOG))


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

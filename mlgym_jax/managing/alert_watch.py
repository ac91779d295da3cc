"""A folder's alerts, each told once, also by processes one after the other: what was told is kept in a file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.events import is_being_written, layout, run_summary
from mlgym_jax.events.alert_conditions import Condition
from mlgym_jax.events.cache import cache_home
from mlgym_jax.events.files import write_whole
from mlgym_jax.managing.alerts import Alert, lost, noticed
from mlgym_jax.managing.watching import Watch
from mlgym_jax.run_folder import folder as run_folder

_VERSION = 1
_RECEIVED_IS_LOST_SECONDS = 600.0  # without news of a run that another machine sends: its writer cannot be asked for
_LOOK_SECONDS = 2.0  # between two looks at who is still written
_KEEP_SECONDS = 15.0  # between two writes of a place that moved without an alert
_MAX_BYTES = 1 << 26


class Alerting:
    """What is new and is to be told of the runs of a folder; `new` is asked again and again.

    Args:
        storage, runs, since, now_ms: as of `watching.Watch`; without `since` it goes on where the file says.
        path: the file of what was told; None keeps nothing.

    Attributes:
        undelivered: what an earlier process left undelivered, messages by the name of the channel.
    """

    def __init__(
        self,
        storage: str,
        runs: Sequence[str],
        conditions: Sequence[Condition],
        *,
        since: str | None,
        path: str | None,
        now_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._storage, self._runs, self._conditions = storage, list(runs), list(conditions)
        self._path, self._clock = path, clock
        kept = _read(path)
        self.watch = Watch(storage, runs, since=since or kept["cursor"], now_ms=now_ms)
        self._told: dict[str, list[str]] = kept["told"]
        self._live: dict[str, int] = kept["live"] or self._written_now()  # run -> the event that began its launch
        self.undelivered: dict[str, list[Mapping[str, Any]]] = kept["undelivered"]
        self._looked = self._kept_at = clock()
        self._has_moved = False
        self._wants_lost = any(condition.kind == "lost" for condition in conditions)

    def new(self, *, look: bool = False) -> Iterator[Alert]:
        """Yield what is to be told now.

        Args:
            look: for runs that are lost, also if that was done a moment ago.
        """
        is_due = look or self._clock() - self._looked >= _LOOK_SECONDS
        silent = self._silent() if self._wants_lost and is_due else []  # before what is new is read: it may end a run
        if is_due:
            self._looked = self._clock()
        heard: set[str] = set()
        for alert in noticed(self._conditions, self._followed(heard), self._told, self._summary):
            yield self._once(alert)
        for run_id in silent:
            if run_id not in heard and run_id in self._live:
                alert = lost(run_id, self._live.pop(run_id))
                if alert.keys[0] not in self._told.get(run_id, ()):
                    yield self._once(alert)

    def keep(self, undelivered: Mapping[str, Sequence[Mapping[str, Any]]], *, now: bool = False) -> None:
        """Write what was told and how far the logs were read, if something was told or some time has passed.

        Raises:
            DiskError: the file cannot be written.
        """
        left = {name: [*messages] for name, messages in undelivered.items() if messages}
        is_due = self._has_moved and self._clock() - self._kept_at >= _KEEP_SECONDS
        if self._path is None or not (now or is_due or left != self.undelivered):
            return
        self.undelivered, self._kept_at, self._has_moved = left, self._clock(), False
        there = set(self._runs or run_folder.runs_in(self._storage))
        told = {run_id: keys for run_id, keys in self._told.items() if run_id in there}
        live = {run_id: launch for run_id, launch in self._live.items() if run_id in there}
        found = {"version": _VERSION, "cursor": self.watch.cursor, "told": told, "live": live, "undelivered": left}
        try:
            write_whole(self._path, json.dumps(found).encode(), fsync=False)
        except OSError as error:
            raise DiskError(f"{self._path}: what was told cannot be kept: {error.strerror}") from error

    def _once(self, alert: Alert) -> Alert:
        self._told.setdefault(alert.run_id, []).extend(alert.keys)
        return alert

    def _followed(self, heard: set[str]) -> Iterator[Mapping[str, Any]]:
        for record in self.watch.new():
            run_id, kind = record["grid_search_id"], record["event"].get("event_type")
            self._has_moved = True
            heard.add(run_id)
            if kind == "run_finished":
                self._live.pop(run_id, None)
            elif kind == "run_started":
                self._live[run_id] = record["event_id"]
            elif kind != "model_evaluated":  # which is added to a run that is over
                self._live.setdefault(run_id, 0)
            yield record

    def _names(self) -> list[str]:
        return self._runs or [name for name in run_folder.runs_in(self._storage) if layout.is_id(name)]

    def _written_now(self) -> dict[str, int]:
        return {name: 0 for name in self._names() if is_being_written(os.path.join(self._storage, name, layout.LOG))}

    def _silent(self) -> list[str]:
        return [name for name in self._live if self._is_silent(os.path.join(self._storage, name))]

    def _is_silent(self, run_dir: str) -> bool:
        if not os.path.exists(os.path.join(run_dir, layout.PUBLISHED_MARK)):
            return run_folder.is_left(run_dir)
        with contextlib.suppress(OSError):
            return time.time() - os.stat(os.path.join(run_dir, layout.LOG)).st_mtime > _RECEIVED_IS_LOST_SECONDS
        return False

    def _summary(self, run_id: str) -> Mapping[str, Any]:
        try:
            return run_summary.load(os.path.join(self._storage, run_id))
        except MlgymError:
            return {}


def usual_path(storage: str, runs: Sequence[str], conditions: Sequence[Condition], to: Sequence[str]) -> str | None:
    """Return where what was told is kept by default: in the user's cache folder, a file for each thing that is asked.

    Args:
        to: where alerts go: who is told elsewhere is told all.
    """
    try:
        home = cache_home()
    except RuntimeError:  # a user without a home
        return None
    if home is None:
        return None
    asked = [os.path.realpath(storage), sorted(runs), sorted(one.words for one in conditions), list(to)]
    return str(home / "alerts" / f"{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]}.json")


def _read(path: str | None) -> dict[str, Any]:
    """Return what was kept; nothing where there is no such file, and a word where it cannot be read."""
    empty: dict[str, Any] = {"cursor": None, "told": {}, "live": {}, "undelivered": {}}
    if path is None or not os.path.exists(path):
        return empty
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
        told = {str(run): [str(key) for key in keys] for run, keys in found["told"].items()}
        live = {str(run): int(launch) for run, launch in found["live"].items()}
        left = {str(name): [dict(one) for one in messages] for name, messages in found["undelivered"].items()}
        if found["version"] == _VERSION and isinstance(found["cursor"], str):
            return {"cursor": found["cursor"], "told": told, "live": live, "undelivered": left}
        reason = "it is of another version"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
    print(f"{path}: what was told is not known: {reason}; alerts begin from now on", file=sys.stderr)
    return empty

"""New events of all runs of a folder, as they come, with a cursor by which one goes on later and misses nothing.

A cursor holds how many events of each run were handed out. It is a text that only this module reads.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import decode, layout
from mlgym_jax.run_folder import folder as run_folder

_MARK = "c1."
_MAX_CURSOR_BYTES = 1 << 24  # of what it holds
_BLOCK_BYTES = 1 << 20
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SINCE = (
    "write a cursor that was printed (c1.…), a time such as 2026-11-27T09:00, unix milliseconds, or how long ago: 90s, "
    "15m, 2h, 3d; of one run also the id of an event"
)


class Place:
    """How far a log was read: `event_id` is that of the next line, which begins at the byte `offset`."""

    def __init__(self, event_id: int = 0, offset: int = 0):
        self.event_id, self.offset = event_id, offset


class Watch:
    """What is new in the runs of a folder.

    Args:
        storage: the folder of runs.
        runs: only these; all by default, also those that begin later.
        since: what was asked for, in words (see `_SINCE`); None for what comes from now on.
        now_ms: the clock, unix milliseconds.

    Raises:
        MlgymError: `since` is none of that.
    """

    def __init__(self, storage: str, runs: Sequence[str] = (), *, since: str | None, now_ms: int):
        self._storage, self._runs = storage, list(runs)
        self._not_before = None  # of events that are handed out, unix milliseconds
        counted: dict[str, int] = {}
        if since is None:
            pass
        elif since.startswith(_MARK):
            counted = _counted(since)
        elif re.fullmatch(r"[0-9]{1,10}", since) and len(self._runs) == 1:
            counted = {self._runs[0]: int(since) + 1}
        else:
            self._not_before = moment_of(since, now_ms)
        self._places: dict[str, Place] = {}
        for name in self._names():
            if since is None:
                self._places[name] = self._end(name)
            elif name in counted:
                self._places[name] = self._nth(name, counted[name])
            elif self._not_before is not None and self._is_older(name, self._not_before):
                self._places[name] = self._end(name)

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield {"grid_search_id", "event_id", "event"} of all whole lines that are not handed out yet, run by run."""
        for name in self._names():
            place = self._places.setdefault(name, Place())
            for event_id, line in self._lines(name, place):
                try:
                    event = decode(line)
                except ValueError:
                    continue
                at = event.get("creation_ts")
                if self._not_before is not None and not (isinstance(at, int) and at >= self._not_before):
                    continue
                yield {"grid_search_id": name, "event_id": event_id, "event": event}

    @property
    def cursor(self) -> str:
        """Return the place behind all that was handed out."""
        counted = {name: place.event_id for name, place in sorted(self._places.items())}
        return _MARK + base64.urlsafe_b64encode(zlib.compress(json.dumps(counted).encode(), 9)).decode().rstrip("=")

    def _names(self) -> list[str]:
        return self._runs or [name for name in run_folder.runs_in(self._storage) if layout.is_id(name)]

    def _log(self, name: str) -> str:
        return os.path.join(self._storage, name, layout.LOG)

    def _lines(self, name: str, place: Place) -> Iterator[tuple[int, bytes]]:
        """Yield the whole lines behind a place, which moves along."""
        try:
            if os.stat(self._log(name)).st_size == place.offset:
                return
            file = open(self._log(name), "rb", buffering=_BLOCK_BYTES)  # noqa: SIM115 (closed below)
        except OSError:
            return  # it was removed, or cannot be read just now
        with file:
            if os.fstat(file.fileno()).st_size < place.offset:  # its damaged end was cut off, or another log is there
                place.event_id, place.offset = _skipped(file, place.event_id)
            file.seek(place.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                event_id = place.event_id
                place.event_id, place.offset = event_id + 1, place.offset + len(line)
                yield event_id, line

    def _nth(self, name: str, number: int) -> Place:
        try:
            with open(self._log(name), "rb", buffering=_BLOCK_BYTES) as file:
                return Place(*_skipped(file, number))
        except OSError:
            return Place(number)

    def _end(self, name: str) -> Place:
        return self._nth(name, 1 << 62)

    def _is_older(self, name: str, ms: int) -> bool:
        """Whether nothing was added to a log since then; its machine's clock may be a day off."""
        try:
            return os.stat(self._log(name)).st_mtime * 1000 < ms - 86_400_000
        except OSError:
            return False


def _skipped(file: Any, number: int) -> tuple[int, int]:
    """Return (lines, bytes) of the first `number` whole lines of a file, or of all if it has fewer."""
    lines = offset = 0
    file.seek(0)
    for line in file:
        if lines == number or not line.endswith(b"\n"):
            break
        lines, offset = lines + 1, offset + len(line)
    return lines, offset


def _counted(cursor: str) -> dict[str, int]:
    try:
        data = base64.b64decode(cursor.removeprefix(_MARK) + "===", altchars=b"-_", validate=False)
        found = json.loads(zlib.decompressobj().decompress(data, _MAX_CURSOR_BYTES))
        if isinstance(found, dict) and all(type(number) is int and number >= 0 for number in found.values()):
            return found
    except (ValueError, zlib.error, RecursionError):
        pass
    raise MlgymError(f"--since={cursor[:40]}…: it is no cursor of this command, or not the whole of one; {_SINCE}")


def moment_of(text: str, now_ms: int) -> int:
    """Read a moment: unix milliseconds, a local or zoned ISO time, or how long ago.

    Raises:
        MlgymError: it is none.
    """
    if match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])", text):
        return now_ms - round(1000 * float(match[1]) * _UNITS[match[2]])
    if re.fullmatch(r"[0-9]{12,14}", text):
        return int(text)
    try:
        return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise MlgymError(f"--since={text[:60]}: {_SINCE}") from None

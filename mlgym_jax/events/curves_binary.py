"""Curves as `MLG1` (docs/events.md), which boards answer and saved files hold: a JSON header, and columns behind it.

The columns come as NumPy arrays, or as anything like them, so that nothing here needs NumPy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

_SERIES = ("experiment_id", "name", "total", "shown", "last_epoch", "first_epoch", "epochs_offset", "scores_offset")
_TIMES = ("experiment_id", "shown", "first_epoch", "epochs_offset", "time_offset", "seconds_offset")


# Numbers one behind the other in memory, in the order of bytes of x86, with a length, an index and `tobytes`.
Column = Any


class Series(NamedTuple):
    """One experiment's curve of one score: `epochs` int32, `scores` float64.

    `total` and `last_epoch` are of the log, within the epochs asked for, where some are left out here.
    """

    experiment_id: int
    name: str
    total: int
    last_epoch: int | None
    epochs: Column
    scores: Column


class Times(NamedTuple):
    """When one experiment's epochs were evaluated (unix milliseconds), and the seconds trained until then, float64."""

    experiment_id: int
    epochs: Column
    time_ms: Column
    seconds: Column


def curves_in_binary(run_id: str, event_id: int, series: Iterable[Series], times: Iterable[Times] | None) -> bytes:
    """Write curves.

    Args:
        event_id: of the last event that is in them.
        times: None where these are not asked for.
    """
    parts: list[bytes] = []
    names: dict[str, int] = {}
    place = _Place(parts)
    rows = [
        (
            *(one.experiment_id, names.setdefault(one.name, len(names)), one.total, len(one.scores), one.last_epoch),
            *(*place.of_epochs(one.epochs), place.of(one.scores)),
        )
        for one in series
    ]
    header: dict[str, Any] = {"grid_search_id": run_id, "event_id": event_id, "names": list(names)}
    header["series"] = _table(_SERIES, rows)
    if times is not None:
        clock = []
        for one in times:
            at = place.of_epochs(one.epochs)
            clock.append((one.experiment_id, len(one.epochs), *at, place.of(one.time_ms), place.of(one.seconds)))
        header["times"] = _table(_TIMES, clock)
    head = msgspec.json.encode(header)
    head += b" " * (-len(head) % 8)
    return b"".join([b"MLG1", struct.pack("<I", len(head)), head, *parts])


class _Place:
    """Puts columns one behind the other, each at a multiple of 8 bytes."""

    def __init__(self, parts: list[bytes]):
        self._parts, self._size = parts, 0

    def of(self, column: Column) -> int:
        """Return where it is now."""
        offset, data = self._size, column.tobytes()
        self._parts.append(data)
        padding = -len(data) % 8
        if padding:
            self._parts.append(bytes(padding))
        self._size += len(data) + padding
        return offset

    def of_epochs(self, epochs: Column) -> tuple[int | None, int | None]:
        """Return (first epoch, None) where they count on by one, else (None, where they all are)."""
        if not len(epochs):
            return 1, None
        if int(epochs[-1]) - int(epochs[0]) == len(epochs) - 1:
            return int(epochs[0]), None
        return None, self.of(epochs)


def _table(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    columns: Iterator[tuple[Any, ...]] = zip(*rows, strict=True) if rows else iter(((),) * len(names))
    return {name: list(column) for name, column in zip(names, columns, strict=True)}

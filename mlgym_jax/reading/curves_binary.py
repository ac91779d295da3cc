"""All curves of a run as the board answers them in binary (`MLG1`, docs/events.md): a header, and columns behind it."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlgym_jax.events import ExperimentView, RunView

_LEAST, _LARGEST = -(2**31), 2**31 - 1  # of an epoch's number there


def curves_in_binary(run_id: str, view: RunView) -> bytes:
    """Return what `GET grid_searches/<run>/scores?format=binary&columns=time` answers, its `event_id` as 0."""
    parts: list[bytes] = []
    size = 0

    def add(array: np.ndarray) -> int:
        nonlocal size
        offset, data = size, array.tobytes()
        parts.append(data + bytes(-len(data) % 8))
        size += len(parts[-1])
        return offset

    def epochs_of(epochs: np.ndarray) -> tuple[int | None, int | None]:
        if not len(epochs):
            return 1, None
        if int(epochs[-1]) - int(epochs[0]) == len(epochs) - 1:
            return int(epochs[0]), None
        return None, add(epochs.astype("<i4"))

    names: dict[str, int] = {}
    series: list[Sequence[Any]] = []
    for one in view.experiments.values():
        numbers = _numbers(one)
        for name, values in one.history.items():
            epochs, scores = numbers, np.array(values, "<f8")
            if (logged := one.logged(name)) is not None:
                mask = np.frombuffer(logged, bool)
                epochs, scores = epochs[mask], scores[mask]
            last = int(epochs[-1]) if len(epochs) else None
            number = names.setdefault(name, len(names))
            head = (one.experiment_id, number, len(scores), len(scores), last)
            series.append((*head, *epochs_of(epochs), add(scores)))
    times: list[Sequence[Any]] = []
    for one in view.experiments.values():
        numbers = _numbers(one)
        place = epochs_of(numbers)
        ended, seconds = np.array(one.evaluated_ms, "<f8"), np.cumsum(np.array(one.epoch_seconds, "<f8"))
        times.append((one.experiment_id, len(numbers), *place, add(ended), add(seconds)))
    header = {
        "grid_search_id": run_id,
        "event_id": 0,
        "names": list(names),
        "series": _table(_SERIES, series),
        "times": _table(_TIMES, times),
    }
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([b"MLG1", struct.pack("<I", len(head)), head, *parts])


_SERIES = ("experiment_id", "name", "total", "shown", "last_epoch", "first_epoch", "epochs_offset", "scores_offset")
_TIMES = ("experiment_id", "shown", "first_epoch", "epochs_offset", "time_offset", "seconds_offset")


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    columns = zip(*rows, strict=True) if rows else itertools.repeat((), len(names))
    return {name: list(column) for name, column in zip(names, columns, strict=True)}


def _numbers(one: ExperimentView) -> np.ndarray:
    return np.clip(np.array(one.epoch_numbers, np.float64), _LEAST, _LARGEST).astype(np.int32)

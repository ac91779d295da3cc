"""Curves as columns: chosen by name, experiment and epoch, thinned honestly, and written as JSON or binary."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from werkzeug.datastructures import MultiDict

from board_server.errors import WrongRequest
from board_server.projected import Columns
from mlgym_jax.events import ExperimentView, RunView, encode
from mlgym_jax.events.curves_binary import Series, Times, curves_in_binary

_MAX_PATTERN = 200
_MAX_PATTERNS = 100
_MAX_RANGES = 1_000


class Choice(NamedTuple):
    """What of a run's scores is asked for.

    Attributes:
        names: whether a score's name is wanted.
        experiments: first and last ids of ranges, None for all; epochs: first and last, None for all.
        every: only epochs that are multiples of it; points: at most about so many a series, 0 for all.
        with_times: also when each epoch ended, and the seconds that were trained until then.
    """

    names: Callable[[str], bool]
    experiments: list[tuple[int, int]] | None
    epochs: tuple[int, int] | None
    every: int
    points: int
    with_times: bool


def choice(arguments: MultiDict[str, str]) -> Choice:
    """Read the query of `/scores`.

    Raises:
        WrongRequest: a value that does not fit, with what does.
    """
    names = _name_filter(arguments.getlist("name"), arguments.getlist("names"))
    experiments = arguments.get("experiments", "")
    epochs = arguments.get("epochs", "")
    bounds = _bounds(epochs, "epochs", "10-200") if epochs else None
    columns = arguments.get("columns", "")
    if columns not in ("", "time"):
        raise WrongRequest(f"columns: found {columns!r}; allowed is time")
    every = arguments.get("every", "1")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", every):
        raise WrongRequest(f"every: found {every[:40]!r}; write a number such as 10, or leave it out for every epoch")
    points = arguments.get("points", "0")
    if not re.fullmatch(r"[0-9]{1,7}", points):
        raise WrongRequest(f"points: found {points[:40]!r}; write a number such as 1000, or leave it out for all")
    ids = id_ranges(experiments) if experiments else None
    return Choice(names, ids, bounds, int(every), int(points), columns == "time")


def _name_filter(exact: list[str], globs: list[str]) -> Callable[[str], bool]:
    # Globs, because a regular expression of a stranger can keep a server busy for ever.
    if any(len(pattern) > _MAX_PATTERN for pattern in globs):
        raise WrongRequest(f"names: a glob such as val/* of at most {_MAX_PATTERN} characters is expected")
    if len(globs) > _MAX_PATTERNS:
        raise WrongRequest(f"names: found {len(globs)} globs; {_MAX_PATTERNS} are the most, or write name= for each")
    if not exact and not globs:
        return lambda name: True
    known, patterns = frozenset(exact), [re.compile(fnmatch.translate(pattern)) for pattern in globs]
    return lambda name: name in known or any(pattern.match(name) for pattern in patterns)


def id_ranges(text: str) -> list[tuple[int, int]]:
    """Read ids of experiments such as 0,3,5-9.

    Raises:
        WrongRequest: they are written otherwise.
    """
    parts = text.split(",")
    if len(parts) > _MAX_RANGES:
        raise WrongRequest(f"experiments: {len(parts)} ranges; at most {_MAX_RANGES}, or leave it out for all")
    return [_bounds(part, "experiments", "0,3,5-9") for part in parts]


def _bounds(text: str, what: str, example: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", text)
    if not match:
        raise WrongRequest(f"{what}: found {text[:40]!r}; write it like {example}")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise WrongRequest(f"{what}: found {text[:40]!r}; the lesser end comes first: {last}-{first}")
    return first, last


def chosen(view: RunView, choice: Choice) -> Iterator[ExperimentView]:
    """Yield the experiments that are asked for."""
    for experiment in view.experiments.values():
        number, ranges = experiment.experiment_id, choice.experiments
        if ranges is None or any(first <= number <= last for first, last in ranges):
            yield experiment


def series(view: RunView, columns: Columns, choice: Choice) -> Iterator[Series]:
    """Yield the chosen curves, experiment by experiment."""
    wanted: dict[str, bool] = {}
    for experiment in chosen(view, choice):
        for name in experiment.history:
            if name not in wanted:
                wanted[name] = choice.names(name)
            if wanted[name]:
                epochs, scores = columns.scores(experiment, name)
                at = part(epochs, choice)
                epochs, scores = epochs[at], scores[at]
                total, last_epoch = len(epochs), int(epochs[-1]) if len(epochs) else None
                if choice.every > 1:
                    on_grid = epochs % choice.every == 0
                    epochs, scores = epochs[on_grid], scores[on_grid]
                kept = _kept(scores, choice.points)
                if kept is not None:
                    epochs, scores = epochs[kept], scores[kept]
                yield Series(experiment.experiment_id, name, total, last_epoch, epochs, scores)


def part(epochs: np.ndarray, choice: Choice) -> slice:
    """Return where the chosen epochs are."""
    if choice.epochs is None:
        return slice(None)
    first, last = choice.epochs
    return slice(int(np.searchsorted(epochs, first, "left")), int(np.searchsorted(epochs, last, "right")))


def _kept(scores: np.ndarray, points: int) -> np.ndarray | None:
    """Return which of a curve's points stay so that no extreme is lost; None for all.

    Each of about `points` / 2 buckets of neighbours keeps its least and its greatest value, and its first NaN or
    infinity, if it has one: a spike or a divergence of a single epoch is still there. The first and last point stay.
    """
    if not points or len(scores) <= max(points, 4):
        return None
    size = -(-len(scores) * 2 // max(points, 4))
    padded = np.full(-(-len(scores) // size) * size, np.nan)
    padded[: len(scores)] = scores
    buckets = padded.reshape(-1, size)
    starts = np.arange(len(buckets)) * size
    finite = np.isfinite(buckets)
    low = np.where(finite, buckets, np.inf).argmin(1) + starts
    high = np.where(finite, buckets, -np.inf).argmax(1) + starts
    strange = ~finite
    strange.reshape(-1)[len(scores) :] = False
    first_strange = (strange.argmax(1) + starts)[strange.any(1)]
    kept = np.unique(np.concatenate([low, high, first_strange, [0, len(scores) - 1]]))
    return kept[kept < len(scores)]


def times(view: RunView, columns: Columns, choice: Choice) -> Iterator[Times]:
    """Yield the chosen epochs' times; of all of them, not only of each `every`-th."""
    for experiment in chosen(view, choice):
        epochs = columns.epochs(experiment)
        at = part(epochs, choice)
        seconds = np.cumsum(np.array(experiment.epoch_seconds, np.float64))
        ended = np.array(experiment.evaluated_ms[at], np.float64)
        yield Times(experiment.experiment_id, epochs[at], ended, seconds[at])


def as_json(run_id: str, event_id: int, view: RunView, columns: Columns, choice: Choice) -> bytes:
    """Write the chosen scores as JSON."""
    body: dict[str, Any] = {
        "grid_search_id": run_id,
        "event_id": event_id,
        "series": [
            {
                "experiment_id": one.experiment_id,
                "name": one.name,
                "total": one.total,
                "shown": len(one.scores),
                "last_epoch": one.last_epoch,
                "epochs": one.epochs.tolist(),
                "scores": one.scores.tolist(),
            }
            for one in series(view, columns, choice)
        ],
    }
    if choice.with_times:
        body["times"] = [
            {
                "experiment_id": one.experiment_id,
                "epochs": one.epochs.tolist(),
                "time_ms": one.time_ms.astype(np.int64).tolist(),
                "seconds": one.seconds.tolist(),
            }
            for one in times(view, columns, choice)
        ]
    return encode(body)


def as_binary(run_id: str, event_id: int, view: RunView, columns: Columns, choice: Choice) -> bytes:
    """Write the chosen scores as `MLG1`; docs/events.md has it."""
    clock = times(view, columns, choice) if choice.with_times else None
    return curves_in_binary(run_id, event_id, series(view, columns, choice), clock)

"""What a list shows of a run: best score, progress, duration, failures, a line of the best score so far, origins.

`summarise` is a pure function of the view. `load` reads a log only if what was kept of it, in the user's cache folder,
is not of this very log; a folder that cannot be written costs the reading each time, and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout
from mlgym_jax.events.cache import cache_home
from mlgym_jax.events.fast_lines import project_log
from mlgym_jax.events.files import at_once, write_whole
from mlgym_jax.events.projection import LARGEST
from mlgym_jax.events.ranking import default_monitor
from mlgym_jax.events.values import readable
from mlgym_jax.events.views import ExperimentView, RunView

VERSION = 1  # of what is kept: another one is made anew
MAX_POINTS = 32
_MAX_SOURCES = 20
_MAX_KEPT_BYTES = 1 << 20
_RECORD_BYTES = 1 << 22
_MAKER = "made_by"  # in run.json

Key = tuple[int, int, int]

EMPTY: Mapping[str, Any] = {
    "name": None,
    "status": "INIT",
    "started_ms": None,
    "num_experiments": None,
    "monitor": None,
    "mode": None,
    "best_score": None,
    "best_experiment_id": None,
    "best_epoch": None,
    "progress": None,
    "num_done": None,
    "num_failed": None,
    "seconds": None,
    "sparkline": [],
    "owner": None,
    "num_launches": None,
    "num_refits": None,
    "warm_starts": [],
}


def row(
    run_id: str,
    summary: Mapping[str, Any],
    said: Mapping[str, Any],
    *,
    published: bool,
    modified_ms: int | None,
    num_bytes: int,
    is_newest: bool,
    **known: Any,
) -> dict[str, Any]:
    """Return a run as a list of runs has it.

    Args:
        summary: as `summarise` makes it, with `owner`.
        said: what people say of it, see `Annotated.in_a_row`.
        published: whether other machines send it; modified_ms, num_bytes: of its log.
        is_newest: whether the summary is of the log as it is now.
        known: what is known of it besides the summary, such as that it is LOST.
    """
    return {
        "grid_search_id": run_id,
        **summary,
        "summarised": is_newest,
        "published": published,
        "modified_ms": modified_ms,
        "bytes": num_bytes,
        **said,
        **known,
    }


def key_of(status: os.stat_result) -> Key:
    """Return what differs when a log has changed."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def summarise(view: RunView) -> dict[str, Any]:
    """Return what a list shows of a run, as JSON has it; the keys are those of `EMPTY`, `owner` aside.

    `progress` is the part of the epochs that are over, from 0 to 1, experiments that ended counted whole. `seconds` is
    the time from the first event to the end, or to the last result, pauses between launches included. `sparkline` has
    the best score so far after equal numbers of results, at most `MAX_POINTS`, four digits each.
    """
    monitor, mode = default_monitor(view.scores, view.config)
    best = None
    if monitor is not None:
        with contextlib.suppress(MlgymError):  # no finite score
            best = view.best(monitor, mode)
    last = max((one.evaluated_ms[-1] for one in view.experiments.values() if one.evaluated_ms), default=None)
    end = view.finished_ms if view.finished_ms is not None else last
    sources = dict.fromkeys(str(one.get("source")) for one in view.warm_starts)
    num_experiments = view.num_experiments
    return {
        "name": view.name if isinstance(view.name, str) else None,
        "status": view.status,
        "started_ms": view.started_ms,
        "num_experiments": num_experiments if isinstance(num_experiments, int) else len(view.experiments) or None,
        "monitor": monitor,
        "mode": mode if monitor is not None else None,
        "best_score": None if best is None else best[0].scores_of(best[1])[str(monitor)],
        "best_experiment_id": None if best is None else best[0].experiment_id,
        "best_epoch": None if best is None else best[1],
        "progress": _progress(view),
        "num_done": sum(one.status == "DONE" for one in view.experiments.values()),
        "num_failed": sum(one.status == "FAILED" for one in view.experiments.values()),
        "seconds": None if end is None or view.started_ms is None else max(end - view.started_ms, 0) / 1000,
        "sparkline": [] if monitor is None else _sparkline(view, monitor, mode),
        "num_launches": len(view.launches),
        "num_refits": len(view.refits),
        "warm_starts": [source[:300] for source in sources][:_MAX_SOURCES],
    }


def _progress(view: RunView) -> float | None:
    if view.status == "DONE":
        return 1.0
    known, told = list(view.experiments.values()), view.num_experiments
    number = max(told if isinstance(told, int) and told <= LARGEST else 0, len(known))
    return min(sum(map(_part, known)) / number, 1.0) if number else None


def _part(one: ExperimentView) -> float:
    if one.status in ("DONE", "FAILED") or one.stop_reason is not None:
        return 1.0
    planned = one.planned
    return min(one.epochs / planned, 1.0) if isinstance(planned, int | float) and planned > 0 else 0.0


def _sparkline(view: RunView, monitor: str, mode: str) -> list[float]:
    """Return the best score so far after each of equal parts of the results, in the order of their times."""
    sign = 1 if mode == "max" else -1
    times: list[int] = []
    steps: list[tuple[int, float]] = []  # when an experiment became better than it was before
    for one in view.candidates:
        best = -math.inf
        for now_ms, value in zip(one.evaluated_ms, one.history.get(monitor, ()), strict=False):
            if sign * value > best and math.isfinite(value):
                best = sign * value
                steps.append((now_ms, best))
        times += one.evaluated_ms
    times.sort()  # of a sorted piece for each experiment, which costs little
    steps.sort()
    points = min(MAX_POINTS, len(times))
    found, best, at = [], -math.inf, 0
    for number in range(1, points + 1):
        until = times[number * len(times) // points - 1]
        while at < len(steps) and steps[at][0] <= until:
            best = max(best, steps[at][1])
            at += 1
        if math.isfinite(best):
            found.append(float(f"{sign * best:.4g}"))
    return found


# -- kept ------------------------------------------------------------------------------------------------------------


class _Kept(msgspec.Struct):
    version: int
    key: Key
    summary: dict[str, Any]


_KEPT = msgspec.json.Decoder(_Kept)


def load(run_dir: str) -> dict[str, Any]:
    """Return the summary of a run's log as it is now, kept or made, with `owner`; `EMPTY` where there is no log yet.

    Raises:
        MlgymError: the log cannot be read.
    """
    path = os.path.join(run_dir, layout.LOG)
    try:
        key = key_of(os.stat(path))
    except FileNotFoundError:
        return {**EMPTY, "owner": owner(run_dir)}
    except OSError as error:
        raise MlgymError(f"{path}: cannot be read: {error.strerror}") from error
    found = kept(run_dir, key)
    if found is None:
        view, _ = project_log(path)
        found = {**summarise(view), "owner": owner(run_dir)}
        keep(run_dir, key, found)
    return found


def kept(run_dir: str, key: Key) -> dict[str, Any] | None:
    """Return the summary that was kept of this very log, if there is one."""
    path = _kept_at(run_dir)
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            found = _KEPT.decode(file.read(_MAX_KEPT_BYTES))
    except (OSError, ValueError):
        return None
    is_of_it = found.version == VERSION and found.key == key and found.summary.keys() == EMPTY.keys()
    return found.summary if is_of_it else None


def keep(run_dir: str, key: Key, summary: dict[str, Any]) -> None:
    """Keep a summary for who asks next, where that is possible."""
    path = _kept_at(run_dir)
    if path is not None:
        with contextlib.suppress(OSError):
            write_whole(path, msgspec.json.encode(_Kept(VERSION, key, summary)), fsync=False)


def forget_all_but(storage: str, names: Collection[str]) -> None:
    """Remove what was kept of runs of a folder that are there no more."""
    folder = _kept_in(storage)
    if folder is None:
        return
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.removesuffix(".json") not in names:
                os.unlink(os.path.join(folder, name))


def _kept_at(run_dir: str) -> str | None:
    storage, name = os.path.split(os.path.abspath(run_dir))
    folder = _kept_in(storage)
    return None if folder is None else os.path.join(folder, f"{name}.json")


def _kept_in(storage: str) -> str | None:
    """Return where summaries of a folder's runs are kept; None where nothing is to be kept."""
    try:
        home = cache_home()
    except RuntimeError:  # a user without a home
        return None
    if home is None:
        return None
    return str(home / "summaries" / hashlib.sha256(os.fsencode(os.path.realpath(storage))).hexdigest()[:32])


def owner(run_dir: str) -> str | None:
    """Return who made a run, as its `run.json` says."""
    try:
        with open(os.path.join(run_dir, layout.RECORD), "rb", opener=at_once) as file:
            found = msgspec.json.decode(readable(file.read(_RECORD_BYTES))).get(_MAKER)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return found[:64] if isinstance(found, str) else None

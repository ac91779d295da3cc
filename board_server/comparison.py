"""Runs side by side, over HTTP: `/comparison?runs=…&runs=…`."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from quart import Blueprint, Response, request

from board_server.errors import NotFound, WrongRequest
from board_server.file_work import Lane
from board_server.run import Run
from board_server.state import board
from mlgym_jax.events import RunView, encode, layout
from mlgym_jax.events.comparison import Side, compared, side
from mlgym_jax.events.files import at_once
from mlgym_jax.events.values import readable

comparison = Blueprint("comparison", __name__)
_MAX_RUNS = 50
_RECORD_BYTES = 1 << 22

# Of each run what was compared last, by each of the scores that were asked for last: a run of a million scores is not
# read again for each further one beside it, nor when somebody goes to and fro between two scores.
_Known = tuple[tuple[Any, ...], str | None, Side]
_COMPARING = Lane(2)
_SIDES: WeakKeyDictionary[Run, dict[str | None, _Known]] = WeakKeyDictionary()
_MAX_MONITORS = 8


@comparison.get("/comparison")
async def runs_compared() -> Response:
    """Compare runs, the first with each of the others: what differs, and whether their scores can be told apart."""
    ids = list(dict.fromkeys(request.args.getlist("runs")))
    if not 1 <= len(ids) <= _MAX_RUNS:
        raise WrongRequest(f"runs: found {len(ids)}; write runs=ID for each, from 1 to {_MAX_RUNS}")
    monitor = request.args.get("monitor") or None
    known: list[tuple[str | None, Side]] = []
    for run_id in ids:  # one after the other: of their logs only a few are to be in memory
        known.append(await _side(await board().store.opened(run_id), monitor))
    names = [name for name, _ in known]
    often = Counter(names)
    labels = [name if name and often[name] == 1 else run_id for name, run_id in zip(names, ids, strict=True)]
    head, sides = {"runs": ids, "names": names, "labels": labels}, [one for _, one in known]
    data = await _COMPARING.do(lambda: encode({**head, **compared(labels, sides, monitor)}))
    tag = f'"{zlib.crc32(data):08x}-{len(data):x}"'
    if request.if_none_match.contains_weak(tag.strip('"')):
        return Response(b"", 304, headers={"ETag": tag})
    return Response(data, content_type="application/json", headers={"ETag": tag})


async def _side(run: Run, monitor: str | None) -> tuple[str | None, Side]:
    record_key, record = await run.files.do(_record, run)
    key = (run.log.identity, run.log.head, record_key)
    known = _SIDES.setdefault(run, {})
    found = known.pop(monitor, None)
    if found is None or found[0] != key:

        def made(view: RunView, *_: Any) -> tuple[str | None, Side]:
            return view.name if isinstance(view.name, str) else None, side(view, record, monitor)

        found = (key, *await board().store.projecting(run).read(made, at_once=False))
    known[monitor] = found
    while len(known) > _MAX_MONITORS:
        del known[next(iter(known))]
    return found[1], found[2]


def _record(run: Run) -> tuple[Any, Mapping[str, Any]]:
    """Return what changes with a run's `run.json`, and what it says; nothing where there is none that can be read."""
    path = os.path.join(run.folder, layout.RECORD)
    try:
        run.checked_inside(path)
        with open(path, "rb", opener=at_once) as file:
            status = os.fstat(file.fileno())
            found = msgspec.json.decode(readable(file.read(_RECORD_BYTES)))
    except (NotFound, OSError, ValueError, RecursionError):
        return None, {}
    return (status.st_ino, status.st_size, status.st_mtime_ns), found if isinstance(found, dict) else {}

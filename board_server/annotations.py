"""Notes, tags, archived and deleted, over HTTP: `/grid_searches/<run>/annotations`."""

from __future__ import annotations

import time
import zlib
from typing import Any

import msgspec
from quart import Blueprint, Response, request

from board_server.errors import Conflict, Forbidden, NotFound, TooLarge, WrongRequest, disk_refuses, without_folders
from board_server.rest import json_response
from board_server.run import Run
from board_server.state import board
from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.events import decode, layout
from mlgym_jax.events.annotation_log import (
    RefusedError,
    UnwritableError,
    annotate,
    annotation_lines,
)
from mlgym_jax.events.annotations import Annotations, Change, change_of, checked_name, project_annotations
from mlgym_jax.events.values import readable

annotations = Blueprint("annotations", __name__)
_MAX_BODY_BYTES = 1 << 19  # a note of the largest size, each of its characters escaped
_MAX_CHANGES = 1_000
_FORM = 'send {"changes": [{"event_type": "tag_added", "tag": "good"}], "by": "name"}'


@annotations.get("/grid_searches/<run_id>/annotations")
async def said(run_id: str) -> Response:
    """Return what people say of a run and its experiments, with `history=1` also all that they have said."""
    run = await board().store.opened(run_id)
    with_history = request.args.get("history", "0") != "0"

    def written() -> bytes:
        lines = annotation_lines(_inside(run))
        found = _answer(run, project_annotations(lines))
        if with_history:
            found["events"] = _events(lines)
        return msgspec.json.encode(found)

    data = await run.files.do(written)
    tag = f'"{zlib.crc32(data):08x}-{len(data):x}"'
    if request.if_none_match.contains_weak(tag.strip('"')):
        return Response(b"", 304, headers={"ETag": tag})
    return Response(data, content_type="application/json", headers={"ETag": tag})


@annotations.post("/grid_searches/<run_id>/annotations")
async def say(run_id: str) -> Response:
    """Record changes, all or none; answer what is said then."""
    board().access.require("write", request.headers)
    run = await board().store.opened(run_id)
    if (request.content_length or 0) > _MAX_BODY_BYTES:
        raise TooLarge(f"at most {_MAX_BODY_BYTES} bytes are expected")
    body = await request.data
    if len(body) > _MAX_BODY_BYTES:
        raise TooLarge(f"at most {_MAX_BODY_BYTES} bytes are expected")
    changes, by = _read(body)
    await _check_experiments(run, changes)
    found = await run.files.do(_annotate, run, changes, by)
    return json_response(_answer(run, found))


def _inside(run: Run) -> str:
    """Return the run's folder, of which no file lies elsewhere."""
    run.checked_inside(f"{run.folder}/{layout.ANNOTATIONS}")
    return run.folder


def _answer(run: Run, found: Annotations) -> dict[str, Any]:
    experiments = {str(number): one.as_json() for number, one in sorted(found.experiments.items())}
    return {
        "grid_search_id": run.run_id,
        **found.run.as_json(),
        "experiments": experiments,
        "num_events": found.num_events,
        "num_malformed": found.num_malformed,
    }


def _events(lines: list[bytes]) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        try:
            found.append(decode(readable(line)))
        except ValueError:
            continue
    return found


def _read(body: bytes | str) -> tuple[list[Change], str | None]:
    try:
        given = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise WrongRequest(f"the body is no JSON: {str(error)[:200]}; {_FORM}") from error
    changes = given.get("changes") if isinstance(given, dict) else None
    if not isinstance(changes, list) or not changes or set(given) - {"changes", "by"}:
        raise WrongRequest(f"changes are expected; {_FORM}")
    if len(changes) > _MAX_CHANGES:
        raise TooLarge(f"found {len(changes)} changes; at most {_MAX_CHANGES} are taken at once")
    try:
        return [change_of(change) for change in changes], checked_name(given.get("by"))
    except (MlgymError, RecursionError) as error:
        raise WrongRequest(str(error)) from error


async def _check_experiments(run: Run, changes: list[Change]) -> None:
    asked = {change.experiment_id for change in changes if change.experiment_id is not None}
    if asked:
        unknown = await board().store.projecting(run).read(lambda view, *_: asked - view.experiments.keys())
        if unknown:
            raise NotFound(f"no experiment {min(unknown)} in run {run.run_id!r}")


def _annotate(run: Run, changes: list[Change], by: str | None) -> Annotations:
    try:
        return annotate(_inside(run), changes, by=by, now_ms=time.time_ns() // 1_000_000)
    except RefusedError as error:
        raise Conflict(without_folders(str(error))) from error
    except UnwritableError as error:
        raise Forbidden(without_folders(str(error))) from error
    except DiskError as error:
        raise disk_refuses(error.__cause__ or error) from error
    except MlgymError as error:
        raise WrongRequest(without_folders(str(error))) from error

"""What can be asked over HTTP: runs, experiments, scores, events, files, checkpoints."""

from __future__ import annotations

import re
import zlib
from typing import Any

import msgspec
from quart import Blueprint, Response, request

from board_server import checkpoints, scores, tables
from board_server.addresses import checked_after, checked_number
from board_server.errors import WrongRequest
from board_server.file_answers import file_of, sent
from board_server.live import read_frame
from board_server.projected import Columns
from board_server.run import Run
from board_server.run_choice import choice_of_runs
from board_server.state import board
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import RunView, encode, layout
from mlgym_jax.events.answers import experiment_as_data, run_as_data
from mlgym_jax.events.verdict import verdict

rest = Blueprint("rest", __name__)
_MAX_VERDICTS = 200  # of some kilobytes each
_MAX_EVENTS = 10_000
_MAX_EVENT_BYTES = 1 << 24
_EVENTS_BYTES = 1 << 20
_BINARY = "application/octet-stream"


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    return Response(msgspec.json.encode(body), status, content_type="application/json", headers=headers or {})


@rest.get("/grid_searches")
async def grid_searches() -> Response:
    """List the runs, newest first."""
    whole = request.args.get("not_shown", "0") != "0"
    chosen = choice_of_runs(request.args)
    if chosen is None:
        data = (await board().overview()).whole() if whole else await board().listed()
    else:
        data = msgspec.json.encode([row for row in await board().rows() if chosen(row)])
        data = b'{"grid_searches":%s}' % data if whole else data
    tag = f'"{zlib.crc32(data):08x}-{len(data):x}"'
    return _unchanged(tag) or Response(data, content_type="application/json", headers={"ETag": tag})


@rest.get("/grid_searches/<run_id>")
async def grid_search(run_id: str) -> Response:
    """Say what a run is: its config, groups, scores, and how it stands."""
    run = await board().store.opened(run_id)
    stands = await run.files.do(board().listing.stands, run)
    data = await (
        board()
        .store.projecting(run)
        .read(lambda view, _, event_id: encode(run_as_data(run.run_id, view, event_id, *stands)))
    )
    tag = f'"{zlib.crc32(data):08x}-{len(data):x}"'
    return _unchanged(tag) or Response(data, content_type="application/json", headers={"ETag": tag})


@rest.get("/grid_searches/<run_id>/experiments")
async def experiments(run_id: str) -> Response:
    """List a run's experiments: where each stands, its newest and its best scores."""
    run = await board().store.opened(run_id)
    with_config = request.args.get("config", "1") != "0"
    wanted = scores.choice(request.args)
    rows = await run.files.do(checkpoints.available, run)
    last_checkpoint: dict[int, int] = {}
    for experiment_id, epoch in rows:
        last_checkpoint[experiment_id] = max(epoch, last_checkpoint.get(experiment_id, -1))
    tag = _tag(run, *sorted(last_checkpoint.items()))
    if unchanged := _unchanged(tag):
        return unchanged

    def written(view: RunView, _columns: Columns, event_id: int) -> tuple[bytes, int]:
        found = scores.chosen(view, wanted)
        rows = (
            experiment_as_data(one, last_checkpoint.get(one.experiment_id, -1), with_config=with_config)
            for one in found
        )
        return b"[%s]" % b",".join(map(msgspec.json.encode, rows)), event_id

    data, event_id = await board().store.projecting(run).read(written)
    return Response(data, content_type="application/json", headers={"ETag": tag, "X-Event-Id": str(event_id)})


@rest.get("/grid_searches/<run_id>/scores")
async def run_scores(run_id: str) -> Response:
    """Return curves as columns, in JSON, binary or CSV."""
    run = await board().store.opened(run_id)
    chosen = scores.choice(request.args)
    kind = request.args.get("format") or ("binary" if _BINARY in request.headers.get("Accept", "") else "json")
    if kind not in ("json", "csv", "binary"):
        raise WrongRequest(f"format: found {kind[:40]!r}; allowed are json, csv, binary")
    tag = _tag(run, request.query_string, kind)
    headers = {"ETag": tag, "Vary": "Accept"}
    if unchanged := _unchanged(tag):
        return unchanged
    projected = board().store.projecting(run)
    if kind == "csv":
        text = await projected.read(lambda view, columns, _: tables.as_csv(view, columns, chosen))
        headers["Content-Disposition"] = f'attachment; filename="{run.run_id}-scores.csv"'
        return Response(text, content_type="text/csv; charset=utf-8", headers=headers)
    write = scores.as_binary if kind == "binary" else scores.as_json
    data = await projected.read(lambda view, columns, event_id: write(run.run_id, event_id, view, columns, chosen))
    return Response(data, content_type=_BINARY if kind == "binary" else "application/json", headers=headers)


@rest.get("/scores")
async def scores_of_runs() -> Response:
    """Return logged scores of several runs as one table of CSV."""
    kind, asked = request.args.get("format", "csv"), tables.runs_asked(request.args)
    if kind != "csv":
        raise WrongRequest(
            f"format: found {kind[:40]!r}; several runs have csv alone, and each its own grid_searches/ID/scores"
        )
    store = board().store
    runs = [(await store.opened(run_id), chosen) for run_id, chosen in asked.items()]
    tag = _tag(runs[0][0], *((run.log.identity, run.log.head.offset) for run, _ in runs))
    if unchanged := _unchanged(tag):
        return unchanged
    # One after the other, twice: which columns there are, and then the lines; of their logs a few are in memory.
    heads = [
        await store.projecting(run).read(lambda view, columns, _, of=of: tables.head(view, columns, of))
        for run, of in runs
    ]
    head = tables.joined(heads)
    parts = [tables.first_line(head, "run")]
    for run, of in runs:

        def lines(view: RunView, columns: Columns, _event_id: int, run: Run = run, of: scores.Choice = of) -> str:
            return tables.lines(view, columns, of, head, run.run_id)

        parts.append(await store.projecting(run).read(lines))
    headers = {"ETag": tag, "Content-Disposition": 'attachment; filename="scores.csv"'}
    return Response("".join(parts), content_type="text/csv; charset=utf-8", headers=headers)


@rest.get("/grid_searches/<run_id>/verdict")
async def run_verdict(run_id: str) -> Response:
    """Return what a run has come to, in words and as data; of one that goes on, so far."""
    run = await board().store.opened(run_id)
    monitor, mode = request.args.get("monitor") or None, request.args.get("mode") or None
    _, lost = await run.files.do(board().listing.stands, run)
    tag = _tag(run, lost)
    headers = {"ETag": tag}
    if unchanged := _unchanged(tag):
        return unchanged

    def told(view: RunView, _columns: Columns, event_id: int) -> tuple[bytes, int]:
        try:
            return encode(verdict(view, monitor, mode, lost=lost, name=run.run_id)), event_id
        except MlgymError as error:
            raise WrongRequest(str(error)) from error

    told_before, key = board().verdicts, (run.folder, run.log.identity, run.log.head.offset, monitor, mode, lost)
    found = told_before.pop(key, None) or await board().store.projecting(run).read(told, at_once=False)
    told_before[key] = found  # as the last one
    data, event_id = found
    if len(told_before) > _MAX_VERDICTS:
        told_before.popitem(last=False)
    headers["X-Event-Id"] = str(event_id)
    return Response(data, content_type="application/json", headers=headers)


@rest.get("/grid_searches/<run_id>/events")
async def events(run_id: str) -> Response:
    """Return events as they are in the log, behind `after`."""
    run = await board().store.opened(run_id)
    after, limit = checked_after(request.args.get("after", "-1")), request.args.get("limit", "1000")
    if not re.fullmatch(r"[0-9]{1,9}", limit) or not 1 <= int(limit) <= _MAX_EVENTS:
        raise WrongRequest(f"limit: found {limit[:40]!r}; write a number from 1 to {_MAX_EVENTS}")

    def batch() -> str:
        frame = read_frame(run, run.log.seek(after + 1), max_bytes=_EVENTS_BYTES, max_events=int(limit))
        return frame.batch(run.log.head.event_id - 1)

    return Response(await run.files.do(batch), content_type="application/json")


@rest.get("/grid_searches/<run_id>/<name>")
async def run_file(run_id: str, name: str) -> Response:
    """Return one of the run's files."""
    return await file_of(await board().store.opened(run_id), name)


@rest.get("/grid_searches/<run_id>/<experiment_id>/<name>")
async def experiment_file(run_id: str, experiment_id: str, name: str) -> Response:
    """Return one of an experiment's files."""
    run = await board().store.opened(run_id)
    return await file_of(run, name, checked_number(experiment_id, "experiment_id"))


@rest.get("/model-card/<run_id>/<experiment_id>")
async def model_card(run_id: str, experiment_id: str) -> Response:
    """Return an experiment's model card."""
    run = await board().store.opened(run_id)
    return await file_of(run, layout.MODEL_CARD, checked_number(experiment_id, "experiment_id"))


# -- checkpoints ------------------------------------------------------------------------------------------------------


@rest.get("/checkpoint_list/<run_id>")
@rest.get("/checkpoint_list/<run_id>/<experiment_id>")
@rest.get("/checkpoint_list/<run_id>/<experiment_id>/<epoch>")
@rest.get("/checkpoints/<run_id>/<experiment_id>/<epoch>")
async def checkpoint_list(run_id: str, experiment_id: str | None = None, epoch: str | None = None) -> Response:
    """List what can be downloaded."""
    run = await board().store.opened(run_id)
    wanted = (
        None if experiment_id is None else checked_number(experiment_id, "experiment_id"),
        None if epoch is None else checked_number(epoch, "epoch"),
    )
    found = await run.files.do(checkpoints.available, run)
    return json_response(
        [
            {"experiment_id": number, "epoch": at, "checkpoints": names}
            for (number, at), names in found.items()
            if wanted[0] in (None, number) and wanted[1] in (None, at)
        ]
    )


@rest.get("/checkpoints/<run_id>/<experiment_id>/<epoch>/<resource>")
async def checkpoint(run_id: str, experiment_id: str, epoch: str, resource: str) -> Response:
    """Download one resource of a checkpoint as a safetensors file."""
    run = await board().store.opened(run_id)
    checkpoints.checked_resource(resource)
    who = checked_number(experiment_id, "experiment_id"), checked_number(epoch, "epoch")
    path, digest = await run.files.do(checkpoints.received, run, *who, resource)
    if path is None:
        path = await board().exporter.path(run, *who, resource)
    name = f"{run_id}-experiment-{who[0]}-epoch-{who[1]}-{resource}.safetensors"
    return await sent(run, path, _BINARY, digest=digest, name=name)


# -- shared -----------------------------------------------------------------------------------------------------------


def _tag(run: Run, *parts: Any) -> str:
    """Return what changes whenever an answer made of the run's log and `parts` may."""
    state = (run.log.identity, request.query_string, *parts)
    return f'W/"{zlib.crc32(repr(state).encode()):08x}-{run.log.head.offset:x}"'


def _unchanged(tag: str) -> Response | None:
    if request.if_none_match.contains_weak(tag.removeprefix("W/").strip('"')):
        return Response(b"", 304, headers={"ETag": tag})
    return None

"""What remote runs send besides events: their files and checkpoints, and events that no frame can hold."""

from __future__ import annotations

import hashlib
import os

from quart import Blueprint, Response, request

from board_server import checkpoints
from board_server.addresses import checked_number
from board_server.errors import NotFound, RequestError, TooLarge, WrongRequest
from board_server.live import error_answer, receive
from board_server.observed import media_path
from board_server.rest import json_response
from board_server.run import Run, keep_file
from board_server.state import board
from mlgym_jax.events import layout

uploads = Blueprint("uploads", __name__)
_PNG = b"\x89PNG\r\n\x1a\n"


@uploads.before_request
async def _admit() -> None:
    board().access.require("write", request.headers)


@uploads.post("/grid_searches/<run_id>/events")
async def publish(run_id: str) -> Response:
    """Take in a frame of events, as `/ws/publish` does."""
    run = board().store.receiving(run_id)
    run.publisher_came()
    try:
        frame = await request.data
        await run.prepare()
        answer, num_new = await run.change(receive, run, frame)
    except RequestError as error:
        board().count_refused()
        return json_response({"ack": run.num_events - 1, **error_answer(error)}, error.status)
    finally:
        run.publisher_left()
    board().count_received(num_new, len(frame))
    return json_response(answer, 409 if "expected" in answer else 200)


@uploads.put("/grid_searches/<run_id>/<name>")
@uploads.put("/grid_searches/<run_id>/<experiment_id>/<name>")
async def put_file(run_id: str, name: str, experiment_id: str | None = None) -> Response:
    """Store one of a remote run's files."""
    run = board().store.receiving(run_id)
    number = None if experiment_id is None else checked_number(experiment_id, "experiment_id")
    if name == layout.LOG:
        raise NotFound("the log is not put as a file; its events are published")
    data = await request.data
    created = await run.files.do(lambda: keep_received(run, run.path_of(name, number), data))
    return json_response({"received": len(data)}, 201 if created else 200)


@uploads.put("/grid_searches/<run_id>/<experiment_id>/media/<name>")
async def put_image(run_id: str, experiment_id: str, name: str) -> Response:
    """Store one of a remote run's images, whose name is the SHA-256 of what it holds."""
    run = board().store.receiving(run_id)
    path = media_path(run, checked_number(experiment_id, "experiment_id"), name)
    data = await request.data
    if not data.startswith(_PNG):
        raise WrongRequest(f"{name}: a PNG file is expected")
    found = await run.files.do(lambda: hashlib.sha256(data).hexdigest())
    if found != name[:64]:
        raise WrongRequest(f"{name}: what came has the SHA-256 {found}; send it again")
    created = await run.files.do(keep_received, run, path, data)
    return json_response({"received": len(data)}, 201 if created else 200)


def keep_received(run: Run, path: str, data: bytes) -> bool:
    """Store a file of a run, and beside it, for who copies it, that it was received; return whether it is new.

    Raises:
        Conflict: the run is this machine's own; TryLater: the disk refuses.
    """
    run.require_received()
    created = not os.path.exists(path)
    keep_file(path, data)
    mark = os.path.join(run.folder, layout.RECEIVED_MARK)
    if not os.path.lexists(mark):
        keep_file(mark, layout.RECEIVED_WORDS)
    return created


@uploads.post("/checkpoints/<run_id>/<experiment_id>/<epoch>/<resource>")
async def post_checkpoint(run_id: str, experiment_id: str, epoch: str, resource: str) -> Response:
    """Store a chunk of a checkpoint's resource, or all of it."""
    run = board().store.receiving(run_id)
    checkpoints.checked_resource(resource)
    who = checked_number(experiment_id, "experiment_id"), checked_number(epoch, "epoch")
    digest = checkpoints.parse_digest(request.headers.get("Repr-Digest"))
    data = await request.data
    if len(data) > checkpoints.MAX_CHUNK_BYTES:
        raise TooLarge(f"a chunk holds at most {checkpoints.MAX_CHUNK_BYTES} bytes; send several by Content-Range")
    first, total = checkpoints.parse_range(request.headers.get("Content-Range"), len(data))

    def receive_chunk() -> int:
        run.require_received()
        path = checkpoints.received_path(run, *who, resource)
        return checkpoints.receive_chunk(path, data, first=first, total=total, digest=digest)

    have = await run.files.do(receive_chunk)
    return json_response({"received": have, "complete": have == total}, 201 if have == total else 200)


@uploads.delete("/checkpoints/<run_id>/<experiment_id>/<epoch>")
@uploads.delete("/checkpoints/<run_id>/<experiment_id>/<epoch>/<resource>")
async def delete_checkpoint(run_id: str, experiment_id: str, epoch: str, resource: str | None = None) -> Response:
    """Delete what was uploaded of a checkpoint."""
    run = await board().store.opened(run_id)
    if resource is not None:
        checkpoints.checked_resource(resource)
    who = checked_number(experiment_id, "experiment_id"), checked_number(epoch, "epoch")
    return json_response({"deleted": await run.files.do(checkpoints.delete, run, *who, resource)})

"""The OpenAPI document of what is asked over HTTP; the WebSockets are described in docs/events.md."""

from __future__ import annotations

from typing import Any

from board_server.checkpoints import RESOURCES
from board_server.openapi_shapes import (
    BYTES,
    CHECKPOINTS,
    ID,
    NUMBER,
    OBJECT,
    OBJECTS,
    PUBLISHED,
    RUNS,
    SCHEMAS,
    TEXT,
)
from mlgym_jax.events import layout

_ERRORS = {
    400: "The request is wrong",
    401: "A token is needed",
    403: "This token, origin or host may not",
    404: "There is no such thing",
    408: "The body did not come in time",
    409: "What is there contradicts it",
    413: "The body is too large",
    416: "The file has no such range",
    503: "The disk is full, or the board is busy or ending; try again later",
}


def _path(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


_RUN = _path("run_id", ID)
_EXPERIMENT = _path("experiment_id", NUMBER)
_EPOCH = _path("epoch", NUMBER)
_RESOURCE = _path("resource", {"enum": list(RESOURCES)})


def _operation(
    summary: str,
    parameters: list[dict[str, Any]],
    answers: dict[int, dict[str, Any]],
    *,
    body: dict[str, Any] | None = None,
    is_open: bool = False,
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): {"description": "Done", **({"content": content} if content else {})}
        for status, content in answers.items()
    }
    error = _json({"type": "object", "required": ["error"], "properties": {"error": TEXT}})
    for status, text in _ERRORS.items():
        responses.setdefault(str(status), {"description": text, "content": error})
    found = {"summary": summary, "parameters": parameters, "responses": responses}
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    return {**found, "security": []} if is_open else found


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def document() -> dict[str, Any]:
    """Return the document that `/openapi.json` serves."""
    frame = _json({"oneOf": [PUBLISHED, {"type": "array", "items": PUBLISHED}]})
    raw = {"application/octet-stream": {"schema": BYTES}}
    image = _path("name", {"type": "string", "pattern": "^[0-9a-f]{64}\\.png$"})
    done = _json(OBJECT)
    unchanged: dict[int, dict[str, Any]] = {304: {}}
    run_file, experiment_file = (
        _path("name", {"enum": list(layout.RUN_FILES)}),
        _path("name", {"enum": list(layout.EXPERIMENT_FILES)}),
    )
    readable = _path("name", {"enum": [*layout.RUN_FILES, layout.LOG]})
    text = {"text/plain": {"schema": TEXT}, **_json({})}
    checkpoint_list = _json(CHECKPOINTS)
    table = [
        _query("name", TEXT, "a score's exact name, such as val/loss; may be repeated"),
        _query("names", {"type": "string", "maxLength": 200}, "a glob such as val/*; may be repeated"),
        _query("experiments", TEXT, "ids such as 0,3,5-9; all by default"),
        _query("epochs", TEXT, "first and last, such as 10-200"),
        _query("every", {**NUMBER, "minimum": 1}, "only epochs that are multiples of it; 1 by default"),
    ]
    paths = {
        "/grid_searches": {
            "get": _operation(
                "List the runs, newest first",
                [
                    _query(
                        "not_shown",
                        {"enum": ["0", "1"]},
                        "1 answers an object, as /ws/grid_searches: grid_searches and, if there are folders that look "
                        "like runs and are not in the list, num_not_shown and not_shown (at most 20, name and reason)",
                    ),
                    _query("tag", TEXT, "only runs that have this tag; may be repeated"),
                    _query("archived", {"enum": ["0", "1", "all"]}, "all by default"),
                    _query("deleted", {"enum": ["0", "1", "all"]}, "0 by default"),
                    _query("text", TEXT, "words that occur in id, name, note, owner, status or tags"),
                ],
                {200: _json({"oneOf": [RUNS, OBJECT]}), **unchanged},
            )
        },
        "/grid_searches/{run_id}/annotations": {
            "get": _operation(
                "Return notes, tags, archived and deleted, of a run and its experiments",
                [_RUN, _query("history", {"enum": ["0", "1"]}, "1 adds all events of the annotations log")],
                {200: _json({"$ref": "#/components/schemas/annotations"}), **unchanged},
            ),
            "post": _operation(
                "Change them, all changes or none",
                [_RUN],
                {200: _json({"$ref": "#/components/schemas/annotations"})},
                body=_json({"$ref": "#/components/schemas/changes"}),
            ),
        },
        "/comparison": {
            "get": _operation(
                "Compare runs, the first with each of the others: what differs, and whether scores can be told apart",
                [
                    _query("runs", ID, "a run's id; repeated, at most 50"),
                    _query("monitor", TEXT, "the score to select by and to judge by; each run's own by default"),
                ],
                {200: done, **unchanged},
            )
        },
        "/scores": {
            "get": _operation(
                "Return logged scores of several runs as one table, with a column `run`",
                [
                    _query("runs", TEXT, "a run's id, or that and experiments of it, a:0,3,5-9; repeated, at most 50"),
                    *table,
                    _query("format", {"enum": ["csv"]}, "csv by default"),
                ],
                {200: {"text/csv": {"schema": TEXT}}, **unchanged},
            )
        },
        "/grid_searches/{run_id}": {"get": _operation("Say what a run is", [_RUN], {200: done, **unchanged})},
        "/grid_searches/{run_id}/experiments": {
            "get": _operation(
                "List a run's experiments",
                [
                    _RUN,
                    _query("config", {"enum": ["0", "1"]}, "0 leaves their configs out"),
                    _query("experiments", TEXT, "ids such as 0,3,5-9; all by default"),
                ],
                {200: _json(OBJECTS), **unchanged},
            )
        },
        "/grid_searches/{run_id}/verdict": {
            "get": _operation(
                "Say what a run has come to, in words and as data",
                [
                    _RUN,
                    _query("monitor", TEXT, "the score to judge by, such as val/loss; that of the run by default"),
                    _query("mode", {"enum": ["min", "max"]}, "which is better; read from the score by default"),
                ],
                {200: done, **unchanged},
            )
        },
        "/grid_searches/{run_id}/recorded": {
            "get": _operation(
                "Return what metrics recorded of an experiment after an epoch, as events, and which epochs there are",
                [
                    _RUN,
                    _query("experiment", NUMBER, "the experiment's id; needed"),
                    _query("epoch", NUMBER, "the newest by default"),
                ],
                {200: done},
            )
        },
        "/grid_searches/{run_id}/machine": {
            "get": _operation(
                "Return what the machine did, at most 2,000 samples at equal distances, and the last 1,000 messages",
                [_RUN],
                {200: done},
            )
        },
        "/grid_searches/{run_id}/{experiment_id}/media/{name}": {
            "get": _operation(
                "Return an image that a metric recorded",
                [_RUN, _EXPERIMENT, image],
                {200: {"image/png": {"schema": BYTES}}, **unchanged},
            ),
            "put": _operation(
                "Store one of a remote run's images, a PNG file whose SHA-256 is its name",
                [_RUN, _EXPERIMENT, image],
                {200: done, 201: done},
                body=raw,
            ),
        },
        "/grid_searches/{run_id}/scores": {
            "get": _operation(
                "Return curves as columns",
                [
                    _RUN,
                    *table,
                    _query("points", NUMBER, "at most about so many points a curve, extremes kept; 0 for all"),
                    _query(
                        "columns", {"enum": ["time"]}, "also when each epoch ended, and the seconds trained until then"
                    ),
                    _query("format", {"enum": ["json", "binary", "csv"]}, "json by default"),
                ],
                {
                    200: {**done, "application/octet-stream": {"schema": BYTES}, "text/csv": {"schema": TEXT}},
                    **unchanged,
                },
            )
        },
        "/grid_searches/{run_id}/events": {
            "get": _operation(
                "Return events as they are in the log",
                [
                    _RUN,
                    _query("after", {"type": "integer", "minimum": -1, "maximum": 999_999_999_999}, "-1 by default"),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": 10_000}, "1000 by default"),
                ],
                {200: done},
            ),
            "post": _operation("Publish events, as over /ws/publish", [_RUN], {200: done}, body=frame),
        },
        "/grid_searches/{run_id}/{name}": {
            "get": _operation("Return one of a run's files", [_RUN, readable], {200: text, 206: text, **unchanged}),
            "put": _operation("Store one of a remote run's files", [_RUN, run_file], {200: done, 201: done}, body=raw),
        },
        "/grid_searches/{run_id}/{experiment_id}/{name}": {
            "get": _operation(
                "Return one of an experiment's files",
                [_RUN, _EXPERIMENT, experiment_file],
                {200: text, 206: text, **unchanged},
            ),
            "put": _operation(
                "Store one of an experiment's files",
                [_RUN, _EXPERIMENT, experiment_file],
                {200: done, 201: done},
                body=raw,
            ),
        },
        "/model-card/{run_id}/{experiment_id}": {
            "get": _operation("Return a model card", [_RUN, _EXPERIMENT], {200: done, 206: done, **unchanged})
        },
        "/checkpoint_list/{run_id}": {"get": _operation("List checkpoints", [_RUN], {200: checkpoint_list})},
        "/checkpoint_list/{run_id}/{experiment_id}": {
            "get": _operation("List an experiment's checkpoints", [_RUN, _EXPERIMENT], {200: checkpoint_list})
        },
        "/checkpoint_list/{run_id}/{experiment_id}/{epoch}": {
            "get": _operation("List one checkpoint", [_RUN, _EXPERIMENT, _EPOCH], {200: checkpoint_list})
        },
        "/checkpoints/{run_id}/{experiment_id}/{epoch}": {
            "get": _operation("List one checkpoint", [_RUN, _EXPERIMENT, _EPOCH], {200: checkpoint_list}),
            "delete": _operation("Delete an uploaded checkpoint", [_RUN, _EXPERIMENT, _EPOCH], {200: done}),
        },
        "/checkpoints/{run_id}/{experiment_id}/{epoch}/{resource}": {
            "get": _operation(
                "Download a resource as a safetensors file",
                [_RUN, _EXPERIMENT, _EPOCH, _RESOURCE],
                {200: raw, 206: raw, **unchanged},
            ),
            "post": _operation(
                "Upload a resource, whole or by Content-Range, with its Repr-Digest",
                [_RUN, _EXPERIMENT, _EPOCH, _RESOURCE],
                {200: done, 201: done},
                body=raw,
            ),
            "delete": _operation("Delete an uploaded resource", [_RUN, _EXPERIMENT, _EPOCH, _RESOURCE], {200: done}),
        },
        "/healthz": {"get": _operation("Say whether the server is well", [], {200: done}, is_open=True)},
        "/metrics": {"get": _operation("Return counters for Prometheus", [], {200: {"text/plain": {"schema": TEXT}}})},
        "/session": {
            "get": _operation("Say what this client may do", [], {200: done}, is_open=True),
            "post": _operation(
                "Sign in with a token; a cookie keeps it",
                [],
                {201: done},
                body=_json({"type": "object", "required": ["token"], "properties": {"token": TEXT}}),
                is_open=True,
            ),
            "delete": _operation("Sign out", [], {200: done}, is_open=True),
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "mlgym_jax board", "version": "1"},
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }

"""The application: routes, who may use them, and what every answer carries.

Synopsis:

    app = create_app(Store("event_storage"), Access())
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import html
import logging
import os
import re
import time
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Quart, Response, current_app, g, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException
from werkzeug.security import safe_join

from board_server.addresses import check_query
from board_server.annotations import annotations
from board_server.auth import Access, is_loopback
from board_server.comparison import comparison
from board_server.connections import began_at, tell_known
from board_server.errors import NotFound, RequestError, TooLarge, TooSlow, Unauthorized, WrongRequest, cannot_read
from board_server.file_answers import FileBody
from board_server.live import error_answer
from board_server.observed import observed
from board_server.openapi import document
from board_server.page_files import PageFile, PageFiles
from board_server.requests import BoundedConnection, BoundedRequest, host_of
from board_server.rest import json_response, rest
from board_server.sockets import sockets
from board_server.state import Board, board
from board_server.store import Store
from board_server.uploads import uploads

_LOG = logging.getLogger("board_server")
_STATIC = os.path.join(os.path.dirname(__file__), "static")
_MAX_BODY_BYTES = 1 << 24
_MIN_COMPRESSED_BYTES = 1 << 9
_MAX_SESSION_BYTES = 4096
_SESSION_SECONDS = 5
_GUESS_SECONDS = 0.2
_BODY_SECONDS = 60
_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors "
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_COMPRESSED = ("application/json", "text/", "application/javascript", "application/octet-stream")


# By which proxies say that they have passed a request on.
_FORWARDED = (
    *("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix"),
    *("X-Real-IP", "Via"),
)


def create_app(store: Store, access: Access) -> Quart:
    """Return the ASGI application of a board.

    Args:
        store: the folder of runs that it shows and adds to.
        access: who may read and write.
    """
    app = Quart("board_server", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES
    app.config["BODY_TIMEOUT"] = _BODY_SECONDS
    app.config["RESPONSE_TIMEOUT"] = None  # a large file over a slow line takes its time
    app.request_class = BoundedRequest
    app.asgi_websocket_class = BoundedConnection
    app.extensions["board"] = Board(store, access)
    app.extensions["page"] = PageFiles(_STATIC)
    for blueprint in (uploads, annotations, comparison, observed, rest, sockets):
        app.register_blueprint(blueprint)
    app.before_request(_admit)
    app.after_request(_finish)
    app.before_serving(_begin)
    app.after_serving(_end)
    app.errorhandler(RequestError)(_refused)
    app.errorhandler(HTTPException)(_http_error)
    app.errorhandler(Exception)(_failed)
    app.add_url_rule("/", view_func=_page)
    app.add_url_rule("/assets/<path:name>", view_func=_asset)
    app.add_url_rule("/healthz", view_func=_healthz)
    app.add_url_rule("/metrics", view_func=_metrics)
    app.add_url_rule("/openapi.json", view_func=_openapi)
    app.add_url_rule("/session", view_func=_session, methods=["GET", "POST", "DELETE"])
    return app


async def _begin() -> None:
    board().begin()


async def _end() -> None:
    await board().end()


async def _admit() -> Response | None:
    g.started = time.perf_counter()
    access, host = board().access, host_of(request.scope)
    access.check_host(host)
    if request.method == "OPTIONS":
        return Response(b"", 204)
    if request.method not in ("GET", "HEAD"):
        access.check_origin(request.headers.get("Origin"), host)
    if not access.is_for_all(request.path):
        access.require("read", request.headers)
    check_query(request.query_string)
    if access.role(request.headers) is not None:
        tell_known(request.scope, access)
    return None


def headers_of(access: Access) -> dict[str, str]:
    """Return what every answer has."""
    return {**_HEADERS, "Content-Security-Policy": _POLICY + access.frame_ancestors}


async def _finish(response: Response) -> Response:
    response.headers.extend(headers_of(board().access))
    if "immutable" not in response.headers.get("Cache-Control", ""):  # all else: ask, and be told 304
        response.headers["Cache-Control"] = "no-cache" if board().access.is_open else "private, no-cache"
    origin = request.headers.get("Origin")
    if origin is not None and board().access.is_allowed_origin(origin):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Content-Range, Repr-Digest"
        response.headers["Access-Control-Allow-Methods"] = "GET, PUT, POST, DELETE"
        response.headers["Access-Control-Expose-Headers"] = "ETag, X-Event-Id"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        response.vary.add("Origin")
    await _compress(response)
    board().count_request(request.method, response.status_code)
    _LOG.debug(
        "request method=%s path=%r status=%d ms=%.1f from=%s",
        request.method,
        request.path,
        response.status_code,
        1000 * (time.perf_counter() - g.get("started", time.perf_counter())),
        request.remote_addr,
    )
    return response


async def _compress(response: Response) -> None:
    """Compress for peers on other machines, and for those behind a proxy; on this one copying is cheaper."""
    kind = response.headers.get("Content-Type", "")
    if (
        response.status_code != 200
        or not kind.startswith(_COMPRESSED)
        or isinstance(response.response, FileBody)
        or "Content-Disposition" in response.headers
        or "Content-Encoding" in response.headers
    ):
        return
    response.vary.add("Accept-Encoding")
    if (
        not _MIN_COMPRESSED_BYTES <= (response.content_length or 0) <= _MAX_BODY_BYTES
        or not request.headers.get("Accept-Encoding")
        or _is_near()
        or not request.accept_encodings.quality("gzip")
    ):
        return
    data = await response.get_data(as_text=False)
    response.set_data(await asyncio.to_thread(gzip.compress, data, 5))
    response.headers["Content-Encoding"] = "gzip"
    tag, _ = response.get_etag()
    if tag:
        response.set_etag(tag, weak=True)  # the bytes are others


def _is_near() -> bool:
    """Whether an answer goes to a program of this machine that passes it on to nobody, as far as can be seen."""
    address = request.remote_addr or ""
    return (is_loopback(address) or address == "<local>") and not any(name in request.headers for name in _FORWARDED)


async def _refused(error: RequestError) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if error.status == 503:
        headers["Retry-After"] = "1"
    if error.status == 416:
        headers["Content-Range"] = f"bytes */{error.details['size']}"
    return json_response(error_answer(error), error.status, headers)


async def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    texts = {
        404: f"no such address: {_path()[:200]!r}; openapi.json lists them all",
        405: f"{_method()} is not possible here; openapi.json lists what is",
        408: f"the body did not come within {_BODY_SECONDS} s",
        413: f"the body is too large: at most {_MAX_BODY_BYTES} bytes, {1 << 23} for a chunk of a checkpoint",
    }
    response = json_response({"error": texts.get(status) or f"{error.name}: {error.description}"}, status)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "content-range", "location"):
            response.headers[name] = value
    return response


async def _failed(error: Exception) -> Response:
    if isinstance(error, OSError | MemoryError):
        return await _refused(cannot_read(error))
    _LOG.exception("an answer failed path=%r", _path())
    return json_response({"error": "the board failed to answer this; its log says why"}, 500)


def _path() -> str:
    return request.path if has_request_context() else websocket.path


def _method() -> str:
    return request.method if has_request_context() else "a WebSocket"


# -- the page, and what tells how the server is -----------------------------------------------------------------------


async def _page() -> Response:
    index = await current_app.extensions["page"].get("index.html")
    if index is not None:
        return await _static(index)
    board().access.require("read", request.headers)
    rows = "".join(map(_plain_row, msgspec.json.decode(await board().listed())))
    return Response(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs</title><h1>Runs</h1><ul>{rows}</ul>'
        "<p>The page was not built into this installation; install it where Node.js is at hand.</p></html>",
        content_type="text/html; charset=utf-8",
    )


def _plain_row(run: dict[str, Any]) -> str:
    run_id = html.escape(run["grid_search_id"])
    words = html.escape(f"{run['name'] or ''} {run['status']}")
    return (
        f'<li><a href="grid_searches/{run_id}">{run_id}</a> {words} · '
        f'<a href="grid_searches/{run_id}/experiments">experiments</a> · '
        f'<a href="grid_searches/{run_id}/scores?format=csv">scores.csv</a></li>'
    )


async def _asset(name: str) -> Response:
    path = safe_join("assets", name)
    found = None if path is None else await current_app.extensions["page"].get(path)
    if found is None:
        raise NotFound(f"no such file of the page: {name[:140]!r}")
    response = await _static(found)
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"  # their names hold a hash
    return response


async def _static(file: PageFile) -> Response:
    """Send a file of the page, packed wherever that is taken: it is packed already."""
    response = Response(file.data, content_type=file.kind)
    if file.packed is not None:
        response.vary.add("Accept-Encoding")
        if request.accept_encodings.quality("gzip"):
            response.set_data(file.packed)
            response.headers["Content-Encoding"] = "gzip"
    response.set_etag(file.tag, weak=file.packed is not None)
    return await response.make_conditional(request)


async def _healthz() -> Response:
    return json_response({"status": "closing" if board().closing.is_set() else "ok"})


async def _metrics() -> Response:
    return Response(generate_latest(board().metrics), content_type=CONTENT_TYPE_LATEST)


async def _openapi() -> Response:
    return json_response(msgspec.Raw(_openapi_text()))


@functools.cache
def _openapi_text() -> bytes:
    return msgspec.json.encode(document())


async def _session() -> Response:
    access = board().access
    if request.method in ("GET", "HEAD"):
        role = access.role(request.headers)
        body = {"read": role is not None, "write": role == "write", "token_required": not access.is_open}
        return json_response(body)
    if request.method == "DELETE":
        access.close_session(access.session_of(request.headers))
        response = json_response({})
        response.delete_cookie(access.cookie, path=_cookie_path())
        return response
    try:
        given = msgspec.json.decode(await _short_body(), type=dict[str, str])["token"]
    except (KeyError, ValueError, RecursionError) as error:
        raise WrongRequest('a token is expected: {"token": "…"}') from error
    try:
        session = access.open_session(given)
    except Unauthorized:  # each waits for itself: who has the token waits for nobody's guesses
        await asyncio.sleep(_GUESS_SECONDS)
        raise
    response = json_response({"write": access.role_of_token(given) == "write"}, 201)
    secure = request.scheme == "https" or request.headers.get("X-Forwarded-Proto") == "https"
    response.set_cookie(access.cookie, session, httponly=True, samesite="Strict", secure=secure, path=_cookie_path())
    return response


async def _short_body() -> bytes:
    """Read a body that anybody may send, without keeping more of it than it may have, or waiting long for it."""
    data, now = b"", asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(max(began_at(request.scope, now) + _SESSION_SECONDS, now)):
            async for part in request.body:
                data += part
                if len(data) > _MAX_SESSION_BYTES:
                    raise TooLarge(f"at most {_MAX_SESSION_BYTES} bytes are expected")
    except TimeoutError as error:
        raise TooSlow(f"the body did not come within {_SESSION_SECONDS} s") from error
    return data


def _cookie_path() -> str:
    """Return under which path a proxy says that it serves this board."""
    prefix = request.headers.get("X-Forwarded-Prefix", "")
    return prefix if re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/?", prefix) else "/"

"""What is refused before the application hears of it, in the application's own words, for a tenth of the time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote_to_bytes

import msgspec
from werkzeug.datastructures import Headers

from board_server.auth import Access
from board_server.errors import RequestError, TooSlow, Unauthorized
from board_server.held import HELD_SECONDS, head_of, is_head_too_large
from board_server.live import error_answer

_REQUEST = re.compile(rb"([A-Z]{1,16}) ([!-~]+) HTTP/1\.[01]\r?\n")
_REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 408: "Request Timeout", 431: "Too Large"}
# A header that goes on in a further line is for the application to read.
_FOLDED = re.compile(rb"\n[ \t]")
_FIELD = re.compile(rb"\n(origin|host|upgrade|authorization|cookie)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)


class Refusals:
    """Says what is answered at once to those who show no token where one is needed.

    Args:
        access: who may do what.
        headers: what every answer has.
        told: is called with the method and the status of each.
        dated: returns what every answer has that changes.
    """

    def __init__(
        self,
        access: Access,
        headers: dict[str, str],
        told: Callable[[str, int], None],
        dated: Callable[[], Iterable[tuple[bytes, bytes]]],
    ):
        self._access, self._headers, self._told, self._dated = access, headers, told, dated

    def __call__(self, data: bytes, is_late: bool = False) -> bytes | None:
        """Return the whole answer to what was said without a token; None where the application is to answer.

        Args:
            is_late: whether its body did not come in time.
        """
        head = None if is_head_too_large(data) else head_of(data)
        if head is None:
            return self._answer("other", 400 if data[:1] <= b" " else 431, b"", {})
        request = _REQUEST.match(head)
        if self._access.is_open or request is None or _FOLDED.search(head):
            return None
        method, path = request[1].decode(), unquote_to_bytes(request[2].partition(b"?")[0]).decode(errors="replace")
        if method == "OPTIONS" or self._access.is_for_all(path):
            if not is_late:
                return None
            late = TooSlow(f"the body did not come within {HELD_SECONDS:g} s")
            return self._answer(method, late.status, msgspec.json.encode(error_answer(late)), {})
        fields = Headers([(name.decode(), value.decode("latin-1").strip()) for name, value in _FIELD.findall(head)])
        origin = fields.get("Origin")
        if origin is not None and self._access.is_allowed_origin(origin):
            return None  # the page there is to be able to read the answer
        try:
            if method not in ("GET", "HEAD") or "Upgrade" in fields:
                self._access.check_origin(origin, fields.get("Host"))
            self._access.require("read", fields)
        except RequestError as error:
            more = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}
            return self._answer(method, error.status, msgspec.json.encode(error_answer(error)), more)
        return None

    def _answer(self, method: str, status: int, body: bytes, more: dict[str, str]) -> bytes:
        self._told(method, status)
        lines = [f"HTTP/1.1 {status} {_REASONS[status]}", f"content-length: {len(body)}", "connection: close"]
        if body:
            lines.append("content-type: application/json")
        lines += [f"{name.lower()}: {value}" for name, value in {**self._headers, **more}.items()]
        lines += [f"{name.decode()}: {value.decode()}" for name, value in self._dated()]
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else body)

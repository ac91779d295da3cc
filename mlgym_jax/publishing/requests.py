"""Requests to a board over one connection that stays open, and what its refusals mean."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mlgym_jax.publishing.address import TOKEN_VARIABLE, Address

_TIMEOUT_SECONDS = 30.0
_MAX_ANSWER_BYTES = 1 << 26


class Refused(Exception):
    """The board answered, and will not do it; `str(error)` says why in its words."""

    def __init__(self, status: int, message: str):
        self.status = status
        super().__init__(message)


class Answer(NamedTuple):
    """A board's answer: the status, its headers in lower case, its JSON ({} where it is none)."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Requests:
    """A client of one board for one thread."""

    def __init__(self, address: Address):
        self._address = address
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request and return the answer, whatever it is.

        Raises:
            OSError, http.client.HTTPException: the board cannot be reached, or ended the connection.
        """
        for is_last in (False, True):
            is_new = self._connection is None
            try:
                return self._send_once(method, path, body, headers)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A connection that was idle may have been closed meanwhile; every request here may be sent again.
                self.close()
                if is_new or is_last:
                    raise
            except BaseException:
                self.close()
                raise
        raise AssertionError

    def _send_once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        kind = {} if body is None else {"Content-Type": "application/octet-stream"}
        self._connection.request(method, path, body, {**kind, **self._address.headers, **(headers or {})})
        with self._connection.getresponse() as response:
            text = response.read(_MAX_ANSWER_BYTES)
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, parsed(text))

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._address.url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        host, port = self._address.host, parts.port or (443 if secure else 80)
        proxy = None if self._address.is_loopback else urllib.request.getproxies().get("https" if secure else "http")
        if not proxy or urllib.request.proxy_bypass(f"{host}:{port}"):
            return kind(host, port, timeout=_TIMEOUT_SECONDS)
        through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        # A tunnel for plain http, too: so the request and its path are the same with a proxy and without.
        connection = kind(through.hostname or "", through.port or 80, timeout=_TIMEOUT_SECONDS)
        connection.set_tunnel(host, port)
        return connection


def parsed(text: bytes) -> Any:
    """Return JSON, or {} for anything else, such as a proxy's page."""
    try:
        return json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}


def refusal(answer: Answer, address: Address) -> Refused:
    """Explain an answer that is not what was asked for."""
    status, headers, body = answer
    said = body.get("error") if isinstance(body, dict) else None
    words = f"it answers {status}" + (f": {' '.join(str(said).split())[:500]}" if said else "")
    if status in (401, 403):
        given = f"the token of {TOKEN_VARIABLE} or --board_token_file"
        words += f". Check {given}" if address.token else f". Set {given}"
    elif 300 <= status < 400:
        words += f" and points to {headers.get('location', 'nowhere')[:200]}; give the board that is there as --board"
    elif status == 404 and not said:
        words += "; is this a board's URL?"
    return Refused(status, words)

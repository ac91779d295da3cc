"""Who may read, who may write: tokens, sessions of the page, and where a browser's request comes from."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from board_server.errors import Forbidden, Unauthorized

Role = Literal["read", "write"]
_FOR_ALL = ("/", "/healthz", "/session", "/openapi.json")  # and the page, which holds nothing of any run
_SESSION_SECONDS = 30 * 24 * 3600
_MAX_CLOSED = 10_000
_SLOW: dict[str, Any] = {"salt": b"mlgym_board session", "n": 1 << 14, "r": 8, "p": 1}


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, whoever asks: `localhost` or an address such as 127.0.0.1 or ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass
class Access:
    """The tokens of a server, and the sessions that were opened with them.

    Args:
        token: reads and writes; read_token: reads. Without either everybody on this machine may do everything.
        allowed_origins: other origins (`https://example.org`) whose pages may ask; `*` for all.
        hosts: names besides loopback ones under which an open server answers.
        framed_by: sources, in the words of a Content-Security-Policy, whose pages may show the board in a frame.
    """

    token: str | None = None
    read_token: str | None = None
    allowed_origins: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    framed_by: tuple[str, ...] = ()
    cookie: str = "mlgym_board"  # cookies do not tell ports apart: servers of one machine need names of their own
    _closed: dict[str, float] = field(default_factory=dict, repr=False)  # sessions, and when they would have ended

    @property
    def is_open(self) -> bool:
        return self.token is None and self.read_token is None

    def is_for_all(self, path: str) -> bool:
        """Whether a path is answered to who shows no token, too."""
        return self.is_open or path in _FOR_ALL or path.startswith("/assets/")

    @property
    def frame_ancestors(self) -> str:
        return " ".join(self.framed_by) or "'none'"

    def role_of_token(self, token: str) -> Role | None:
        found: Role | None = None
        for role, known in (("read", self.read_token), ("write", self.token)):
            if known is not None and hmac.compare_digest(token.encode(), known.encode()):
                found = role  # type: ignore[assignment]
        return found

    def role(self, headers: Headers, cookies: Mapping[str, str] | None = None) -> Role | None:
        """Return what a request may do; None where it has no valid token or session.

        Args:
            cookies: by their names; without them the board's own is looked for in the headers.
        """
        if self.is_open:
            return "write"
        kind, _, token = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.role_of_token(token.strip())
        return self._role_of_session(self.session_of(headers) if cookies is None else cookies.get(self.cookie, ""))

    def session_of(self, headers: Headers) -> str:
        """Return the session that a request shows; of its other cookies, which may be thousands, none is looked at."""
        said = ";".join(headers.getlist("Cookie"))
        found = (
            re.search(rf"(?:^|;)[ \t]*{re.escape(self.cookie)}[ \t]*=([^;]*)", said) if self.cookie in said else None
        )
        return found[1].strip().strip('"') if found else ""

    def require(self, wanted: Role, headers: Headers) -> None:
        """Let a request pass that may do this.

        Raises:
            Unauthorized: no token, or a wrong one; Forbidden: a token for reading.
        """
        role = self.role(headers)
        if role is None:
            given = (
                "that token is not one of this board's" if "Authorization" in headers else "this board wants a token"
            )
            raise Unauthorized(f"{given}; send it as the header 'Authorization: Bearer TOKEN', or sign in on the page")
        if wanted == "write" and role != "write":
            raise Forbidden("this token may read only; writing needs the one that the board was given as --token")

    # -- sessions: what a cookie says of itself, sealed with a key that is made of the token, so that they outlive a
    #    server that is restarted with the same token, and end with it

    def open_session(self, token: str) -> str:
        """Return a new session for a token.

        Raises:
            Unauthorized: a wrong token.
        """
        role = self.role_of_token(token)
        if role is None:
            raise Unauthorized("that token is not one of this board's")
        said = f"{int(time.time()) + _SESSION_SECONDS}.{secrets.token_urlsafe(12)}"
        return f"{said}.{_seal(self._keys[role], said)}"

    def close_session(self, session: str) -> None:
        """Let a session end, until this server does: who signs out drops the cookie, too."""
        now, expires = time.time(), self._expires(session)
        if expires > now and self._role_of_session(session) is not None:
            self._closed = {one: until for one, until in self._closed.items() if until > now}
            while len(self._closed) >= _MAX_CLOSED:
                del self._closed[next(iter(self._closed))]
            self._closed[session] = expires

    @functools.cached_property
    def _keys(self) -> dict[Role, bytes]:
        """The keys of the tokens' sessions: slow to make, so that no cookie tells a token to who tries many."""
        tokens: tuple[tuple[Role, str | None], ...] = (("write", self.token), ("read", self.read_token))
        return {role: hashlib.scrypt(token.encode(), **_SLOW) for role, token in tokens if token is not None}

    def _role_of_session(self, session: str) -> Role | None:
        if self._expires(session) <= time.time() or session in self._closed:
            return None
        said, _, seal = session.rpartition(".")
        for role, key in self._keys.items():
            if hmac.compare_digest(seal.encode(), _seal(key, said).encode()):
                return role
        return None

    @staticmethod
    def _expires(session: str) -> int:
        match = re.fullmatch(r"([0-9]{1,12})\.[A-Za-z0-9_-]{16}\.[A-Za-z0-9_-]{43}", session)
        return int(match[1]) if match else 0

    # -- browsers --------------------------------------------------------------------------------------------------

    def check_host(self, host: str | None) -> None:
        """Refuse names that a foreign page may have pointed at this machine (DNS rebinding); an open server only.

        Args:
            host: None where a request has no such header, as of HTTP/1.0: no browser sends one.

        Raises:
            Forbidden: a name that is not this machine's.
        """
        name = "localhost" if host is None else _host_name(host)
        if self.is_open and not is_loopback(name) and name not in self.hosts:
            raise Forbidden(
                f"Host {(host or '')[:100]!r} is not a name of this machine; "
                "a board that is reached by others needs --token"
            )

    def is_allowed_origin(self, origin: str) -> bool:
        return "*" in self.allowed_origins or origin in self.allowed_origins

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """Refuse what another site's page sends; programs send no Origin.

        Raises:
            Forbidden: an origin that is neither this server nor allowed.
        """
        if origin is None or self.is_allowed_origin(origin):
            return
        try:
            same = (
                bool(host)
                and urlsplit(origin).netloc.lower() == str(host).lower()
                and origin.startswith(("http://", "https://"))
            )
        except ValueError:
            same = False
        if not same:
            is_site = origin.startswith(("http://", "https://"))  # and no file or sandbox, whose origin is "null"
            way = (
                f"allow it by --cors_allowed_origins={origin[:100]}"
                if is_site
                else "only pages of sites can be allowed to"
            )
            raise Forbidden(f"Origin {origin[:100]!r} may not ask this board; {way}")


def _seal(key: bytes, said: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, said.encode(), "sha256")).decode().rstrip("=")


def _host_name(host: str) -> str:
    """Return the name in a Host header, which has nothing but a name and a port (RFC 9110, section 7.2)."""
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{0,5})?", host.lower())
    return match[1].strip("[]") if match else ""

"""Who may read, who may write: tokens, sessions of the page, and where a browser's request comes from."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from board_server.errors import Forbidden, Unauthorized

Role = Literal["read", "write"]
_SESSION_SECONDS = 30 * 24 * 3600
_MAX_SESSIONS = 1_000


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
    """

    token: str | None = None
    read_token: str | None = None
    allowed_origins: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    # Cookies do not tell ports apart, so each server has one of its own.
    cookie: str = field(default_factory=lambda: f"mlgym_board_{secrets.token_hex(4)}")
    _sessions: dict[bytes, tuple[Role, float]] = field(default_factory=dict, repr=False)

    @property
    def is_open(self) -> bool:
        return self.token is None and self.read_token is None

    def role_of_token(self, token: str) -> Role | None:
        found: Role | None = None
        for role, known in (("read", self.read_token), ("write", self.token)):
            if known is not None and hmac.compare_digest(token.encode(), known.encode()):
                found = role  # type: ignore[assignment]
        return found

    def role(self, headers: Headers, cookies: Mapping[str, str]) -> Role | None:
        """Return what a request may do; None where it has no valid token or session."""
        if self.is_open:
            return "write"
        kind, _, token = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.role_of_token(token.strip())
        session = cookies.get(self.cookie)
        if session is None:
            return None
        role, expires = self._sessions.get(_digest(session), (None, 0.0))
        return role if expires > time.monotonic() else None

    def require(self, wanted: Role, headers: Headers, cookies: Mapping[str, str]) -> None:
        """Let a request pass that may do this.

        Raises:
            Unauthorized: no token, or a wrong one; Forbidden: a token for reading.
        """
        role = self.role(headers, cookies)
        if role is None:
            given = (
                "that token is not one of this board's" if "Authorization" in headers else "this board wants a token"
            )
            raise Unauthorized(f"{given}; send it as the header 'Authorization: Bearer TOKEN', or sign in on the page")
        if wanted == "write" and role != "write":
            raise Forbidden("this token may read only; writing needs the one that the board was given as --token")

    def open_session(self, token: str) -> str:
        """Return a new session for a token.

        Raises:
            Unauthorized: a wrong token.
        """
        role = self.role_of_token(token)
        if role is None:
            raise Unauthorized("that token is not one of this board's")
        now = time.monotonic()
        self._sessions = {key: one for key, one in self._sessions.items() if one[1] > now}
        while len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = secrets.token_urlsafe(32)
        self._sessions[_digest(session)] = role, now + _SESSION_SECONDS
        return session

    def close_session(self, session: str) -> None:
        self._sessions.pop(_digest(session), None)

    # -- browsers --------------------------------------------------------------------------------------------------

    def check_host(self, host: str) -> None:
        """Refuse names that a foreign page may have pointed at this machine (DNS rebinding); an open server only.

        Raises:
            Forbidden: a name that is not this machine's.
        """
        name = _host_name(host)
        if self.is_open and not is_loopback(name) and name not in self.hosts:
            raise Forbidden(
                f"Host {host[:100]!r} is not a name of this machine; a board that is reached by others needs --token"
            )

    def is_allowed_origin(self, origin: str) -> bool:
        return "*" in self.allowed_origins or origin in self.allowed_origins

    def check_origin(self, origin: str | None, host: str) -> None:
        """Refuse what another site's page sends; programs send no Origin.

        Raises:
            Forbidden: an origin that is neither this server nor allowed.
        """
        if origin is None or self.is_allowed_origin(origin):
            return
        try:
            same = urlsplit(origin).netloc.lower() == host.lower() and origin.startswith(("http://", "https://"))
        except ValueError:
            same = False
        if not same:
            raise Forbidden(
                f"Origin {origin[:100]!r} may not ask this board; allow it by --cors_allowed_origins={origin[:100]}"
            )


def _digest(session: str) -> bytes:
    return hashlib.sha256(session.encode()).digest()


def _host_name(host: str) -> str:
    """Return the name in a Host header, which has nothing but a name and a port (RFC 9110, section 7.2)."""
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{0,5})?", host.lower())
    return match[1].strip("[]") if match else ""

"""Where boards are, and how a program shows that it may write there."""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import os
import re
import shlex
from collections.abc import Sequence
from urllib.parse import quote, urlsplit, urlunsplit

from mlgym_jax.errors import MlgymError

TOKEN_VARIABLE = "MLGYM_JAX_BOARD_TOKEN"
WAIT_VARIABLE = "MLGYM_JAX_BOARD_WAIT_SECONDS"
_WAIT_SECONDS = 10.0
_SECURE = {"http": "ws", "https": "wss"}


@dataclasses.dataclass(frozen=True)
class Address:
    """A board: `url` is http or https, ends with a slash and holds no secret."""

    url: str
    token: str | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, token: str | None = None) -> Address:
        """Read what a user wrote.

        Raises:
            MlgymError: it is no address of a board; the message says what to type, and repeats no secret.
        """
        text = text.strip()
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise MlgymError(f"--board: no URL: {error}; write it as http://HOST:PORT") from None
        if not text or re.search(r"[\s\x00-\x1f\x7f\\]", text):
            raise MlgymError(f"--board={text!r}: a URL is expected; write it as http://HOST:PORT")
        if "@" in parts.netloc or parts.query:
            bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
            what = "a user or password" if "@" in parts.netloc else "a query"
            raise MlgymError(
                f"--board: the URL holds {what}, and URLs end up in logs. Write --board={bare} and put the token into "
                f"the environment variable {TOKEN_VARIABLE}, or into a file that --board_token_file names"
            )
        if parts.scheme in ("ws", "wss"):
            scheme = "https" if parts.scheme == "wss" else "http"
            raise MlgymError(f"--board={text}: write {urlunsplit((scheme, *parts[1:3], '', ''))}, the board's own URL")
        if "://" not in text:
            raise MlgymError(f"--board={text}: the scheme is missing; write http://{text.lstrip('/')}, or https://…")
        if parts.scheme not in _SECURE:
            raise MlgymError(f"--board={text}: http or https is expected, not {parts.scheme}; write http://HOST:PORT")
        if not host or port == 0:
            raise MlgymError(f"--board={text}: no host or port; write it as http://HOST:PORT")
        if parts.fragment:
            raise MlgymError(f"--board={text}: leave out what follows the #; write {text.partition('#')[0]}")
        return cls(urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + "/", "", "")), token)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        """Whether the board is on this machine, so that no proxy stands between."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def page(self, run_id: str) -> str:
        """Return where people watch the run."""
        return f"{self.url}#/runs/{run_id}"

    def publish_socket(self, run_id: str) -> str:
        scheme, _, rest = self.url.partition("://")
        return f"{_SECURE[scheme]}://{rest}ws/publish?grid_search_id={quote(run_id, safe='')}"

    def path(self, *words: object) -> str:
        """Return the path of a resource, behind the board's own prefix."""
        return urlsplit(self.url).path + "/".join(quote(str(word), safe="") for word in words)


@dataclasses.dataclass(frozen=True)
class Boards:
    """The boards that a run is published to.

    Attributes:
        addresses: where they are; none publishes nothing.
        wait_seconds: how long the end of a run waits for what is unsent.
        quiet: say only what went wrong.
        token_file: as it was given, for the command that sends the rest.
    """

    addresses: tuple[Address, ...] = ()
    wait_seconds: float = _WAIT_SECONDS
    quiet: bool = False
    token_file: str | None = None

    @classmethod
    def at(
        cls, board: str | Sequence[str] | Boards | None, *, token_file: str | None = None, quiet: bool = False
    ) -> Boards:
        """Read what the option `board` was given: one URL, several (also with commas between them), or nothing.

        Raises:
            MlgymError: what is no URL of a board, a token file that cannot be read, a wrong setting.
        """
        if isinstance(board, Boards):
            return board
        listed = [board] if isinstance(board, str) else list(board or ())
        if not all(isinstance(item, str) for item in listed):
            raise MlgymError(f"board: a URL or several are expected, found {board!r}; write http://HOST:PORT")
        texts = [text for item in listed for text in item.split(",")]
        if token_file is not None and not texts:
            raise MlgymError("--board_token_file is given, but no --board=URL")
        token = _token(token_file) if texts else None
        addresses = tuple(dict.fromkeys(Address.parse(text, token) for text in texts))
        return cls(addresses, _wait_seconds() if texts else _WAIT_SECONDS, quiet, token_file)

    def command(self, run_dir: str, address: Address) -> str:
        """Return the command that sends what a board lacks."""
        words = ["python", "-m", "mlgym_jax.publish", run_dir, f"--board={address.url}"]
        return shlex.join(words + [f"--board_token_file={self.token_file}"] * (self.token_file is not None))


def _token(token_file: str | None) -> str | None:
    if token_file is None:
        token, source = os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
    else:
        source = f"--board_token_file={token_file}"
        try:
            with open(token_file, encoding="utf-8") as file:
                token = file.read(4096)
        except (OSError, ValueError) as error:
            raise MlgymError(f"{source}: cannot be read: {error}") from error
    token = token.strip()
    if not token and token_file is not None:
        raise MlgymError(f"{source}: the file is empty; write the board's token into it")
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise MlgymError(f"{source}: a token is one word of printable ASCII characters")
    return token or None


def _wait_seconds() -> float:
    text = os.environ.get(WAIT_VARIABLE)
    if text is None:
        return _WAIT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 86_400:
        raise MlgymError(f"{WAIT_VARIABLE}={text}: seconds from 0 to 86400 are expected; {_WAIT_SECONDS:g} by default")
    return seconds

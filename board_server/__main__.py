"""Serve the board of a folder of runs.

python -m board_server [--event_storage=DIR] [--host=127.0.0.1] [--port=8080] [--token=…]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gc
import json
import logging
import math
import os
import re
import resource
import secrets
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

from hypercorn.config import Config

from board_server.alerting import Alerts, alerts_alive
from board_server.app import create_app, headers_of
from board_server.auth import Access, is_loopback
from board_server.connections import serve
from board_server.live import MAX_FRAME_BYTES
from board_server.refusals import Refusals
from board_server.store import Store
from mlgym_jax.errors import MlgymError, as_data, nearest
from mlgym_jax.events.alert_conditions import WEBHOOK_VARIABLE, conditions_of, host_of

_TOKEN_VARIABLES = {"token": "MLGYM_BOARD_TOKEN", "read_token": "MLGYM_BOARD_READ_TOKEN"}

# What a Content-Security-Policy calls sites: any port as `:*`, names below one as `*.`; and what VS Code is made of.
_FRAMING = r"https?://(\*\.)?([A-Za-z0-9-]+\.)*[A-Za-z0-9-]+(:(\d{1,5}|\*))?|vscode-(webview|file):"

_MIN_FILES = 4096  # so many may be open, where the system allows it: 1,000 WebSockets, idle connections, logs

_MIN_TOKEN, _MIN_GUARDED = 8, 4  # characters; the fewer are let through with a warning where only this machine connects
_COMPLAINT_SECONDS = 60.0
_BACKLOG = 4_096  # connections that wait to be accepted; one more is asked to come again in a second, or in three

# A thread that has waited for a file waits so long for a busy event loop; Python's 5 ms add up, one for each file.
_SWITCH_SECONDS = 0.0005

# A peer whose machine went away is noticed by the system within about a minute (seconds; the last one milliseconds).
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}


class _WrongOption(MlgymError):
    """An option that cannot be; the message says what can."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        said, _, words = message.partition(": ")
        if said == "unrecognized arguments" and words.startswith("-"):
            name = words.split()[0].partition("=")[0]
            options = [word for action in self._actions for word in action.option_strings if word.startswith("--")]
            message = f"unknown option {name}{nearest(name, options).rstrip('.?')}"
        raise _WrongOption(f"{message}; see python -m board_server --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m board_server",
        allow_abbrev=False,
        description="Show the runs of a folder, live, and take in those of other machines.",
        epilog="Exit status: 0 ended by Ctrl-C or SIGTERM, 2 the request was wrong.",
    )
    parser.add_argument("--event_storage", metavar="DIR", default="event_storage", help="the folder of runs")
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on; others than this machine need --token"
    )
    parser.add_argument("--port", type=int, default=8080, help="the port; 0 takes a free one")
    parser.add_argument("--token", help=f"what reads and writes; better given as {_TOKEN_VARIABLES['token']}")
    parser.add_argument("--read_token", help=f"what reads only; or {_TOKEN_VARIABLES['read_token']}")
    parser.add_argument("--cors_allowed_origins", default="", metavar="URL,URL", help="other sites whose pages may ask")
    parser.add_argument(
        "--frame_ancestors",
        default="",
        metavar="URL,URL",
        help="other sites whose pages may show the board in a frame, such as http://localhost:8888; none by default",
    )
    parser.add_argument(
        "--alerts", metavar="WHAT", help="tell of these: finished,failed,diverged,lost,'better:val/accuracy>0.97'"
    )
    parser.add_argument(
        "--webhook", metavar="URL", help=f"post alerts there; better given as {WEBHOOK_VARIABLE}; else they are logged"
    )
    parser.add_argument("--end_with_stdin", action="store_true", help="end when the standard input does")
    parser.add_argument("--log_level", default="info", choices=("debug", "info", "warning"), help="debug logs requests")
    parser.add_argument("--json", action="store_true", help="say where it is as a line of JSON, and errors, too")
    return parser


def _access(options: argparse.Namespace) -> Access:
    tokens = {}
    for name, variable in _TOKEN_VARIABLES.items():
        given = getattr(options, name)
        tokens[name] = given if given is not None else os.environ.get(variable)
        if tokens[name] is not None and not re.fullmatch(r"[\x21-\x7e]{1,512}", tokens[name]):
            raise _WrongOption(f"--{name}: {_MIN_TOKEN} to 512 printable ASCII characters without spaces are expected")
        length = _MIN_TOKEN if tokens[name] is None else len(tokens[name])
        if length < (_MIN_GUARDED if is_loopback(options.host) else _MIN_TOKEN):
            raise _WrongOption(
                f"--{name}: found {length} characters, which are soon guessed; at least {_MIN_TOKEN} are "
                f"expected, printable ASCII without spaces, such as {secrets.token_urlsafe(32)}"
            )
        if length < _MIN_TOKEN:
            print(
                f"warning: --{name}: {length} characters are soon guessed; take {_MIN_TOKEN} or more", file=sys.stderr
            )
    if tokens["token"] is not None and tokens["token"] == tokens["read_token"]:
        raise _WrongOption("--read_token: it is the same as --token, so it would write, too; give another one")
    origins = [origin.strip().rstrip("/") for origin in options.cors_allowed_origins.split(",") if origin.strip()]
    for origin in origins:
        parts = urlsplit(origin)
        if origin != "*" and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query):
            raise _WrongOption(f"--cors_allowed_origins: {origin!r} is no origin; write it like https://example.org")
    framed_by = tuple(site.strip() for site in options.frame_ancestors.split(",") if site.strip())
    for site in framed_by:
        if not re.fullmatch(_FRAMING, site):
            raise _WrongOption(f"--frame_ancestors: {site[:100]!r} is no site; write it like http://localhost:8888")
    if not is_loopback(options.host) and tokens["token"] is None:
        raise _WrongOption(
            f"--host={options.host} can be reached by others, so the board needs a token: "
            f"set {_TOKEN_VARIABLES['token']}, or --token=…, or leave --host out"
        )
    return Access(
        **tokens, allowed_origins=frozenset(origins), hosts=frozenset({options.host.lower()}), framed_by=framed_by
    )


def _alerts(options: argparse.Namespace) -> Alerts | None:
    """Return what is to be told, and where; only `--alerts` asks for it."""
    if options.alerts is None:
        if options.webhook is not None:
            raise _WrongOption("--webhook: it is not said of what to tell; write --alerts=lost,failed,finished with it")
        return None
    conditions_of(options.alerts, "--alerts")
    option = "--webhook" if options.webhook is not None else WEBHOOK_VARIABLE
    url = (os.environ.get(WEBHOOK_VARIABLE, "") if options.webhook is None else options.webhook).strip()
    if url or options.webhook is not None:
        host_of(url, option)
    return Alerts(options.event_storage, options.alerts, url)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise _WrongOption(f"--port={port}: a number from 0 to 65535 is expected")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        listening.bind(address)
        listening.listen(_BACKLOG)  # who connects as soon as the URL is printed waits for an answer
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        hint = f"; another program has it, so choose another one, such as --port={port + 1}" if is_taken else ""
        raise _WrongOption(f"--host={host} --port={port}: {error.strerror}{hint}") from error
    listening.setblocking(False)
    return listening


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _MIN_FILES:
        wanted = _MIN_FILES if hard < 0 else min(_MIN_FILES, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _store(folder: str) -> Store:
    if not folder or (os.path.exists(folder) and not os.path.isdir(folder)):
        raise _WrongOption(f"--event_storage={folder}: it is no folder; name the one that holds the runs")
    return Store(folder)


class _Complaints:
    """What asyncio has to say of connections and files: one line a kind and minute, not a traceback for each."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, asyncio.CancelledError):
            return  # a connection that was cut off when the board ended
        if not isinstance(error, OSError):
            loop.default_exception_handler(context)
            return
        what, now = f"{context.get('message')}: {error.strerror or error}", time.monotonic()
        if now - self._said.get(what, -math.inf) >= _COMPLAINT_SECONDS:
            self._said[what] = now
            logging.getLogger("board_server").warning("%s (said once a minute)", what)


def _when_stdin_ends(end: Callable[[], None]) -> None:
    """Call `end` when nobody holds the other end of the standard input any more: who did may have been killed."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(0, 1 << 16):
            loop.remove_reader(0)
            end()

    loop.add_reader(0, read)


def _check_stdin() -> None:
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # closed
        mode = 0
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(0)):
        raise _WrongOption("--end_with_stdin: the standard input is neither a pipe nor a terminal, so it has no end")


async def _serve(
    store: Store, access: Access, listening: socket.socket, alerts: Alerts | None, options: argparse.Namespace
) -> None:
    host, port = listening.getsockname()[:2]
    access.cookie = f"mlgym_board_{port}"
    app, ended = create_app(store, access), asyncio.Event()
    closing = app.extensions["board"].closing
    asyncio.get_running_loop().set_exception_handler(_Complaints())

    def end() -> None:
        closing.set()
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    if options.end_with_stdin:
        _when_stdin_ends(end)
    name = f"[{host}]" if ":" in host else host
    url, is_there = f"http://{name}:{port}/", os.path.isdir(store.folder)
    if options.json:
        print(json.dumps({"url": url, "event_storage": str(store.folder), "is_there": is_there}), flush=True)
    else:
        print(f"board: {url} shows {store.folder}{'' if is_there else ', which is not there yet'}", flush=True)
    config = Config()
    config.websocket_max_message_size = MAX_FRAME_BYTES
    config.h11_max_incomplete_size = 1 << 16
    config.keep_alive_timeout = 10  # so long a connection may wait for a request
    config.include_server_header = False
    config.graceful_timeout = 5.0
    config.errorlog = logging.getLogger("board_server")
    config.loglevel = "WARNING"
    told = app.extensions["board"].count_request
    refusals = Refusals(access, headers_of(access), told, lambda: config.response_headers("h11"))
    async with alerts_alive(alerts):
        await serve(app, access, config, listening, refusals, ended)


def main() -> int:
    """Serve until the process is asked to end; return the exit status."""
    try:
        options = _parser().parse_args()
        access, alerts = _access(options), _alerts(options)
        if options.end_with_stdin:
            _check_stdin()
        store, listening = _store(options.event_storage), _listen(options.host, options.port)
    except MlgymError as error:
        print(f"error: {error}", file=sys.stderr)
        if "--json" in sys.argv[1:]:
            print(json.dumps({"error": as_data(error)}), flush=True)
        return 2
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
    )
    _allow_many_files()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()  # what was imported is not looked at again for garbage, which would take up to 0.2 s
    asyncio.run(_serve(store, access, listening, alerts, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())

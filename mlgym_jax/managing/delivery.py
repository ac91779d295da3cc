"""Alerts on their way: a webhook and a command, each with a thread of its own, so that nothing waits for them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from mlgym_jax.events.alert_conditions import host_of
from mlgym_jax.managing.words import brief
from mlgym_jax.publishing.address import Address

DEADLINE_SECONDS = 5.0  # of a webhook's answer
COMMAND_SECONDS = 30.0
RETRY_AFTER_SECONDS = (1.0, 3.0, 9.0)
_AGAIN = (408, 425, 429)  # besides 5xx
_ENVIRONMENT = "MLGYM_JAX_ALERT"
_MAX_VARIABLE = 8_192  # characters

Message = Mapping[str, Any]


class Undelivered(Exception):
    """An alert was not taken; `again` says whether it may be later."""

    def __init__(self, reason: str, *, again: bool):
        self.again = again
        super().__init__(reason)


class Channel:
    """One way to tell: alerts go in order, a failed one up to three times more, then it is left out.

    What goes wrong is told once, until an alert is taken again; meanwhile each is tried once.

    Args:
        name: what it is called in messages; holds no secret.
        deliver: takes a message, or raises `Undelivered`.
        waiting: what an earlier process left undelivered.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[Message], None],
        waiting: Iterable[Message] = (),
        *,
        pauses: tuple[float, ...] = RETRY_AFTER_SECONDS,
    ):
        self.name, self.num_left_out = name, 0
        self._deliver, self._pauses = deliver, pauses
        self._waiting = list(waiting)
        self._news = threading.Condition()
        self._fails = False
        threading.Thread(target=self._work, name=f"alerts: {name}", daemon=True).start()

    def put(self, message: Message) -> None:
        with self._news:
            self._waiting.append(message)
            self._news.notify_all()

    @property
    def waiting(self) -> list[Message]:
        """Return what is not delivered yet."""
        with self._news:
            return [*self._waiting]

    def finish(self, seconds: float) -> bool:
        """Wait until nothing is under way any more; return whether that is so."""
        with self._news:
            return self._news.wait_for(lambda: not self._waiting, seconds)

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting)
                message = self._waiting[0]
            self._send(message)
            with self._news:
                self._waiting.pop(0)
                self._news.notify_all()

    def _send(self, message: Message) -> None:
        for pause in (*(() if self._fails else self._pauses), None):
            try:
                self._deliver(message)
            except Undelivered as error:
                if error.again and pause is not None:
                    time.sleep(pause)
                    continue
                self.num_left_out += 1
                if not self._fails:
                    self._fails = True
                    print(f"{self.name}: {error}; alerts that it does not take are left out", file=sys.stderr)
                return
            if self._fails:
                self._fails = False
                print(f"{self.name}: it takes alerts again ({self.num_left_out} were left out)", file=sys.stderr)
            return


# --- a webhook -------------------------------------------------------------------------------------------------------


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        return None


def webhook(url: str, option: str) -> tuple[str, Callable[[Message], None]]:
    """Return a webhook's name, which is its host alone, as its path may be a secret, and what posts to it.

    Raises:
        MlgymError: it is no URL of a webhook.
    """
    url = url.strip()
    name = f"webhook {host_of(url, option)}"
    handlers: list[Any] = [_NoRedirects()]
    if Address(url).is_loopback:
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    return name, lambda message: _within(DEADLINE_SECONDS, lambda: _post(opener, url, message))


def _within(seconds: float, ask: Callable[[], None]) -> None:
    """Call `ask` in a thread that nobody waits for longer: names that are not resolved know no timeout."""
    ended: list[BaseException | None] = []

    def work() -> None:
        try:
            ask()
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise Undelivered(f"no answer in {seconds:g} s", again=True)
    if ended[0] is not None:
        raise ended[0]


def _post(opener: urllib.request.OpenerDirector, url: str, message: Message) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "mlgym_jax"}
    request = urllib.request.Request(url, json.dumps(message).encode(), headers, method="POST")
    try:
        opener.open(request, timeout=DEADLINE_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            if 300 <= error.code < 400:
                there = urlsplit(error.headers.get("Location", "")).hostname or "another place"
                raise Undelivered(
                    f"it answers {error.code} and points to {brief(there)}, which is not followed", again=False
                ) from None
            raise Undelivered(f"it answers {error.code}", again=error.code >= 500 or error.code in _AGAIN) from None
    except TimeoutError:
        raise Undelivered(f"no answer in {DEADLINE_SECONDS:g} s", again=True) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Undelivered(f"cannot be reached ({brief(str(reason) or type(error).__name__)})", again=True) from None


# --- a command -------------------------------------------------------------------------------------------------------


def command(line: str) -> Callable[[Message], None]:
    """Return what runs a shell's command line, with the facts in its environment and the message, as JSON, on stdin.

    The line is passed on as it was typed: nothing of a run ever becomes a part of it. After 30 s it is ended, with the
    processes that it started.
    """

    def run(message: Message) -> None:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", line],
                env={**os.environ, **variables(message)},
                stdin=subprocess.PIPE,
                stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise Undelivered(f"cannot be started: {error.strerror}", again=False) from None
        try:
            process.communicate(json.dumps(message).encode(), timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise Undelivered(f"it had not ended after {COMMAND_SECONDS:g} s", again=False) from None
        if process.returncode:
            raise Undelivered(f"exit status {process.returncode}", again=False)

    return run


def _has_file(stream: Any) -> bool:
    try:
        return stream.fileno() >= 0
    except (OSError, ValueError, AttributeError):
        return False


def variables(message: Message) -> dict[str, str]:
    """Return the environment variables of a message: MLGYM_JAX_ALERT, _TEXT, _RUN_ID, and one of each single fact."""
    facts = {name: value for name, value in message["facts"].items() if isinstance(value, str | int | float)}
    named = {"": message["alert"], "_TEXT": message["text"], "_RUN_ID": message["grid_search_id"]}
    named |= {f"_{name.upper()}": value for name, value in facts.items()}
    return {f"{_ENVIRONMENT}{name}": _variable(value) for name, value in named.items()}


def _variable(value: object) -> str:
    return str(value).replace("\x00", "")[:_MAX_VARIABLE].encode("utf-8", "replace").decode()

"""Ctrl-C and termination: signals are noted, and obeyed at safe points, where nothing is half done.

An exception that a signal's handler raises comes up wherever the program happens to be: a callback of garbage
collection or of a weak reference swallows it, a compiler takes it for a failure of the program. So a first signal
raises nothing, and a second one, which does, is remembered for the next safe point, too.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar

from mlgym_jax.errors import DiskError

# The last two are what schedulers send before a time limit, and what a terminal sends that is closed.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
_INSISTING = (signal.SIGINT, signal.SIGTERM)  # a terminal that is closed may send SIGHUP twice
_TOLD = b"\nstopping after this epoch, or whatever else is under way (once more: at once)\n"
_ENDED = b"\nended without waiting; what was recorded is whole, and --resume goes on from it\n"
_INTERRUPTED = 128 + signal.SIGINT
_SHOW_CURSOR = b"\x1b[?25h"
_UNTOLD_SECONDS = 0.5  # so long the main thread may take to run a handler
_INSISTED_SECONDS = 10.0  # and to end in order once a second signal has come

P = ParamSpec("P")
R = TypeVar("R")
_current: Interruption | None = None
_is_watched = False


class Interruption:
    """While this is entered, a first signal only sets `requested`, and is delivered on leaving.

    A second SIGINT or SIGTERM is delivered at once, to whoever handled it before. A disk that refuses a write ends the
    run by itself, so that error goes first. Signals that no Python function handles are left alone, and so is all
    outside the main thread, where none arrive. Inside of another one, this is a view of that one.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._request: tuple[int, FrameType | None] | None = None
        self._outer: Interruption | None = None
        self._hook: Callable[[Any], Any] | None = None
        self._is_urgent = self._is_told = self._has_recorded = False

    @property
    def requested(self) -> bool:
        """Whether a signal was noted."""
        return self._request is not None if self._outer is None else self._outer.requested

    @property
    def urgent(self) -> bool:
        """Whether a second one was."""
        return self._is_urgent if self._outer is None else self._outer.urgent

    def forget(self) -> None:
        """Let what was noted change nothing any more: all that it could interrupt is done."""
        self._request = None

    def __enter__(self) -> Interruption:
        global _current
        if threading.current_thread() is not threading.main_thread():
            return self
        self._outer = _current
        if self._outer is None:
            _current = self
            for number in SIGNALS:
                if callable(before := signal.getsignal(number)):
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        global _current
        if _current is not self:
            if self.urgent and isinstance(error, Exception):  # somebody has made another exception of it
                raise KeyboardInterrupt from error
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        _current = None
        if self._hook is not None:
            sys.unraisablehook, self._hook = self._hook, None
        if self._request is None or isinstance(error, DiskError):
            return
        number, frame = self._request
        deliver = self._before[number]
        if not (isinstance(error, KeyboardInterrupt) and deliver is signal.default_int_handler):
            deliver(number, frame)

    def tell(self) -> None:
        """Say once that a signal was noted."""
        if not self._is_told:
            self._is_told = True
            _write(_TOLD)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._request is None:
            self._request = number, frame
            if _is_watched:
                _silence_what_hung_up()
            self.tell()
        elif number in _INSISTING:
            self._is_urgent = True
            if _is_watched and not self._has_recorded:  # imports in compiled code do not survive what is raised in them
                _write(b"interrupted\n")
                os._exit(_INTERRUPTED)
            if self._hook is None:
                self._hook, sys.unraisablehook = sys.unraisablehook, self._tell_unraisable
            self._before[number](number, frame)

    def _tell_unraisable(self, found: Any) -> None:
        if self._hook is not None and not issubclass(found.exc_type, KeyboardInterrupt):  # it is not lost
            self._hook(found)


def _silence_what_hung_up() -> None:
    """Let what is still said to a terminal that was closed go nowhere, and be no error."""
    for fd in (1, 2):
        watched = select.poll()
        watched.register(fd, 0)
        if any(found & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, found in watched.poll(0)):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, fd)
            os.close(nowhere)


def _write(text: bytes) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone
        os.write(2, text)


def requested() -> bool:
    """Tell whether what this thread does is to end at its next safe point."""
    return _current is not None and _current.requested and threading.current_thread() is threading.main_thread()


def safe_point() -> None:
    """End here if that was asked for: call it where nothing is half done, and often.

    Raises:
        KeyboardInterrupt: a signal was noted.
    """
    if requested():
        raise KeyboardInterrupt


def interruptible(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function run as the inside of an `Interruption`."""

    @functools.wraps(function)
    def wrapped(*arguments: P.args, **keywords: P.kwargs) -> R:
        with Interruption():
            safe_point()
            return function(*arguments, **keywords)

    return wrapped


def recording() -> None:
    """From here on a second signal, too, leaves a word in the log; before, it ends a process that is nobody else's."""
    if _current is not None:
        _current._has_recorded = True


def insisted() -> bool:
    """Tell whether a second signal was raised in this thread, whatever became of the exception on its way."""
    return requested() and _current is not None and _current.urgent


class Watch:
    """While this is entered, a process ends some seconds after a second signal, whatever its main thread does.

    Handlers run in the main thread alone, between two steps of Python: not while it waits for a long epoch, or for a
    disk that does not answer. This watches from a thread of its own, and is for a process that is nobody else's.
    """

    def __enter__(self) -> Watch:
        global _is_watched
        _is_watched = True
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)
        self._before = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        global _is_watched
        _is_watched = False
        signal.set_wakeup_fd(self._before)
        self._writing.close()

    def _watch(self) -> None:
        num_came, tell_at, end_at = 0, math.inf, math.inf
        while True:
            now = time.monotonic()
            if now >= end_at:
                _write((_SHOW_CURSOR if os.isatty(2) else b"") + _ENDED)
                os._exit(_INTERRUPTED)
            if now >= tell_at:
                tell_at = math.inf
                if _current is not None:
                    _current.tell()
            pause = min(tell_at, end_at) - now
            if not select.select([self._reading], [], [], None if pause == math.inf else pause)[0]:
                continue
            numbers = self._reading.recv(64)
            if not numbers:
                return
            num_came += sum(number in (_INSISTING if num_came else SIGNALS) for number in numbers)
            if num_came == 1:
                tell_at = time.monotonic() + _UNTOLD_SECONDS
            elif num_came > 1:
                seconds = _INSISTED_SECONDS if num_came == 2 else _UNTOLD_SECONDS
                end_at = min(end_at, time.monotonic() + seconds)


_mask: Any = None  # of signals, as it was before this process began to fork


def _before_a_fork() -> None:
    """Hold signals back: a child would note those that come before it has handlers of its own, and lose them."""
    global _mask
    if _current is not None:
        _mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _after_a_fork() -> None:
    global _mask
    if _mask is not None:
        mask, _mask = _mask, None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_a_forked_child() -> None:
    """Let signals do to a child what they do by default: it is not what is to be interrupted with care."""
    global _current
    interruption, _current = _current, None
    if interruption is not None:
        signal.set_wakeup_fd(-1)
        for number in interruption._before:
            signal.signal(number, signal.SIG_DFL)
    _after_a_fork()


os.register_at_fork(before=_before_a_fork, after_in_parent=_after_a_fork, after_in_child=_in_a_forked_child)

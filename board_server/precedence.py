"""What somebody waits for is read before what nobody has asked for: one interpreter reads one log at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_PATIENCE_SECONDS = 0.25  # a block of a log: a disk that does not answer keeps nobody else for ever
_LOOK_SECONDS = 0.005


class Precedence:
    """Counts who is waited for, and lets others rest meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num = 0

    def __enter__(self) -> None:
        with self._lock:
            self._num += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._num -= 1

    def give_way(self, unless: Callable[[], object] = bool) -> None:
        """Rest a while if somebody is waited for; called in a thread, between blocks of a log.

        Args:
            unless: whether what this thread does is waited for by now, too.
        """
        until = time.monotonic() + _PATIENCE_SECONDS
        while self._num and not unless() and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)


ASKED = Precedence()

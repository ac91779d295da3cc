"""Put off Ctrl-C and termination until an epoch's effects are done, so that none is left half caused."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from mlgym_jax.errors import DiskError

_TOLD = b"\nstopping after this epoch (once more: at once)\n"


class Interruption:
    """While this is entered, a first SIGINT or SIGTERM only sets `requested`; it is delivered on leaving.

    A second one is delivered at once. A disk that refuses a write ends the run by itself, so that error goes first.
    Signals that no Python function handles are left alone, and so is all outside the main thread, where none arrive.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._request: tuple[int, FrameType | None] | None = None

    @property
    def requested(self) -> bool:
        return self._request is not None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(signal.getsignal(number)):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._request is not None and not isinstance(error, DiskError | KeyboardInterrupt):
            number, frame = self._request
            self._before[number](number, frame)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._request is not None:
            self._before[number](number, frame)
            return
        self._request = number, frame
        os.write(2, _TOLD)

"""A run that some other process writes, or nobody: when is all of it there?"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time

from mlgym_jax.events import decode, is_being_written
from mlgym_jax.events.lines import BLOCK_BYTES, line_start

_LOOK_SECONDS = 0.3
_SETTLED_SECONDS = 2.0  # model cards are written behind the last event


class FollowedRun:
    """The source of a run that is read from its folder alone.

    Args:
        wait_for_end: while the last event does not say that the run is finished, wait for somebody to go on with it.

    Attributes:
        over_at: when it was found to be over (monotonic seconds).
    """

    def __init__(self, run_dir: str, log_path: str, *, wait_for_end: bool):
        self._run_dir, self._log_path, self._wait_for_end = run_dir, log_path, wait_for_end
        self._lock = threading.Lock()
        self._looked_at = -math.inf
        self._is_over = False
        self.over_at = -math.inf

    def head(self) -> int | None:
        return None

    def is_over(self) -> bool:
        """Tell whether nobody writes the run any more; once it is over, it stays over."""
        with self._lock:
            if not self._is_over and time.monotonic() - self._looked_at > _LOOK_SECONDS:
                self._is_over = self._is_complete()
                self._looked_at = self.over_at = time.monotonic()
            return self._is_over

    def _is_complete(self) -> bool:
        if is_being_written(self._log_path) or (self._wait_for_end and not self._is_finished()):
            return False
        newest = 0.0
        with contextlib.suppress(OSError), os.scandir(self._run_dir) as entries:
            newest = max(entry.stat().st_mtime for entry in entries)
        return not 0 <= time.time() - newest < _SETTLED_SECONDS

    def _is_finished(self) -> bool:
        with open(self._log_path, "rb") as file:
            fd = file.fileno()
            end = line_start(fd, os.fstat(fd).st_size)
            start = line_start(fd, end - 1)
            if end - start > BLOCK_BYTES:
                return False
            with contextlib.suppress(ValueError):
                return decode(os.pread(fd, end - start, start)).get("event_type") == "run_finished"
        return False

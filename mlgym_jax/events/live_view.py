"""The view of a log that this process writes: read once, then kept up to date by the lines that are appended."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from mlgym_jax.events.epoch_results import EpochResults
from mlgym_jax.events.fast_lines import apply_lines, apply_results
from mlgym_jax.events.log import read_lines
from mlgym_jax.events.views import RunView


class LiveView:
    """What a log says of its run, at any moment of its being written; `take` is the `follower` of its `EventLog`.

    Attributes:
        view: changes with each append; another thread than the one that appends reads it under `lock`.
        damaged_lines: the numbers of the damaged lines that the log held when it was loaded.
    """

    def __init__(self) -> None:
        self.view: RunView = RunView()
        self.lock: threading.RLock = threading.RLock()
        self.damaged_lines: list[int] = []

    def load(self, path: str | os.PathLike[str]) -> None:
        """Take in what the log holds; its only writer, which calls this, misses and doubles nothing.

        Raises:
            MlgymError: there is no such log.
        """
        with self.lock:
            self.damaged_lines = apply_lines(self.view, (line for _, line in read_lines(path)))

    def take(self, written: Sequence[bytes | EpochResults]) -> None:
        """Take in what was appended: lines, and results of epochs."""
        with self.lock:
            for part in written:
                if isinstance(part, EpochResults):
                    apply_results(self.view, part)
                else:
                    apply_lines(self.view, [part])

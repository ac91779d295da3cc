"""Publish a run while this process writes it: begin with its log, end with a bounded wait, never raise."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlgym_jax.events import layout
from mlgym_jax.execution.interruption import requested
from mlgym_jax.publishing.address import Boards

if TYPE_CHECKING:
    from mlgym_jax.publishing.board import BoardPublisher

_UNREACHED_WAIT_SECONDS = 2.0  # of a board that has never answered there is little to hope for
_INTERRUPTED_WAIT_SECONDS = 2.0


def tell(line: str) -> None:
    """Print a line for the user beside whatever the terminal shows."""
    print(line, file=sys.stderr, flush=True)


class Publication:
    """A context around the writing of a run's log, and a sink of that log."""

    def __init__(self, run_dir: str, boards: Boards):
        self._run_dir, self._boards = run_dir, boards
        self._publishers: list[BoardPublisher] = []
        self._head = 0
        self._is_over = False

    # -- what the publishers ask -----------------------------------------------------------------------------------

    def head(self) -> int | None:
        return self._head

    def is_over(self) -> bool:
        return self._is_over

    # -- what the run says -----------------------------------------------------------------------------------------

    def begin(self, num_events: int) -> None:
        """Start publishing a log that is open for writing and holds so many events."""
        self._head = num_events
        run_id = os.path.basename(self._run_dir)
        path = os.path.join(self._run_dir, layout.LOG)
        for address in self._boards.addresses:
            from mlgym_jax.publishing.board import BoardPublisher  # here, as most runs have no board

            publisher = BoardPublisher(address, self._run_dir, run_id, path, self, tell)
            self._publishers.append(publisher)
            if not self._boards.quiet:
                tell(f"board: {address.page(run_id)}")
            publisher.start()

    def __call__(self, first_event_id: int, events: Sequence[Any]) -> None:
        """Take note, as a sink of the log, of events that are in it."""
        self._head = first_event_id + len(events)
        for publisher in self._publishers:
            publisher.wake()

    def __enter__(self) -> Publication:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for what is unsent, for a bounded time, and say what is left."""
        if not self._publishers:
            return
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        try:
            self._wait(_INTERRUPTED_WAIT_SECONDS if interrupted else self._boards.wait_seconds)
        except KeyboardInterrupt:
            pass  # enough of waiting; the run itself is whole
        finally:
            for publisher in self._publishers:
                publisher.stop()
            self._report()

    def _wait(self, seconds: float) -> None:
        self._is_over = True
        began = time.monotonic()
        for publisher in self._publishers:
            publisher.end()
        for publisher in self._publishers:
            while not publisher.is_done():
                seconds = min(seconds, _INTERRUPTED_WAIT_SECONDS) if requested() else seconds
                limit = seconds if publisher.reached else min(seconds, _UNREACHED_WAIT_SECONDS)
                if time.monotonic() - began >= limit:
                    break
                time.sleep(0.02)

    def _report(self) -> None:
        for publisher in self._publishers:
            unsent = publisher.unsent()
            if unsent:
                why = f" ({publisher.problem})" if publisher.problem else ""
                lines = [f"board {publisher.address.url}: not sent: {', '.join(unsent)}{why}"]
                if not publisher.gave_up:
                    lines.append(f"Send it later with:\n  {self._boards.command(self._run_dir, publisher.address)}")
                tell("\n".join(lines))
            publisher.close()

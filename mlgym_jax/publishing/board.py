"""Publish one run to one board: two threads that never raise, keep trying, and know what is unsent."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from websockets.exceptions import ConnectionClosed

from mlgym_jax.publishing.address import Address
from mlgym_jax.publishing.checkpoints import CheckpointUploads
from mlgym_jax.publishing.files import FileUploads, FollowedByBoard
from mlgym_jax.publishing.pace import Pace
from mlgym_jax.publishing.requests import Refused, Requests
from mlgym_jax.publishing.stream import AnotherRun, EventStream, Source, Stopped

_LOOK_SECONDS = 0.3


class BoardPublisher:
    """Sends a run to a board from `start` on.

    Args:
        tell: prints a line for the user.
        pace: how patient it is.

    Attributes:
        reached: whether the board has answered at least once.
        problem: why it does not take the run at present.
        gave_up: whether trying on is of no use.
        changed_at: when something was acknowledged last (monotonic seconds).
    """

    def __init__(
        self,
        address: Address,
        run_dir: str,
        run_id: str,
        log_path: str,
        source: Source,
        tell: Callable[[str], None],
        *,
        pace: Pace = Pace(),  # noqa: B008  # it is frozen
    ):
        self.address = address
        self._source, self._tell, self._pace = source, tell, pace
        self._news, self._stop, self._verified = threading.Event(), threading.Event(), threading.Event()
        self._ending = threading.Event()
        self._requests = Requests(address)
        self.events = EventStream(
            address,
            run_id,
            log_path,
            source,
            news=self._news,
            stop=self._stop,
            verified=self._verified,
            ack_seconds=pace.answer,
            on_progress=self._progressed,
        )
        self.files = FileUploads(address, run_dir, run_id, self._requests, self._stop)
        self.checkpoints = CheckpointUploads(address, run_dir, run_id, self._requests, self._stop)
        self.problem: str | None = None
        self.gave_up = self.is_followed = False
        self.changed_at = time.monotonic()
        self._complained: tuple[str, float] | None = None
        self._threads = [
            threading.Thread(target=self._keep_trying, args=(work,), name=f"publish-{name}", daemon=True)
            for name, work in (("events", self._send_events), ("files", self._send_files))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Say that there is news; costs next to nothing."""
        self._news.set()

    def end(self) -> None:
        """Say that somebody waits now: try at once, and more often."""
        self._ending.set()
        self._news.set()

    def is_done(self) -> bool:
        """Tell whether all is sent, or trying on is of no use."""
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def reached(self) -> bool:
        return self._verified.is_set()

    def stop(self) -> None:
        """Let the threads end soon."""
        self._stop.set()
        self.end()

    def unsent(self) -> list[str]:
        """Say what the board lacks, in words; empty when it has everything."""
        first, count, found = self.events.acknowledged, self.events.num_unsent(), []
        if count:
            found.append(f"{count:,} events (from {first:,} on)")
        if self.is_followed:
            return found
        if names := self.files.unsent():
            found.append(f"{len(names):,} file{'s' * (len(names) != 1)}")
        if self.checkpoints.are_unsent():
            number = f"{self.checkpoints.missing:,} parts of " if self.checkpoints.missing else ""
            problem = f" ({self.checkpoints.problem})" if self.checkpoints.problem else ""
            found.append(f"{number}checkpoints{problem}")
        return found

    def close(self) -> None:
        """Let go of the log, if no thread is left that reads it."""
        if self.is_done():
            self.events.close()

    # -- in the threads --------------------------------------------------------------------------------------------

    def _keep_trying(self, work: Callable[[], None]) -> None:
        delay = self._pace.first_delay
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                work()
                return
            except Stopped:
                return
            except FollowedByBoard:
                self.is_followed = True
                return
            except AnotherRun as error:
                self.problem, self.gave_up = str(error), True
                self._tell(f"board {self.address.url}: {error}")
                self.stop()
                return
            except Exception as error:  # whatever it is, the training must not notice
                self._complain(error)
            if self.changed_at > began:
                delay = self._pace.first_delay
            self._pause(delay * random.uniform(0.5, 1.0))
            longest = self._pace.longest_ending_delay if self._ending.is_set() else self._pace.longest_delay
            delay = min(2 * delay, longest)

    def _pause(self, seconds: float) -> None:
        if self._ending.is_set():
            self._stop.wait(min(seconds, self._pace.longest_ending_delay))
        else:
            self._ending.wait(seconds)

    def _send_events(self) -> None:
        self.events.send_all()

    def _send_files(self) -> None:
        checkpoints_at = time.monotonic()
        try:
            while not self._verified.wait(1.0):  # not a byte beside another run that has this id
                if self._stop.is_set():
                    raise Stopped
            while True:
                over = self._source.is_over()
                self.files.send_changed(self._progressed)
                if over or time.monotonic() - checkpoints_at > self._pace.checkpoints:
                    checkpoints_at = time.monotonic()
                    self.checkpoints.send_new(self._progressed)
                if over:
                    return
                self._wait_for_files()
                if self._ending.is_set() and self._stop.wait(0 if self._source.is_over() else self._pace.files):
                    raise Stopped
        finally:
            self._requests.close()

    def _wait_for_files(self) -> None:
        """Wait for files to be written, but no longer than the run goes on."""
        next_look = time.monotonic() + self._pace.files
        while not self._ending.wait(min(_LOOK_SECONDS, next_look - time.monotonic())):
            if time.monotonic() >= next_look or self._source.is_over():
                return

    def _progressed(self) -> None:
        self.changed_at = time.monotonic()
        self.problem = None
        if self._complained is not None and self._complained[0]:
            self._complained = ("", self._complained[1])
            self._tell(f"board {self.address.url}: is there again")

    def _complain(self, error: Exception) -> None:
        """Say once what is wrong, and again only when it is something else, or much later."""
        if isinstance(error, Refused):
            kind, words = f"refused {error.status}", str(error)
        else:
            kind, words = "away", f"cannot be reached ({_reason(error)})"
        self.problem = words
        now = time.monotonic()
        if self._complained is not None:
            same = self._complained[0] == kind
            if same or (now - self._complained[1] < self._pace.complaint and kind == "away"):
                return
        self._complained = (kind, now)
        rest = "" if self._ending.is_set() else ". The run goes on, its log keeps every event, and this is tried again"
        self._tell(f"board {self.address.url}: {words}{rest}")


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionClosed) and error.rcvd is None:
        return "the connection ended"
    text = " ".join(str(error).split())[:300]
    return text or type(error).__name__

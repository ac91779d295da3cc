"""A run that somebody else writes, followed as it goes: by its log's file, or through a board."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple, Protocol

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import RunView, apply, apply_lines, is_being_written, layout
from mlgym_jax.publishing.address import Address
from mlgym_jax.reading.board_client import BoardClient

_LOST_AFTER_SECONDS = 5.0  # as the board says it
_BLOCK_BYTES = 1 << 20  # of one look, so that a screen is drawn between the looks at a long log
_EVENTS = 2_000  # of one request


class Followed(Protocol):
    """Where a run's events come from.

    Attributes:
        view: what they said so far.
        is_lost: whether the run says that it goes on, and nobody writes it.
        name: what commands call the run.
    """

    view: RunView
    is_lost: bool
    name: str

    def fetch(self) -> Any:
        """Read what is new, in any one thread; it changes nothing that others see.

        Raises:
            MlgymError: the run is not there any more, or cannot be read.
        """
        ...

    def take(self, found: Any) -> bool:
        """Bring the view up to date with what was fetched; return whether there may be more at once."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


def caught_up(source: Followed) -> None:
    """Take in all that there is.

    Raises:
        MlgymError: see `Followed.fetch`.
    """
    while source.take(source.fetch()):
        pass


class _Read(NamedTuple):
    file: tuple[int, int]
    is_new: bool
    lines: bytes
    is_quiet: bool


class FollowedLog:
    """A run in a folder of this machine."""

    def __init__(self, run_dir: str, name: str | None = None):
        self._path = os.path.join(run_dir, layout.LOG)
        self.name = name or run_dir
        self.view, self.is_lost = RunView(), False
        self._offset, self._file = 0, (0, 0)

    def fetch(self) -> _Read:
        try:
            with open(self._path, "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                # Another file may have its name now, and what was cut was repaired.
                is_new = self._file != (status.st_dev, status.st_ino) or status.st_size < self._offset
                file.seek(0 if is_new else self._offset)
                data, length = b"", _BLOCK_BYTES
                while not (lines := data.rpartition(b"\n"))[1] and (more := file.read(length)):
                    data, length = data + more, 2 * length  # a line may be longer than a block
        except OSError as error:
            raise MlgymError(f"{self._path}: cannot be read: {error.strerror}") from error
        quiet = time.time() - status.st_mtime > _LOST_AFTER_SECONDS and not is_being_written(self._path)
        return _Read((status.st_dev, status.st_ino), is_new, lines[0] + lines[1], quiet)

    def take(self, found: _Read) -> bool:
        if found.is_new:
            self.view, self._offset, self._file = RunView(), 0, found.file
        self._offset += len(found.lines)
        apply_lines(self.view, found.lines.split(b"\n")[:-1])
        self.is_lost = self.view.status == "RUNNING" and found.is_quiet
        return bool(found.lines)

    def close(self) -> None:
        """Each look opens the file anew."""


class FollowedOnBoard:
    """A run that a board shows."""

    def __init__(self, address: Address, run_id: str):
        self._client, self._event_id = BoardClient(address, "--url"), -1
        self.name, self.view, self.is_lost = run_id, RunView(), False

    def fetch(self) -> tuple[list[Any], bool]:
        run = "grid_searches", self.name
        found = self._client.get(*run, "events", after=self._event_id, limit=_EVENTS)["data"]
        is_asked = not found and self.view.status == "RUNNING"
        return found, is_asked and self._client.get(*run)["status"] == "LOST"

    def take(self, found: tuple[list[Any], bool]) -> bool:
        events, self.is_lost = found
        for one in events:
            apply(self.view, one["data"])
            self._event_id = one["event_id"]
        return bool(events)

    def close(self) -> None:
        self._client.close()

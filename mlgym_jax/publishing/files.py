"""Upload the files beside a run's log to one board: its config, its record, experiment configs, model cards, images."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator

from mlgym_jax.events import layout
from mlgym_jax.publishing.address import Address
from mlgym_jax.publishing.requests import Requests, refusal

_MAX_FILE_BYTES = 1 << 24


class FollowedByBoard(Exception):
    """The board reads the run's own folder: there is nothing to upload."""


class FileUploads:
    """Uploads each file when it is new or has changed.

    Attributes:
        sent: how many files the board has got.
        left_out: names of files that no board takes, and why.
    """

    def __init__(self, address: Address, run_dir: str, run_id: str, requests: Requests, stop: threading.Event):
        self._address, self._run_dir, self._run_id = address, run_dir, run_id
        self._requests, self._stop = requests, stop
        self._seen: dict[str, tuple[int, int, int]] = {}  # file -> what it was like when it was last sent
        self._digests: dict[str, bytes] = {}
        self.sent = 0
        self.left_out: dict[str, str] = {}

    def unsent(self) -> list[str]:
        """List the files that the board lacks or has in an older state."""
        return [name for name in self._names() if self._seen.get(name) != self._state(name)]

    def send_changed(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """Upload what is new or has changed.

        Raises:
            FollowedByBoard, Refused, OSError, HTTPException: see there.
        """
        for name in self.unsent():
            if self._stop.is_set():
                return
            state = self._state(name)
            try:
                with open(os.path.join(self._run_dir, name), "rb") as file:
                    data = file.read(_MAX_FILE_BYTES + 1)
            except FileNotFoundError:
                continue
            if len(data) > _MAX_FILE_BYTES:
                self.left_out[name] = f"larger than {_MAX_FILE_BYTES >> 20} MiB"
            elif (digest := hashlib.sha256(data).digest()) != self._digests.get(name):
                self._put(name, data)
                self._digests[name] = digest
                on_progress()
            if state is not None:
                self._seen[name] = state

    def _put(self, name: str, data: bytes) -> None:
        path = self._address.path("grid_searches", self._run_id, *name.split(os.sep))
        answer = self._requests.send("PUT", path, data)
        if answer.status == 409:
            raise FollowedByBoard
        if answer.status == 413:
            self.left_out[name] = "larger than the board takes"
        elif answer.status in (404, 405) and _is_image(name):
            self.left_out[name] = "the board is of a version that takes no images"
        elif answer.status not in (200, 201, 204):
            raise refusal(answer, self._address)
        else:
            self.sent += 1

    def _names(self) -> Iterator[str]:
        yield from (name for name in layout.RUN_FILES if self._state(name))
        with os.scandir(self._run_dir) as entries:
            numbers = sorted(int(entry.name) for entry in entries if entry.name.isdecimal() and entry.is_dir())
        for number in numbers:
            names = (os.path.join(str(number), name) for name in layout.EXPERIMENT_FILES)
            yield from (name for name in names if self._state(name))
            folder = os.path.join(str(number), layout.MEDIA)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                images = sorted(os.listdir(os.path.join(self._run_dir, folder)))
                named = (os.path.join(folder, own) for own in images)
                yield from (name for name in named if _is_image(name) and name not in self._seen)  # they never change

    def _state(self, name: str) -> tuple[int, int, int] | None:
        try:
            found = os.stat(os.path.join(self._run_dir, name))
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _is_image(name: str) -> bool:
    """Tell whether a file is one that a metric recorded, not what was being written of one."""
    return re.fullmatch(rf"\d+/{layout.MEDIA}/[0-9a-f]{{64}}\.png", name.replace(os.sep, "/")) is not None

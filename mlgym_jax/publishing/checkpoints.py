"""Upload a run's kept checkpoints to one board, each resource as a safetensors file, in chunks that can be resumed.

A process of its own reads them (`mlgym_jax.export`), at the lowest priority and on the CPU, so that a training beside
it keeps its cores and devices.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from mlgym_jax.events import layout
from mlgym_jax.publishing.address import Address
from mlgym_jax.publishing.files import FollowedByBoard
from mlgym_jax.publishing.requests import Answer, Requests, refusal

_CHUNK_BYTES = 1 << 22
_ATTEMPTS = 3


class CheckpointUploads:
    """Uploads every kept checkpoint once, and deletes on the board those that better ones have replaced.

    Args:
        chunk_bytes: how much of a resource one request carries.

    Attributes:
        sent: how many resources the board has got, or had already.
        missing: how many it lacks, as far as is known.
        problem: why the checkpoints could not be read, if they could not.
    """

    def __init__(
        self,
        address: Address,
        run_dir: str,
        run_id: str,
        requests: Requests,
        stop: threading.Event,
        *,
        chunk_bytes: int = _CHUNK_BYTES,
    ):
        self._address, self._run_dir, self._run_id = address, run_dir, run_id
        self._requests, self._stop, self._chunk_bytes = requests, stop, chunk_bytes
        self._done: set[tuple[int, int, str]] = set()
        self._steps: list[str] = []
        self.sent = self.missing = 0
        self.problem: str | None = None

    def are_unsent(self) -> bool:
        """Tell whether checkpoints were written since all of them had been sent."""
        return self._on_disk() != self._steps

    def send_new(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """Upload what is kept and not on the board yet.

        Raises:
            FollowedByBoard, Refused, OSError, HTTPException: see there.
        """
        steps = self._on_disk()
        if steps == self._steps:
            return
        self.problem = None
        with tempfile.TemporaryDirectory(prefix="mlgym_publish_") as folder, _Export(self._run_dir) as export:
            wanted = export.listed()
            # By epoch: rows that were written together are read together.
            wanted.sort(key=lambda entry: (entry["epoch"], entry["experiment_id"]))
            names = [(e["experiment_id"], e["epoch"], resource) for e in wanted for resource in e["checkpoints"]]
            todo = [name for name in names if name not in self._done]
            self.missing = len(todo)
            for experiment_id, epoch, resource in todo:
                if self._stop.is_set():
                    return
                path = os.path.join(folder, resource)
                # A row may be gone meanwhile, because better ones came: then it is not kept any more.
                if export.write(experiment_id, epoch, resource, path):
                    self._upload(self._address.path("checkpoints", self._run_id, experiment_id, epoch, resource), path)
                    self._done.add((experiment_id, epoch, resource))
                    self.sent += 1
                    on_progress()
                self.missing -= 1
            self._delete_others(wanted)
            self.problem = export.problem
        if self.problem is None:
            self._steps = steps

    def _delete_others(self, kept: list[dict[str, Any]]) -> None:
        """Delete on the board what the run does not keep any more, of experiments that have checkpoints here."""
        there = self._requests.send("GET", self._address.path("checkpoint_list", self._run_id))
        epochs = {(entry["experiment_id"], entry["epoch"]) for entry in kept}
        experiments = {experiment_id for experiment_id, _ in epochs}
        for entry in there.body if there.status == 200 and isinstance(there.body, list) else []:
            who = entry.get("experiment_id"), entry.get("epoch")
            if who[0] in experiments and who not in epochs:
                self._requests.send("DELETE", self._address.path("checkpoints", self._run_id, *who))

    def _upload(self, where: str, path: str) -> None:
        total = os.path.getsize(path)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            there = self._requests.send("HEAD", where)
            if there.status == 200 and there.headers.get("etag", "").strip('"') == digest.hexdigest():
                return
            whole = base64.b64encode(digest.digest()).decode()
            # A board that has a part of it says how much when it is asked to go on at a wrong place: the last byte.
            at = self._resumed_at(where, file, total, whole) if total > self._chunk_bytes else 0
            failures = 0
            while at < total:
                if self._stop.is_set():
                    raise InterruptedError("the time for uploads is over")
                file.seek(at)
                data = file.read(self._chunk_bytes)
                answer = self._post(where, data, at, total, whole)
                if answer.status in (200, 201):
                    at += len(data)
                    continue
                received = answer.body.get("received") if isinstance(answer.body, dict) else None
                if answer.status == 409 and type(received) is not int:
                    raise FollowedByBoard
                failures += 1
                if answer.status not in (400, 409) or failures > _ATTEMPTS:
                    raise refusal(answer, self._address)
                at = received if isinstance(received, int) and 0 <= received < total else 0

    def _resumed_at(self, where: str, file: Any, total: int, digest: str) -> int:
        file.seek(total - 1)
        answer = self._post(where, file.read(1), total - 1, total, digest)
        if answer.status in (200, 201):
            return total
        received = answer.body.get("received") if isinstance(answer.body, dict) else None
        return received if isinstance(received, int) and 0 <= received < total else 0

    def _post(self, where: str, data: bytes, first: int, total: int, digest: str) -> Answer:
        headers = {
            "Content-Range": f"bytes {first}-{first + len(data) - 1}/{total}",
            "Repr-Digest": f"sha-256=:{digest}:",
        }
        return self._requests.send("POST", where, data, headers)

    def _on_disk(self) -> list[str]:
        """List the checkpoint steps that are whole, with the time of each, because a resumed run may write one anew."""
        root = os.path.join(self._run_dir, layout.CHECKPOINTS)
        found = []
        for group in _listed(root):
            if layout.group_index(group) is not None:
                for step in _listed(os.path.join(root, group)):
                    with contextlib.suppress(OSError):  # deleted meanwhile
                        if step.isdecimal():
                            found.append(f"{group}/{step}/{os.stat(os.path.join(root, group, step)).st_ino}")
        return sorted(found)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


class _Export:
    """A process that reads checkpoints and answers one request at a time.

    Attributes:
        problem: why one could not be read or written, which is not that it is gone.
    """

    def __init__(self, run_dir: str):
        self.problem: str | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlgym_jax.export", run_dir, "--list", "--requests"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # an interrupt of the terminal is the training's, not this one's
        )

    def __enter__(self) -> _Export:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def listed(self) -> list[dict[str, Any]]:
        return self._answer()

    def write(self, experiment_id: int, epoch: int, resource: str, output: str) -> bool:
        """Write a resource to a file; tell whether it is there."""
        request = {"experiment_id": experiment_id, "epoch": epoch, "resource": resource, "output": output}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer and "no checkpoint" not in answer["error"]:
            self.problem = answer["error"]
        return "error" not in answer

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError("the checkpoints cannot be read; python -m mlgym_jax.export RUN_DIR --list says why")
        return json.loads(line)

"""Checkpoints of runs of this machine as files to download.

Each is made by a process of its own (`python -m mlgym_jax.export`), which never executes the run's config file.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections import OrderedDict
from weakref import WeakValueDictionary

from board_server.checkpoints import own_rows
from board_server.errors import NotFound, RequestError, TryLater, without_folders
from board_server.file_work import Lane
from board_server.run import Run

_EXPORT_SECONDS = 120.0
_MAX_EXPORTS = 4  # at once, each of another run
_MAX_EXPORTED_BYTES = 1 << 32


class Exporter:
    """Makes files of local runs' checkpoints, one of a run at a time, and keeps the newest few for a while."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_MAX_EXPORTS)
        self._of_run: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._own = Lane()
        self._folder: str | None = None
        self._made: OrderedDict[str, int] = OrderedDict()  # path -> bytes

    async def path(self, run: Run, experiment_id: int, epoch: int, resource: str) -> str:
        """Return a safetensors file.

        Raises:
            NotFound: no such checkpoint; TryLater: it could not be read just now.
        """
        lock = self._of_run.setdefault(run.run_id, asyncio.Lock())
        async with lock:
            rows = await run.files.do(own_rows, run)
            if (experiment_id, epoch) not in rows:
                epochs = sorted(kept for number, kept in rows if number == experiment_id)
                raise NotFound(
                    f"experiment {experiment_id} has no checkpoint of epoch {epoch}; "
                    f"it has {', '.join(map(str, epochs)) or 'none'}"
                )
            # A run that was made anew under an old id begins at another time.
            begin = (await run.files.do(run.log.seek, 1)).offset
            name = f"{run.folder} {begin} {run.log.identity[0]} {experiment_id} {epoch} {resource}"
            target = await self._own.do(self._target, hashlib.sha256(name.encode()).hexdigest())
            if target not in self._made:
                async with self._turns:
                    await self._export(run, experiment_id, epoch, resource, target)
            await self._own.do(self._keep, target)
            return target

    def _target(self, name: str) -> str:
        if self._folder is None or not os.path.isdir(self._folder):
            self._folder, self._made = tempfile.mkdtemp(prefix="mlgym_board_"), OrderedDict()
        target = os.path.join(self._folder, f"{name}.safetensors")
        if not os.path.isfile(target):
            self._made.pop(target, None)
        return target

    def _keep(self, target: str) -> None:
        """Take note of a file that was made or asked for, and remove those that nobody has asked for the longest."""
        self._made[target] = os.path.getsize(target)
        self._made.move_to_end(target)
        while len(self._made) > 1 and sum(self._made.values()) > _MAX_EXPORTED_BYTES:
            with contextlib.suppress(OSError):
                os.unlink(self._made.popitem(last=False)[0])

    async def _export(self, run: Run, experiment_id: int, epoch: int, resource: str, target: str) -> None:
        words = ("-m", "mlgym_jax.export", run.folder, f"--experiment={experiment_id}", f"--epoch={epoch}")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            f"--resource={resource}",
            f"--output={target}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await asyncio.wait_for(process.communicate(), _EXPORT_SECONDS)
        except TimeoutError as error:
            raise TryLater(f"reading the checkpoint took more than {_EXPORT_SECONDS:.0f} s") from error
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode == 0 and await self._own.do(os.path.isfile, target):
            return
        last = said.decode(errors="replace").strip().splitlines()[-1:] or ["no reason was given"]
        kind: type[RequestError] = NotFound if process.returncode == 2 else TryLater
        raise kind(f"the checkpoint cannot be read: {without_folders(last[0].replace(run.folder, run.run_id))[:500]}")

    def close(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

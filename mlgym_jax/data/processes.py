"""Processes that read and decode, for what Python cannot do in several threads at once.

Each is a new interpreter that imports no JAX and is sent the table once: not a fork, which would inherit locks of JAX's
threads. A process that dies is told with what it read, as the pipe to it ends then.
"""

from __future__ import annotations

import concurrent.futures
import mmap
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Pipe
from typing import Any

import numpy as np

from mlgym_jax.data.reading_process import NOTHING
from mlgym_jax.data.sources import Place
from mlgym_jax.data.streams import StreamedTable, UnreadableRecord
from mlgym_jax.errors import MlgymError

_FEWEST = 64  # rows that are worth a message
_PATIENCE = 10  # seconds that a process that closed its pipe has to end


class ReaderDied(MlgymError):
    """A reading process is no more."""


class Processes:
    """Reads as `StreamedTable.read` does, parts of what is wanted in each of some processes.

    Args:
        number: how many.

    Raises:
        ConfigError: at `loader.workers`: the table cannot be sent to them.
    """

    def __init__(self, table: StreamedTable, number: int):
        pickled = table.pickled()
        self._processes = [_Process(table, pickled, one, number) for one in range(number)]
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = concurrent.futures.ThreadPoolExecutor(number, "reading in processes")

    def close(self) -> None:
        """End the processes, whatever they do."""
        for process in self._processes:
            process.close()
        self._threads.shutdown(cancel_futures=True)

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return field -> array[n, …] of these rows.

        Raises:
            UnreadableRecord: see `StreamedTable.read`. ReaderDied: a process has ended.
        """
        rows = np.asarray(rows, np.int64)
        number = max(1, min(2 * len(self._processes), len(rows) // _FEWEST))
        parts = np.array_split(np.argsort(rows, kind="stable"), number)  # neighbours in a file are read together
        coming = [self._threads.submit(self._part, rows[part]) for part in parts]
        concurrent.futures.wait(coming)
        bad: list[UnreadableRecord] = []
        found: dict[str, np.ndarray] = {}
        for part, one in zip(parts, coming, strict=True):
            try:
                read = one.result()
            except UnreadableRecord as error:
                bad.append(error)
                continue
            found = found or {field: np.empty((len(rows), *a.shape[1:]), a.dtype) for field, a in read.items()}
            for field, array in read.items():
                found[field][part] = array
        if bad:
            raise UnreadableRecord(str(bad[0]), [row for error in bad for row in error.rows])
        return found

    def _part(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        process = self._idle.get()
        try:
            return process.read(rows)
        finally:
            self._idle.put(process)


class _Process:
    def __init__(self, table: StreamedTable, pickled: bytes, number: int, total: int):
        self._table, self._pickled, self._name = table, pickled, f"reading process {number + 1} of {total}"
        self._dead: str | None = None
        with tempfile.TemporaryFile() as file:
            file.truncate(Place.numbers.nbytes)
            self._place = np.frombuffer(mmap.mmap(file.fileno(), Place.numbers.nbytes), np.int64)
            self._place[0] = NOTHING
            self._pipe, theirs = Pipe()
            command = [sys.executable, "-m", "mlgym_jax.data.reading_process", str(theirs.fileno()), str(file.fileno())]
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=(theirs.fileno(), file.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=2,  # stdout may be what a program reads
                process_group=0,  # Ctrl-C is for who started it
            )
            theirs.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._dead = self._dead or f"{self._name} was ended"

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        if self._dead:
            raise ReaderDied(self._dead)
        try:
            if self._pickled:
                self._pipe.send_bytes(self._pickled)
                self._pickled = b""
                self._answer()
            self._pipe.send_bytes(np.ascontiguousarray(rows).view(np.uint8).data)
            (forms,) = self._answer()
            found = {field: np.empty(shape, dtype) for field, dtype, shape in forms}
            for array in found.values():
                if array.nbytes:
                    self._pipe.recv_bytes_into(array.reshape(-1).view(np.uint8).data)
            return found
        except (EOFError, OSError) as error:
            self._dead = self._dead or self._death()
            raise ReaderDied(self._dead) from error

    def _answer(self) -> Sequence[Any]:
        kind, *rest = self._pipe.recv()
        if kind == "unreadable":
            raise UnreadableRecord(*rest)
        if kind == "failed":
            raise MlgymError(f"{self._name}: {rest[0]}")
        return rest

    def _death(self) -> str:
        """Say how it ended, and at what."""
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        split, first, row, count = self._place.tolist()
        how = f"ended with exit status {code}"
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name if -code in {*signal.Signals} else f'signal {-code}'}"
        what = "while it waited"
        if split != NOTHING:
            several = f"{count} records, the first of which is " if count > 1 else ""
            what = f"while it read {several}{self._table.name_of(split, first + row)}"
        hint = "SIGKILL is mostly want of memory: fewer num_workers need less"
        if code != -signal.SIGKILL:
            hint = "if it is that record which ends it, mend the record or leave it out of the data"
        return f"config.loader.workers: {self._name} (pid {self._process.pid}) {how} {what}; {hint}. --resume goes on"

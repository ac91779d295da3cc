"""Write the steps of a store in a thread of its own, so that training goes on while arrays are packed and written."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mlgym_jax.checkpoint.copies import Copies
from mlgym_jax.checkpoint.orbax_later import manager_of, ocp
from mlgym_jax.checkpoint.packed import packed
from mlgym_jax.checkpoint.refused import timed_out
from mlgym_jax.checkpoint.step_record import Saved, checksums, to_json
from mlgym_jax.errors import DiskError


class StepWriter:
    """Writes one step at a time into a folder.

    A signal may come up between any two lines of the caller, never in the thread. So what is to be written is noted
    before a thread begins, and whoever holds the lock writes it: a thread that never began is made good by `finish`.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._manager: ocp.CheckpointManager | None = None
        self._lock = threading.Lock()
        self._unfinished: tuple[Saved, Any, Copies] | None = None
        self._written: Saved | None = None
        self._failure: BaseException | None = None

    def begin(self, saved: Saved, state: Any, kept: Copies) -> None:
        """Start writing a step; the one before must be finished.

        Args:
            saved: what the step holds, its checksums apart; state: stacked, of arrays that nobody changes, or what
                waits for it; kept: single rows of that form, those of `saved.kept` among them.
        """
        self._written = None
        self._unfinished = saved, state, kept
        threading.Thread(target=self._write, name="checkpoint").start()

    @property
    def is_writing(self) -> bool:
        return self._unfinished is not None and self._written is None and self._failure is None

    def finish(self) -> Saved | None:
        """Wait for the step that was begun last; return it, None if there is none. May be called again.

        Raises:
            DiskError: it was refused; it is given up.
        """
        self._write()
        failure, self._failure = self._failure, None
        if failure is not None:
            if isinstance(failure, Exception):
                self._unfinished = None
            raise failure
        return self._written

    def delete(self, step: int) -> None:
        self._manage().delete(step)

    def close(self) -> None:
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _write(self) -> None:
        """Write what is unfinished, unless that was done, or was tried and `finish` has yet to tell."""
        with self._lock:
            if self._unfinished is None or self._written is not None or self._failure is not None:
                return
            try:
                saved, state, kept = self._unfinished
                items = {"state": packed(jax.tree.map(np.asarray, state() if callable(state) else state))}
                if saved.kept:
                    items["kept"] = packed(kept.stacked(saved.kept))
                sums = {"kept": [], **{name: checksums(item) for name, item in items.items()}}
                saved = dataclasses.replace(saved, checksums=sums, is_packed=True)
                arguments = {name: ocp.args.StandardSave(item) for name, item in items.items()}
                self._to_disk(saved.epoch, {**arguments, "meta": ocp.args.JsonSave(to_json(saved))})
                self._written = saved
                self._unfinished = None
            except BaseException as error:
                self._failure = error

    def _to_disk(self, epoch: int, items: Mapping[str, Any]) -> None:
        """Write again what was given up for the time that it took: the clock may have jumped, as after a suspension."""
        took_long = False
        for pause in (0.1, 0.5, 2.0, None):
            try:
                manager = self._manage()
                manager.wait_until_finished()  # for a write that was begun and whose beginning a signal cut short
                if epoch in manager.all_steps():
                    manager.delete(epoch)
                manager.save(epoch, args=ocp.args.Composite(**items), force=True)
                return manager.wait_until_finished()
            except Exception as error:
                took_long = took_long or timed_out(error)
                manager, self._manager = self._manager, None
                with contextlib.suppress(Exception):  # it tells of the failure again, to each thread
                    if manager is not None:
                        manager.close()
                if pause is None or not took_long:
                    raise self._refused(error) from error
                time.sleep(pause)  # what was given up goes on in threads, and in files of the same names

    def _manage(self) -> ocp.CheckpointManager:
        if self._manager is None:
            os.makedirs(self._folder, exist_ok=True)
            self._manager = manager_of(self._folder)
        return self._manager

    def _refused(self, error: Exception) -> DiskError:
        text = str(error).strip()
        code = re.search(r"os_error_code='(\d+)'", text)  # how TensorStore ends what the system refused
        known = error.strerror if isinstance(error, OSError) else os.strerror(int(code[1])) if code else None
        reason = known or f"{type(error).__name__}: {text.split(chr(10))[0][:300]}"
        return DiskError(
            f"{self._folder}: a checkpoint could not be written: {reason}. What was saved before is whole."
        )

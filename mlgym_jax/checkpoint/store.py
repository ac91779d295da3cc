"""Write and read a group's checkpoints. The only module that uses Orbax.

One Orbax step, numbered by its epoch, holds what a resume needs, whole: the stacked states of all rows, the rows of
earlier epochs that a strategy newly keeps, and JSON with the epoch, who is who and a checksum of every array.
Steps stay as long as they are one of the two newest, or hold a row that one of the two newest still wants.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.checkpoint.late_failures import ignore_late_failures
from mlgym_jax.checkpoint.orbax_later import manager_of, ocp
from mlgym_jax.checkpoint.refused import put_aside, refusal_of_the_system, timed_out
from mlgym_jax.checkpoint.step_record import Kept, Saved, checksums, from_json, to_json
from mlgym_jax.core.state import TrainState, with_key
from mlgym_jax.core.trees import path_name
from mlgym_jax.errors import DiskError, MlgymError


class CheckpointStore:
    """The checkpoints of one group, in one folder.

    Args:
        abstract: the shapes of one row's TrainState, as `jax.eval_shape` of `program.init` gives them. Without it, the
            checkpoints can be read as named arrays (`arrays_of`), which needs no program.
    """

    def __init__(self, folder: str, abstract: TrainState | None = None):
        # Orbax tells every step of a save at level WARNING, and the trace of each thread that met a failure at ERROR;
        # the failure itself is raised.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        ignore_late_failures()
        self.folder = os.path.abspath(folder)
        self._abstract = None if abstract is None else _with_raw_key(abstract)
        self._manager: ocp.CheckpointManager | None = None
        self._saved: dict[int, Saved] = {}
        self._unfinished: Saved | None = None  # what is being written, or is to be
        self._items: dict[str, Any] = {}
        self._is_begun = False
        self._last_read: tuple[tuple[int, str] | None, Any] = None, None

    # -- writing ---------------------------------------------------------------------------------------------------

    def save(
        self,
        state: TrainState,
        *,
        epoch: int,
        experiments: Sequence[int],
        row_epochs: Sequence[int],
        kept: Mapping[Kept, TrainState],
        wanted: frozenset[Kept],
    ) -> int:
        """Start writing a step in the background; return its size in bytes.

        Args:
            state: the stacked host state of all rows, keys as raw words; kept: single rows of that form.

        Raises:
            DiskError: this write, or the one before, was refused; earlier steps are whole.
        """
        self.finish()
        if epoch in self._saved:
            return 0  # its beginning was cut short by a signal, and `finish` has seen to it
        new = {who: row for who, row in kept.items() if who not in self.kept()}
        stacked = jax.tree.map(lambda *rows: np.stack(rows), *new.values()) if new else None
        saved = Saved(
            epoch,
            tuple(experiments),
            tuple(row_epochs),
            tuple(new),
            wanted,
            {"state": checksums(state), "kept": checksums(stacked)},
        )
        items = {"state": ocp.args.StandardSave(state), "meta": ocp.args.JsonSave(to_json(saved))}
        if new:
            items["kept"] = ocp.args.StandardSave(stacked)
        self._unfinished, self._items, self._is_begun = saved, items, False
        self._try(self._begin)
        return sum(leaf.nbytes for leaf in jax.tree.leaves((state, stacked)))

    def finish(self) -> None:
        """Wait for the write in the background, then delete steps that nothing needs any more."""
        if self._unfinished is None:
            return
        saved = self._unfinished
        self._try(self._wait)
        self._saved[saved.epoch] = saved
        self._unfinished, self._items = None, {}  # last, so that a signal in between makes it wait again
        newest = sorted(self._saved)[-2:]
        wanted = frozenset().union(*(self._saved[step].wanted for step in newest))
        for step in [step for step in self._saved if step not in newest]:
            if not wanted.intersection(self._saved[step].kept):
                self._manage().delete(step)
                del self._saved[step]

    def _begin(self) -> None:
        """Hand what is unfinished to Orbax, which writes it in the background."""
        if self._unfinished is None or self._is_begun:
            return
        epoch = self._unfinished.epoch
        self._manage().wait_until_finished()  # also for a write that was begun and whose beginning a signal cut short
        if epoch in self._manage().all_steps():
            self._manage().delete(epoch)
        self._manage().save(epoch, args=ocp.args.Composite(**self._items), force=True)
        self._is_begun = True

    def _wait(self) -> None:
        self._begin()
        if self._manager is not None:
            self._manager.wait_until_finished()

    def _try(self, write: Callable[[], None]) -> None:
        """Write again what was given up for the time that it took: the clock may have jumped, as after a suspension."""
        took_long = False
        for pause in (0.1, 0.5, 2.0, None):
            try:
                return write()
            except Exception as error:
                took_long = took_long or timed_out(error)
                if pause is None or self._unfinished is None or not took_long:
                    self._unfinished, self._items = None, {}
                    raise self._refused(error) from error
                self._is_begun, manager, self._manager = False, self._manager, None
                with contextlib.suppress(Exception):  # it tells of the failure again
                    if manager is not None:
                        manager.close()
                time.sleep(pause)  # what was given up goes on in threads, and in files of the same names

    def close(self) -> None:
        try:
            self.finish()
        finally:
            if self._manager is not None:
                self._manager.close()
                self._manager = None

    def _manage(self) -> ocp.CheckpointManager:
        if self._manager is None:
            os.makedirs(self.folder, exist_ok=True)
            self._manager = manager_of(self.folder)
        return self._manager

    def _refused(self, error: Exception) -> DiskError:
        text = str(error).strip()
        code = re.search(r"os_error_code='(\d+)'", text)  # how TensorStore ends what the system refused
        known = error.strerror if isinstance(error, OSError) else os.strerror(int(code[1])) if code else None
        reason = known or f"{type(error).__name__}: {text.split(chr(10))[0][:300]}"
        return DiskError(f"{self.folder}: a checkpoint could not be written: {reason}. What was saved before is whole.")

    # -- reading ---------------------------------------------------------------------------------------------------

    def load(self, on_damage: Callable[[int, str], None] | None = None) -> list[int]:
        """Read what the steps on disk hold; return their epochs, oldest first; leave damaged ones out.

        Raises:
            DiskError: the disk refuses, which says nothing of what is on it.
        """
        self._saved, self._last_read = {}, (None, None)
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._unreadable(self.folder, str(error.strerror)) from error
        for name in sorted((name for name in names if name.isdigit()), key=int):
            try:
                meta = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(os.path.join(self.folder, name, "meta"))
                self._saved[int(name)] = from_json(meta)
            except Exception as error:
                self._raise_if_refused(os.path.join(self.folder, name), error)
                if on_damage is not None:
                    reason = str(error).strip().splitlines() or [""]
                    on_damage(int(name), f"{type(error).__name__}: {reason[0][:200]}")
        return sorted(self._saved)

    def kept(self) -> dict[Kept, int]:
        """Return which step holds each kept row."""
        return {who: step for step, saved in self._saved.items() for who in saved.kept}

    def newest(self) -> Saved | None:
        return self._saved[max(self._saved)] if self._saved else None

    def restore_newest(
        self,
        on_damage: Callable[[int, str, str], None],
        refuse: Callable[[Sequence[int], Sequence[int]], str | None] = lambda experiments, row_epochs: None,
    ) -> tuple[Saved, TrainState] | None:
        """Return the newest step that is whole, its states stacked on the host; others are put aside and told.

        Args:
            on_damage: (step, why, where it is now), once it is put aside.
            refuse: (experiments, row_epochs) -> why a step cannot be used, or None.

        Raises:
            DiskError: the disk refuses; nothing was moved then, as nothing is known of the steps.
        """
        damaged: dict[int, str] = {}
        self.load(damaged.__setitem__)
        for step in sorted(self._saved, reverse=True):
            saved = self._saved[step]
            try:
                if reason := refuse(saved.experiments, saved.row_epochs):
                    raise MlgymError(reason)
                state = self._read(step, "state", len(saved.experiments))
                if saved.kept:
                    self._read(step, "kept", len(saved.kept))  # these rows are nowhere else
            except DiskError:
                raise
            except MlgymError as error:
                damaged[step] = str(error)
                del self._saved[step]
                continue
            break
        for step, reason in sorted(damaged.items()):
            on_damage(step, reason, put_aside(self.folder, step))
        return (self._saved[max(self._saved)], state) if self._saved else None

    def restore_row(self, experiment_id: int, epoch: int) -> TrainState:
        """Return one experiment's state after `epoch`, as numpy arrays with a typed key.

        Raises:
            MlgymError: that epoch was not kept, or is damaged.
        """
        stacked, row = self._stacked(experiment_id, epoch)
        state = jax.tree.map(lambda leaf: leaf[row], stacked)
        if isinstance(state, dict):  # as it is read without a program: empty parts are left out
            state = TrainState(**{field.name: state.get(field.name, {}) for field in dataclasses.fields(TrainState)})
        return with_key(state)

    def states(self) -> frozenset[Kept]:
        """Return after which epoch of which experiment a step holds the state."""
        steps = self._saved.values()
        return frozenset(who for saved in steps for who in zip(saved.experiments, saved.row_epochs, strict=True))

    def state_of(self, experiment_id: int, epoch: int) -> TrainState | None:
        """Return one experiment's state if a step was written after that very epoch of it, in the form of `save`.

        Raises:
            DiskError: the disk refuses.
        """
        for step, saved in sorted(self._saved.items(), reverse=True):
            if (experiment_id, epoch) in zip(saved.experiments, saved.row_epochs, strict=True):
                row = saved.experiments.index(experiment_id)
                try:
                    state = self._read(step, "state", len(saved.experiments))
                except DiskError:
                    raise
                except MlgymError:
                    continue
                return jax.tree.map(lambda leaf, row=row: leaf[row], state)
        return None

    def arrays_of(self, experiment_id: int, epoch: int) -> dict[str, np.ndarray]:
        """Return one experiment's state after `epoch` as arrays by their names, `params/Dense_0/kernel`.

        Raises:
            MlgymError: that epoch was not kept, or is damaged.
        """
        stacked, row = self._stacked(experiment_id, epoch)
        return {path_name(path): leaf[row] for path, leaf in jax.tree_util.tree_leaves_with_path(stacked)}

    def _stacked(self, experiment_id: int, epoch: int) -> tuple[Any, int]:
        """Read the stacked states that hold an experiment's epoch; return them and its row."""
        step = self.kept().get((experiment_id, epoch))
        if step is not None:
            kept = self._saved[step].kept
            return self._read(step, "kept", len(kept)), kept.index((experiment_id, epoch))
        newest = self.newest()
        row = newest.experiments.index(experiment_id) if newest and experiment_id in newest.experiments else -1
        if newest is None or row < 0 or newest.row_epochs[row] != epoch:
            raise MlgymError(
                f"experiment {experiment_id}: no checkpoint of epoch {epoch}; "
                f"kept: {', '.join(map(str, self.epochs(experiment_id))) or 'none'}"
            )
        return self._read(newest.epoch, "state", len(newest.experiments)), row

    def epochs(self, experiment_id: int) -> list[int]:
        """List the epochs of an experiment that can be restored: those its strategy keeps, and its last."""
        newest = self.newest()
        if newest is None or experiment_id not in newest.experiments:
            return []
        available = self.kept()
        kept = {epoch for who, epoch in newest.wanted if who == experiment_id and (who, epoch) in available}
        last = newest.row_epochs[newest.experiments.index(experiment_id)]
        return sorted(kept | {last} - {0})

    def _read(self, step: int, item: str, rows: int) -> Any:
        """Read one item of a step and compare its checksums; without `abstract` it is nested dicts and lists."""
        if self._last_read[0] == (step, item):
            return self._last_read[1]
        where = os.path.join(self.folder, str(step))
        try:
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
                tree = reader.restore(os.path.join(where, item), args=ocp.args.StandardRestore(self._target(rows)))
        except Exception as error:
            self._raise_if_refused(where, error)
            reason = str(error).strip().splitlines() or [""]
            raise MlgymError(f"{where}: cannot be read ({type(error).__name__}: {reason[0][:200]})") from error
        host = jax.tree.map(np.asarray, tree)
        found, written = checksums(host), list(self._saved[step].checksums[item])
        if self._abstract is None:  # nested dicts do not have the order of the fields that they were
            found, written = sorted(found), sorted(written)
        if found != written:
            raise MlgymError(f"{where}: its contents do not match their checksums")
        if self._abstract is None:
            self._last_read = (step, item), host  # who asks for one row's arrays asks for its neighbours' next
        return host

    def _raise_if_refused(self, where: str, error: Exception) -> None:
        """Raise what is not the step's fault: the system's refusals, and too little memory."""
        if isinstance(error, MemoryError):
            raise error
        if reason := refusal_of_the_system(error):
            raise self._unreadable(where, reason) from error

    def _unreadable(self, where: str, reason: str) -> DiskError:
        return DiskError(
            f"{where}: the checkpoint cannot be read: {reason}. Nothing was changed; try again when that is mended. "
            "If it cannot be, move this folder away, and the run goes on from the step before"
        )

    def _target(self, rows: int) -> Any:
        if self._abstract is None:
            return None
        # Arrays of NumPy, which stay on the host: the whole of a state that is sharded may have room on no device.
        return jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), (rows, *leaf.shape)), self._abstract)


def _with_raw_key(abstract: TrainState) -> TrainState:
    return dataclasses.replace(abstract, key=jax.eval_shape(jax.random.key_data, abstract.key))

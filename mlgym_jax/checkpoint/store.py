"""Write and read a group's checkpoints, by Orbax.

One Orbax step, numbered by its epoch, holds what a resume needs, whole: the stacked states of all rows, the rows of
earlier epochs that a strategy newly keeps, and JSON with the epoch, who is who and a checksum of every array.
Steps stay as long as they are one of the two newest, or hold a row that one of the two newest still wants.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.checkpoint.copies import Copies
from mlgym_jax.checkpoint.late_failures import ignore_late_failures
from mlgym_jax.checkpoint.orbax_later import ocp
from mlgym_jax.checkpoint.packed import unpacked
from mlgym_jax.checkpoint.refused import put_aside, refusal_of_the_system, timed_out
from mlgym_jax.checkpoint.step_record import Kept, Saved, checksums, from_json
from mlgym_jax.checkpoint.step_writer import StepWriter
from mlgym_jax.core.state import TrainState, raw_key, with_key
from mlgym_jax.core.trees import path_name
from mlgym_jax.errors import DiskError, MlgymError

_LOOKED_THROUGH = 2**31  # bytes of rows that older steps keep, which a resume reads to see that they can be


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
        self._typed = abstract
        self._abstract = None if abstract is None else jax.eval_shape(raw_key, abstract)
        self._writer = StepWriter(self.folder)
        self._saved: dict[int, Saved] = {}
        self._last_read: tuple[tuple[int, str] | None, Any] = None, None

    # -- writing ---------------------------------------------------------------------------------------------------

    def save(
        self,
        state: TrainState | Callable[[], TrainState],
        *,
        epoch: int,
        experiments: Sequence[int],
        row_epochs: Sequence[int],
        kept: Copies,
        wanted: frozenset[Kept],
    ) -> int:
        """Start writing a step in the background, once the one before is whole; return its size in bytes.

        Args:
            state: the stacked host state of all rows, keys as raw words, or what waits for it, called in the thread;
                kept: single rows of that form. Nobody may change these arrays.

        Raises:
            DiskError: the write before was refused; earlier steps are whole.
        """
        self.finish()
        if epoch in self._saved:
            return 0  # its beginning was cut short by a signal, and `finish` has seen to it
        before = self.kept()
        new = tuple(who for who in kept if who not in before)
        leaves = jax.tree.leaves(self._abstract if callable(state) else state)
        rows = 1 if callable(state) else len(experiments)
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) // rows * (len(experiments) + len(new))
        saved = Saved(epoch, tuple(experiments), tuple(row_epochs), new, wanted, {})
        self._writer.begin(saved, state, kept)
        return size

    @property
    def is_writing(self) -> bool:
        return self._writer.is_writing

    def finish(self) -> None:
        """Wait for the write in the background, then delete steps that nothing needs any more.

        Raises:
            DiskError: it was refused; earlier steps are whole.
        """
        saved = self._writer.finish()
        if saved is None or saved.epoch in self._saved:
            return
        self._saved[saved.epoch] = saved
        newest = sorted(self._saved)[-2:]
        wanted = frozenset().union(*(self._saved[step].wanted for step in newest))
        for step in [step for step in self._saved if step not in newest]:
            if not wanted.intersection(self._saved[step].kept):
                self._writer.delete(step)
                del self._saved[step]

    def close(self) -> None:
        try:
            self.finish()
        finally:
            self._writer.close()

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
            with self._left_out(step, damaged):
                if reason := refuse(saved.experiments, saved.row_epochs):
                    raise MlgymError(reason)
                state = self._read(step, "state", len(saved.experiments))
                self._check_kept(step)
                break
        if self._saved:
            self._look_through(sum(leaf.nbytes for leaf in jax.tree.leaves(state)) // len(saved.experiments), damaged)
        for step, reason in sorted(damaged.items()):
            on_damage(step, reason, put_aside(self.folder, step))
        return (saved, state) if self._saved else None

    def _look_through(self, row_bytes: int, damaged: dict[int, str]) -> None:
        """Look whether the rows that older steps alone keep can be read, as far as that takes seconds."""
        left = _LOOKED_THROUGH
        for step in sorted(self._saved, reverse=True)[1:]:
            left -= row_bytes * len(self._saved[step].kept)
            if left < 0:
                return
            with self._left_out(step, damaged):
                self._check_kept(step)

    def _check_kept(self, step: int) -> None:
        """Read the rows that a step alone keeps."""
        if kept := self._saved[step].kept:
            self._read(step, "kept", len(kept))

    @contextlib.contextmanager
    def _left_out(self, step: int, damaged: dict[int, str]) -> Iterator[None]:
        """Note why a step cannot be read, and know it no more; what the disk refuses says nothing of the step."""
        try:
            yield
        except DiskError:
            raise
        except MlgymError as error:
            damaged[step] = str(error)
            del self._saved[step]

    def restore_row(self, experiment_id: int, epoch: int) -> TrainState:
        """Return one experiment's state after `epoch`, as numpy arrays with a typed key.

        Raises:
            MlgymError: that epoch was not kept, or is damaged.
        """
        stacked, row = self._stacked(experiment_id, epoch)
        state = jax.tree.map(lambda leaf: leaf[row], stacked)
        if isinstance(state, dict):  # as it is read without a program: empty parts are left out
            state = TrainState(**{field.name: state.get(field.name, {}) for field in dataclasses.fields(TrainState)})
        return with_key(state, self._typed)

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
        where, saved = os.path.join(self.folder, str(step)), self._saved[step]
        target = None if saved.is_packed else self._target(rows)
        try:
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
                tree = reader.restore(os.path.join(where, item), args=ocp.args.StandardRestore(target))
        except Exception as error:
            self._raise_if_refused(where, error)
            reason = str(error).strip().splitlines() or [""]
            raise MlgymError(f"{where}: cannot be read ({type(error).__name__}: {reason[0][:200]})") from error
        host = jax.tree.map(np.asarray, tree)
        found, written = checksums(host), list(saved.checksums[item])
        if not saved.is_packed and target is None:  # nested dicts do not have the order of the fields that they were
            found, written = sorted(found), sorted(written)
        if found != written:
            raise MlgymError(f"{where}: its contents do not match their checksums")
        if saved.is_packed:
            try:
                host = unpacked(host, self._target(rows))
            except (ValueError, KeyError, TypeError) as error:
                raise MlgymError(f"{where}: {error}") from error
        if self._abstract is None:
            self._last_read = (step, item), host  # who asks for one row's arrays asks for its neighbours' next
        return host

    def _raise_if_refused(self, where: str, error: Exception) -> None:
        """Raise what is not the step's fault: the system's refusals, and too little memory."""
        if isinstance(error, MemoryError):
            raise error
        reason = refusal_of_the_system(error) or ("it took too long" if timed_out(error) else None)
        if reason:
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

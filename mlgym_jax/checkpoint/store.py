"""Write and read a group's checkpoints. The only module that imports Orbax.

One Orbax step, numbered by its epoch, holds what a resume needs, whole: the stacked states of all rows, the rows of
earlier epochs that a strategy newly keeps, and JSON with the epoch, who is who and a checksum of every array.
Steps stay as long as they are one of the two newest, or hold a row that one of the two newest still wants.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mlgym_jax.core.state import TrainState, with_key
from mlgym_jax.errors import DiskError, MlgymError

Kept = tuple[int, int]  # (experiment_id, epoch)


@dataclasses.dataclass(frozen=True)
class Saved:
    """What one step holds: after which epoch, each row's own epoch, rows kept in it, rows wanted at that time."""

    epoch: int
    experiments: tuple[int, ...]
    row_epochs: tuple[int, ...]
    kept: tuple[Kept, ...]
    wanted: frozenset[Kept]
    checksums: Mapping[str, list[int]]


def _checksums(tree: Any) -> list[int]:
    return [zlib.crc32(np.ascontiguousarray(leaf).data) for leaf in jax.tree.leaves(tree)]


class CheckpointStore:
    """The checkpoints of one group, in one folder.

    Args:
        abstract: the shapes of one row's TrainState, as `jax.eval_shape` of `program.init` gives them.
    """

    def __init__(self, folder: str, abstract: TrainState):
        # Orbax tells every step of a save at level WARNING, and the trace of each thread that met a failure at ERROR;
        # the failure itself is raised.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        _ignore_late_failures()
        self.folder = os.path.abspath(folder)
        key = jax.eval_shape(jax.random.key_data, abstract.key)
        self._abstract = dataclasses.replace(abstract, key=key)
        self._manager: ocp.CheckpointManager | None = None
        self._saved: dict[int, Saved] = {}
        self._unfinished: Saved | None = None

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
        new = {who: row for who, row in kept.items() if who not in self.kept()}
        stacked = jax.tree.map(lambda *rows: np.stack(rows), *new.values()) if new else None
        saved = Saved(
            epoch,
            tuple(experiments),
            tuple(row_epochs),
            tuple(new),
            wanted,
            {"state": _checksums(state), "kept": _checksums(stacked)},
        )
        items = {"state": ocp.args.StandardSave(state), "meta": ocp.args.JsonSave(_to_json(saved))}
        if new:
            items["kept"] = ocp.args.StandardSave(stacked)
        try:
            if epoch in self._manage().all_steps():
                self._manage().delete(epoch)
            self._manage().save(epoch, args=ocp.args.Composite(**items), force=True)
        except Exception as error:
            raise self._refused(error) from error
        self._unfinished = saved
        return sum(leaf.nbytes for leaf in jax.tree.leaves((state, stacked)))

    def finish(self) -> None:
        """Wait for the write in the background, then delete steps that nothing needs any more."""
        if self._unfinished is None:
            return
        saved, self._unfinished = self._unfinished, None
        try:
            self._manage().wait_until_finished()
        except Exception as error:
            raise self._refused(error) from error
        self._saved[saved.epoch] = saved
        newest = sorted(self._saved)[-2:]
        wanted = frozenset().union(*(self._saved[step].wanted for step in newest))
        for step in [step for step in self._saved if step not in newest]:
            if not wanted.intersection(self._saved[step].kept):
                self._manage().delete(step)
                del self._saved[step]

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
            options = ocp.CheckpointManagerOptions(
                max_to_keep=None, enable_async_checkpointing=True, cleanup_tmp_directories=True
            )
            self._manager = ocp.CheckpointManager(self.folder, options=options, item_names=("state", "kept", "meta"))
        return self._manager

    def _refused(self, error: Exception) -> DiskError:
        text = str(error).strip()
        code = re.search(r"os_error_code='(\d+)'", text)  # how TensorStore ends what the system refused
        known = error.strerror if isinstance(error, OSError) else os.strerror(int(code[1])) if code else None
        reason = known or f"{type(error).__name__}: {text.split(chr(10))[0][:300]}"
        return DiskError(f"{self.folder}: a checkpoint could not be written: {reason}. What was saved before is whole.")

    # -- reading ---------------------------------------------------------------------------------------------------

    def load(self, on_damage: Callable[[int, str], None] | None = None) -> list[int]:
        """Read what the steps on disk hold; return their epochs, oldest first; leave unreadable ones out."""
        self._saved = {}
        if not os.path.isdir(self.folder):
            return []
        for name in sorted((name for name in os.listdir(self.folder) if name.isdigit()), key=int):
            try:
                meta = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(os.path.join(self.folder, name, "meta"))
                self._saved[int(name)] = _from_json(meta)
            except Exception as error:
                if on_damage is not None:
                    on_damage(int(name), f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")
        return sorted(self._saved)

    def kept(self) -> dict[Kept, int]:
        """Return which step holds each kept row."""
        return {who: step for step, saved in self._saved.items() for who in saved.kept}

    def newest(self) -> Saved | None:
        return self._saved[max(self._saved)] if self._saved else None

    def restore_newest(
        self,
        on_damage: Callable[[int, str], None],
        refuse: Callable[[Sequence[int], Sequence[int]], str | None] = lambda experiments, row_epochs: None,
    ) -> tuple[Saved, TrainState] | None:
        """Return the newest step that is whole, its states stacked on the host; others are told and removed.

        Args:
            refuse: (experiments, row_epochs) -> why a step cannot be used, or None.
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
            except MlgymError as error:
                damaged[step] = str(error)
                del self._saved[step]
                continue
            break
        for step, reason in sorted(damaged.items()):
            on_damage(step, reason)
            shutil.rmtree(os.path.join(self.folder, str(step)), ignore_errors=True)
        return (self._saved[max(self._saved)], state) if self._saved else None

    def restore_row(self, experiment_id: int, epoch: int) -> TrainState:
        """Return one experiment's state after `epoch`, as numpy arrays with a typed key.

        Raises:
            MlgymError: that epoch was not kept, or is damaged.
        """
        step = self.kept().get((experiment_id, epoch))
        if step is not None:
            kept = self._saved[step].kept
            stacked, row = self._read(step, "kept", len(kept)), kept.index((experiment_id, epoch))
        else:
            newest = self.newest()
            row = newest.experiments.index(experiment_id) if newest and experiment_id in newest.experiments else -1
            if newest is None or row < 0 or newest.row_epochs[row] != epoch:
                raise MlgymError(
                    f"experiment {experiment_id}: no checkpoint of epoch {epoch}; "
                    f"kept: {', '.join(map(str, self.epochs(experiment_id))) or 'none'}"
                )
            stacked = self._read(newest.epoch, "state", len(newest.experiments))
        return with_key(jax.tree.map(lambda leaf: leaf[row], stacked))

    def epochs(self, experiment_id: int) -> list[int]:
        """List the epochs of an experiment that can be restored: those its strategy keeps, and its last."""
        newest = self.newest()
        if newest is None or experiment_id not in newest.experiments:
            return []
        available = self.kept()
        kept = {epoch for who, epoch in newest.wanted if who == experiment_id and (who, epoch) in available}
        last = newest.row_epochs[newest.experiments.index(experiment_id)]
        return sorted(kept | {last} - {0})

    def _read(self, step: int, item: str, rows: int) -> TrainState:
        """Read one item of a step and compare its checksums."""
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape), leaf.dtype, sharding=device), self._abstract
        )
        where = os.path.join(self.folder, str(step))
        try:
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
                tree = reader.restore(os.path.join(where, item), args=ocp.args.StandardRestore(target))
        except Exception as error:
            reason = str(error).strip().splitlines() or [""]
            raise MlgymError(f"{where}: cannot be read ({type(error).__name__}: {reason[0][:200]})") from error
        host = jax.tree.map(np.asarray, tree)
        if _checksums(host) != list(self._saved[step].checksums[item]):
            raise MlgymError(f"{where}: its contents do not match their checksums")
        return host


def _ignore_late_failures() -> None:
    """Keep traces off the screen that follow a failure which was raised: of the other arrays of the same step."""
    before = sys.unraisablehook
    if getattr(before, "ignores_late_failures", False):
        return

    def hook(found: Any) -> None:
        write_after_end = found.exc_type is RuntimeError and str(found.exc_value) == "Event loop is closed"
        code = getattr(found.object, "cr_code", None)  # a coroutine that was reading when another one failed
        if not (write_after_end or (code is not None and "orbax" in Path(code.co_filename).parts)):
            before(found)

    hook.ignores_late_failures = True  # type: ignore[attr-defined]
    sys.unraisablehook = hook


def _to_json(saved: Saved) -> dict[str, Any]:
    return {
        "epoch": saved.epoch,
        "experiments": list(saved.experiments),
        "row_epochs": list(saved.row_epochs),
        "kept": [list(who) for who in saved.kept],
        "wanted": sorted(list(who) for who in saved.wanted),
        "checksums": dict(saved.checksums),
    }


def _from_json(data: Mapping[str, Any]) -> Saved:
    return Saved(
        data["epoch"],
        tuple(data["experiments"]),
        tuple(data["row_epochs"]),
        tuple((who, epoch) for who, epoch in data["kept"]),
        frozenset((who, epoch) for who, epoch in data["wanted"]),
        data["checksums"],
    )

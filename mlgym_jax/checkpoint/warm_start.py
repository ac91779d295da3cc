"""Warm starts: begin with parameters that were trained before, from another experiment or a safetensors file.

In a config:

    config.warm_start = component("experiment", run_dir="event_storage/2026-11-23--17-59-10", monitor="val/accuracy")
    config.warm_start = component("safetensors", path="encoder.safetensors", include="^encoder/", exclude="head")

A parameter's path is its names joined by slashes, `Dense_0/kernel`; other variables of the model, such as batch
statistics, are chosen in the same way. What is chosen must fit: a shape that differs is an error unless
`on_mismatch="skip"`. What was loaded, left as it was initialised, and skipped is recorded as the event `warm_started`.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from mlgym_jax.checkpoint.evaluated_arrays import arrays_by_part, evaluated_arrays
from mlgym_jax.checkpoint.rows import KeptCheckpoints
from mlgym_jax.checkpoint.safetensors_files import PARTS, Arrays, flat, read_safetensors
from mlgym_jax.components.registry import register
from mlgym_jax.core.paths import Path, map_paths, named_leaves, nowhere
from mlgym_jax.core.state import TrainState, raw_key
from mlgym_jax.errors import ConfigError, MlgymError, listed
from mlgym_jax.events import RunView, layout, project_log
from mlgym_jax.run_folder import folder as run_folder

_LOG = logging.getLogger(__name__)
# The last name of an array that was kept with the box around it.
_BOXED = "value"
Mode = Literal["min", "max"]
OnMismatch = Literal["error", "skip"]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What a warm start brings to a state, and what it leaves.

    Attributes:
        values: part of the state -> path -> array, for what is replaced.
        left: paths that stay as they are initialised.
        mismatched: path -> why it was skipped.
        checksum: CRC-32 of the arrays that were loaded.
    """

    source: str
    values: Arrays
    left: list[str]
    mismatched: dict[str, str]
    checksum: int

    @property
    def names(self) -> list[str]:
        """The paths that are replaced."""
        return [path for part in self.values.values() for path in part]

    def applied(self, state: TrainState) -> TrainState:
        """Return a stacked host state with the loaded arrays in every row."""

        def part_with(name: str) -> Any:
            found = self.values.get(name, {})

            def replaced(path: Path, leaf: np.ndarray) -> np.ndarray:
                new = found.get(path.name, found.get(path.with_boxes))
                return leaf if new is None else np.broadcast_to(new.astype(leaf.dtype), leaf.shape).copy()

            return map_paths(replaced, getattr(state, name))

        return dataclasses.replace(state, **{name: part_with(name) for name in (*PARTS, "opt_state")})


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """A source of arrays and which of them are wanted."""

    source: str
    read: Callable[[], Arrays]
    include: str
    exclude: str | None
    rename: tuple[tuple[str, str], ...]
    optimizer: bool
    on_mismatch: OnMismatch

    def __call__(self, abstract: TrainState, *, going_on: bool = False) -> Loaded:
        """Read the source and match it with the shapes of one experiment's state.

        Args:
            going_on: whether a run with it has begun before, when patterns that are found nowhere did nothing.

        Raises:
            ConfigError: nothing is wanted that the source has, a pattern is found nowhere, a shape differs, or the
                optimizers' states do.
        """
        source = self.read()
        values: Arrays = {}
        left: list[str] = []
        mismatched: dict[str, str] = {}
        wanted = {part: named_leaves(getattr(abstract, part)) for part in PARTS}
        if not going_on:
            self._check_patterns(source, [path for leaves in wanted.values() for path in leaves])
        for part, leaves in wanted.items():
            have = {self._renamed(path): array for path, array in source.get(part, {}).items()}
            for path, leaf in leaves.items():
                array = have.get(path, have.get(f"{path}/{_BOXED}"))
                if not self._wanted(path) or array is None:
                    left.append(path)
                elif array.shape != leaf.shape:
                    mismatched[path] = f"{list(array.shape)} there, {list(leaf.shape)} here"
                else:
                    values.setdefault(part, {})[path] = array
        if mismatched and self.on_mismatch == "error":
            shown = "; ".join(f"{path}: {why}" for path, why in list(mismatched.items())[:5])
            names = "|".join(sorted({re.escape(path.split("/")[0]) for path in mismatched}))
            raise ConfigError(
                "warm_start",
                f"{len(mismatched)} shapes differ from {self.source}: {shown}. Leave them out, exclude='^({names})/', "
                "or skip what does not fit, on_mismatch='skip'",
            )
        if not values.get("params"):
            raise ConfigError(
                "warm_start",
                f"nothing of {self.source} fits. It has the parameters {listed(source.get('params', {}), 20)}; the "
                f"model has {listed(wanted['params'], 20)}. Use include, exclude and rename=((pattern, name), …)",
            )
        if self.optimizer:
            values["opt_state"] = self._optimizer_state(source, abstract)
        arrays = [array for part in values.values() for array in part.values()]
        checksum = functools.reduce(lambda crc, array: zlib.crc32(np.ascontiguousarray(array).data, crc), arrays, 0)
        return Loaded(self.source, values, left, mismatched, checksum)

    def _optimizer_state(self, source: Arrays, abstract: TrainState) -> dict[str, np.ndarray]:
        have, wanted = source.get("opt_state", {}), flat(jax.eval_shape(raw_key, abstract).opt_state)
        differing = [
            path
            for path in sorted({*have, *wanted})
            if path not in have or path not in wanted or have[path].shape != wanted[path].shape
        ]
        if differing or not wanted:
            raise ConfigError(
                "warm_start.optimizer",
                f"the optimizer's state of {self.source} does not fit this optimizer ({listed(differing, 5)}); "
                "leave optimizer out, or use the same optimizer and model",
            )
        return {path: have[path] for path in wanted}

    def _check_patterns(self, source: Arrays, paths: Sequence[str]) -> None:
        """Refuse a pattern that chooses nothing, or leaves nothing out, or renames nothing."""
        for name, pattern in (("include", self.include), ("exclude", self.exclude)):
            if pattern and not any(re.search(pattern, path) for path in paths):
                raise ConfigError(f"warm_start.{name}", f"{pattern!r} {nowhere(pattern, paths)}")
        names = [path for part in PARTS for path in source.get(part, {})]
        for number, (pattern, replacement) in enumerate(self.rename):
            if names and not any(re.search(pattern, name) for name in names):
                found = f"{pattern!r} {nowhere(pattern, names)}"
                raise ConfigError(f"warm_start.rename.{number}", f"of {self.source}, {found}")
            names = [re.sub(pattern, replacement, name) for name in names]

    def _wanted(self, path: str) -> bool:
        return bool(re.search(self.include, path)) and not (self.exclude and re.search(self.exclude, path))

    def _renamed(self, path: str) -> str:
        for pattern, name in self.rename:
            path = re.sub(pattern, name, path)
        return path


def _warm_start(source: str, read: Callable[[], Arrays], **chosen: Any) -> WarmStart:
    expressions = {"include": chosen["include"], "exclude": chosen["exclude"] or ""}
    for index, (pattern, _) in enumerate(chosen["rename"]):
        expressions[f"rename.{index}"] = pattern
    for name, pattern in expressions.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"warm_start.{name}", f"{pattern!r} is no regular expression: {error}") from error
    return WarmStart(source, functools.cache(read), **chosen)


@register("warm_start", "experiment")
def from_experiment(
    *,
    run_dir: str,
    experiment_id: int | None = None,
    epoch: int | None = None,
    monitor: str | None = None,
    mode: Mode | None = None,
    include: str = "",
    exclude: str | None = None,
    rename: tuple[tuple[str, str], ...] = (),
    optimizer: bool = False,
    on_mismatch: OnMismatch = "error",
) -> WarmStart:
    """Begin with what an earlier experiment has learnt: the parameters that its scores are of, also averaged ones.

    Args:
        run_dir: the earlier run's folder.
        experiment_id: the experiment; by default the best by `monitor` and `mode`, without these the only one.
        epoch: the checkpoint; by default the best one of the best experiment if it was kept, else the newest.
        mode: which scores are better; by default lower ones of losses and errors, as in `report`.
        include: a regular expression of the paths to load; by default all.
        exclude: a regular expression of the paths to leave.
        rename: pairs (pattern, replacement) that turn the source's paths into this model's.
        optimizer: load the optimizer's state, too, and the parameters that it steps with.
        on_mismatch: what to do about shapes that differ.
    """

    def read() -> Arrays:
        try:
            found = arrays_of(chosen(run_dir, experiment_id, epoch, monitor, mode))
            return found if optimizer else evaluated_arrays(found)
        except MlgymError as error:
            raise ConfigError("warm_start", str(error)) from error

    return _warm_start(
        os.fspath(run_dir),
        read,
        include=include,
        exclude=exclude,
        rename=rename,
        optimizer=optimizer,
        on_mismatch=on_mismatch,
    )


class Chosen(NamedTuple):
    """One kept checkpoint of a run: its folder, what its log says, and which it is."""

    folder: str
    kept: KeptCheckpoints
    view: RunView
    experiment_id: int
    epoch: int


def chosen(
    run_dir: str,
    experiment_id: int | None,
    epoch: int | None,
    monitor: str | None,
    mode: Mode | None,
    what: str = "warm start",
) -> Chosen:
    """Find a kept checkpoint of an earlier run by its log and checkpoints alone: no config of it is executed.

    Args: as for `from_experiment`; what: what it is for, in words.

    Raises:
        MlgymError: there is none.
    """
    folder = run_folder.require(run_dir)
    view, _ = project_log(os.path.join(folder, layout.LOG))
    kept, best_epoch = KeptCheckpoints(folder), None
    known = [item.experiment_id for item in (*view.candidates, *view.refits)]
    if experiment_id is None and monitor is None:
        if len(known) != 1:
            raise MlgymError(
                f"say which experiment: experiment_id=…, or the best one by monitor='val/…'; it has {listed(known, 20)}"
            )
        (experiment_id,) = known
    elif experiment_id is None:
        best, best_epoch = view.best(str(monitor), mode)
        experiment_id = best.experiment_id
    if experiment_id not in known:
        raise MlgymError(f"no experiment {experiment_id}; it has {listed(known, 20)}")
    if epoch is None:
        available = [entry["epoch"] for entry in kept.list(experiment_id)]
        epoch = best_epoch if best_epoch is not None and best_epoch in available else kept.newest_epoch(experiment_id)
        if best_epoch not in (None, epoch):
            _LOG.warning(
                "%s from %s: experiment %d's epoch %d, the best by %s, was not kept; it begins with epoch %d",
                *(what, run_dir, experiment_id, best_epoch, monitor, epoch),
            )
    return Chosen(folder, kept, view, experiment_id, epoch)


def arrays_of(found: Chosen) -> Arrays:
    """Read the arrays of a kept checkpoint: part of the state -> path -> array.

    Raises:
        MlgymError: it is not kept, or is damaged.
    """
    return arrays_by_part(found.kept, found.experiment_id, found.epoch)


@register("warm_start", "safetensors")
def from_safetensors(
    *,
    path: str,
    include: str = "",
    exclude: str | None = None,
    rename: tuple[tuple[str, str], ...] = (),
    on_mismatch: OnMismatch = "error",
) -> WarmStart:
    """Begin with the arrays of a safetensors file; dots in their names count as slashes.

    Args: `include`, `exclude`, `rename` and `on_mismatch` as for `experiment`.
    """
    chosen = {"include": include, "exclude": exclude, "rename": rename, "on_mismatch": on_mismatch}
    return _warm_start(path, lambda: read_safetensors(path), optimizer=False, **chosen)

"""Warm starts: begin with parameters that were trained before, from another experiment or a safetensors file.

In a config:

    config.warm_start = component("experiment", run_dir="event_storage/2026-11-23--17-59-10", monitor="val/accuracy")
    config.warm_start = component("safetensors", path="encoder.safetensors", include="^encoder/", exclude="head")

A parameter's path is its names joined by slashes, `Dense_0/kernel`; other variables of the model, such as batch
statistics, are chosen in the same way. What is chosen must fit: a shape that differs is an error unless
`on_mismatch="skip"`. What was loaded, left as it was initialised, and skipped is recorded as the event `warm_started`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np

from mlgym_jax.core.from_optax import path_name
from mlgym_jax.core.state import TrainState
from mlgym_jax.errors import ConfigError, MlgymError, listed
from mlgym_jax.registry import register

Mode = Literal["min", "max"]
OnMismatch = Literal["error", "skip"]
# Part of a TrainState -> path -> array.
Arrays = dict[str, dict[str, np.ndarray]]
_PARTS = ("params", "model_state")


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

            def replaced(path: Any, leaf: np.ndarray) -> np.ndarray:
                new = found.get(path_name(path))
                return leaf if new is None else np.broadcast_to(new.astype(leaf.dtype), leaf.shape).copy()

            return jax.tree_util.tree_map_with_path(replaced, getattr(state, name))

        return dataclasses.replace(state, **{name: part_with(name) for name in (*_PARTS, "opt_state")})


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

    def __call__(self, abstract: TrainState) -> Loaded:
        """Read the source and match it with the shapes of one experiment's state.

        Raises:
            ConfigError: nothing is wanted that the source has, a shape differs, or the optimizers' states do.
        """
        source = self.read()
        values: Arrays = {}
        left: list[str] = []
        mismatched: dict[str, str] = {}
        for part in _PARTS:
            have = {self._renamed(path): array for path, array in source.get(part, {}).items()}
            for path, leaf in _flat(getattr(abstract, part)).items():
                if not self._wanted(path) or path not in have:
                    left.append(path)
                elif have[path].shape != leaf.shape:
                    mismatched[path] = f"{list(have[path].shape)} there, {list(leaf.shape)} here"
                else:
                    values.setdefault(part, {})[path] = have[path]
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
                f"model has {listed(_flat(abstract.params), 20)}. Use include, exclude and rename=((pattern, name), …)",
            )
        if self.optimizer:
            values["opt_state"] = self._optimizer_state(source, abstract)
        arrays = [array for part in values.values() for array in part.values()]
        checksum = functools.reduce(lambda crc, array: zlib.crc32(np.ascontiguousarray(array).data, crc), arrays, 0)
        return Loaded(self.source, values, left, mismatched, checksum)

    def _optimizer_state(self, source: Arrays, abstract: TrainState) -> dict[str, np.ndarray]:
        have, wanted = source.get("opt_state", {}), _flat(abstract.opt_state)
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
    mode: Mode = "max",
    include: str = "",
    exclude: str | None = None,
    rename: tuple[tuple[str, str], ...] = (),
    optimizer: bool = False,
    on_mismatch: OnMismatch = "error",
) -> WarmStart:
    """Begin with what an earlier experiment has learnt.

    Args:
        run_dir: the earlier run's folder.
        experiment_id: the experiment; by default the best by `monitor` and `mode`.
        epoch: the checkpoint; by default the best one of the best experiment, else the newest.
        include: a regular expression of the paths to load; by default all.
        exclude: a regular expression of the paths to leave.
        rename: pairs (pattern, replacement) that turn the source's paths into this model's.
        optimizer: load the optimizer's state, too.
        on_mismatch: what to do about shapes that differ.
    """
    if experiment_id is None and monitor is None:
        raise ConfigError("warm_start", "say which experiment: experiment_id=…, or the best one by monitor='val/…'")

    def read() -> Arrays:
        from mlgym_jax.results import load_run  # which needs the stages after this one

        try:
            result = load_run(run_dir)
            if experiment_id is None:
                experiment = result.best(str(monitor), mode)
            else:
                known = {item.experiment_id: item for item in (*result.experiments, *result.refit)}
                if experiment_id not in known:
                    raise MlgymError(f"no experiment {experiment_id}; it has {listed(map(str, known), 20)}")
                experiment = known[experiment_id]
            state = experiment.restore(epoch)
        except MlgymError as error:
            raise ConfigError("warm_start", str(error)) from error
        return {part: _flat(jax.device_get(getattr(state, part))) for part in (*_PARTS, "opt_state")}

    return _warm_start(
        os.fspath(run_dir),
        read,
        include=include,
        exclude=exclude,
        rename=rename,
        optimizer=optimizer,
        on_mismatch=on_mismatch,
    )


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


def read_safetensors(path: str) -> Arrays:
    """Read a file of arrays; names that begin with `model_state/` are other variables, all else parameters.

    Raises:
        ConfigError: there is no such file, or it is damaged.
    """
    import safetensors.numpy

    if not os.path.isfile(path):
        raise ConfigError("warm_start.path", f"no file {path!r}")
    try:
        arrays = safetensors.numpy.load_file(path)
    except Exception as error:  # the library's own exception type is no public one
        raise ConfigError("warm_start.path", f"{path!r} is no safetensors file: {error}") from error
    found: Arrays = {part: {} for part in _PARTS}
    for name, array in arrays.items():
        name = name.replace(".", "/")
        part = "model_state" if name.startswith("model_state/") else "params"
        found[part][name.removeprefix(f"{part}/")] = array
    return found


def write_safetensors(state: TrainState, path: str, metadata: Mapping[str, str]) -> None:
    """Write a state's parameters and other variables, `params/Dense_0/kernel`, for use anywhere.

    Raises:
        MlgymError: the file cannot be written.
    """
    arrays = {
        f"{part}/{name}": array
        for part in _PARTS
        for name, array in _flat(jax.device_get(getattr(state, part))).items()
    }
    write_arrays(arrays, path, metadata)


def write_arrays(arrays: Mapping[str, Any], path: str, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file of named arrays, whole or not at all; the same arrays make the same bytes.

    Raises:
        MlgymError: the file cannot be written.
    """
    import safetensors.numpy

    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        # Not ascontiguousarray, which makes a vector of a scalar.
        plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        safetensors.numpy.save_file(plain, temporary, dict(metadata))
        _sort_metadata(temporary)
        os.replace(temporary, path)
    except Exception as error:  # the library wraps what the system says in a type of its own
        raise MlgymError(f"{path}: cannot be written: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _sort_metadata(path: str) -> None:
    """Order a file's metadata by name; the library writes it in a random order."""
    with open(path, "r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:
            file.seek(8)
            file.write(text.ljust(size))


def _flat(tree: Any) -> dict[str, Any]:
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}

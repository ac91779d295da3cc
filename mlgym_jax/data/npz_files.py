"""The dataset `npz`: arrays from NumPy's archives."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.split_names import is_split
from mlgym_jax.errors import ConfigError, described, listed, nearest

Task = Literal["classification", "regression"]


def file_at(path: str, parameter: str = "path") -> Path:
    """Return `path`, `~` resolved, if there is such a file or folder.

    Raises:
        ConfigError: at `dataset.<parameter>`, with the nearest name that is there.
    """
    found = Path(os.path.expanduser(path))
    if path and found.exists():
        return found
    there = [entry.name for entry in found.parent.iterdir()] if path and found.parent.is_dir() else []
    raise ConfigError(
        f"dataset.{parameter}",
        f"there is no file {os.path.abspath(found)!r}{nearest(found.name, there)} "
        "Relative paths start at the folder in which the command runs.",
    )


def unreadable(path: Path, error: Exception, parameter: str = "path") -> ConfigError:
    """Make the error that says why a file cannot be read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).split("\n")[0]
    return ConfigError(f"dataset.{parameter}", f"{os.fspath(path)!r} cannot be read: {reason}")


@register("dataset", "npz")
def npz(*, path: str, arrays: Mapping[str, Any] | None = None, task: Task | None = None) -> Dataset:
    """Read arrays from a NumPy archive (`np.savez`, `np.savez_compressed`).

    An archive with the arrays `inputs` and `targets` is one split, "train". Names of the form `split/field` or
    `split_field`, such as `train/inputs` and `test_targets`, give several (train; val, validation, valid or dev; test).
    For any other naming say which array is what: `arrays=dict(train=dict(inputs="x_train", targets="y_train"))`.

    Args:
        path: the file.
        arrays: split -> field -> name of the array in the archive; arrays not named are left out.
        task: "classification" numbers the classes by the targets, integers 0 … k - 1 or strings, which are numbered in
            sorted order; "regression" takes the targets as numbers. By default integers and strings are classes.

    Raises:
        ConfigError: no such file, no archive, no such array, objects inside (they are never unpickled), or targets that
            cannot be classes.
    """
    file = file_at(path)
    try:
        with file.open("rb") as opened:  # np.load leaves a file of its own open where it fails
            archive: Any = np.load(opened, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array; np.savez(path, inputs=…, targets=…) writes several by name")
            chosen = _chosen(archive.files, arrays, path)
            splits = {
                split: {field: archive[name] for field, name in fields.items()} for split, fields in chosen.items()
            }
    except ConfigError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise unreadable(file, error) from None
    return _with_classes(splits, task)


def _chosen(names: list[str], arrays: Mapping[str, Any] | None, path: str) -> dict[str, dict[str, str]]:
    if arrays is not None:
        for split, fields in arrays.items():
            if not isinstance(fields, Mapping):
                raise ConfigError(
                    f"dataset.arrays.{split}",
                    f"found {described(fields)}; write dict(inputs='name in the file', targets='…')",
                )
            for field, name in fields.items():
                if name not in names:
                    raise ConfigError(
                        f"dataset.arrays.{split}.{field}",
                        f"{path!r} holds no array {name!r}{nearest(name, names)} Arrays: {listed(names)}",
                    )
        return {split: dict(fields) for split, fields in arrays.items()}
    chosen: dict[str, dict[str, str]] = {}
    for name in names:
        split, _, field = name.partition("/") if "/" in name else name.partition("_")
        if not is_split(split) or not field:
            split, field = "train", name
        split = "train" if split.lower() == "train" else split
        chosen.setdefault(split, {})[field] = name
    if "inputs" not in chosen.get("train", {}):
        raise ConfigError(
            "dataset.path",
            f"{path!r} has no array 'inputs' or 'train/inputs'{nearest('inputs', names)} Arrays: {listed(names)}. "
            "Say which is which: arrays=dict(train=dict(inputs='…', targets='…'))",
        )
    return chosen


def _with_classes(splits: dict[str, dict[str, np.ndarray]], task: Task | None) -> Dataset:
    targets = [split["targets"] for split in splits.values() if "targets" in split]
    text = bool(targets) and all(array.dtype.kind in "US" for array in targets)
    whole = bool(targets) and all(array.dtype.kind in "iub" for array in targets)
    if not targets or task == "regression" or (task is None and not (text or whole)):
        return Dataset(splits)
    if text:
        names = np.unique(np.concatenate([array.reshape(-1).astype(str) for array in targets]))
        for split in splits.values():
            if "targets" in split:
                split["targets"] = np.searchsorted(names, split["targets"].astype(str)).astype(np.int32)
        return Dataset(splits, len(names), class_names=tuple(map(str, names)))
    if not whole:
        raise ConfigError(
            "dataset.task",
            f"classes are integers or strings, the targets are {targets[0].dtype}; write task='regression', or convert",
        )
    return Dataset(splits, max(int(array.max(initial=0)) for array in targets) + 1)

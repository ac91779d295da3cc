"""Safetensors files of a state: named arrays that any library reads, written whole and always in the same bytes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mlgym_jax.core.trees import path_name
from mlgym_jax.errors import ConfigError, MlgymError

# Part of a TrainState -> path -> array.
Arrays = dict[str, dict[str, np.ndarray]]
PARTS = ("params", "model_state")


def flat(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by their path, `Dense_0/kernel`."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


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
    found: Arrays = {part: {} for part in PARTS}
    for name, array in arrays.items():
        name = name.replace(".", "/")
        part = "model_state" if name.startswith("model_state/") else "params"
        found[part][name.removeprefix(f"{part}/")] = array
    return found


def write_arrays(arrays: Mapping[str, Any], path: str, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file of named arrays, whole or not at all; the same arrays make the same bytes.

    Raises:
        MlgymError: the file cannot be written.
    """
    import safetensors.numpy

    if os.path.isdir(path):
        raise MlgymError(f"{path}: it is a folder; write {os.path.join(path, 'model.safetensors')}")
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        # Not ascontiguousarray, which makes a vector of a scalar.
        plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        safetensors.numpy.save_file(plain, temporary, dict(metadata))
        _sort_metadata(temporary)
        os.replace(temporary, path)
    except Exception as error:  # the library wraps what the system says in a type of its own
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise MlgymError(f"{path}: cannot be written: {reason}") from error
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

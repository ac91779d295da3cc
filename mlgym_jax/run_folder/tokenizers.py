"""The tokenizers that a run's texts were encoded by, kept in its folder under the hash of the config's `dataset`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mlgym_jax.config.words import config_hash
from mlgym_jax.data.tokenizers import Tokenizer, from_json
from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.events import layout
from mlgym_jax.events.files import write_whole


def _path(run_dir: str, section: Mapping[str, Any]) -> str:
    return os.path.join(run_dir, layout.TOKENIZERS, f"{config_hash(section)[:16]}.json")


def write(run_dir: str, section: Mapping[str, Any], dataset: Any) -> None:
    """Write the tokenizer of a dataset, if it has one that is not there yet.

    Args:
        section: the config's section that the dataset was built from.

    Raises:
        DiskError: the disk refuses.
    """
    tokenizer, path = getattr(dataset, "tokenizer", None), _path(run_dir, section)
    if tokenizer is None or os.path.exists(path):
        return
    try:
        write_whole(path, tokenizer.to_json().encode())
    except OSError as error:
        raise DiskError(f"{path}: cannot be written: {error.strerror}") from error


def read(run_dir: str, section: Mapping[str, Any]) -> Tokenizer:
    """Read the tokenizer of an experiment whose config has this section `dataset`.

    Raises:
        MlgymError: there is none, or it cannot be read.
    """
    path = _path(run_dir, section)
    if not os.path.exists(path):
        raise MlgymError(f"{run_dir}: the experiment was not trained on text that a tokenizer encoded")
    return from_json(path)

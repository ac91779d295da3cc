"""A config that a run recorded as JSON, read to be run again: the whole study's, or one experiment's."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mlgym_jax.config.words import SECTIONS
from mlgym_jax.errors import MlgymError, described

_LOG = logging.getLogger(__name__)


def read_recorded(path: str) -> ConfigDict:
    """Read a run's `config.json`, or the `experiment_config.json` of one experiment.

    Raises:
        MlgymError: it cannot be read, or holds no config.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found: Any = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise MlgymError(f"--config={path}: it cannot be read ({type(error).__name__}: {error})") from error
    of_one = isinstance(found, Mapping) and isinstance(found.get("config"), Mapping) and "experiment_id" in found
    config = found["config"] if of_one else found
    if not (isinstance(config, Mapping) and all(config.get(name) for name, required in SECTIONS.items() if required)):
        raise MlgymError(
            f"--config={path}: no config is in it, found {described(found, 60)}; name a run's config.json, the "
            "experiment_config.json of an experiment, or a Python file with get_config()"
        )
    if of_one and found.get("fold") is not None:
        _LOG.warning(
            "%s: experiment %s was trained on fold %s; a new run trains on every fold",
            path,
            found["experiment_id"],
            found["fold"],
        )
    try:  # Not type safe, like components: JSON has lists for tuples, and 1 may stand where 0.5 is overridden.
        return ConfigDict(config, type_safe=False, allow_dotted_keys=True)
    except RecursionError as error:
        raise MlgymError(f"--config={path}: values stand in each other too deeply") from error

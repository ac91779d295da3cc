"""Expand a study into experiments: one hyperparameter assignment x one fold each, in a stable order."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from mlgym_jax.config import Path, dotted, is_sweep, replaced, walk
from mlgym_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One point of the sweep: the swept values, flat by dotted path, and the config that they resolve to."""

    hyperparameters: Mapping[str, Any]
    config: Mapping[str, Any]


def swept_paths(study: Mapping[str, Any]) -> list[Path]:
    """List the paths of the sweep markers of a plain config, sorted, outermost only."""
    found: list[Path] = []
    for path, value in walk(study):
        if is_sweep(value) and not any(path[: len(outer)] == outer for outer in found):
            found.append(path)
    return found


def expand(study: Mapping[str, Any]) -> list[Assignment]:
    """Return every assignment of a grid search: the product of all grids, the last path varying fastest.

    Raises:
        ConfigError: a range marker (`uniform`, …) without a random search to sample it.
    """
    paths = swept_paths(study)
    for path in paths:
        kind = value_at(study, path)["sweep"]
        if kind != "absolute":
            raise ConfigError(
                dotted(path), f"{kind}(…) has no values of its own to try one by one; write grid(value, …) instead"
            )
    assignments = []
    for values in itertools.product(*(value_at(study, path)["values"] for path in paths)):
        config = study
        for path, value in zip(paths, values, strict=True):
            config = replaced(config, path, value)
        named = {dotted(path): value for path, value in zip(paths, values, strict=True)}
        nested = expand(config) if swept_paths(config) else [Assignment({}, config)]
        assignments += [Assignment({**named, **inner.hyperparameters}, inner.config) for inner in nested]
    return assignments


def value_at(value: Any, path: Path) -> Any:
    """Return what stands at `path` of plain data."""
    for key in path:
        value = value[int(key)] if isinstance(value, tuple) else value[key]
    return value

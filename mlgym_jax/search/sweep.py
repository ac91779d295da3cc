"""Expand a study into experiments: one hyperparameter assignment x one fold each, in a stable order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym_jax.components.graph import build_alone
from mlgym_jax.components.tree import placed, resolved, unresolved
from mlgym_jax.config.traversal import walk
from mlgym_jax.config.words import MAX_EXPERIMENTS, Path, dotted, is_sweep, sweeps
from mlgym_jax.errors import ConfigError, described, in_words
from mlgym_jax.search.strategy import Assignment, Finished, Once, Strategy


def swept_paths(study: Mapping[str, Any]) -> list[Path]:
    """List the paths of the sweep markers of a plain config, sorted, outermost only."""
    found: list[Path] = []
    for path, value in walk(study):
        if is_sweep(value) and not (found and path[: len(found[-1])] == found[-1]):
            found.append(path)  # walked depth first: what is inside a marker follows it
    return found


def count(study: Mapping[str, Any]) -> int:
    """Return the number of assignments that `expand` would return, without expanding."""
    return math.prod(_count_at(value_at(study, path)) for path in swept_paths(study))


def _count_at(marker: Mapping[str, Any]) -> int:
    return sum(_count_at(value) if is_sweep(value) else count(value) for value in marker.get("values", ()))


def expand(study: Mapping[str, Any]) -> list[Assignment]:
    """Return every assignment that a study's search tries first; without a section `search`, the product of all grids.

    Raises:
        ConfigError: a range marker (`uniform`, …) without a random search to draw from it, too many assignments, or
            what the search says.
    """
    study = resolved(study)
    return proposed_by(strategy_of(study), study, ())


def strategy_of(study: Mapping[str, Any]) -> Strategy:
    """Build what a resolved study's section `search` names; without one, the product of all grids."""
    section = study.get("search")
    if section is None:
        return WHOLE_GRID
    for name, value in section.parameters.items():
        if any(True for _ in sweeps({name: value} if name not in section.entry.as_written else {name: _itself(value)})):
            raise ConfigError(f"search.{name}", "a search cannot be swept itself; write one value")
    return build_alone(section)


def _itself(value: Any) -> Any:
    """Return a parameter that holds parts of a config, which may be swept, without these."""
    return value if is_sweep(value) else None


def proposed_by(strategy: Strategy, study: Mapping[str, Any], finished: Finished) -> list[Assignment]:
    """Ask a strategy what to try next.

    Raises:
        ConfigError: what it says, or that it failed, at the place of the search.
    """
    name = f" {study['search'].entry.name!r}" if "search" in study else ""
    try:
        found = strategy.propose({name: value for name, value in study.items() if name != "search"}, finished)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError("search", f"search{name} failed: {in_words(error)}") from error
    if not isinstance(found, list | tuple) or not all(isinstance(item, Assignment) for item in found):
        raise ConfigError("search", f"search{name} returned {described(found)}; a list of Assignments is expected")
    return list(found)


def whole_grid(study: Mapping[str, Any]) -> list[Assignment]:
    """Try the product of all grids."""
    return product(study, [(path,) for path in swept_paths(study)])


WHOLE_GRID = Once(whole_grid)


def product(study: Mapping[str, Any], axes: Sequence[tuple[Path, ...]]) -> list[Assignment]:
    """Return the product of grids, the last axis varying fastest; the paths of one axis vary together.

    A value of a grid may hold grids itself, such as a component whose parameters are swept: it counts once for each of
    their values, and these stand in the hyperparameters, too.

    Raises:
        ConfigError: a range marker, or too many assignments.
    """
    for path, marker in sweeps(study):
        if marker["sweep"] != "absolute":
            raise ConfigError(
                dotted(path),
                f"{marker['sweep']}(…) is drawn by a random search; write config.search = "
                "component('random', num_experiments=…), or grid(value, …) with values of your choice",
            )
    number = math.prod(_count_at(value_at(study, axis[0])) for axis in axes)
    if number > MAX_EXPERIMENTS:
        sizes = " x ".join(f"{_count_at(value_at(study, axis[0])):,} of {dotted(axis[0])}" for axis in axes)
        raise ConfigError(
            dotted(axes[0][0]),
            f"the grids make {number:,} experiments ({sizes}); a run takes {MAX_EXPERIMENTS:,} at most",
        )
    choices = [
        list(zip(*([(path, choice) for choice in variants(value_at(study, path), path)] for path in axis), strict=True))
        for axis in axes
    ]
    return [assigned(study, [item for axis in chosen for item in axis]) for chosen in itertools.product(*choices)]


def assigned(study: Mapping[str, Any], chosen: Sequence[tuple[Path, tuple[dict[str, Any], Any]]]) -> Assignment:
    """Put chosen values into a study: path, (swept values by dotted path, what stands at the path)."""
    config, named = study, {}
    for path, (values, value) in chosen:
        config = placed(config, path, value)
        named.update(values)
    return Assignment(named, config)


def variants(marker: Mapping[str, Any], path: Path) -> list[tuple[dict[str, Any], Any]]:
    """List what may stand in place of a marker, of a range its ends: (swept values by dotted path, the result)."""
    found = []
    for value in marker["values"] if "values" in marker else (marker["low"], marker["high"]):
        if is_sweep(value):
            found += variants(value, path)
            continue
        inner = [(inside, variants(value_at(value, inside), (*path, *inside))) for inside in swept_paths(value)]
        for choices in itertools.product(*(choices for _, choices in inner)):
            chosen, named = value, {}
            for (inside, _), (values, result) in zip(inner, choices, strict=True):
                chosen = placed(chosen, inside, result, at=path)
                named.update(values)
            found.append(({dotted(path): unresolved(chosen), **named}, chosen))
    return found


def value_at(value: Any, path: Path) -> Any:
    """Return what stands at `path` of plain data."""
    for key in path:
        value = value[int(key)] if isinstance(value, tuple) else value[key]
    return value

"""Expand a study into experiments: one hyperparameter assignment x one fold each, in a stable order."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlgym_jax.components.parameters import check_parameters
from mlgym_jax.components.registry import find_kind, lookup
from mlgym_jax.config.words import MAX_EXPERIMENTS, Path, dotted, is_component, is_sweep, replaced, sweeps, walk
from mlgym_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One point of the sweep: the swept values, flat by dotted path, and the config that they resolve to."""

    hyperparameters: Mapping[str, Any]
    config: Mapping[str, Any]


# Takes a study without its section `search`. One with a method `stopped` also ends experiments (see `search.halving`),
# one with `propose` goes on proposing from what has trained (see `search.optuna_search`).
Strategy = Callable[[Mapping[str, Any]], list[Assignment]]


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
    """Return every assignment that a study's search tries; without a section `search`, the product of all grids.

    Raises:
        ConfigError: a range marker (`uniform`, …) without a random search to draw from it, too many assignments, or
            what the search says.
    """
    return strategy_of(study)({key: value for key, value in study.items() if key != "search"})


def strategy_of(study: Mapping[str, Any]) -> Strategy:
    """Build what a study's section `search` names; without one, the product of all grids."""
    section = study.get("search")
    return whole_grid if section is None else _built(section, "search")


def whole_grid(study: Mapping[str, Any]) -> list[Assignment]:
    """Try the product of all grids."""
    return product(study, [(path,) for path in swept_paths(study)])


def _built(section: Mapping[str, Any], where: str) -> Strategy:
    kind, name = find_kind(section["component"], "search", where)
    entry = lookup(kind, name, where)
    parameters = {key: value for key, value in section.items() if key != "component"}
    if is_component(parameters.get("search")):
        parameters["search"] = _built(parameters["search"], f"{where}.search")
    parameters = check_parameters(entry, parameters, where)

    def located(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except ConfigError as error:
            # What a search inside of this one says stands at its place already.
            raise error if error.path.startswith(f"{where}.search") else error.moved("search", where) from error
        except Exception as error:
            raise ConfigError(where, f"search {name!r} failed: {type(error).__name__}: {error}") from error

    strategy = located(entry.factory, **parameters)
    if where == "search" and hasattr(strategy, "stopped"):
        return strategy
    return lambda study: located(strategy, study)


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
    for path, (values, resolved) in chosen:
        config = replaced(config, path, resolved)
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
            resolved, named = value, {}
            for (inside, _), (values, result) in zip(inner, choices, strict=True):
                resolved = replaced(resolved, inside, result)
                named.update(values)
            found.append(({dotted(path): resolved, **named}, resolved))
    return found


def value_at(value: Any, path: Path) -> Any:
    """Return what stands at `path` of plain data."""
    for key in path:
        value = value[int(key)] if isinstance(value, tuple) else value[key]
    return value

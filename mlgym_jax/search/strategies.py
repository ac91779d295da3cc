"""Search strategies: pure functions from a study without its `search` section to assignments, in a stable order.

Synopsis:

    >>> from mlgym_jax.components.tree import resolved
    >>> from mlgym_jax.config.words import component, log_uniform, plain
    >>> from mlgym_jax.search.strategies import random
    >>> study = resolved(plain({"optimizer": component("adam", learning_rate=log_uniform(1e-4, 1e-1))}))
    >>> drawn = random(num_experiments=2, seed=0).propose(study, ())
    >>> [round(assignment.hyperparameters["optimizer.learning_rate"], 6) for assignment in drawn]
    [0.006991, 0.024238]
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym_jax.components.registry import register
from mlgym_jax.components.tree import placed
from mlgym_jax.config.words import MAX_EXPERIMENTS, SECTIONS, Path, dotted, is_component, is_sweep, plain
from mlgym_jax.errors import ConfigError, listed, nearest
from mlgym_jax.search.strategy import Assignment, Once, Strategy
from mlgym_jax.search.sweep import assigned, product, swept_paths, value_at, variants


@register("search", "grid")
def grid(*, linked: tuple[tuple[str, ...], ...] = ()) -> Strategy:
    """Try the product of all grids, which is the default; fields that are linked vary together.

    Args:
        linked: groups of dotted paths whose grids have equally many values: the first of each go together, the second,
            and so on, as in `linked=(("optimizer.learning_rate", "loader.batch_size"),)`.
    """
    return Once(lambda study: product(study, _axes(study, linked)))


def _axes(study: Mapping[str, Any], linked: Sequence[Sequence[str]]) -> list[tuple[Path, ...]]:
    """Gather the swept paths into axes, each of paths that vary together."""
    paths = swept_paths(study)
    known = {dotted(path): path for path in paths}
    together: dict[str, int] = {}
    for number, names in enumerate(linked):
        sizes = {}
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"search.linked.{number}", f"{name!r} is not swept{nearest(name, known)} Swept: {listed(known)}"
                )
            if name in together:
                raise ConfigError(f"search.linked.{number}", f"{name!r} is linked twice")
            together[name] = number
            sizes[name] = len(variants(value_at(study, known[name]), known[name]))
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{size} of {name}" for name, size in sizes.items())
            raise ConfigError(f"search.linked.{number}", f"linked fields need equally many values, found {shown}")
    axes: dict[Any, list[Path]] = {}
    for name, path in known.items():
        axes.setdefault(together.get(name, name), []).append(path)
    return [tuple(axis) for axis in axes.values()]


@register("search", "random")
def random(*, num_experiments: int, seed: int = 0) -> Strategy:
    """Draw each swept field independently: from its range, or one of a grid's values (Bergstra and Bengio, 2012).

    What an experiment gets depends on (seed, its number, the field) alone: asking for more experiments, or sweeping
    another field, leaves the others' values as they are. So values of short grids come again, which is said; the
    product of all grids, which is the default, tries each once.

    Raises:
        ConfigError: fewer than 1 experiment, or nothing to draw.
    """
    if not 1 <= num_experiments <= MAX_EXPERIMENTS:
        raise ConfigError(
            "search.num_experiments", f"found {num_experiments}; 1 to {MAX_EXPERIMENTS:,} experiments are allowed"
        )

    def search(study: Mapping[str, Any]) -> list[Assignment]:
        paths = swept_paths(study)
        if not paths:
            raise ConfigError("search", "there is nothing to draw; write uniform(low, high), grid(…), … in some field")
        return [
            assigned(study, [(path, _drawn(value_at(study, path), path, seed, number)) for path in paths])
            for number in range(num_experiments)
        ]

    return Once(search)


def _drawn(marker: Mapping[str, Any], path: Path, seed: int, number: int) -> tuple[dict[str, Any], Any]:
    """Draw one value of a marker: (swept values by dotted path, the result)."""
    point = _uniform(seed, number, dotted(path))
    if marker["sweep"] == "absolute":
        choices = variants(marker, path)
        return choices[int(point * len(choices))]
    low, high = marker["low"], marker["high"]
    if marker["sweep"] == "int_uniform":
        value: Any = low + int(point * (high - low + 1))
    elif marker["sweep"] == "log_uniform":
        value = math.exp(math.log(low) + point * (math.log(high) - math.log(low)))
    else:
        value = low + point * (high - low)
    return {dotted(path): value}, value


def _uniform(seed: int, number: int, name: str) -> float:
    """Return a number in [0, 1), a pure function of its arguments."""
    digest = hashlib.sha256(f"{seed}/{number}/{name}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


@register("search", "list", as_written=("experiments",))
def explicit(*, experiments: tuple[dict, ...]) -> Strategy:
    """Try just these experiments: each says the fields that it changes, `{"optimizer.learning_rate": 1e-3, …}`.

    Grids elsewhere in the config multiply the list.

    Raises:
        ConfigError: an empty list, experiments that change different fields, or a field that there is not.
    """
    if not experiments:
        raise ConfigError("search.experiments", "empty; list at least one experiment")
    names = list(_flat(experiments[0]))

    def search(study: Mapping[str, Any]) -> list[Assignment]:
        found = []
        for number, experiment in enumerate(experiments):
            values, where = _flat(experiment), f"search.experiments.{number}"
            if list(values) != names:
                raise ConfigError(where, f"it changes {listed(values)}, the first one {listed(names)}; change the same")
            config = study
            for name, value in values.items():
                config = _changed(config, tuple(name.split(".")), value, where)
            found += [
                Assignment({**values, **rest.hyperparameters}, rest.config)
                for rest in product(config, [(path,) for path in swept_paths(config)])
            ]
        return found

    return Once(search)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested fields to dotted paths; a component stands for itself."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping) and not (is_component(value) or is_sweep(value))
        found.update(_flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": plain(value)})
    return dict(sorted(found.items()))


def _changed(config: Mapping[str, Any], path: Path, value: Any, where: str) -> Mapping[str, Any]:
    *holders, last = path
    holder: Any = config
    for key in holders:
        inside: Any = {}
        if isinstance(holder, Mapping | tuple):
            inside = holder if isinstance(holder, Mapping) else dict(enumerate(holder))
        key = int(key) if isinstance(holder, tuple) and key.isdigit() else key
        if key not in inside:
            raise ConfigError(f"{where}.{dotted(path)}", f"no such field{nearest(str(key), map(str, inside))}")
        holder = inside[key]
    there = dict(enumerate(holder)) if isinstance(holder, tuple) else holder if isinstance(holder, Mapping) else {}
    known = {str(key) for key in there} | (set(SECTIONS) - {"search"} if not holders else set())
    if last not in known and not is_component(holder):  # a component says itself what it has
        raise ConfigError(
            f"{where}.{dotted(path)}", f"no such field{nearest(last, known)} Fields here: {listed(sorted(known), 30)}"
        )
    return placed(config, path, value)

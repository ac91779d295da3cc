"""Tell static from dynamic hyperparameters, and gather experiments that share one compiled program into groups."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym_jax.components.tree import owner_of
from mlgym_jax.config.traversal import replaced
from mlgym_jax.config.words import canonical_json, dotted
from mlgym_jax.search.strategy import Assignment

# Swept at the top level, these are array arguments of the compiled program.
DYNAMIC_FIELDS = ("seed", "split_seed")
# What these sections build is used outside of the compiled program, or is a part of it: a swept value makes a group.
_STATIC_SECTIONS = (
    "dataset",
    "validation",
    "loader",
    "metrics",
    "early_stopping",
    "checkpointing",
    "warm_start",
    "refit",
)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One training: an assignment x a fold.

    Attributes:
        round: of a search that proposes more experiments when these have trained; a refit is a round, too.
        refit: of a refit, by which score it was selected, and from which experiments; see `search.refit`.
    """

    experiment_id: int
    assignment: Assignment
    fold: int
    num_folds: int
    round: int = 0
    refit: Mapping[str, Any] | None = None

    @property
    def seed(self) -> int:
        return self.assignment.config["seed"]


@dataclasses.dataclass(frozen=True)
class Group:
    """Experiments equal in everything static; compiled once, trained together.

    Attributes:
        config: the first experiment's, whose static part is everybody's.
        dynamic: dotted paths of the swept values that the program takes as arrays.
    """

    index: int
    experiments: tuple[Experiment, ...]
    config: Mapping[str, Any]
    dynamic: tuple[str, ...]

    @functools.cached_property
    def ids(self) -> list[int]:
        return [experiment.experiment_id for experiment in self.experiments]


def dynamic_paths(assignments: Sequence[Assignment]) -> list[str]:
    """List the swept dotted paths that are dynamic by declaration: seeds, and parameters registered as such."""
    dynamic: dict[str, bool] = {}
    for assignment in assignments:
        for name, value in assignment.hyperparameters.items():
            if dynamic.get(name, True):
                dynamic[name] = _is_dynamic(assignment.config, tuple(name.split(".")), value)
    return [name for name, holds in dynamic.items() if holds]


def open_paths(config: Mapping[str, Any]) -> list[str]:
    """List the dotted paths of all numbers in a config that one program could sweep, whether they are swept or not."""
    found: list[str] = []

    def visit(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, Mapping | tuple):
            items = value.items() if isinstance(value, Mapping) else ((str(i), item) for i, item in enumerate(value))
            for key, item in items:
                if "." not in key:
                    visit(item, (*path, key))
        elif len(path) > 1 and _is_dynamic(config, path, value):
            found.append(dotted(path))

    visit(config, ())
    return found


def _is_dynamic(config: Mapping[str, Any], path: tuple[str, ...], value: Any) -> bool:
    if len(path) == 1:
        return path[0] in DYNAMIC_FIELDS
    if path[0] in _STATIC_SECTIONS or not isinstance(value, int | float) or isinstance(value, bool):
        return False
    owner = owner_of(config, path)
    return owner is not None and owner.is_dynamic(path[-1])


def make_groups(experiments: Sequence[Experiment], dynamic: Sequence[str], keys: Mapping[int, str]) -> list[Group]:
    """Gather experiments whose configs are equal but for the dynamic paths, in order of their first experiment.

    Args:
        experiments: what is grouped; the folds of an assignment share it.
        dynamic: the paths of the values that one compiled program takes as arguments.
        keys: the `static_key` of each assignment, by its `id`.
    """
    members: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        members.setdefault(keys[id(experiment.assignment)], []).append(experiment)
    return [
        Group(index, tuple(group), group[0].assignment.config, tuple(dynamic))
        for index, group in enumerate(members.values())
    ]


def static_key(assignment: Assignment, dynamic: Sequence[str]) -> str:
    """Return the canonical JSON of a config with its dynamic values taken out."""
    config = assignment.config
    for path in dynamic:
        if path in assignment.hyperparameters:
            config = replaced(config, tuple(path.split(".")), None)
    return canonical_json(config)

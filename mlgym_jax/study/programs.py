"""What is worth a word before anything compiles: how many programs there are and why, experiments that are alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from mlgym_jax.components.tree import owner_of
from mlgym_jax.config.spelling import columns, spelled
from mlgym_jax.config.words import canonical_json
from mlgym_jax.errors import listed
from mlgym_jax.search.grouping import Group, dynamic_paths
from mlgym_jax.search.strategy import Assignment

# More programs than this are worth a word before they are compiled, one after the other.
MANY = 8


def split_by(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """Return the swept values that are a part of the program: dotted path -> its different values, in their order."""
    found: dict[str, dict[Any, None]] = {}
    for group, cells in zip(groups, columns([_of(group) for group in groups]), strict=True):
        for path, value in cells.items():
            if path not in group.dynamic:
                found.setdefault(path, {})[value] = None
    return {path: list(values) for path, values in found.items() if len(values) > 1}


def _of(group: Group) -> Mapping[str, Any]:
    return group.experiments[0].assignment.hyperparameters


def in_words(groups: Sequence[Group], because: Mapping[str, str]) -> str:
    """Say how many programs there are and why, for a log or a terminal.

    Args:
        because: the swept values that could have been arrays but for a component, and what it said of them.
    """
    number, experiments = len(groups), sum(len(group.experiments) for group in groups)
    counted = f"{number} program{'s' * (number > 1)} for {experiments} experiment{'s' * (experiments > 1)}"
    causes = [
        f"config.{path} has {len(values)} values ({listed(map(spelled, values), 6)})"
        + (f", of which one program cannot be made ({because[path]})" if path in because else "")
        for path, values in split_by(groups).items()
    ]
    return f"{counted}: " + "; ".join(causes) if causes else counted


def advice(groups: Sequence[Group]) -> str:
    """Return what to write instead of so many values that each need a program; "" where they are not many."""
    paths = [path for path, values in split_by(groups).items() if len(values) > 2] if len(groups) > MANY else []
    return f"fewer different values of {listed(paths, 4)}, such as grid(…) of two or three, compile fewer" * bool(paths)


def draws(search: Any) -> bool:
    """Tell whether a config's section `search`, or what it asks for experiments, draws them."""
    if not isinstance(search, Mapping):
        return False
    name = str(search.get("component")).removeprefix("search/")
    return name == "random" or draws(search.get("search"))


def repeated(assignments: Sequence[Assignment], *, drawn: bool) -> str:
    """Say how many experiments have the values of one before them; "" where none has.

    Args:
        drawn: whether a search drew them, so that no grid is to blame.
    """
    dynamic = frozenset(dynamic_paths(assignments))
    found = [
        {path: _number(value) for path, value in item.hyperparameters.items()} | _of_32_bits(item, dynamic)
        for item in assignments
    ]
    distinct = {canonical_json(values) for values in found}
    again = len(assignments) - len(distinct)
    if not again:
        return ""
    said = (
        f"{again} of {len(assignments)} experiments repeat the values of another one, seed included, so they give the "
        "same numbers; "
    )
    if drawn:
        return (
            f"config.search: {said}a random search draws each by itself. To try each of these {len(distinct)} once "
            "leave config.search out, for others take ranges such as uniform(low, high), or draw the seed, too: "
            "config.seed = int_uniform(0, 1000)"
        )
    for path in sorted(dynamic):
        rounded: dict[Any, Any] = {}
        for item, values in zip(assignments, found, strict=True):
            value = item.hyperparameters.get(path)
            if path in values and (other := rounded.setdefault(values[path], value)) != value:
                return (
                    f"config.{path}: {said}{other!r} and {value!r} are one number to a program, whose numbers have 32 "
                    "bits. Write values that differ in their first 7 digits"
                )
    return f"config: {said}a value of {listed(found[0])} stands twice in a grid or list. Write each once"


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _of_32_bits(assignment: Assignment, dynamic: Collection[str]) -> dict[str, Any]:
    """Return the swept numbers that a program takes as 32-bit floats, as such."""
    found = {}
    for path, value in assignment.hyperparameters.items():
        *_, name = keys = path.split(".")
        owner = owner_of(assignment.config, keys) if path in dynamic else None
        if owner is not None and not (owner.wants_integer(name) and isinstance(value, int)):
            found[path] = _number(float(np.float32(value)))
    return found

"""The functional API's way in: the components of a config, to write a loop of one's own."""

from __future__ import annotations

from typing import Any

from mlgym_jax.components.graph import Components, build_components
from mlgym_jax.config.file import as_config
from mlgym_jax.config.words import validated
from mlgym_jax.data import given
from mlgym_jax.search.grouping import dynamic_paths
from mlgym_jax.search.sweep import expand


def build(config: Any, *, data: Any = None) -> Components:
    """Build the components of a config, or of the config file at a path.

    Of a sweep these are the components of its first experiment, dynamic values left open.
    The swept values that one program can take as arrays stand in `components.hyperparams` (the first experiment's) and
    are arguments of `make_program(components).init`, which wants to be told those that have several values.

    Args:
        data: in place of `config.dataset`, as for `run`.
    """
    with given.at_hand(data) as own_data:
        assignments = expand(validated(given.config_of(as_config(config), own_data)))
        first = assignments[0]
        components = build_components(first.config)
    hyperparams = {
        path: first.hyperparameters[path]
        for path in dynamic_paths(assignments)
        if "." in path and path in first.hyperparameters
    }
    named = [assignment.hyperparameters for assignment in assignments]
    values = {path: list(dict.fromkeys(own[path] for own in named if path in own)) for path in hyperparams}
    return components.opened(hyperparams, {path: found for path, found in values.items() if len(found) > 1})

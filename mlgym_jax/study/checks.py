"""What of a study can be wrong though each of its sections is right."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym_jax.components.graph import Components, check_section, graph
from mlgym_jax.config.words import FIELDS, replaced
from mlgym_jax.data.dataset import Table
from mlgym_jax.errors import ConfigError, listed, nearest
from mlgym_jax.search.halving import SuccessiveHalving
from mlgym_jax.search.refit import assignments, rule
from mlgym_jax.search.sweep import Assignment, Strategy, swept_paths, value_at, variants

_LOG = logging.getLogger(__name__)


def check_values(study: Mapping[str, Any], first: Assignment) -> None:
    """Check each swept value in place of the first experiment's: the sum of the grids' sizes, not their product."""
    graph(first.config)
    study = {name: value for name, value in study.items() if name != "search"}
    for path in swept_paths(study):
        for _, value in variants(value_at(study, path), path):
            config = replaced(first.config, path, value)
            if isinstance(value, Mapping):
                graph(config)
            elif path[0] not in FIELDS:
                check_section(path[0], config[path[0]])


def checked_table(table: Table) -> Table:
    """Refuse a table without inputs, or with a field that the engine itself adds."""
    fields = [field for field in table.arrays if field != "inputs"]
    if "inputs" not in table.arrays:
        raise ConfigError(
            "dataset",
            f"its examples have no field 'inputs', which the model reads{nearest('inputs', fields)} "
            f"Fields: {listed(fields)}. Rename one to 'inputs'.",
        )
    if "mask" in fields:
        raise ConfigError("dataset", "its examples have a field 'mask', a name that the engine itself uses; rename it")
    return table


def check_rungs(search: Strategy, intervals: Sequence[Mapping[str, int]], num_epochs: int) -> None:
    """Refuse a search that halves by a score which is not there in time; warn of one that never halves."""
    if not isinstance(search, SuccessiveHalving):
        return
    every = max(every[search.monitor] for every in intervals)
    if every > search.min_epochs:
        raise ConfigError(
            "search.min_epochs", f"found {search.min_epochs}, but {search.monitor} is computed every {every} epochs"
        )
    if num_epochs <= search.min_epochs:
        _LOG.warning(
            "config.search.min_epochs is %d and num_epochs %d: nothing will be halved", search.min_epochs, num_epochs
        )


def check_refit(
    study: Mapping[str, Any], groups: Sequence[tuple[Mapping[str, Any], Components, Sequence[str]]]
) -> None:
    """Refuse a refit that could not be trained when the folds are: of each group, its config, components and scores."""
    for config, components, names in groups:
        if "refit" in components:
            rule(components["refit"], study, names)
            graph(assignments([Assignment({}, config)], 1)[0].config)


def evaluated_splits(wanted: Sequence[str], sizes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the splits to evaluate that there are."""
    for split in wanted:
        if split not in sizes and split not in ("train", "val", "test"):
            raise ConfigError("evaluation_splits", f"no split {split!r}{nearest(split, sizes)} Splits: {listed(sizes)}")
    return tuple(split for split in wanted if split in sizes)


def check_monitor(section: str, policy: Any, names: Sequence[str]) -> None:
    """Refuse a policy that is none, or that reads a score which will not exist."""
    if policy is None:
        return
    if not callable(policy):
        raise ConfigError(section, f"a callable (history) is expected, found {type(policy).__name__}")
    monitor = getattr(policy, "monitor", None)
    if monitor is not None and monitor not in names:
        raise ConfigError(
            f"{section}.monitor",
            f"no score {monitor!r} will exist{nearest(monitor, names)} Scores: {listed(names, 40)}",
        )

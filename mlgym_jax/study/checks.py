"""What of a study can be wrong though each of its sections is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlgym_jax.components.graph import Components, build_alone, graph
from mlgym_jax.components.tree import Node, placed
from mlgym_jax.config.words import dotted
from mlgym_jax.core.cadence import Cadence
from mlgym_jax.core.inputs import is_input
from mlgym_jax.core.scoring import interval_of
from mlgym_jax.data.dataset import Table
from mlgym_jax.data.one_pass import filled_by, passes_of
from mlgym_jax.data.sources import few_arrays
from mlgym_jax.data.split_names import split_meant
from mlgym_jax.errors import ConfigError, listed, nearest
from mlgym_jax.search.refit import assignments, rule
from mlgym_jax.search.strategy import Assignment
from mlgym_jax.search.sweep import swept_paths, value_at, variants


def check_values(study: Mapping[str, Any], first: Assignment) -> None:
    """Check each swept value in place of the first experiment's: the sum of the grids' sizes, not their product."""
    graph(first.config)
    study = {name: value for name, value in study.items() if name != "search"}
    for path in swept_paths(study):
        for _, value in variants(value_at(study, path), path):
            config = placed(first.config, path, value)
            if isinstance(value, Mapping):  # another component may need other sections
                graph(config)


def checked_table(table: Table) -> Table:
    """Refuse a table without inputs, or with a field that the engine itself adds."""
    fields = [field for field in table.arrays if field != "inputs"]
    if not any(map(is_input, table.arrays)):
        raise ConfigError(
            "dataset",
            f"its examples have no field 'inputs', which the model reads{nearest('inputs', fields)} "
            f"Fields: {listed(fields)}. Rename one to 'inputs'.",
        )
    if "mask" in fields:
        raise ConfigError("dataset", "its examples have a field 'mask', a name that the engine itself uses; rename it")
    return table


def check_refit(
    study: Mapping[str, Any], groups: Sequence[tuple[Mapping[str, Any], Components, Sequence[str]]]
) -> None:
    """Refuse a refit that could not be trained when the folds are: of each group, its config, components and scores."""
    for config, components, names in groups:
        if "refit" in components:
            rule(components["refit"], study, names)
            graph(assignments([Assignment({}, config)], {"num_epochs": 1})[0].config)


def evaluated_splits(wanted: Sequence[str], sizes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the splits to evaluate that there are."""
    wanted = [*dict.fromkeys(split if split in sizes else split_meant(split, ()) for split in wanted)]
    for split in wanted:
        if split not in sizes and split not in ("train", "val", "test"):
            raise ConfigError("evaluation_splits", f"no split {split!r}{nearest(split, sizes)} Splits: {listed(sizes)}")
    return tuple(split for split in wanted if split in sizes)


def check_streams(components: Components) -> None:
    """Refuse what looks at all training data at once, where they are read while training goes on."""
    if "encoding" in components and passes_of(components["encoding"]) is None:
        raise ConfigError(
            "encoding",
            f"{components.config['encoding']['component']!r} is fitted on all training examples at once, as it, or an "
            "encoding inside of it, has neither `in_one_pass` nor `in_passes`, by which component('streaming') sums up "
            "what is read part by part. Give it one (mlgym_jax/data/one_pass.py; those that are built in have it), "
            "encode examples where they are read, or write config.loader = component('in_memory', …)",
        )


def filled_columns(components: Components) -> frozenset[int]:
    """Return the columns of a table whose values may be missing where it is read while training goes on."""
    if "encoding" not in components or not hasattr(components["encoding"], "fills"):
        return frozenset()
    inputs = few_arrays(components["dataset"].splits["train"]).get("inputs")
    if inputs is None or inputs.ndim != 2:
        return frozenset()
    return filled_by(components["encoding"], inputs.shape[1])


def check_monitor(section: str, policy: Any, names: Sequence[str], records: Mapping[str, str] | None = None) -> None:
    """Refuse what reads a score that will not exist.

    Args:
        records: name -> kind of what is recorded and is no score, such as a curve.
    """
    monitor = getattr(policy, "monitor", None)
    if monitor is not None and monitor in (records or {}):
        raise ConfigError(
            f"{section}.monitor",
            f"{monitor!r} is a {(records or {})[monitor]}, of which none is better than another; a score is expected"
            f"{nearest(monitor, names)} Scores: {listed(names, 40)}",
        )
    if monitor is not None and monitor not in names:
        raise ConfigError(
            f"{section}.monitor",
            f"no score {monitor!r} will exist{nearest(monitor, names)} Scores: {listed(names, 40)}",
        )


def check_accumulation(optimizer: Any, num_steps: int, before: int = 1) -> None:
    """Refuse an optimizer that gathers more steps for an update, or one of slow parameters, than a training has.

    Args:
        optimizer: its node, or a value inside of it.
        num_steps: training steps of an experiment.
        before: steps that a call of this part takes.

    Raises:
        ConfigError: at the number of steps that is too large.
    """
    if isinstance(optimizer, Node):
        name = {"MultiSteps": "every_k_schedule", "apply_every": "k", "lookahead": "sync_period"}.get(
            optimizer.entry.name if optimizer.entry.kind == "optimizer" else ""
        )
        never = "the slow parameters, which are evaluated," if name == "sync_period" else "no parameter"
        every = _at_first(optimizer.get(name)) if name else 1
        if name and every < 1:
            raise ConfigError(
                dotted((*optimizer.path, name)),
                f"it begins with {every}, with which no parameter is ever updated; at least 1 is expected",
            )
        if name and every * before > num_steps:
            inside = f" (each of {before} steps)" if before > 1 else ""
            would = "would stay as they are initialised" if name == "sync_period" else "would ever be updated"
            raise ConfigError(
                dotted((*optimizer.path, name)),
                f"found {every}{inside}, but a training has {num_steps} steps, so {never} {would}; "
                f"write at most {num_steps // before}, or train for more epochs",
            )
        for key, value in optimizer.parameters.items():
            within = key == "opt" and name == "every_k_schedule"
            check_accumulation(value, num_steps, before * every if within else before)
    elif isinstance(optimizer, Mapping | tuple):
        for value in optimizer.values() if isinstance(optimizer, Mapping) else optimizer:
            check_accumulation(value, num_steps, before)


def never_happens(config: Mapping[str, Any], metrics: Mapping[str, Any], cadence: Cadence) -> tuple[str, ...]:
    """Say what a training is too short for: metrics that are never computed, an average that never begins."""
    times, steps = cadence.num_evaluations, max(cadence.totals)
    said = [
        f"config.metrics.{name}.every_num_epochs is {interval_of(metric)}, and a training is evaluated {times} times: "
        "this metric will never be computed"
        for name, metric in metrics.items()
        if interval_of(metric) > times
    ]
    averaging = config.get("averaging")
    first = averaging.get("first_step") if isinstance(averaging, Node) and averaging.entry.name == "mean" else 0
    if isinstance(first, int) and first >= steps:
        said.append(f"config.averaging.first_step is {first}, and a training has {steps} steps: nothing is averaged")
    return tuple(said)


def place_of(optimizer: Any, parameter: str, pattern: str) -> str:
    """Return the path at which a pattern stands in an optimizer, a node or a value inside of it; `""` if nowhere."""
    items: Any = ()
    if isinstance(optimizer, Node):
        found = optimizer.get(parameter)
        pairs = found if isinstance(found, tuple) else ()
        number = next((n for n, pair in enumerate(pairs) if isinstance(pair, tuple) and pair[0] == pattern), None)
        if found == pattern or number is not None:
            return dotted((*optimizer.path, parameter, *(() if number is None else (str(number),))))
        items = optimizer.parameters.values()
    elif isinstance(optimizer, Mapping | tuple):
        items = optimizer.values() if isinstance(optimizer, Mapping) else optimizer
    return next(filter(None, (place_of(item, parameter, pattern) for item in items)), "")


def _at_first(every: Any) -> int:
    """Return how many steps the first update takes, of a number or a schedule; 1 where that cannot be said."""
    if isinstance(every, Node) and not any(holder.needs for holder in (every, *every.inside)):
        return round(float(build_alone(every)(0)))
    return every if isinstance(every, int) else 1

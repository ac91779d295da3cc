"""From a config to groups that are ready to compile: everything that can be wrong is found here, before any effect.

Reads data (through the dataset component) but writes nothing.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.components import Components, build_components
from mlgym_jax.config import plain, replaced, validated
from mlgym_jax.core.epoch import EpochShape, epoch_shape
from mlgym_jax.core.program import Program, make_program
from mlgym_jax.core.scoring import interval_of, named
from mlgym_jax.core.state import TrainState
from mlgym_jax.data.dataset import Table, fingerprint, to_arrays
from mlgym_jax.data.fold_tables import fold_tables, one_class_parts
from mlgym_jax.data.folds import Folds, join_folds, make_folds
from mlgym_jax.events.projection import RunView
from mlgym_jax.search.grouping import (
    Experiment,
    Group,
    dynamic_paths,
    make_groups,
    open_paths,
    parameter_owner,
    static_key,
)
from mlgym_jax.search.halving import Contender, History, candidate_of
from mlgym_jax.search.sweep import Assignment, Strategy, expand, strategy_of, value_at
from mlgym_jax.study_checks import check_monitor, check_rungs, check_values, checked_table, evaluated_splits
from mlgym_jax.tracing import NotTraceable, traced_steps

_LOG = logging.getLogger(__name__)
# Evaluation batches hold about this many input numbers unless the loader says otherwise.
_EVAL_ELEMENTS = 1 << 20
# So many values of a dynamic hyperparameter are handed to their factory before training.
_MAX_BUILT = 100


@dataclasses.dataclass(frozen=True)
class Job:
    """One group with everything that its training needs, traced but not compiled.

    Attributes:
        fold_tables: what the program knows of the folds; see `data.fold_tables`.
        names: the scores by name, such as `val/accuracy`, in the order of the program's score matrix.
        intervals: every how many epochs each of them is computed.
        abstract: shapes of one experiment's TrainState.
        traced: the jaxpr of one training step.
        fold_of_row: int32[rows], each experiment's number in the fold table.
        seeds: uint32[rows].
        hyperparams: dotted path -> [rows].
        contenders: of each experiment, with whom it competes in a search that drops the worst.
    """

    group: Group
    components: Components
    program: Program
    shape: EpochShape
    table: Table
    folds: Folds
    fold_tables: Mapping[str, Any]
    names: tuple[str, ...]
    intervals: Mapping[str, int]
    abstract: TrainState
    traced: Any
    fold_of_row: np.ndarray
    seeds: np.ndarray
    hyperparams: Mapping[str, np.ndarray]
    sample: Mapping[str, np.ndarray]
    search: Strategy
    contenders: tuple[Contender, ...]

    def encoder_of(self, experiment_id: int) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """Return the pure function that turns a raw batch into what the model of an experiment reads."""
        fold = int(self.fold_of_row[self.group.ids.index(experiment_id)])
        return lambda batch: encoded(self.components, self.fold_tables, fold, batch)

    def warm_start(self) -> Any:
        """Return what the section `warm_start` brings to this group's states; None without one.

        Raises:
            ConfigError: it does not fit.
        """
        source = self.components.get("warm_start")
        return None if source is None else source(self.abstract)

    @property
    def early_stopping(self) -> Callable[[Any], bool] | None:
        return self.components.get("early_stopping")

    @property
    def checkpointing(self) -> Callable[[Any], set[int]]:
        return self.components["checkpointing"]


@dataclasses.dataclass(frozen=True)
class Study:
    """A whole config, resolved: its experiments in order, and the jobs that train them."""

    config: Mapping[str, Any]
    experiments: tuple[Experiment, ...]
    jobs: tuple[Job, ...]
    static_because: Mapping[str, str]
    search: Strategy

    def fingerprints(self) -> dict[str, str]:
        """Return the SHA-256 of each distinct table of data, by the first group that uses it."""
        found: dict[int, tuple[str, str]] = {}
        for job in self.jobs:
            if id(job.table) not in found:
                found[id(job.table)] = (f"group_{job.group.index}", fingerprint(job.table))
        return dict(found.values())


def prepare(config: Any, logged: RunView | None = None) -> Study:
    """Resolve a config into jobs.

    Args:
        logged: what a run has recorded, for a search that proposes experiments from it: all of these are resolved.

    Raises:
        ConfigError: anything in the config that cannot be run, with its path.
    """
    plain = validated(config)
    search = strategy_of(plain)
    rounds = _rounds(plain, logged) if logged is not None and hasattr(search, "propose") else []
    rounds = rounds or [expand(plain)]
    check_values(plain, rounds[0][0])
    study = Study(plain, (), (), {}, search)
    for assignments in rounds:
        study = extended(study, assignments)
    return study


def proposed(study: Study, finished: Sequence[tuple[Contender, History]]) -> list[Assignment]:
    """Ask the search what to try next, given all that has trained; [] where it has nothing more to propose."""
    if not hasattr(study.search, "propose"):
        return []
    return study.search.propose(_without_search(study.config), finished)


def extended(study: Study, assignments: Sequence[Assignment]) -> Study:
    """Return a study with more experiments, which make groups of their own."""
    dynamic = dynamic_paths(assignments)
    because = dict(study.static_because)
    dynamic = [path for path in dynamic if path not in because]
    while True:
        try:
            experiments, jobs = _jobs(study, assignments, dynamic, because)
            return dataclasses.replace(
                study,
                experiments=(*study.experiments, *experiments),
                jobs=(*study.jobs, *jobs),
                static_because=because,
            )
        except NotTraceable as error:
            for path in error.paths:
                because[path] = error.reason
            dynamic = [path for path in dynamic if path not in error.paths]


def _rounds(plain_config: Mapping[str, Any], logged: RunView) -> list[list[Assignment]]:
    """Return what a search has proposed so far, round by round."""
    rounds: dict[int, list[Assignment]] = {}
    for view in logged.experiments.values():
        if view.config is not None and not view.fold:
            config = _without_search(plain_config)
            named = {name: plain(value) for name, value in view.hyperparameters.items()}
            for name, value in named.items():
                config = replaced(config, tuple(name.split(".")), value)
            rounds.setdefault(view.round, []).append(Assignment(named, config))
    return [rounds[number] for number in sorted(rounds)]


def _without_search(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "search"}


def _jobs(
    study: Study,
    assignments: Sequence[Assignment],
    dynamic: Sequence[str],
    static: Mapping[str, str],
) -> tuple[tuple[Experiment, ...], tuple[Job, ...]]:
    by_key: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        by_key.setdefault(static_key(assignment, dynamic), []).append(assignment)
    built: dict[str, tuple[Components, Table, Folds, dict[int, int]]] = {}
    components: Components | None = study.jobs[-1].components if study.jobs else None
    tables = {id(job.components["dataset"]): job.table for job in study.jobs}
    for key, members in by_key.items():
        components = build_components(members[0].config, reuse=components)
        dataset = components["dataset"]
        if id(dataset) not in tables:
            tables[id(dataset)] = checked_table(to_arrays(dataset))
        built[key] = (components, tables[id(dataset)], *_folds(components, tables[id(dataset)], members))
    warnings = [
        text for parts, table, folds, _ in built.values() for text in one_class_parts(parts["dataset"], table, folds)
    ]
    if warnings:
        _LOG.warning(
            "%s (%d such parts): metrics that compare classes, such as auroc, are NaN there", warnings[0], len(warnings)
        )
    experiments: list[Experiment] = []
    first, number_of_round = len(study.experiments), study.experiments[-1].round + 1 if study.experiments else 0
    for assignment in assignments:
        _, _, folds, first_fold = built[static_key(assignment, dynamic)]
        num_folds = folds.num_folds // len(first_fold)
        for fold in range(num_folds):
            experiments.append(Experiment(first + len(experiments), assignment, fold, num_folds, number_of_round))
    jobs = []
    for group in make_groups(experiments, dynamic):
        group = dataclasses.replace(group, index=len(study.jobs) + group.index)
        job = _job(group, *built[static_key(group.experiments[0].assignment, dynamic)], static, study.search)
        jobs.append(job)
    num_epochs = max(job.group.config["num_epochs"] for job in jobs)
    check_rungs(study.search, [job.intervals for job in jobs], num_epochs)
    return tuple(experiments), tuple(jobs)


def _folds(components: Components, table: Table, members: Sequence[Assignment]) -> tuple[Folds, dict[int, int]]:
    """Return the folds of every split seed of a group, one after the other, and where each seed's begin."""
    seeds = list(dict.fromkeys(member.config["split_seed"] for member in members))
    parts = [make_folds(components["dataset"], table, components["validation"], seed) for seed in seeds]
    starts = np.cumsum([0, *(part.num_folds for part in parts)]).tolist()
    return join_folds(parts), dict(zip(seeds, starts, strict=False))


def _job(
    group: Group,
    components: Components,
    table: Table,
    folds: Folds,
    first_fold: Mapping[int, int],
    static: Mapping[str, str],
    search: Strategy,
) -> Job:
    config = group.config
    swept = [path for path in group.dynamic if "." in path and path in group.experiments[0].assignment.hyperparameters]
    if config["strict"]:  # a number is an argument of the program whether it is swept or not: the same program, always
        swept += [path for path in open_paths(config) if path not in swept and path not in static]
        swept.sort()
    hyperparams = {path: _values(group, path) for path in swept}
    row = {path: jax.ShapeDtypeStruct((), values.dtype) for path, values in hyperparams.items()}
    for path in swept:
        values = _given(group, path)
        for value in list(dict.fromkeys(values))[:_MAX_BUILT]:
            components.bind({path: value})  # a factory may refuse a value that it sees, which it does not of an array
    components = components.opened({path: values[0] for path, values in hyperparams.items()})
    program = make_program(components)
    loader = components["loader"]
    sizes = dict(folds.sizes)
    loader.num_steps(min(sizes["train"]))
    indices = folds.indices["train"][0, : loader.batch_size]
    tables = fold_tables(components["dataset"], table, folds, components.get("encoding"))
    sample = encoded(components, tables, 0, {field: array[indices] for field, array in table.arrays.items()})
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = {field: jax.ShapeDtypeStruct(array.shape, array.dtype) for field, array in sample.items()}
    abstract, traced, scores = traced_steps(components, program, key, batch, row)
    evaluated = evaluated_splits(config["evaluation_splits"], sizes)
    elements = max(1, sum(int(np.prod(array.shape[1:])) for array in sample.values()))
    shape = epoch_shape(
        sizes,
        batch_size=loader.batch_size,
        eval_batch_size=loader.eval_batch_size or max(loader.batch_size, _EVAL_ELEMENTS // elements),
        shuffle=loader.shuffle,
        drop_last=loader.drop_last,
        evaluated=evaluated,
        has_model_state=bool(jax.tree.leaves(abstract.model_state)),
    )
    splits = evaluated if "train" in evaluated else ("train", *evaluated)
    names = tuple(f"{split}/{score}" for split in splits for score in scores)
    metrics = components.get("metrics", {})
    intervals = {name: interval_of(metrics.get(name.split("/")[1])) for name in names}
    for section in ("early_stopping", "checkpointing", "validation"):
        check_monitor(section, components.get(section), names)
    check_monitor("search", search, names)
    contest_of = getattr(components["validation"], "outer_of", lambda fold: 0)
    return Job(
        group=group,
        components=components,
        program=program,
        shape=shape,
        table=table,
        folds=folds,
        fold_tables=tables,
        names=names,
        intervals=intervals,
        abstract=abstract,
        traced=traced,
        fold_of_row=np.array(
            [first_fold[e.assignment.config["split_seed"]] + e.fold for e in group.experiments], np.int32
        ),
        seeds=np.array([experiment.seed for experiment in group.experiments], np.uint32),
        hyperparams=hyperparams,
        sample=sample,
        search=search,
        contenders=tuple(Contender(contest_of(e.fold), candidate_of(e.assignment)) for e in group.experiments),
    )


def encoded(components: Components, tables: Mapping[str, Any], fold: int, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch as the program sees it: with a mask, and what fold number `fold` makes of it."""
    batch = {**batch, "mask": np.ones(len(jax.tree.leaves(batch["inputs"])[0]), bool)}
    if "class_counts" in tables:
        batch["class_counts"] = tables["class_counts"][fold]
    encoding = components.get("encoding")
    if encoding is None:
        return batch
    with named("encoding"):
        return dict(encoding.apply(jax.tree.map(lambda leaf: jnp.asarray(leaf[fold]), tables["fitted"]), batch))


def _given(group: Group, path: str) -> list[Any]:
    return [value_at(experiment.assignment.config, tuple(path.split("."))) for experiment in group.experiments]


def _values(group: Group, path: str) -> np.ndarray:
    """Return a dynamic hyperparameter's value of each row: int32 where it counts something, else float32."""
    values = _given(group, path)
    owner = parameter_owner(group.config, path.split("."))
    integer = owner is not None and owner.wants_integer(path.rsplit(".", 1)[-1])
    return np.array(values, np.int32 if integer and all(isinstance(v, int) for v in values) else np.float32)

"""From a config to groups that are ready to compile: everything that can be wrong is found here, before any effect.

Reads data (through the dataset component) but writes nothing.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlgym_jax.checkpoint.distillation import teachers_in
from mlgym_jax.components.graph import Components, build_components
from mlgym_jax.components.tree import placed, resolved
from mlgym_jax.config.words import check_chosen, plain, validated
from mlgym_jax.data.column_codes import encoded_by
from mlgym_jax.data.dataset import Table, to_arrays
from mlgym_jax.data.fold_tables import one_class_parts, unseen_classes
from mlgym_jax.data.folds import Folds, join_folds, make_folds, replaced_splits
from mlgym_jax.data.grouped import shared_groups
from mlgym_jax.data.loaders import Stream
from mlgym_jax.data.lost_digits import said_of_lost_digits
from mlgym_jax.data.split_names import split_meant
from mlgym_jax.data.streams import to_stream
from mlgym_jax.events.layout import group_name
from mlgym_jax.events.projection import RunView
from mlgym_jax.execution.interruption import safe_point
from mlgym_jax.search.contest import Contender, History
from mlgym_jax.search.grouping import Experiment, Group, dynamic_paths, make_groups, static_key
from mlgym_jax.search.refit import Length, choose, length_of, rule
from mlgym_jax.search.refit import assignments as refit_assignments
from mlgym_jax.search.strategy import Assignment, Strategy
from mlgym_jax.search.sweep import WHOLE_GRID, proposed_by, strategy_of
from mlgym_jax.study.checks import check_refit, check_streams, check_values, checked_table, filled_columns
from mlgym_jax.study.job import Job, make_job
from mlgym_jax.study.programs import advice, draws, in_words, repeated
from mlgym_jax.study.tracing import NotTraceable

_LOG = logging.getLogger(__name__)


class Laid(NamedTuple):
    """A group, and what a job of it is made of: the arguments of `make_job`."""

    group: Group
    components: Components
    table: Table
    folds: Folds
    first_fold: Mapping[int, int]
    static: Mapping[str, str]
    search: Strategy


@dataclasses.dataclass(frozen=True)
class Study:
    """A whole config, resolved: its experiments in order, and the jobs that train them.

    Attributes:
        config: the plain config, validated; tree: the same, resolved.
        laid: its groups; jobs: each traced and checked, unless nobody asked for that.
        going_on: whether a run of it has begun before.
    """

    config: Mapping[str, Any]
    tree: Mapping[str, Any]
    experiments: tuple[Experiment, ...]
    laid: tuple[Laid, ...]
    jobs: tuple[Job, ...]
    static_because: Mapping[str, str]
    search: Strategy
    going_on: bool = False

    def fingerprints(self) -> dict[str, str]:
        """Return the SHA-256 of each distinct table of data, by the first group that uses it."""
        found: dict[int, tuple[str, str]] = {}
        for job in self.jobs:
            if id(job.table) not in found:
                found[id(job.table)] = (group_name(job.group.index), job.table.fingerprint)
        return dict(found.values())

    def teachers(self) -> dict[str, dict[str, Any]]:
        """Return what is learnt from, by the group and the place in its config: a run's checkpoint and its checksum."""
        return {
            f"{group_name(job.group.index)}.{path}": teacher
            for job in self.jobs
            for path, teacher in teachers_in(job.group.config)
        }


def prepare(config: Any, logged: RunView | None = None, *, traced: bool = True) -> Study:
    """Resolve a config into jobs.

    Args:
        logged: what a run has recorded, of which what a search proposed, and the refit, are resolved, too.
        traced: whether to make the jobs. Who reads a run that has trained needs few of them, by `job_of`.

    Raises:
        ConfigError: anything in the config that cannot be run, with its path.
    """
    plain = validated(config)
    tree = resolved(plain)
    search = strategy_of(tree)
    rounds = _rounds(tree, logged) if logged is not None and search.is_adaptive else {}
    rounds = rounds or {0: proposed_by(search, tree, ())}
    check_values(tree, rounds[0][0])
    refits = {view.round: view for view in logged.experiments.values() if view.refit} if logged is not None else {}
    study = Study(plain, tree, (), (), (), {}, search, going_on=logged is not None)
    for number in sorted({*rounds, *refits}):
        if number in rounds:
            study = extended(study, rounds[number], traced=traced)
        if number == 0 and traced:
            check_refit(plain, [(job.group.config, job.components, job.names) for job in study.jobs])
        if number not in rounds:
            view = refits[number]
            study = _refitted(study, view.refit or {}, length_of(view.config or {}), traced=traced)
    return study


def job_of(study: Study, experiment_id: int) -> Job:
    """Make the job of the group that an experiment is of.

    Raises:
        NotTraceable: as a whole study, this one has other groups.
    """
    laid = next(laid for laid in study.laid if experiment_id in laid.group.ids)
    return make_job(*laid, going_on=study.going_on)


def proposed(study: Study, finished: Sequence[tuple[Contender, History]]) -> list[Assignment]:
    """Ask the search what to try next, given all that has trained; [] where it has nothing more to propose."""
    return proposed_by(study.search, study.tree, finished) if study.search.is_adaptive else []


def refitted(study: Study, logged: RunView) -> Study | None:
    """Return a study with what its section `refit` asks for, given all that has trained; itself if that is there.

    Returns:
        None where a refit is asked for, and nothing can be selected.
    """
    refit = study.jobs[0].components.get("refit")
    if refit is None:
        return study
    found = choose(refit, logged.candidates, *rule(refit, study.config, study.jobs[0].names))
    return None if found is None else _refitted(study, *found)


def _refitted(study: Study, origin: Mapping[str, Any], length: Length, *, traced: bool = True) -> Study:
    assignments = refit_assignments([study.experiments[n].assignment for n in origin["experiments"]], length)
    there = [experiment for experiment in study.experiments if experiment.refit is not None]
    if [e.assignment for e in there if e.round == there[-1].round] == assignments:
        return study
    return extended(study, assignments, refit=origin, traced=traced)


def extended(
    study: Study, assignments: Sequence[Assignment], refit: Mapping[str, Any] | None = None, *, traced: bool = True
) -> Study:
    """Return a study with more experiments, which make groups of their own; `refit` as in `Experiment`."""
    for assignment in assignments:
        for field in {path.partition(".")[0] for path in assignment.hyperparameters}:
            check_chosen(field, assignment.config.get(field))  # drawn or listed, it was not there to be validated
    dynamic = dynamic_paths(assignments)
    because = dict(study.static_because)
    dynamic = [path for path in dynamic if path not in because]
    before = [laid for laid in study.laid if refit is None or refit["experiments"][0] in laid.group.ids]
    parts = Parts([laid.components for laid in before], {_place(laid.components): laid.table for laid in study.laid})
    while True:
        try:
            experiments, laid = _laid_out(study, assignments, dynamic, because, refit, parts)
            jobs = _jobs(study, laid) if traced else ()
            drawn = draws(study.config.get("search"))
            if refit is None and not study.search.is_adaptive and (alike := repeated(assignments, drawn=drawn)):
                _LOG.warning("%s", alike)
            groups = [one.group for one in laid]
            if hint := advice(groups):
                _LOG.warning("%s. Each is compiled for itself; %s", in_words(groups, because), hint)
            return dataclasses.replace(
                study,
                experiments=(*study.experiments, *experiments),
                laid=(*study.laid, *laid),
                jobs=(*study.jobs, *jobs),
                static_because=because,
            )
        except NotTraceable as error:
            for path in error.paths:
                because[path] = error.reason
            dynamic = [path for path in dynamic if path not in error.paths]


def _place(components: Components) -> tuple[int, Stream | None, frozenset[int] | bool, int | None]:
    """Return what tells a table from others: its dataset, how it is read, whether something may fill it in, its length.

    What is read while it trains names the columns that are filled in.

    The length is that of a dataset without an end.
    """
    loader, steps = components["loader"], components.config.get("num_steps")
    stream = getattr(loader, "stream", None)
    has_end = hasattr(dict(components["dataset"].splits).get("train", ()), "__len__")
    length = None if has_end or stream is None or not steps else steps * loader.batch_size
    return id(components["dataset"]), stream, filled_columns(components) if stream else "encoding" in components, length


@dataclasses.dataclass
class Parts:
    """What was built and read for some groups, for others to share.

    Attributes:
        built: components, in the order of their making.
        tables: what `_place` returns of some of them -> their table.
    """

    built: list[Components]
    tables: dict[tuple[int, Stream | None, frozenset[int] | bool, int | None], Table]

    def components_of(self, config: Mapping[str, Any]) -> Components:
        """Build a config's components; what is equal to what was built before is shared, data before all else."""
        alike = [parts for parts in self.built if parts.config.get("dataset") == config.get("dataset")]
        with encoded_by(config.get("encoding")):
            components = build_components(config, reuse=(alike or self.built or [None])[-1])
        self.built.append(components)
        return components

    def table_of(self, components: Components) -> Table:
        """Return the data of components, read once, or not at all."""
        dataset, place = components["dataset"], _place(components)
        stream = place[1]
        if stream is not None:
            check_streams(components)
        if place not in self.tables:
            table = (
                to_arrays(dataset, missing=bool(place[2]))
                if stream is None
                else to_stream(dataset, stream, place[3], filled_columns(components))
            )
            self.tables[place] = checked_table(table)
        return self.tables[place]


def _rounds(tree: Mapping[str, Any], logged: RunView) -> dict[int, list[Assignment]]:
    """Return what a search has proposed so far, round by round."""
    rounds: dict[int, list[Assignment]] = {}
    for view in logged.candidates:
        if view.config is not None and not view.fold:
            config = {name: value for name, value in tree.items() if name != "search"}
            named = {name: plain(value) for name, value in view.hyperparameters.items()}
            for name, value in named.items():
                config = placed(config, tuple(name.split(".")), value)
            rounds.setdefault(view.round, []).append(Assignment(named, config))
    return rounds


def _laid_out(
    study: Study,
    assignments: Sequence[Assignment],
    dynamic: Sequence[str],
    static: Mapping[str, str],
    refit: Mapping[str, Any] | None,
    parts: Parts,
) -> tuple[tuple[Experiment, ...], tuple[Laid, ...]]:
    keys = {id(assignment): static_key(assignment, dynamic) for assignment in assignments}
    members: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        members.setdefault(keys[id(assignment)], []).append(assignment)
    built: dict[str, tuple[Components, Table, Folds, dict[int, int]]] = {}
    for key, alike in members.items():
        safe_point()
        components = parts.components_of(alike[0].config)
        table = parts.table_of(components)
        built[key] = (components, table, *_folds(components, table, alike))
    _warn_of_one_class(built.values())
    _warn_of_surprises(built.values())
    experiments: list[Experiment] = []
    first, number_of_round = len(study.experiments), study.experiments[-1].round + 1 if study.experiments else 0
    for assignment in assignments:
        _, _, folds, first_fold = built[keys[id(assignment)]]
        num_folds = folds.num_folds // len(first_fold)
        for fold in range(num_folds):
            number = first + len(experiments)
            experiments.append(Experiment(number, assignment, fold, num_folds, number_of_round, refit))
    search = study.search if refit is None else WHOLE_GRID  # nothing competes with a refit
    laid = []
    for group, key in zip(make_groups(experiments, dynamic, keys), members, strict=True):
        group = dataclasses.replace(group, index=len(study.laid) + group.index)
        laid.append(Laid(group, *built[key], static, search))
    return tuple(experiments), tuple(laid)


def _jobs(study: Study, groups: Sequence[Laid]) -> tuple[Job, ...]:
    """Trace and check groups that are new to a study."""
    jobs = []
    for laid in groups:
        safe_point()
        jobs.append(make_job(*laid, going_on=study.going_on))
        _ = jobs[-1].weights  # what is wrong with those of a stream is found here, too
    search = groups[0].search
    search.check([job.intervals for job in jobs], max(job.cadence.num_evaluations for job in jobs))
    before = {text for job in study.jobs for text in job.surprises}
    for text in dict.fromkeys(text for job in jobs for text in job.surprises):
        if text not in before:
            _LOG.warning("%s", text)
    return tuple(jobs)


def _warn_of_one_class(built: Iterable[tuple[Components, Table, Folds, Any]]) -> None:
    warnings = [text for parts, table, folds, _ in built for text in one_class_parts(parts["dataset"], table, folds)]
    if warnings:
        _LOG.warning(
            "%s (%d such parts): metrics that compare classes, such as auroc, are NaN there", warnings[0], len(warnings)
        )


def _warn_of_surprises(built: Iterable[tuple[Components, Table, Folds, Any]]) -> None:
    said = set()
    for components, table, folds, _ in built:
        name = components.config["validation"]["component"]
        replaced = replaced_splits(table, folds)
        said.update(unseen_classes(components["dataset"], table, folds))
        if isinstance(groups := components.config["validation"].get("groups"), str):
            own = [split for split in table.offsets if split != "train" and split not in replaced]
            said.update(shared_groups(table, groups, own))
        for split in replaced:
            first, last = table.offsets[split]
            use = "; component('holdout', val=0.0) uses it" if split_meant(split, table.offsets) == "val" else ""
            said.add(
                f"config.validation: {name!r} draws the split from 'train', so the dataset's own split {split!r} "
                f"({last - first} examples) is not used{use}"
            )
        if lost := said_of_lost_digits(table, components.get("encoding")):
            said.add(lost)
    for text in sorted(said):
        _LOG.warning("%s", text)


def _folds(components: Components, table: Table, members: Sequence[Assignment]) -> tuple[Folds, dict[int, int]]:
    """Return the folds of every split seed of a group, one after the other, and where each seed's begin."""
    seeds = list(dict.fromkeys(member.config["split_seed"] for member in members))
    parts = [make_folds(components["dataset"], table, components["validation"], seed) for seed in seeds]
    starts = np.cumsum([0, *(part.num_folds for part in parts)]).tolist()
    return join_folds(parts), dict(zip(seeds, starts, strict=False))

"""One group with everything that its training needs: program, folds, arrays, shapes; traced, not compiled."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mlgym_jax.components.graph import Components
from mlgym_jax.components.parameters import beyond_float32
from mlgym_jax.components.tree import owner_of
from mlgym_jax.config.words import config_hash
from mlgym_jax.core.cadence import Cadence, cadence_of
from mlgym_jax.core.calling import Rewired
from mlgym_jax.core.convolutions import channels_last, holds_convolution
from mlgym_jax.core.epoch_shape import EpochShape, rows_evaluated, streamed
from mlgym_jax.core.flops import Flops, flops_of
from mlgym_jax.core.inputs import fields_of, is_input, nested
from mlgym_jax.core.paths import Unmatched
from mlgym_jax.core.program import Program, make_program
from mlgym_jax.core.state import STEPS_PER_EPOCH, TrainState
from mlgym_jax.core.traced import traced_once
from mlgym_jax.data.bucketed import by_length
from mlgym_jax.data.dataset import Table, rest_of
from mlgym_jax.data.feed import Origin, check_folds, origins_of
from mlgym_jax.data.fold_tables import fold_tables
from mlgym_jax.data.folds import Folds
from mlgym_jax.data.steps_per_epoch import steps_of_folds
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.errors import ConfigError
from mlgym_jax.execution.interruption import safe_point
from mlgym_jax.execution.sharding import check_rules
from mlgym_jax.search.contest import Contender, candidate_of
from mlgym_jax.search.grouping import Group, open_paths
from mlgym_jax.search.strategy import Strategy
from mlgym_jax.search.sweep import value_at
from mlgym_jax.study.batches import check_lengths, most_evaluated, shape_of
from mlgym_jax.study.checks import check_accumulation, evaluated_splits, never_happens, place_of
from mlgym_jax.study.directions import odd_optimizer
from mlgym_jax.study.draws import check_draws, weights_of_stream, without_draws
from mlgym_jax.study.encoding import completed, encoded, fields_read
from mlgym_jax.study.known import check_weights, known_fields, odd_targets
from mlgym_jax.study.measured import measured, odd_modes
from mlgym_jax.study.tracing import check_targets, surprises_of_folds, traced_steps

# So many values of a dynamic hyperparameter are handed to their factory before training.
_MAX_BUILT = 100


@dataclasses.dataclass(frozen=True)
class Job:
    """One group with everything that its training needs, traced but not compiled.

    Attributes:
        fold_tables: what the program knows of the folds; see `data.fold_tables`.
        origins: of each fold in the fold table, what the order of a stream is drawn from.
        cadence: when it is evaluated. What comes between two evaluations is called an epoch here and below, whatever
            its number of steps.
        names: the scores by name, such as `val/accuracy`, in the order of the program's score matrix.
        intervals: every how many epochs each of them is computed.
        records: what is recorded besides: every how many epochs, None for those that are kept and the last.
        abstract: shapes of one experiment's TrainState.
        traced: the jaxpr of one training step.
        surprises: what of the steps is not likely to be meant, in words.
        outputs: shapes of what the model returns for one training batch, with those of post-processors.
        fold_of_row: int32[rows], each experiment's number in the fold table.
        seeds: uint32[rows].
        hyperparams: dotted path -> [rows].
        contenders: of each experiment, with whom it competes in a search that drops the worst.
        going_on: whether a run of it has begun before.
    """

    group: Group
    components: Components
    program: Program
    shape: EpochShape
    cadence: Cadence
    table: Table
    folds: Folds
    origins: tuple[Origin, ...]
    fold_tables: Mapping[str, Any]
    names: tuple[str, ...]
    intervals: Mapping[str, int]
    records: Mapping[str, int | None]
    abstract: TrainState
    traced: Any
    surprises: tuple[str, ...]
    outputs: Any
    fold_of_row: np.ndarray
    seeds: np.ndarray
    hyperparams: Mapping[str, np.ndarray]
    sample: Mapping[str, np.ndarray]
    search: Strategy
    contenders: tuple[Contender, ...]
    going_on: bool = False

    def encoder_of(self, experiment_id: int) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """Return the pure function that turns a raw batch into what the model of an experiment reads."""
        fold = int(self.fold_of_row[self.group.ids.index(experiment_id)])
        return lambda batch: completed(encoded(self.components, self.fold_tables, fold, batch), self.sample)

    @functools.cached_property
    def weights(self) -> tuple[np.ndarray, ...]:
        """By which a sampler draws what each fold of a stream trains on, all of which is read for it; () without."""
        return weights_of_stream(self.components, self.table, self.folds)

    @functools.cached_property
    def fields_read(self) -> tuple[str, ...]:
        """The fields of a batch, besides its inputs, that predictions read, such as lengths of sequences."""
        plain = {*self.sample} <= {"inputs", "targets", "mask", "class_counts"}
        if plain and not isinstance(self.components["model"], Rewired):
            return ()
        return fields_read(self.program, self.abstract, self.sample)

    @property
    def raw_inputs(self) -> Any:
        """What a prediction takes: the data set's inputs, a dict of them and of `fields_read` where there are such.

        Of 64-bit inputs whose digits count it is their shape and type alone.
        """
        arrays = self.table.arrays
        exact = {field for field in arrays if is_input(field) and rest_of(field) in arrays}
        shapes = {field: jax.ShapeDtypeStruct(arrays[field].shape, np.float64) for field in exact}
        inputs = nested({**arrays, **shapes})["inputs"]
        return {"inputs": inputs, **{name: arrays[name] for name in self.fields_read}} if self.fields_read else inputs

    def raw_batch(self, inputs: Any) -> dict[str, Any]:
        """Return raw inputs as the batch that `encoder_of` takes; float64 keeps its digits where that counts."""
        fields = fields_of(dict(inputs) if self.fields_read else {"inputs": inputs})
        for field in [field for field in fields if rest_of(field) in self.table.arrays]:
            exact = np.asarray(fields[field], np.float64)
            fields |= {field: exact, rest_of(field): (exact - exact.astype(np.float32)).astype(np.float32)}
        return nested(fields)

    def warm_start(self) -> Any:
        """Return what the section `warm_start` brings to this group's states; None without one.

        Raises:
            ConfigError: it does not fit.
        """
        source = self.components.get("warm_start")
        return None if source is None else source(self.abstract, going_on=self.going_on)

    @property
    def is_refit(self) -> bool:
        return self.group.experiments[0].refit is not None

    @functools.cached_property
    def flops(self) -> Flops | None:
        """What one training step of one experiment computes, by type of number; None where it is not known."""
        return flops_of(self.traced)

    @property
    def batched_bytes(self) -> int | None:
        """The size of one experiment's state; None where a batch of experiments cannot pay on a CPU.

        XLA has no fast kernel for batches of convolutions, and a batch computes those that have stopped, too.
        """
        if self.shape.buckets is not None:  # a batch of experiments computes all lengths, and keeps one
            return None
        return None if self.may_stop or holds_convolution(self.traced) else self.state_bytes

    @property
    def may_stop(self) -> bool:
        """Whether early stopping or the search may end an experiment before its last epoch."""
        return self.early_stopping is not None or type(self.search).stopped is not Strategy.stopped

    @property
    def state_bytes(self) -> int:
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.abstract))

    @property
    def early_stopping(self) -> Callable[[Any], bool] | None:
        return self.components.get("early_stopping")

    @property
    def checkpointing(self) -> Callable[[Any], set[int]]:
        return self.components["checkpointing"]


def make_job(
    group: Group,
    components: Components,
    table: Table,
    folds: Folds,
    first_fold: Mapping[int, int],
    static: Mapping[str, str],
    search: Strategy,
    *,
    going_on: bool = False,
) -> Job:
    """Lay out a group's folds, trace its steps and check what depends on both.

    Args:
        first_fold: split seed -> the number of its first fold in `folds`.
        static: the hyperparameters that cannot be traced, and why.
        going_on: whether it began before, perhaps with what is refused only now: it is a surprise then, and no error.

    Raises:
        ConfigError: what does not fit together.
    """
    config = group.config
    swept = [path for path in group.dynamic if "." in path and path in group.experiments[0].assignment.hyperparameters]
    if config["strict"]:  # a number is an argument of the program whether it is swept or not: the same program, always
        swept += [path for path in open_paths(config) if path not in swept and path not in static]
        swept.sort()
    if isinstance(table, StreamedTable):
        swept = without_draws(swept, group.dynamic)
    hyperparams = {path: _values(group, path) for path in swept}
    row = {path: jax.ShapeDtypeStruct((), values.dtype) for path, values in hyperparams.items()}
    for path in swept:
        values = _given(group, path)
        for value in list(dict.fromkeys(values))[:_MAX_BUILT]:
            components.bind({path: value})  # a factory may refuse a value that it sees, which it does not of an array
    components = components.opened({path: values[0] for path, values in hyperparams.items()})
    loader = components["loader"]
    sizes = dict(folds.sizes)
    loader.num_steps(min(sizes["train"]))
    steps = steps_of_folds(sizes["train"], loader)
    if components.counts_steps and len({*steps}) == 1 and steps[0] != components["steps_per_epoch"]:
        components = components.bind({}, steps[0])
    length = {name: config.get(name) for name in ("num_epochs", "num_steps")}
    cadence = cadence_of(steps, **length, every=config.get("evaluate_every_steps"))
    fold_of_row = [first_fold[e.assignment.config["split_seed"]] + e.fold for e in group.experiments]
    for experiment, fold in zip(group.experiments, fold_of_row, strict=True):
        check_accumulation(experiment.assignment.config["optimizer"], cadence.totals[fold])
    unmatched: list[Unmatched] = []
    program = make_program(components, unmatched=unmatched.append)
    once = _traced_once(program)
    indices = folds.indices["train"][0, : loader.batch_size]
    if isinstance(table, StreamedTable):
        check_folds(table, folds)
        indices = table.readable(indices)
    name = config_hash(config.get("encoding") or {})
    tables = fold_tables(components["dataset"], table, folds, components.get("encoding"), name, safe_point)
    if components.counts_steps and len({*steps}) > 1:
        tables[STEPS_PER_EPOCH] = np.array(steps, np.int32)
    if buckets := getattr(loader, "buckets", None):
        tables = by_length(buckets, table.arrays, tables)
    sample = encoded(components, tables, 0, {field: array[indices] for field, array in table.arrays.items()})
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch: dict[str, Any] = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), sample)
    if STEPS_PER_EPOCH in tables:
        batch[STEPS_PER_EPOCH] = jax.ShapeDtypeStruct((), np.int32)
    evaluated = evaluated_splits(config["evaluation_splits"], sizes)
    elements = max(1, sum(int(np.prod(array.shape[1:])) for array in jax.tree.leaves(sample)))
    rows = rows_evaluated(sizes[evaluated[-1]], most_evaluated(loader, elements)) if evaluated else loader.batch_size
    abstract, traced, scores, recorded, outputs, surprises = traced_steps(components, once, key, batch, row, rows)
    if folds.num_folds > 1:
        surprises += surprises_of_folds(once, key, batch, row)
    if "parallel" in components:
        check_rules(components["parallel"].rules, abstract.params)
    for pattern in unmatched:
        place = place_of(tuple(map(config.get, ("optimizer", "training_step"))), pattern.parameter, pattern.pattern)
        error = ConfigError(place or "optimizer", pattern.words)
        if not going_on:
            raise error
        surprises += (str(error),)
    check_draws(components, table, folds, fold_of_row, hyperparams)
    if fields := known_fields(components, table, folds, tables, ("train", *evaluated), sample, indices):
        readers = check_targets(program, abstract, sample, fields)
        table, nothing = check_weights(table, folds, evaluated, readers)
        surprises += nothing + odd_targets(traced, (abstract, batch), table, folds, fields)
    steps_of_a_fold = {STEPS_PER_EPOCH: np.int32(1)} if STEPS_PER_EPOCH in tables else {}
    shape = shape_of(
        program,
        abstract,
        loader,
        table.arrays,
        lambda batch: {**encoded(components, tables, 0, batch), **steps_of_a_fold},
        sizes,
        cadence=cadence,
        evaluated=evaluated,
        elements=elements,
        whole_batches="training_step" in components,
    )
    if isinstance(table, StreamedTable):
        shape = streamed(shape, cadence)
    if shape.buckets is not None:
        part = {field: array[indices] for field, array in table.arrays.items()}
        check_lengths(once, abstract, shape.buckets, part, lambda batch: encoded(components, tables, 0, batch))
    splits = evaluated if "train" in evaluated else ("train", *evaluated)
    surprises += never_happens(config, components.get("metrics", {}), cadence) + odd_modes(components.config, search)
    surprises += odd_optimizer(components, abstract.params, hyperparams, max(cadence.totals), steps[0])
    names, intervals, records = measured(components, search, splits, scores, recorded)
    contest_of = components["validation"].outer_of
    return Job(
        group=group,
        components=components,
        program=once,
        shape=shape,
        cadence=cadence,
        table=table,
        folds=folds,
        origins=origins_of(first_fold, folds.num_folds),
        fold_tables=tables,
        names=names,
        intervals=intervals,
        records=records,
        abstract=abstract,
        traced=traced,
        surprises=surprises,
        outputs=outputs,
        fold_of_row=np.array(fold_of_row, np.int32),
        seeds=np.array([experiment.seed for experiment in group.experiments], np.uint32),
        hyperparams=hyperparams,
        sample=sample,
        search=search,
        contenders=tuple(
            Contender(contest_of(e.fold), candidate_of(e.assignment.hyperparameters)) for e in group.experiments
        ),
        going_on=going_on,
    )


def _traced_once(program: Program) -> Program:
    """Let a program's functions be traced once: for the checks, for shapes, and in whatever runs them."""
    rewrite = channels_last if jax.default_backend() == "cpu" else lambda jaxpr: jaxpr
    return program._replace(
        init=traced_once(program.init),
        train_step=traced_once(program.train_step, rewrite, static=("may_be_empty",)),
        eval_step=traced_once(program.eval_step, rewrite),
    )


def _given(group: Group, path: str) -> list[Any]:
    return [value_at(experiment.assignment.config, tuple(path.split("."))) for experiment in group.experiments]


def _values(group: Group, path: str) -> np.ndarray:
    """Return a dynamic hyperparameter's value of each row: int32 where it counts something, else float32."""
    values = _given(group, path)
    owner = owner_of(group.config, path.split("."))
    integer = owner is not None and owner.wants_integer(path.rsplit(".", 1)[-1])
    kind = np.int32 if integer and all(isinstance(v, int) for v in values) else np.float32
    limits = np.iinfo(np.int32) if kind is np.int32 else np.finfo(np.float32)
    for value in values:
        if not int(limits.min) <= value <= int(limits.max):
            raise ConfigError(
                path,
                f"found {value}, allowed are {limits.min} to {limits.max}: a swept value is one of {limits.bits} bits; "
                "write a smaller one, or one value instead of grid(…)",
            )
        if isinstance(value, float) and (reason := beyond_float32(value)):
            raise ConfigError(path, f"found {value}, {reason}")
    return np.array(values, kind)

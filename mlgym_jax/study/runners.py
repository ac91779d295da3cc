"""From a job and a plan to what runs its epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.core.convolutions import as_products
from mlgym_jax.core.epoch import make_epoch
from mlgym_jax.core.epoch_shape import EpochShape
from mlgym_jax.core.inputs import is_input
from mlgym_jax.core.state import STEPS_PER_EPOCH, TrainState
from mlgym_jax.core.streamed import make_streamed
from mlgym_jax.core.traced import traced_once
from mlgym_jax.data.dataset import INPUTS_REST
from mlgym_jax.data.feed import Feed
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.plan import Plan
from mlgym_jax.execution.sharding import split_over_data, state_specs
from mlgym_jax.execution.streams import StreamRunner
from mlgym_jax.execution.stretches import StretchRunner
from mlgym_jax.study.encoding import fields_unread
from mlgym_jax.study.job import Job
from mlgym_jax.study.planning import overwrites


def make_runner(job: Job, plan: Plan, devices: Sequence[jax.Device], shape: EpochShape | None = None) -> GroupRunner:
    """Return what runs the epochs of a job by a plan; of another `shape` than its own, to measure it on a few steps."""
    shape, program, specs = shape or job.shape, job.program, None
    if plan.data > 1:
        rules = job.components["parallel"].rules if "parallel" in job.components else ()
        specs = state_specs(job.abstract, plan.data, fsdp=plan.shard == "fsdp", rules=rules)
        program = split_over_data(program, specs)
    if _in_products(plan, len(job.group.experiments)):
        program = program._replace(
            train_step=traced_once(program.train_step, as_products, static=("may_be_empty",)),
            eval_step=traced_once(program.eval_step, as_products),
        )
    functions = make_epoch(program, shape, job.components)
    fields: dict[str, Any] = {
        "devices": devices,
        "fold_of_row": job.fold_of_row,
        "names": job.names,
        "abstract": job.abstract,
        "specs": specs,
    }
    if isinstance(job.table, StreamedTable):
        weights = job.weights if shape.train.number else ()  # what only evaluates need not look for them
        feed = Feed(job.table, job.folds, job.origins, shape, job.cadence, weights)
        known = {name: found for name, found in job.fold_tables.items() if name not in ("indices", "mask")}
        fields |= {"feed": feed, "data": {}, "folds": known}
        fields["streamed"] = make_streamed(program, shape, job.components)
        return StreamRunner(program, functions, shape, dataclasses.replace(plan, loop="stretch"), **fields)
    fields |= {"data": on_devices(job), "folds": job.fold_tables}
    if plan.loop == "stretch":
        return StretchRunner(program, functions, shape, plan, **fields)
    return GroupRunner(program, functions, shape, plan, overwrites=overwrites(job, plan), **fields)


def on_devices(job: Job) -> dict[str, np.ndarray]:
    """Return the arrays of a job's table that its programs take; of fields that no step reads a row stands for all."""
    unread = unread_beside(job)
    return {field: array[:1] if field in unread else array for field, array in job.table.arrays.items()}


def unread_beside(job: Job) -> frozenset[str]:
    """Return the fields beside inputs and targets that no step reads, as of groups."""
    arrays, buckets = job.table.arrays, job.shape.buckets
    known = {"targets", "where", *((buckets.source, *buckets.fields) if buckets is not None else ())}
    beside = [name for name in arrays if not is_input(name) and not name.startswith(INPUTS_REST) and name not in known]
    if not beside or "sampler" in job.components:
        return frozenset()
    steps = {STEPS_PER_EPOCH: np.int32(1)} if STEPS_PER_EPOCH in job.fold_tables else {}

    def step(state: TrainState, batch: Any) -> Any:
        batch = {**batch, **steps}
        return job.program.train_step(state, batch), job.program.eval_step(state, batch)

    return fields_unread(step, job.abstract, job.components, job.fold_tables, arrays).intersection(beside)


def _in_products(plan: Plan, num_experiments: int) -> bool:
    """Tell whether several networks are computed at once where their convolutions are faster as products."""
    return jax.default_backend() == "gpu" and plan.batching == "vmap" and num_experiments > plan.num_devices

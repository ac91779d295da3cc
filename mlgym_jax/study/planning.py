"""Choose the plan of a job from what it needs and what the devices have."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax

from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.execution.memory import memory_limit
from mlgym_jax.execution.mesh import MeshSizes
from mlgym_jax.execution.parallel import Needs
from mlgym_jax.execution.plan import Plan, PlanRequest, choose_plan
from mlgym_jax.study.job import Job

# Epochs that take longer go in stretches. What a core, or any other device, computes in a second is taken to be much,
# so that what is long by it is long.
_LONG_SECONDS = 2.0
_UNHIDDEN_SECONDS = 0.5  # of epochs as long, what is done between two of them is a hundredth
_CPU_RATE = 2e10
_RATE = 2e13


def plan_of(
    job: Job,
    request: PlanRequest,
    devices: Sequence[jax.Device],
    *,
    strict: bool,
    going_on: bool = False,
) -> Plan:
    """Return the plan of a job that is not measured.

    Args:
        going_on: whether `request` is what the group trained by before.

    Raises:
        ConfigError: at `strict`, if a plan is asked for that cannot be; at `parallel`, if states have no room; at
            `loader.batch_size`, if `--mesh` splits batches over more devices than they have examples.
    """
    if isinstance(job.table, StreamedTable) and request.loop not in (None, "stretch"):
        raise MlgymError(
            f"--plan={request}: component('streaming') reads batches while a program runs, some steps at a time; leave "
            f"{request.loop!r} out"
        )
    plan = choose_plan(
        request,
        num_experiments=len(job.group.experiments),
        num_devices=len(devices),
        state_bytes=job.batched_bytes,
        strict=strict,
        of_lengths=job.shape.buckets is not None,
        needs=Needs(
            parallel=job.components.get("parallel"),
            batch_size=job.shape.batch_size,
            abstract=job.abstract,
            memory=memory_limit(devices[0]),
            going_on=going_on,
        ),
    )
    if request.mesh is not None and plan.shard != "fsdp" and not going_on:  # split states are worth idle devices
        _check_filled(job, plan)
    if isinstance(job.table, StreamedTable):
        why = "batches are read while it trains"
    elif request.loop is None and _seconds(job, plan) > _LONG_SECONDS:
        why = "epochs of some seconds go in stretches, and are told and kept on the way"
    else:
        return plan
    batching = plan.batching
    if request.batching is None and not strict and len(job.group.experiments) <= plan.num_devices:
        batching, why = "none", f"{why}; an experiment a device is in memory once"
    return dataclasses.replace(plan, batching=batching, loop="stretch", reason=f"{plan.reason}; {why}")


def _check_filled(job: Job, plan: Plan) -> None:
    """Refuse devices that no training example would ever reach. Small splits may be evaluated: the rest is padding."""
    most = min(job.shape.batch_size, *job.folds.sizes["train"])
    if most < plan.data:
        is_batch = most == job.shape.batch_size
        raise ConfigError(
            "loader.batch_size",
            f"{'a batch has' if is_batch else 'all training data are'} {most} examples, so {plan.data - most} of the "
            f"{plan.data} devices that --mesh splits it over would never hold one; write "
            f"{f'batch_size={plan.data}, or more, or ' if is_batch else ''}"
            f"--mesh={MeshSizes(plan.mesh.experiment, most)}",
        )


def overwrites(job: Job, plan: Plan) -> bool:
    """Tell whether a group's epochs take the memory of the states before them, which a device then holds once.

    That forbids to dispatch an epoch before all is done with the states after the one before, which pays where epochs
    are short; long ones, and those of several devices an experiment, are rather where memory is scarce.
    """
    rows = 1 if plan.batching == "vmap" else -(-len(job.group.experiments) // plan.num_devices)
    return plan.loop == "stretch" or plan.data > 1 or rows * _seconds(job, plan) > _UNHIDDEN_SECONDS


def _seconds(job: Job, plan: Plan) -> float:
    """Return about how long the training steps of an epoch take, of one experiment, or of all that run as one.

    With `map`, a stretch reads and writes the states of all experiments; where each is short, epochs stay whole.
    """
    if job.flops is None:
        return 0.0
    rows = -(-len(job.group.experiments) // plan.num_devices) if plan.batching == "vmap" else 1
    operations = job.flops.total * job.cadence.stretch * rows / plan.data
    return operations / (_CPU_RATE if jax.default_backend() == "cpu" else _RATE)

"""Choose the plan of a job from what it needs and what the devices have."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from mlgym_jax.execution.memory import memory_limit
from mlgym_jax.execution.parallel import Needs
from mlgym_jax.execution.plan import Plan, PlanRequest, choose_plan
from mlgym_jax.study.job import Job


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
        ConfigError: at `strict`, if a plan is asked for that cannot be; at `parallel`, if states have no room.
    """
    return choose_plan(
        request,
        num_experiments=len(job.group.experiments),
        num_devices=len(devices),
        state_bytes=job.batched_bytes,
        strict=strict,
        needs=Needs(
            parallel=job.components.get("parallel"),
            batch_size=job.shape.batch_size,
            abstract=job.abstract,
            memory=memory_limit(devices[0]),
            going_on=going_on,
        ),
    )

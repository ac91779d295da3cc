"""Which plan a launch trains a group by: the one that the log names, else what is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax

from mlgym_jax.events import RunView
from mlgym_jax.execution.mesh import described
from mlgym_jax.execution.plan import Plan, PlanRequest, logged_plan
from mlgym_jax.study.job import Job
from mlgym_jax.study.planning import plan_of
from mlgym_jax.study.tuning import tuned_plan


def plans_before(logged: RunView) -> dict[int, PlanRequest]:
    """Return what brings back the plan that each group trained by."""
    return {group["group"]: logged_plan(group["plan"]) for group in logged.groups}


def plan_for(
    job: Job, request: PlanRequest, before: PlanRequest | None, devices: Sequence[jax.Device], strict: bool
) -> Plan:
    """Choose a group's plan: the one it trained by before, else what is asked for."""
    if before is None:
        if request.tune:
            return tuned_plan(job, devices, strict=strict, mesh=request.mesh)
        return plan_of(job, request, devices, strict=strict)
    chosen = plan_of(job, before.on(len(devices)), devices, strict=strict, going_on=True)
    why = "the plan that the group trained by before"
    if before.mesh not in (None, chosen.mesh):
        why += f", on {described(chosen)}, as there are too few devices for {before.mesh}: last bits may differ"
    return dataclasses.replace(chosen, reason=why)


def plan_ahead(
    logged: RunView,
    request: PlanRequest,
    before: Mapping[int, PlanRequest],
    devices: Sequence[jax.Device],
    job: Job,
) -> Plan | None:
    """Return the plan of a group before its turn; None where that would be measured, or where it trained before."""
    views = [logged.experiments.get(number) for number in job.group.ids]
    if request.tune or any(view is not None and len(view.epoch_numbers) for view in views):
        return None
    return plan_for(job, request, before.get(job.group.index), devices, job.group.config["strict"])

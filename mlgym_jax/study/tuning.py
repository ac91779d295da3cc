"""`--plan=tune`: measure the plans of a group on a few steps, take the fastest, and remember it for the next time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from mlgym_jax.core.epoch_shape import Cut, EpochShape
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.errors import MlgymError
from mlgym_jax.events.cache import cache_home
from mlgym_jax.events.files import write_whole
from mlgym_jax.execution.compile_cache import machine
from mlgym_jax.execution.interruption import safe_point
from mlgym_jax.execution.memory import is_out_of_memory
from mlgym_jax.execution.mesh import MeshSizes
from mlgym_jax.execution.plan import BATCHINGS, Plan, PlanRequest, parse_plan
from mlgym_jax.study.job import Job
from mlgym_jax.study.planning import plan_of
from mlgym_jax.study.runners import make_runner

_NUM_STEPS = 8
_ROUNDS = 3


def tuned_plan(job: Job, devices: Sequence[jax.Device], *, strict: bool = False, mesh: MeshSizes | None = None) -> Plan:
    """Return the plan that is fastest for a group here; measured once per program, number of experiments and machine.

    Each candidate is compiled for an epoch of at most 8 training steps, evaluations in proportion, and timed on it.
    The mesh is not among what is measured.
    """
    known, key = _read(), _key(job, devices, strict, mesh)
    if key in known:
        plan = _planned(job, devices, known[key], strict, mesh)
        return dataclasses.replace(plan, reason="the fastest when it was measured before")
    loops = ("stretch",) if isinstance(job.table, StreamedTable) else ("scan", "step")
    requests = [PlanRequest(batching, loop) for batching in BATCHINGS for loop in loops]
    seconds = {
        request: _measured(job, devices, _planned(job, devices, request, strict, mesh))
        for request in requests
        if not (strict and request.batching == "vmap")
    }
    best = min(seconds, key=lambda request: seconds[request])
    _write({**known, key: best})
    steps = min(_NUM_STEPS, job.shape.num_steps)
    shown = ", ".join(f"{plan} {1e3 * value:.1f} ms" for plan, value in sorted(seconds.items(), key=lambda it: it[1]))
    return dataclasses.replace(_planned(job, devices, best, strict, mesh), reason=f"measured on {steps} steps: {shown}")


def _planned(
    job: Job, devices: Sequence[jax.Device], request: PlanRequest, strict: bool, mesh: MeshSizes | None
) -> Plan:
    return plan_of(job, dataclasses.replace(request, mesh=mesh), devices, strict=strict)


def _measured(job: Job, devices: Sequence[jax.Device], plan: Plan) -> float:
    """Return the seconds of a short epoch of the whole group; infinite where there is no memory for it."""
    runner = make_runner(job, plan, devices, shortened(job.shape, _NUM_STEPS))
    active = np.ones(len(job.group.experiments), bool)
    safe_point()
    try:
        runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
        taken = []
        for epoch in range(1, _ROUNDS + 2):
            started = time.perf_counter()
            runner.read_scores(runner.epoch(active, epoch))
            taken.append(time.perf_counter() - started)
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return float("inf")
    finally:
        runner.close()
    return min(taken[1:])


def shortened(shape: EpochShape, num_steps: int) -> EpochShape:
    """Return an epoch, or what comes between two evaluations, of at most so many steps, evaluations in proportion."""
    share = num_steps / shape.steps_at_once
    if share >= 1:
        return shape
    batches = {s: Cut(max(1, round(cut.number * share)), cut.size) for s, cut in shape.eval_batches.items()}
    steps = Cut(num_steps, shape.batch_size, may_skip=shape.train.may_skip)
    return dataclasses.replace(
        shape, train=steps, num_steps=num_steps, eval_batches=batches, cadence=None, true_sizes=()
    )


def _key(job: Job, devices: Sequence[jax.Device], strict: bool, mesh: MeshSizes | None) -> str:
    """Name what a measurement depends on: the traced step, the sizes of an epoch, how many experiments and devices."""
    program = re.sub(r"0x[0-9a-f]+", "", str(job.traced))
    what = [program, repr(job.shape), len(job.group.experiments), devices[0].device_kind, len(devices), strict]
    what += [repr(asked) for asked in (mesh, job.components.get("parallel")) if asked is not None]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:24]


def _file() -> Path | None:
    home = cache_home()
    return None if home is None else home / "plans" / f"{machine()}.json"


def _read() -> dict[str, PlanRequest]:
    """Return the plans that were measured before; none where the file is missing or damaged."""
    file = _file()
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file else {}
        return {key: parse_plan(name) for key, name in found.items() if name not in ("auto", "tune")}
    except (OSError, ValueError, AttributeError, MlgymError):
        return {}


def _write(plans: dict[str, PlanRequest]) -> None:
    file = _file()
    if file is None:
        return
    text = json.dumps({key: str(plan) for key, plan in plans.items()}, indent=1)
    with contextlib.suppress(OSError):  # a cache that cannot be written is none
        write_whole(str(file), text.encode(), fsync=False)

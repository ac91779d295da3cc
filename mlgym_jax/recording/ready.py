"""What a run begins with: everything that can be wrong with what was asked for, found before anything is written."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from mlgym_jax.config.file import as_config, source_file
from mlgym_jax.execution.interruption import safe_point
from mlgym_jax.execution.memory import memory_limit
from mlgym_jax.execution.mesh import use_devices
from mlgym_jax.execution.plan import PlanRequest, recorded_request, request_of
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.run_folder import sources
from mlgym_jax.run_folder.own_code import register_beside
from mlgym_jax.study.expand import Study, prepare
from mlgym_jax.study.planning import plan_of


def ready(
    config: Any, plan: str, devices: int | None, *, mesh: str | None = None, trust: bool = False
) -> tuple[Study, PlanRequest, list[jax.Device]]:
    """Return a study, how it is to be executed and on which devices.

    Args: as for `launch.run`.

    Raises:
        ConfigError: the config cannot be run. MlgymError: something else of the request.
    """
    sources.refuse_while_executing()
    request, config = request_of(plan, mesh), as_config(config)
    used = use_devices(devices, request.mesh)
    memory_limit(used[0])  # a wrong setting is found here
    register_beside(source_file(config), trust=trust)
    study = prepare(config)
    for job in study.jobs:
        safe_point()
        job.warm_start()  # as is what does not fit
        plan_of(job, dataclasses.replace(request, tune=False), used, strict=study.config["strict"])
    return study, request, used


def num_devices_before(run_dir: str) -> int | None:
    """Return how many devices a run's last launch had, if it was asked to split batches over them; else None."""
    launch = (run_folder.read_record(run_dir).get("launches") or [{}])[-1]
    asked = recorded_request(launch.get("requested_plan") or "auto").mesh or run_folder.read_resolved(run_dir).get(
        "parallel"
    )
    return len(launch.get("devices", ())) or None if asked else None

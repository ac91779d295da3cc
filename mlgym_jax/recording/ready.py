"""What a run begins with: everything that can be wrong with what was asked for, found before anything is written."""

from __future__ import annotations

from typing import Any

import jax

from mlgym_jax.config.file import as_config, source_file
from mlgym_jax.execution.interruption import safe_point
from mlgym_jax.execution.memory import memory_limit
from mlgym_jax.execution.mesh import use_devices
from mlgym_jax.execution.plan import PlanRequest, parse_plan
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.run_folder import sources
from mlgym_jax.study.expand import Study, prepare


def ready(
    config: Any, plan: str, devices: int | None, *, trust: bool = False
) -> tuple[Study, PlanRequest, list[jax.Device]]:
    """Return a study, how it is to be executed and on which devices.

    Args: as for `launch.run`.

    Raises:
        ConfigError: the config cannot be run. MlgymError: something else of the request.
    """
    sources.refuse_while_executing()
    request, config = parse_plan(plan), as_config(config)
    used = use_devices(devices)
    memory_limit(used[0])  # a wrong setting is found here
    run_folder.register_beside(source_file(config), trust=trust)
    study = prepare(config)
    for job in study.jobs:
        safe_point()
        job.warm_start()  # as is what does not fit
    return study, request, used

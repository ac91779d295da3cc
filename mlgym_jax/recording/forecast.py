"""What a run would do, found by all checks that a run begins with; nothing is trained, compiled or written.

Synopsis:

    print(forecast(mg.load_config("configs/gs.py")))
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from mlgym_jax.errors import listed
from mlgym_jax.execution.plan import PlanRequest
from mlgym_jax.recording.ready import ready
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.study.job import Job
from mlgym_jax.study.planning import plan_of
from mlgym_jax.study.programs import advice, in_words

_SHOWN = 20


def forecast(
    config: Any,
    *,
    run_id: str | None = None,
    plan: str = "auto",
    devices: int | None = None,
    mesh: str | None = None,
    trust: bool = False,
) -> str:
    """Return in words what `launch.run` would train, after the checks that it begins with.

    Args: as for `launch.run`.

    Raises:
        ConfigError: the config cannot be run. MlgymError: something else of the request.
    """
    if run_id is not None:
        run_folder.check_id(run_id, "--run_id")
    study, request, used = ready(config, plan, devices, mesh=mesh, trust=trust)
    experiments = len(study.experiments)
    epochs = sum(job.cadence.num_evaluations * len(job.group.experiments) for job in study.jobs)
    many = "s" * (experiments > 1)
    lines = [
        f"{study.config['name']}: {experiments} experiment{many}, {epochs:,} epochs, on {len(used)} {used[0].platform} "
        f"device{'s' * (len(used) > 1)}; nothing was trained or written"
    ]
    if study.search.is_adaptive:
        lines.append("more follow, as the search proposes them")
    groups = [job.group for job in study.jobs]
    lines.append(in_words(groups, study.static_because))
    if hint := advice(groups):
        lines.append(hint)
    lines += [_of(job, request, used, study.config["strict"]) for job in study.jobs[:_SHOWN]]
    if len(study.jobs) > _SHOWN:
        lines.append(f"… ({len(study.jobs)} groups in all)")
    return "\n".join(lines)


def _of(job: Job, request: PlanRequest, devices: list[jax.Device], strict: bool) -> str:
    """Describe one group."""
    number = len(job.group.experiments)
    plan: Any = "measured when it runs (tune)"
    if not request.tune:
        plan = plan_of(job, request, devices, strict=strict)
    sizes = ", ".join(f"{split} {_span(sizes)}" for split, sizes in job.folds.sizes.items())
    parameters = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(job.abstract.params))
    steps, size = job.shape.num_steps, job.shape.batch_size
    return (
        f"group {job.group.index}: {number} experiment{'s' * (number > 1)}, plan {plan}, {steps} "
        f"step{'s' * (steps > 1)} of {size} an epoch, {parameters:,} parameters; examples: {sizes}; scores: "
        f"{listed(job.names, 8)}"
    )


def _span(sizes: tuple[int, ...]) -> str:
    return f"{min(sizes):,}" if len({*sizes}) == 1 else f"{min(sizes):,} to {max(sizes):,}"

"""What a run would do as plain data: what `run --dry_run --json` answers (docs/programs.md)."""

from __future__ import annotations

import dataclasses
from typing import Any

from mlgym_jax.recording.forecast import Forecast, GroupForecast
from mlgym_jax.study.programs import advice


def as_data(found: Forecast) -> dict[str, Any]:
    """Return a forecast in parts; `seconds`, and `measured` of each group, are None unless that was measured."""
    study = found.study
    return {
        "name": study.config["name"],
        "num_experiments": len(study.experiments),
        "num_epochs": found.num_epochs,
        "is_adaptive": bool(study.search.is_adaptive),
        "devices": {"platform": found.devices[0].platform, "number": len(found.devices)},
        "advice": advice([job.group for job in study.jobs]) or None,
        "groups": [_group(group) for group in found.groups],
        "seconds": None
        if found.seconds is None
        else {**dataclasses.asdict(found.seconds), "total": found.seconds.total},
    }


def _group(found: GroupForecast) -> dict[str, Any]:
    job, rehearsal = found.job, found.rehearsal
    measured = None
    if rehearsal is not None:
        names = ("compile_seconds", "epoch_seconds", "num_steps")
        measured = {name: getattr(rehearsal, name) for name in names}
    return {
        "group": job.group.index,
        "experiments": [one.experiment_id for one in job.group.experiments],
        "plan": None if found.plan is None else str(found.plan),
        "reason": None if found.plan is None else found.plan.reason,
        "mesh": found.mesh,
        "steps_per_epoch": job.shape.num_steps,
        "batch_size": job.shape.batch_size,
        "examples": {split: [min(sizes), max(sizes)] for split, sizes in job.folds.sizes.items()},
        "scores": list(job.names),
        "num_parameters": found.num_parameters,
        "flops_per_step": found.flops_per_step,
        "bytes_per_device": found.bytes_per_device,
        "checkpoint_bytes": found.checkpoint_bytes,
        "kept_bytes": found.kept_bytes,
        "measured": measured,
    }

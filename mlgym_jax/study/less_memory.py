"""What of a config needs less memory, as one would write it, where a group of experiments ran out of it."""

from __future__ import annotations

from typing import Any

import jax

from mlgym_jax.core.state import TrainState
from mlgym_jax.study.job import Job


def with_less_memory(job: Job, num_devices: int) -> str:
    """Return what to write in a config, what leaves its numbers as they are before what does not.

    Args:
        num_devices: that the group may use.
    """
    loader, config, abstract = job.components["loader"], job.group.config, job.abstract
    parts, size = getattr(loader, "microbatches", 1), loader.batch_size
    found = []
    more = next((parts * n for n in range(2, size // parts + 1) if size % (parts * n) == 0), None)
    if more and not _sees_whole_batches(job, abstract):
        found.append(f"config.loader.microbatches = {more}")
    if config.get("remat") is None:
        found.append("config.remat = component('blocks'), or 'dots' where the model has no blocks")
    parallel: Any = job.components.get("parallel")
    if num_devices > len(job.group.experiments) and getattr(parallel, "mode", None) != "fsdp":
        found.append(f"config.parallel = component('fsdp'), which splits states over the {num_devices} devices")
    if config.get("precision") is None:
        found.append("config.precision = component('mixed')")
    if size > 1:
        found.append(f"config.loader.batch_size = {size // 2}")
    moments = sum(leaf.size for leaf in jax.tree.leaves(abstract.opt_state))
    if moments >= sum(leaf.size for leaf in jax.tree.leaves(abstract.params)):
        found.append("an optimizer that keeps less of each parameter")
    return ", ".join([*found, "or a smaller model"])


def _sees_whole_batches(job: Job, abstract: TrainState) -> bool:
    """Tell whether a step sees more of a batch than single examples, of which microbatches are refused."""
    return "training_step" in job.components or bool(jax.tree.leaves(abstract.model_state))

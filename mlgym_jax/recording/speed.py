"""How fast a group trains: what its epochs did, over the time that they took and over what the devices can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.execution.engine import EpochReport
from mlgym_jax.execution.peaks import peak_flops
from mlgym_jax.study.job import Job


class Speed:
    """Adds up what the reports of a group's epochs tell.

    Attributes:
        num_steps, num_examples: of all experiments, trained since this was made; seconds: wall time of the epochs.
    """

    def __init__(self, job: Job):
        self._job = job
        self.num_steps = self.num_examples = 0
        self.seconds = 0.0

    def add(self, report: EpochReport) -> None:
        steps, examples = work(self._job, report.epoch, list(report.scores))
        self.num_steps += steps
        self.num_examples += examples
        self.seconds += report.seconds

    def told(self, devices: Sequence[jax.Device]) -> dict[str, Any]:
        """Return the fields of a `group_trained` event."""
        flops, kind, utilisation = self._job.flops, devices[0].device_kind, None
        if flops is not None and (peak := peak_flops(kind, flops.widest)) is not None:
            utilisation = flops.total * self.num_steps / self.seconds / (peak * len(devices))
        tokens = tokens_of_an_example(self._job.sample)
        rate = self.num_examples / self.seconds
        return {
            "num_steps": self.num_steps,
            "num_examples": self.num_examples,
            "seconds": self.seconds,
            "examples_per_second": rate,
            "tokens_per_second": None if tokens is None else tokens * rate,
            "device_kind": kind,
            "utilisation": utilisation,
        }


def work(job: Job, epoch: int, rows: Sequence[int]) -> tuple[int, int]:
    """Return the training steps and examples of an epoch, counted from 1, of some experiments together."""
    steps = examples = 0
    for fold, number in zip(*np.unique(job.fold_of_row[rows], return_counts=True), strict=True):
        before, after = (job.cadence.steps_after(at, int(fold)) for at in (epoch - 1, epoch))
        steps += int(number) * (after - before)
        examples += int(number) * (_examples(job, fold, after) - _examples(job, fold, before))
    return steps, examples


def _examples(job: Job, fold: int, num_steps: int) -> int:
    """Return the examples of a training's first steps; an epoch's last batch may be smaller than the others."""
    an_epoch, size = job.cadence.steps_per_epoch[fold], job.shape.batch_size
    of_an_epoch = min(job.folds.sizes["train"][fold], an_epoch * size)
    return num_steps // an_epoch * of_an_epoch + min(num_steps % an_epoch * size, of_an_epoch)


def tokens_of_an_example(batch: Mapping[str, Any]) -> int | None:
    """Return the length of sequences of tokens: integers, to each of which belongs a target; None of other examples."""
    inputs: Any = batch.get("inputs")
    targets: Any = batch.get("targets")
    if not all(hasattr(array, "dtype") and array.ndim == 2 and array.dtype.kind in "iu" for array in (inputs, targets)):
        return None
    return int(inputs.shape[1]) if inputs.shape == targets.shape else None

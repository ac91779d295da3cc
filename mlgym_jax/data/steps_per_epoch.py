"""The number of training steps an epoch, for schedules that count in epochs."""

from __future__ import annotations

from typing import Any

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset, to_arrays
from mlgym_jax.data.folds import make_folds


@register("steps_per_epoch", "of_data", needs=("dataset", "validation", "loader"))
def steps_per_epoch(dataset: Dataset, validation: Any, loader: Any) -> int:
    """Count the training steps an epoch of the largest fold."""
    folds = make_folds(dataset, to_arrays(dataset), validation, 0)
    return loader.num_steps(max(folds.sizes["train"]))

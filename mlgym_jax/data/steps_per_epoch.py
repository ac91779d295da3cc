"""The number of training steps an epoch, for schedules that count in epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset, to_arrays
from mlgym_jax.data.folds import make_folds
from mlgym_jax.data.streams import to_stream
from mlgym_jax.errors import ConfigError


@register("steps_per_epoch", "of_data", needs=("dataset", "validation", "loader"))
def steps_per_epoch(dataset: Dataset, validation: Any, loader: Any) -> int:
    """Count the training steps an epoch of the fold that has the most.

    Where folds differ, the engine puts each fold's own number in this one's place, an array, while a step is traced.
    What is read while it trains is not read for that.

    Raises:
        ConfigError: at `dataset`: it has no end.
    """
    stream = getattr(loader, "stream", None)
    if stream is not None and not hasattr(dict(dataset.splits).get("train", ()), "__len__"):
        raise ConfigError(
            "dataset", "it has no end, and so no epochs, which in_epochs(…) counts; let schedules count steps"
        )
    table = to_arrays(dataset, missing=True) if stream is None else to_stream(dataset, stream)
    folds = make_folds(dataset, table, validation, 0)
    return max(steps_of_folds(folds.sizes["train"], loader))


def steps_of_folds(sizes: Sequence[int], loader: Any) -> tuple[int, ...]:
    """Return the training steps an epoch of folds that train together, from the sizes of their training parts.

    Where last batches are dropped all folds take the steps of the smallest; else each takes those that it fills.
    """
    drop_last = getattr(loader, "drop_last", False)
    return tuple(loader.num_steps(min(sizes) if drop_last else size) for size in sizes)

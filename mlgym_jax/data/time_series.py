"""Validation on the future: folds whose training part ends before what they validate on. Pure functions of a dataset.

Synopsis:

    >>> import numpy as np
    >>> from mlgym_jax.data.dataset import Dataset
    >>> dataset = Dataset(splits={"train": {"inputs": np.zeros((9, 3))}})
    >>> [(len(fold["train"]), fold["val"].tolist()) for fold in time_series(folds=2)(dataset, 0)]
    [(3, [3, 4, 5]), (6, [6, 7, 8])]
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.row_fields import in_order
from mlgym_jax.data.validation import Fold, Validation
from mlgym_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class TimeSeries(Validation):
    """Each of `folds` windows of the last examples validates once, what is before it trains."""

    folds: int
    val_size: int | None
    gap: int
    by: str | None
    monitor = None

    def __call__(self, dataset: Dataset, seed: int) -> list[Fold]:
        rows = in_order(dataset, self.by)
        size = len(rows) // (self.folds + 1) if self.val_size is None else self.val_size
        first = len(rows) - self.folds * size
        if size < 1 or first - self.gap < 1:
            raise ConfigError(
                "validation.folds",
                f"of {len(rows)} examples, folds={self.folds} of {max(1, size)} and gap={self.gap} leave none to train "
                "the first fold on; lower one of them" + ("" if self.val_size is None else ", or val_size"),
            )
        starts = range(first, len(rows), size)
        return [
            {"train": np.sort(rows[: start - self.gap]), "val": np.sort(rows[start : start + size])} for start in starts
        ]


@register("validation", "time_series")
def time_series(*, folds: int = 5, val_size: int | None = None, gap: int = 0, by: str | None = None) -> TimeSeries:
    """Train on what is before, validate on what comes next, in windows that grow: scikit-learn's TimeSeriesSplit.

    The last `folds` windows of `val_size` examples validate, one a fold; all examples before a window, but for the
    `gap` last of them, train. Nothing is drawn, so that every split seed has these folds.

    Args:
        val_size: examples of a window; by default what `folds + 1` of them have.
        gap: examples right before a window that do not train, such as those that know of its beginning.
        by: the field of the dataset, one number an example, such as the time, by which examples are put in order; by
            default they are as the rows stand, and so are those of equal numbers.

    Raises:
        ConfigError: less than 1 fold or example, or so many that none is left to train on; a field that there is not.
    """
    for name, number, least in (("folds", folds, 1), ("val_size", val_size, 1), ("gap", gap, 0)):
        if number is not None and number < least:
            raise ConfigError(f"validation.{name}", f"found {number}; at least {least} is expected")
    return TimeSeries(folds, val_size, gap, by)

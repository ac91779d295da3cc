"""The scores of a run as a frame of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlgym_jax.config.spelling import columns
from mlgym_jax.errors import MlgymError


def score_frame(experiments: Sequence[Any]) -> Any:
    """Return a DataFrame, one row an experiment and epoch; see `RunResult.to_dataframe`.

    Raises:
        MlgymError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MlgymError('to_dataframe needs pandas; type: pip install "mlgym-jax[pandas]"') from None
    rows, cells = [], columns([item.hyperparameters for item in experiments])
    for item, swept in zip(experiments, cells, strict=True):
        for epoch, scores in zip(item._view.epoch_numbers, item._view.rows(), strict=True):
            values = {"experiment_id": item.experiment_id, "fold": item.fold, "status": item.status}
            rows.append({**values, **swept, "epoch": epoch, **scores})
    frame = pandas.DataFrame(rows)
    for name in {name for swept in cells for name, value in swept.items() if value is None}:
        frame[name] = pandas.Series([row.get(name) for row in rows], dtype=object)  # None is a value, 1 no float
    return frame

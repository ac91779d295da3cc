"""Whether a sampler can draw from what each fold trains on, before anything compiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.graph import Components
from mlgym_jax.core.blame import named
from mlgym_jax.core.inputs import nested
from mlgym_jax.core.targets import wrong_weights
from mlgym_jax.data.dataset import Table
from mlgym_jax.data.folds import Folds
from mlgym_jax.errors import ConfigError

_MOST = 100  # pairs of a fold and swept values that are tried
_FLOATS = np.finfo(np.float32)


class _Rows(Mapping[str, Any]):
    """Some rows of a table as a sampler sees them; of no field that it does not ask for anything is read."""

    def __init__(self, table: Table, rows: np.ndarray):
        self._table, self._rows = table, rows

    def __getitem__(self, field: str) -> Any:
        if field == "mask":
            return jnp.ones(len(self._rows), bool)
        if field in self._table.arrays:
            return jnp.asarray(self._table.arrays[field][self._rows])
        return nested({name: self[name] for name in self._table.arrays})[field]

    def __iter__(self) -> Iterator[str]:
        return iter((*nested(dict.fromkeys(self._table.arrays)), "mask"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def check_draws(
    components: Components,
    table: Table,
    folds: Folds,
    fold_of_row: Sequence[int],
    hyperparams: Mapping[str, np.ndarray],
) -> None:
    """Refuse a sampler by whose weights nothing can be drawn of some fold's training part, or not by their shares.

    Args:
        fold_of_row: of each experiment; hyperparams: dotted path -> [experiments].

    Raises:
        ConfigError: at `sampler`: weights below 0 or not finite, only zeros, or a sum that float32 does not hold.
    """
    if "sampler" not in components:
        return
    swept = sorted(path for path in hyperparams if path.startswith("sampler."))
    values = zip(*(hyperparams[path].tolist() for path in swept), strict=True) if swept else [()] * len(fold_of_row)
    for fold, own in list(dict.fromkeys(zip(fold_of_row, values, strict=True)))[:_MOST]:
        indices, mask = folds.indices["train"][fold], folds.mask["train"][fold]
        rows = indices[mask]
        with named("sampler", table.arrays):
            sampler = components.bind(dict(zip(swept, own, strict=True)))["sampler"]
            found = np.asarray(sampler(_Rows(table, rows)), np.float64)
        if found.shape != (len(rows),):
            raise ConfigError(
                "sampler",
                f"fold {fold}: it returns {found.shape}, but one weight an example is expected, float[{len(rows)}]",
            )
        wrong = wrong_weights(found)
        if wrong.any():
            raise ConfigError(
                "sampler",
                f"fold {fold}: it gives {found[wrong][0]:.6g} to {wrong.sum()} of {len(rows)} examples; weights are "
                "finite, at least 0",
            )
        total = found.sum()
        if not total:
            raise ConfigError(
                "sampler",
                f"fold {fold}: no example of its training part has a weight above 0, so that nothing can be drawn",
            )
        if not _FLOATS.tiny <= total <= _FLOATS.max:
            raise ConfigError(
                "sampler",
                f"fold {fold}: its weights add up to {total:.6g}, which 32-bit floats do not hold; multiply all of "
                "them by one number",
            )

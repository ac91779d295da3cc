"""Whether a sampler can draw from what each fold trains on, before anything compiles; and of a stream by what."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.graph import Components
from mlgym_jax.core.blame import named
from mlgym_jax.core.inputs import is_input, nested
from mlgym_jax.core.targets import wrong_weights
from mlgym_jax.data.dataset import Table
from mlgym_jax.data.folds import Folds
from mlgym_jax.data.streams import Column, StreamedTable, UnreadableRecord
from mlgym_jax.errors import ConfigError, listed
from mlgym_jax.study.tracing import NotTraceable

_MOST = 100  # pairs of a fold and swept values that are tried
_FLOATS = np.finfo(np.float32)
# What samplers have asked for, by the first column of a table: all groups and rounds of a study share one.
_SEEN: weakref.WeakKeyDictionary[Column, tuple[dict[str, np.ndarray], np.ndarray]] = weakref.WeakKeyDictionary()


class _Rows(Mapping[str, Any]):
    """Some rows of a table as a sampler sees them; of no field that it does not ask for anything is read."""

    def __init__(self, arrays: Mapping[str, Any], rows: np.ndarray):
        self._arrays, self._rows = arrays, rows

    def __getitem__(self, field: str) -> Any:
        if field == "mask":
            return jnp.asarray(self._arrays.good[self._rows] if isinstance(self._arrays, _Read) else self._rows >= 0)
        if field in self._arrays:
            return jnp.asarray(self._arrays[field][self._rows])
        return nested({name: self[name] for name in self._arrays})[field]

    def __iter__(self) -> Iterator[str]:
        return iter((*nested(dict.fromkeys(self._arrays)), "mask"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Read(Mapping[str, Any]):
    """The fields of a stream by its rows; of those that a sampler asks for the split "train" alone is read, once."""

    def __init__(self, table: StreamedTable):
        first: Any = next(iter(table.arrays.values()))
        self._table = table
        self._found, self._good = _SEEN.setdefault(first, ({}, np.ones(table.num_examples, bool)))

    def __getitem__(self, field: str) -> np.ndarray:
        if is_input(field):
            fields = [name for name in self if not is_input(name)]
            raise ConfigError(
                "sampler",
                "it weighs examples by their inputs, of which component('streaming') does not hold all; give the "
                f"dataset a field of weights, for component('weighted', field=…){'. Fields: ' * bool(fields)}"
                f"{listed(fields)}; or write config.loader = component('in_memory', …)",
            )
        if field not in self._found:
            column = self._table.arrays[field]
            self._found[field] = np.zeros(column.shape, column.dtype)
            rows = np.arange(*self._table.offsets["train"])
            while rows.size:
                try:
                    self._found[field][rows] = self._table.read_field(rows, field)
                    break
                except UnreadableRecord as error:
                    if not self._table.stream.skips:
                        raise ConfigError("dataset", str(error)) from error
                    self._good[error.rows] = False
                    rows = rows[self._good[rows]]
        return self._found[field]

    @property
    def good(self) -> np.ndarray:
        """bool[rows], which are not left out; who reads any field finds them."""
        if not self._found and (field := next((name for name in self if not is_input(name)), None)):
            self[field]
        return self._good

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.arrays)

    def __len__(self) -> int:
        return len(self._table.arrays)


def without_draws(swept: Sequence[str], dynamic: Sequence[str]) -> list[str]:
    """Return the swept values of a group whose data are read while it trains that are not its sampler's.

    Raises:
        NotTraceable: a sampler's differ within the group.
    """
    drawn = [path for path in swept if path.startswith("sampler.")]
    if {*drawn} & {*dynamic}:
        raise NotTraceable(drawn, "what is read while it trains is drawn once for all experiments of a group")
    return [path for path in swept if path not in drawn]


def check_draws(
    components: Components,
    table: Table,
    folds: Folds,
    fold_of_row: Sequence[int],
    hyperparams: Mapping[str, np.ndarray],
) -> None:
    """Refuse a sampler by whose weights nothing can be drawn of some fold's training part, or not by their shares.

    Of a stream, `weights_of_stream` does.

    Args:
        fold_of_row: of each experiment; hyperparams: dotted path -> [experiments].

    Raises:
        ConfigError: at `sampler`; see `_weights`.
    """
    if "sampler" not in components or isinstance(table, StreamedTable):
        return
    swept = sorted(path for path in hyperparams if path.startswith("sampler."))
    values = zip(*(hyperparams[path].tolist() for path in swept), strict=True) if swept else [()] * len(fold_of_row)
    for fold, own in list(dict.fromkeys(zip(fold_of_row, values, strict=True)))[:_MOST]:
        _weights(components.bind(dict(zip(swept, own, strict=True))), table.arrays, folds, fold)


def weights_of_stream(components: Components, table: Table, folds: Folds) -> tuple[np.ndarray, ...]:
    """Return of each fold float64[n], by which what it trains on is drawn; () where no sampler draws.

    Raises:
        ConfigError: at `sampler`: see `_weights`; a stream without an end, a mixture, rows that are read in groups, or
            weights by inputs; at `dataset`: records cannot be read, and are not to be left out.
    """
    if "sampler" not in components or not isinstance(table, StreamedTable):
        return ()
    _check_stream(table)
    arrays = _Read(table)
    return tuple(_weights(components, arrays, folds, fold) for fold in range(folds.num_folds))


def _weights(components: Components, arrays: Mapping[str, Any], folds: Folds, fold: int) -> np.ndarray:
    """Return float64[n], the weights of what a fold trains on.

    Raises:
        ConfigError: at `sampler`: weights below 0 or not finite, only zeros, or a sum that float32 does not hold.
    """
    rows = folds.indices["train"][fold][folds.mask["train"][fold]]
    with named("sampler", arrays):
        found = np.asarray(components["sampler"](_Rows(arrays, rows)), np.float64)
    if found.shape != (len(rows),):
        raise ConfigError(
            "sampler",
            f"fold {fold}: it returns {found.shape}, but one weight an example is expected, float[{len(rows)}]",
        )
    if isinstance(arrays, _Read):
        found = np.where(arrays.good[rows], found, 0.0)
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
    return found


def _check_stream(table: StreamedTable) -> None:
    """Refuse what weights of single examples cannot be drawn from while it is read."""
    source = table.sources["train"]
    if table.is_endless:
        raise ConfigError(
            "sampler",
            "it draws by the weights of all training examples, and the dataset's split 'train' has no end; draw where "
            "its examples are made, or give the split an end (__len__)",
        )
    if getattr(source, "shares", None) is not None:
        raise ConfigError(
            "sampler",
            "a mixture draws from its sources by their weights; leave config.sampler out, and write "
            "config.dataset = component('mixture', sources={…}, weights={…})",
        )
    blocks = getattr(source, "blocks", None)
    if blocks is not None and blocks.starts[-1] > blocks.most:
        raise ConfigError(
            "sampler",
            f"rows are read by {len(blocks.starts) - 1} row groups, one of which each draw would decode; weigh "
            "examples in the loss by a field 'where', write config.loader = component('in_memory', …), or write the "
            "table as arrays (component('memmap')) or records (component('array_records'))",
        )

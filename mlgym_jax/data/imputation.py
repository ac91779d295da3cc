"""The encodings `impute`, which fills in missing values, and `chain`, one encoding after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.by_column import knowing
from mlgym_jax.data.dataset import INPUTS_REST, Dataset, array_type, split_arrays
from mlgym_jax.data.medians import medians
from mlgym_jax.data.one_pass import OnePass, Passes, filled_by, merged_moments, moments, passes_of
from mlgym_jax.data.sources import few_arrays
from mlgym_jax.errors import ConfigError

_MOST_VALUES = 1 << 20  # of a column, of data that are read while they train
Strategy = Literal["mean", "median", "most_frequent", "constant"]


@dataclasses.dataclass(frozen=True)
class Impute:
    """What `impute` builds."""

    strategy: Strategy
    fill_value: float
    indicated: tuple[int, ...]
    keeps_rest = True
    is_by_column = True

    def fills(self, width: int) -> frozenset[int]:
        return frozenset(range(width))

    def fit(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        columns = _columns_of(arrays).T
        return _filling(np.array([self._value(column[~np.isnan(column)]) for column in columns]))

    def in_passes(self) -> Passes:
        if self.strategy == "median":
            passes = medians()

            def filling(results: Sequence[Any]) -> dict[str, Any]:
                found = passes.fitted(results)["median"]
                return _filling(np.where(np.isnan(found), self.fill_value, found))

            return passes._replace(fitted=filling)
        return Passes(1, lambda _: self._in_one_pass(), lambda results: results[0])

    def _in_one_pass(self) -> OnePass:
        if self.strategy == "most_frequent":
            return OnePass(
                lambda arrays: [_counted(column[~np.isnan(column)]) for column in _columns_of(arrays).T],
                lambda sums, more: [_counted(*map(np.concatenate, zip(*pair))) for pair in zip(sums, more)],  # noqa: B905
                lambda sums: _filling(np.array([self._most(*counted) for counted in sums])),
            )

        def fitted(sums: Any) -> dict[str, Any]:
            is_there = (sums["count"] > 0) & (self.strategy == "mean")
            return _filling(np.where(is_there, sums["mean"], self.fill_value))

        return OnePass(lambda arrays: moments(_columns_of(arrays)), merged_moments, fitted)

    def _most(self, values: np.ndarray, counts: np.ndarray) -> float:
        return values[counts.argmax()] if values.size else self.fill_value  # of several the smallest

    def _value(self, there: np.ndarray) -> float:
        if self.strategy == "constant" or not there.size:
            return self.fill_value
        if self.strategy == "most_frequent":
            return self._most(*_counted(there))
        return float(np.mean(there) if self.strategy == "mean" else np.median(there))

    def apply(self, fitted: dict[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
        inputs = batch["inputs"].astype(jnp.float32)
        absent = jnp.isnan(inputs)
        filled = jnp.where(absent, fitted["fill"][None], inputs)
        new = {**batch, "inputs": filled}
        if INPUTS_REST in batch:
            new[INPUTS_REST] = jnp.where(absent, fitted["fill_rest"][None], batch[INPUTS_REST])
        if self.indicated:
            which = absent[:, list(self.indicated)].astype(jnp.float32)
            new["inputs"] = jnp.concatenate([filled, which], axis=1)
            if INPUTS_REST in batch:
                new[INPUTS_REST] = jnp.concatenate([new[INPUTS_REST], jnp.zeros_like(which)], axis=1)
        return new


def _columns_of(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    inputs = np.asarray(arrays["inputs"], np.float64)
    return inputs + np.asarray(arrays[INPUTS_REST], np.float64) if INPUTS_REST in arrays else inputs


def _filling(values: np.ndarray) -> dict[str, Any]:
    high = values.astype(np.float32)
    return {"fill": high, "fill_rest": (values - high).astype(np.float32)}


def _counted(values: np.ndarray, counts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that there are, ascending, and how often each is, 1 by default."""
    found, places = np.unique(values, return_inverse=True)
    if len(found) > _MOST_VALUES:
        raise ConfigError(
            "encoding.strategy",
            f"a column has more than {_MOST_VALUES:,} values, of which the most frequent says little; write 'mean'",
        )
    return found, np.bincount(places, np.ones(len(values)) if counts is None else counts, len(found)).astype(np.int64)


@register("encoding", "impute", needs=("dataset",))
def impute(
    dataset: Dataset, *, strategy: Strategy = "mean", fill_value: float = 0.0, indicator: bool = False
) -> Impute:
    """Fill in the missing values (NaN) of each column of a table with one value of the fold's training part.

    As scikit-learn's `SimpleImputer(keep_empty_features=True)`. What follows it is a `chain`:
    `component("chain", encodings=(component("impute"), component("standardise")))`.

    Args:
        strategy: the "mean" or "median" of the column, its "most_frequent" value (of several the smallest), or the
            "constant" `fill_value`.
        fill_value: also for a column of which the training part has no value.
        indicator: append a column of 0 and 1, whether the value was missing, for each column of the dataset in which
            one is, in any fold.

    Raises:
        ConfigError: inputs that are no table.
    """
    inputs = few_arrays(dataset.splits["train"]).get("inputs")
    if inputs is None or inputs.ndim != 2:
        found = array_type(inputs) if inputs is not None else "several arrays"
        raise ConfigError("encoding", f"'impute' fills in the columns of a table, and inputs are {found}")
    indicated: tuple[int, ...] = ()
    if indicator and inputs.dtype.kind == "f":
        tables = [split_arrays(split, name)["inputs"] for name, split in dataset.splits.items()]
        missing = np.any([np.isnan(table).any(axis=0) for table in tables], axis=0)
        indicated = tuple(map(int, np.flatnonzero(missing)))
    return Impute(strategy, fill_value, indicated)


@dataclasses.dataclass(frozen=True)
class Chain:
    """What `chain` builds."""

    encodings: tuple[Any, ...]

    @property
    def text_columns(self) -> frozenset[str]:
        return frozenset().union(*(getattr(encoding, "text_columns", ()) for encoding in self.encodings))

    def with_texts(self, more: Mapping[str, Sequence[str]]) -> Chain:
        """Return the same with encodings that know more texts; see `data.bag_of_words`."""
        return Chain(tuple(knowing(encoding, more) for encoding in self.encodings))

    @property
    def is_by_column(self) -> bool:
        return all(getattr(encoding, "is_by_column", False) for encoding in self.encodings)

    def fills(self, width: int) -> frozenset[int]:
        found: frozenset[int] = frozenset()
        for encoding in self.encodings:
            found |= filled_by(encoding, width)
            if not getattr(encoding, "is_by_column", False):
                break  # what comes then sees other columns
        return found

    def in_passes(self) -> Passes | None:
        own = [passes_of(encoding) for encoding in self.encodings]
        passes = [one for one in own if one is not None]
        if len(passes) < len(own):
            return None

        def fitted(results: Sequence[Any]) -> dict[str, Any]:
            left, found = list(results), {}
            for number, one in enumerate(passes):
                if len(left) < one.number:
                    break
                found[f"{number:06}"] = one.fitted(left[: one.number])
                del left[: one.number]
            return found

        def next_of(results: Sequence[Any]) -> OnePass:
            known = fitted(results)
            used = sum(one.number for one in passes[: len(known)])
            one = passes[len(known)].next(results[used:])
            before = list(zip(self.encodings, known.values(), strict=False))

            def prepared(arrays: Mapping[str, Any]) -> Any:
                for encoding, learnt in before:
                    arrays = _applied_on_host(encoding, learnt, arrays)
                return one.prepared(arrays)

            return one._replace(prepared=prepared)

        return Passes(sum(one.number for one in passes), next_of, fitted)

    def fit(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        fitted = {}
        for number, encoding in enumerate(self.encodings):
            fitted[f"{number:06}"] = own = encoding.fit(arrays)
            if encoding is not self.encodings[-1]:
                arrays = _applied_on_host(encoding, own, arrays)
        return fitted

    def apply(self, fitted: dict[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
        for key, encoding in zip(sorted(fitted), self.encodings, strict=True):
            batch = _applied(encoding, fitted[key], batch)
        return dict(batch)


def _applied_on_host(encoding: Any, fitted: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
    return jax.tree.map(np.asarray, _applied(encoding, fitted, jax.tree.map(jnp.asarray, dict(arrays))))


def _applied(encoding: Any, fitted: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Apply an encoding; what float32 left of the values before is nothing of those after."""
    new = encoding.apply(fitted, batch)
    keeps = getattr(encoding, "keeps_rest", False)
    return {name: value for name, value in new.items() if keeps or name != INPUTS_REST}


@register("encoding", "chain")
def chain(*, encodings: tuple[Any, ...]) -> Chain:
    """Encode in several steps, each fitted on what those before it make of the fold's training part.

        encodings=(component("impute", strategy="median"), component("standardise"))

    Raises:
        ConfigError: there are none.
    """
    if not encodings:
        raise ConfigError("encoding.encodings", "it is empty; name an encoding, or leave config.encoding out")
    return Chain(tuple(encodings))

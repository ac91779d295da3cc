"""Feature encodings: standardise, min_max, one_hot. Fitted on a fold's training part.

An encoding is an object with two pure methods:

    fit(arrays) -> fitted                 NumPy arrays of the training part of one fold -> a tree of arrays
    apply(fitted, batch) -> batch         on the device, inside of the compiled program

What was fitted is an argument of the compiled program, so that all folds of a cross validation share one. One that is
fitted on data that are read while it trains has a third, `in_one_pass` or `in_passes`; see `data.one_pass`. There
values may be missing in the columns that `fills(width)` names, as `apply` leaves none in them; `is_by_column` says that
each column stays in its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.core.outputs import paths
from mlgym_jax.data.dataset import INPUTS_REST
from mlgym_jax.data.one_pass import OnePass, merged_moments, moments
from mlgym_jax.errors import ConfigError, listed

Fitted = dict[str, Any]
Batch = dict[str, Any]


def _two_floats(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return float64 values as the sum of two float32 arrays: what is far from 0 keeps its digits when subtracted."""
    high = values.astype(np.float32)
    return high, (values - high).astype(np.float32)


def _columns_of(inputs: np.ndarray) -> np.ndarray:
    """Return float64[…, columns]; columns are the last axis, so that images have a column a channel."""
    inputs = np.asarray(inputs, np.float64)
    return inputs.reshape(-1, inputs.shape[-1]) if inputs.ndim > 1 else inputs[:, None]


def _exact(arrays: Mapping[str, Any]) -> np.ndarray:
    """Return the float64 values of `inputs`, with what float32 left of them."""
    inputs = np.asarray(_one_input(arrays), np.float64)
    return inputs + np.asarray(arrays[INPUTS_REST], np.float64) if INPUTS_REST in arrays else inputs


def _one_input(arrays: Mapping[str, Any]) -> Any:
    inputs = arrays["inputs"]
    if isinstance(inputs, Mapping | tuple):
        names = paths(inputs)
        raise ConfigError(
            "encoding",
            f"it encodes one array of inputs, and the dataset has {listed(names)}; say which, "
            f"component('by_input', encodings={{{names[0]!r}: component(…)}})",
        )
    return inputs


def _parts(batch: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return `inputs` as float32 and what that leaves of them, None where that is nothing."""
    inputs = _one_input(batch)
    high = inputs.astype(jnp.float32)
    if INPUTS_REST in batch:
        return high, batch[INPUTS_REST]
    if inputs.dtype in (jnp.int32, jnp.uint32):  # exact, also where the difference wraps around
        return high, (inputs - high.astype(inputs.dtype)).astype(jnp.int32).astype(jnp.float32)
    return high, None


def _scaled(fitted: Fitted, batch: Mapping[str, Any]) -> jax.Array:
    inputs, inputs_rest = _parts(batch)
    shape = (1,) * (inputs.ndim - 1) + (-1,)
    centre, rest, scale = (fitted[key].reshape(shape) for key in ("centre", "centre_rest", "scale"))
    if inputs_rest is None:
        return ((inputs - centre) - rest) / scale
    # The small parts first: where they are constants, XLA would add the two that are subtracted, and lose digits.
    return ((inputs - centre) + (inputs_rest - rest)) / scale


def _of_each(columns: np.ndarray, *functions: Callable[..., Any]) -> list[np.ndarray]:
    """Return what functions make of each column's values that are not missing, 0 where it has none."""
    if not np.isnan(columns).any():
        return [function(columns, axis=0) for function in functions]
    there = [column[~np.isnan(column)] for column in columns.T]
    return [np.array([function(own) if own.size else 0.0 for own in there]) for function in functions]


def _fit_scale(centre: np.ndarray, scale: np.ndarray, columns: np.ndarray) -> Fitted:
    least, largest = _of_each(columns, np.min, np.max)
    return _scale_of(centre, scale, least, largest, np.where(np.isnan(columns[0]), least, columns[0]))


def _scale_of(
    centre: np.ndarray, scale: np.ndarray, least: np.ndarray, largest: np.ndarray, only: np.ndarray
) -> Fitted:
    """Keep a scale of 1 where a column is constant, as scikit-learn does, and `only` that value."""
    constant = least == largest
    high, rest = _two_floats(np.where(constant, only, centre))
    return {"centre": high, "centre_rest": rest, "scale": np.where(constant, 1.0, scale).astype(np.float32)}


def _ends(sums: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and largest of each column, 0 where it has no value."""
    return np.where(sums["count"], sums["least"], 0.0), np.where(sums["count"], sums["largest"], 0.0)


def _moments(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return moments(_columns_of(_exact(arrays)))


@dataclasses.dataclass(frozen=True)
class Standardise:
    """What `standardise` builds."""

    is_by_column = True

    def fit(self, arrays: Mapping[str, np.ndarray]) -> Fitted:
        columns = _columns_of(_exact(arrays))
        centre, scale = _of_each(columns, np.mean, np.std)
        return _fit_scale(centre, scale, columns)

    def in_one_pass(self) -> OnePass:
        def fitted(sums: Any) -> Fitted:
            scale = np.sqrt(sums["squares"] / np.maximum(sums["count"], 1))
            least, largest = _ends(sums)
            return _scale_of(sums["mean"], scale, least, largest, least)

        return OnePass(_moments, merged_moments, fitted)

    def apply(self, fitted: Fitted, batch: Mapping[str, Any]) -> Batch:
        return {**batch, "inputs": _scaled(fitted, batch)}


@register("encoding", "standardise")
def standardise() -> Standardise:
    r"""Give every column of `inputs` the mean 0 and the standard deviation 1 over the training part of the fold.

    \((x - \mu) / \sigma\), as scikit-learn's `StandardScaler`; a constant column is only centred. Columns are the last
    axis: features of a table, channels of images. Missing values count nothing, and stay for `impute` to fill in.
    """
    return Standardise()


@dataclasses.dataclass(frozen=True)
class MinMax:
    """What `min_max` builds."""

    low: float
    high: float
    is_by_column = True

    def fit(self, arrays: Mapping[str, np.ndarray]) -> Fitted:
        columns = _columns_of(_exact(arrays))
        least, largest = _of_each(columns, np.min, np.max)
        return _fit_scale(least, largest - least, columns)

    def in_one_pass(self) -> OnePass:
        def fitted(sums: Any) -> Fitted:
            least, largest = _ends(sums)
            return _scale_of(least, largest - least, least, largest, least)

        return OnePass(_moments, merged_moments, fitted)

    def apply(self, fitted: Fitted, batch: Mapping[str, Any]) -> Batch:
        unit = _scaled(fitted, batch)
        return {**batch, "inputs": unit * (self.high - self.low) + self.low}


@register("encoding", "min_max")
def min_max(*, low: float = 0.0, high: float = 1.0) -> MinMax:
    """Stretch every column of `inputs` to the range [low, high] over the training part of the fold.

    As scikit-learn's `MinMaxScaler`: values beyond those of the training part leave the range, and a constant column
    becomes `low`. Missing values count nothing, and stay for `impute` to fill in.
    """
    if not low < high:
        raise ConfigError("encoding.low", f"found {low} and high={high}; low is expected to be less")
    return MinMax(low, high)


@dataclasses.dataclass(frozen=True)
class OneHot:
    """What `one_hot` builds."""

    max_categories: int

    def fills(self, width: int) -> frozenset[int]:
        return frozenset(range(width))  # what is missing is a value of its own

    def fit(self, arrays: Mapping[str, np.ndarray]) -> Fitted:
        return self._of_values([np.unique(column) for column in _columns_of(_exact(arrays)).T])

    def in_one_pass(self) -> OnePass:
        def values(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            return [np.unique(column) for column in _columns_of(_exact(arrays)).T]

        def merged(sums: list[np.ndarray], more: list[np.ndarray]) -> list[np.ndarray]:
            found = [np.union1d(own, new) for own, new in zip(sums, more, strict=True)]
            self._of_values(found)  # or there are too many already
            return found

        return OnePass(values, merged, self._of_values)

    def _of_values(self, columns: Sequence[np.ndarray]) -> Fitted:
        found = {}
        for number, values in enumerate(columns):  # NaN is the last, and one
            if len(values) > self.max_categories:
                raise ConfigError(
                    "encoding",
                    f"column {number} has {len(values)} distinct values in a training part, more than max_categories="
                    f"{self.max_categories}; is it a column of categories? component('by_column', …) encodes some only",
                )
            high, rest = _two_floats(values)
            # Folds with fewer values are filled up with NaN.
            found[f"{number:06}"] = {"high": high, "rest": rest, "missing": np.isnan(high)}
        return found

    def apply(self, fitted: Fitted, batch: Mapping[str, Any]) -> Batch:
        inputs, rest = _parts(batch)
        inputs = inputs.reshape(inputs.shape[0], -1)
        rest = None if rest is None else rest.reshape(inputs.shape)
        parts = []
        for number, key in enumerate(sorted(fitted)):
            same = inputs[:, number, None] == fitted[key]["high"][None]
            same = same if rest is None else same & (rest[:, number, None] == fitted[key]["rest"][None])
            parts.append(same | (fitted[key]["missing"][None] & jnp.isnan(inputs[:, number, None])))
        return {**batch, "inputs": jnp.concatenate(parts, axis=1).astype(jnp.float32)}


@register("encoding", "one_hot")
def one_hot(*, max_categories: int = 100) -> OneHot:
    """Turn every column of a table into one column of 0 and 1 for each of its values in the training part, ascending.

    As scikit-learn's `OneHotEncoder(handle_unknown="ignore")`: a value that the training part does not have is 0
    everywhere, and a missing one is a value of its own. Folds that differ in their number of values are filled up with
    columns of 0.

    Args:
        max_categories: more distinct values than these in a column are an error, not a wide network.
    """
    if max_categories < 1:
        raise ConfigError("encoding.max_categories", f"found {max_categories}; at least 1 is expected")
    return OneHot(max_categories)

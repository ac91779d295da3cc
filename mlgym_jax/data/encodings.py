"""Feature encodings: standardise, min_max, one_hot, and by_column of these. Fitted on a fold's training part.

An encoding is an object with two pure methods:

    fit(arrays) -> fitted                 NumPy arrays of the training part of one fold -> a tree of arrays
    apply(fitted, batch) -> batch         on the device, inside of the compiled program

What was fitted is an argument of the compiled program, so that all folds of a cross validation share one. One that is
fitted on data that are read while it trains has a third, `in_one_pass`; see `data.one_pass`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.core.inputs import is_input
from mlgym_jax.core.outputs import paths
from mlgym_jax.data.dataset import INPUTS_REST, Dataset, array_type, split_arrays
from mlgym_jax.data.one_pass import OnePass, merged_moments, moments, together
from mlgym_jax.data.transforms import column_numbers
from mlgym_jax.errors import ConfigError, described, listed

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


def _moments(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return moments(_columns_of(_exact(arrays)))


@dataclasses.dataclass(frozen=True)
class Standardise:
    """What `standardise` builds."""

    def fit(self, arrays: Mapping[str, np.ndarray]) -> Fitted:
        columns = _columns_of(_exact(arrays))
        centre, scale = _of_each(columns, np.mean, np.std)
        return _fit_scale(centre, scale, columns)

    def in_one_pass(self) -> OnePass:
        def fitted(sums: Any) -> Fitted:
            scale = np.sqrt(sums["squares"] / sums["count"])
            return _scale_of(sums["mean"], scale, sums["least"], sums["largest"], sums["least"])

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

    def fit(self, arrays: Mapping[str, np.ndarray]) -> Fitted:
        columns = _columns_of(_exact(arrays))
        least, largest = _of_each(columns, np.min, np.max)
        return _fit_scale(least, largest - least, columns)

    def in_one_pass(self) -> OnePass:
        def fitted(sums: Any) -> Fitted:
            least, largest = sums["least"], sums["largest"]
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


@dataclasses.dataclass(frozen=True)
class ByColumn:
    """What `by_column` builds: pairs of column numbers and what encodes them, and the numbers of those that stay."""

    groups: tuple[tuple[tuple[int, ...], Any], ...]
    kept: tuple[int, ...]

    @property
    def text_columns(self) -> frozenset[str]:
        return frozenset().union(*(getattr(encoding, "text_columns", ()) for _, encoding in self.groups))

    def with_texts(self, more: Mapping[str, Sequence[str]]) -> ByColumn:
        """Return the same with encodings that know more texts; see `data.bag_of_words`."""
        return dataclasses.replace(
            self, groups=tuple((columns, knowing(encoding, more)) for columns, encoding in self.groups)
        )

    def fit(self, arrays: Mapping[str, np.ndarray]) -> Fitted:
        return {
            f"{number:06}": encoding.fit(_of_columns(arrays, columns))
            for number, (columns, encoding) in enumerate(self.groups)
        }

    def in_one_pass(self) -> OnePass | None:
        parts = {
            f"{number:06}": (encoding, lambda arrays, columns=columns: _of_columns(arrays, columns))
            for number, (columns, encoding) in enumerate(self.groups)
        }
        return together(parts)

    def apply(self, fitted: Fitted, batch: Mapping[str, Any]) -> Batch:
        inputs = batch["inputs"]
        parts = [
            encoding.apply(fitted[key], _of_columns(batch, columns))["inputs"]
            for key, (columns, encoding) in zip(sorted(fitted), self.groups, strict=True)
        ]
        parts.append(inputs[:, list(self.kept)].astype(jnp.float32))
        return {**batch, "inputs": jnp.concatenate(parts, axis=1)}


def knowing(encoding: Any, more: Mapping[str, Sequence[str]]) -> Any:
    """Return an encoding that knows more texts, column -> texts, if it reads any."""
    return encoding.with_texts(more) if hasattr(encoding, "with_texts") else encoding


def _of_columns(arrays: Mapping[str, Any], columns: Sequence[int]) -> Batch:
    """Return a batch with some columns of its inputs, and of what float32 left of them."""
    own = {field: arrays[field][:, list(columns)] for field in ("inputs", INPUTS_REST) if field in arrays}
    return {**arrays, **own}


@register("encoding", "by_column", needs=("dataset",))
def by_column(dataset: Dataset, *, groups: tuple[Any, ...], rest: str = "keep") -> ByColumn:
    """Encode the columns of a table in groups, each in its own way.

        groups=((("age", "bmi"), component("standardise")), (("sex",), component("one_hot")))

    As scikit-learn's `ColumnTransformer`: the encoded columns of the groups follow each other, and then the rest.

    Args:
        groups: pairs of columns and encoding. Columns are a tuple of names or numbers, or one of the words
            "categorical" (those that a csv file holds words in, or that it was told) and "numeric" (all others), each
            of what no group before has.
        rest: "keep" the columns of no group as they are, or "drop" them.

    Raises:
        ConfigError: a column that is not there or in two groups, inputs that are no table, something else than pairs.
    """
    arrays = split_arrays(dataset.splits["train"])
    inputs = arrays.get("inputs")
    if inputs is None or inputs.ndim != 2:
        found = f"several, {listed(filter(is_input, arrays))}" if inputs is None else array_type(inputs)
        raise ConfigError("encoding.groups", f"inputs are no table of columns but {found}")
    if rest not in ("keep", "drop"):
        raise ConfigError("encoding.rest", f"found {rest!r}; 'keep' or 'drop' is expected")
    taken: dict[int, int] = {}
    resolved = []
    for position, group in enumerate(groups):
        if not (isinstance(group, Sequence) and len(group) == 2 and hasattr(group[1], "fit")):
            raise ConfigError(
                f"encoding.groups.{position}",
                "it is no pair of columns and encoding; write (('age', 'bmi'), component('standardise'))",
            )
        free = [column for column in range(inputs.shape[1]) if column not in taken]
        columns = _numbers(group[0], dataset, inputs.shape[1], free, f"encoding.groups.{position}.0")
        for column in columns:
            if column in taken:
                name = dataset.feature_names[column] if dataset.feature_names else column
                raise ConfigError(
                    f"encoding.groups.{position}.0", f"column {name!r} is in group {taken[column]} already"
                )
            taken[column] = position
        if columns:  # a table may have no words, or no numbers
            resolved.append((tuple(columns), group[1]))
    kept = tuple(column for column in range(inputs.shape[1]) if column not in taken) if rest == "keep" else ()
    if not (taken or kept):
        raise ConfigError("encoding.groups", "it is empty, and rest='drop' leaves no column")
    return ByColumn(tuple(resolved), kept)


def _numbers(columns: Any, dataset: Dataset, width: int, free: Sequence[int], path: str) -> list[int]:
    if isinstance(columns, str):
        names = dataset.feature_names or ()
        if columns not in ("categorical", "numeric"):
            raise ConfigError(path, f"found {columns!r}; write ({columns!r},), or 'categorical', or 'numeric'")
        of_words = [bool(names) and names[number] in (dataset.categories or {}) for number in range(width)]
        return [number for number in free if of_words[number] == (columns == "categorical")]
    if not isinstance(columns, tuple | list) or not all(type(column) in (int, str) for column in columns):
        raise ConfigError(path, f"names or numbers of columns are expected, found {described(columns)}")
    return column_numbers(columns, dataset.feature_names, width, path)

"""The encoding `by_column`: the columns of a table in groups, each in its own way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.core.inputs import is_input
from mlgym_jax.data.dataset import INPUTS_REST, Dataset, array_type
from mlgym_jax.data.encodings import Batch, Fitted
from mlgym_jax.data.one_pass import Passes, filled_by, together
from mlgym_jax.data.sources import few_arrays
from mlgym_jax.data.transforms import column_numbers
from mlgym_jax.errors import ConfigError, described, listed


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

    def in_passes(self) -> Passes | None:
        parts = {
            f"{number:06}": (encoding, lambda arrays, columns=columns: _of_columns(arrays, columns))
            for number, (columns, encoding) in enumerate(self.groups)
        }
        return together(parts)

    def fills(self, width: int) -> frozenset[int]:
        return frozenset(columns[n] for columns, encoding in self.groups for n in filled_by(encoding, len(columns)))

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
    arrays = few_arrays(dataset.splits["train"])
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

"""From a validation function to folds: index arrays into the table, padded and masked to one length. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mlgym_jax.core.inputs import nested
from mlgym_jax.data.dataset import Dataset, Table
from mlgym_jax.data.split_names import split_meant
from mlgym_jax.data.validation import Validation
from mlgym_jax.errors import ConfigError, in_words, listed, with_article

_FIRST_SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Folds:
    """Which rows of the table each fold trains and evaluates on.

    Attributes:
        indices: split -> int32[num_folds, n_max], rows of the table; padding repeats the fold's own first.
        mask: split -> bool[num_folds, n_max], False where padded.
        num_folds: number of folds.
        sizes: split -> number of examples of each fold.

    Splits are ordered train, val, test, then others.
    """

    indices: Mapping[str, np.ndarray]
    mask: Mapping[str, np.ndarray]
    num_folds: int
    sizes: Mapping[str, tuple[int, ...]]

    def rows(self, splits: Sequence[str]) -> np.ndarray:
        """Return int64[n], ascending, the rows of the table that any fold has in one of these splits."""
        used = [self.indices[split][self.mask[split]] for split in splits]
        found = np.zeros(max(int(rows.max(initial=-1)) for rows in used) + 1, bool)  # `np.unique` takes seconds
        for rows in used:
            found[rows] = True
        return np.flatnonzero(found)


def make_folds(
    dataset: Dataset,
    table: Table,
    validation: Validation | Callable[[Dataset, int], Any],
    split_seed: int,
) -> Folds:
    """Ask a validation function for its folds, check them, and lay them out as index arrays into `table`.

    The function is given the dataset with its splits as arrays (views of the table) and the seed. It returns one
    mapping or a sequence of mappings, split -> integer indices into the split "train". The dataset's own other splits
    are whole splits of every fold, under their own name ("validation", "valid" and "dev" as "val"), unless the folds
    name that split.

    Raises:
        ConfigError: at `validation`: a result of another form, folds that differ in their splits, no "train", an empty
            part, indices that are no integers, out of range, repeated, or in two parts of one fold.
    """
    read = dataclasses.replace(
        dataset,
        splits={
            name: nested({field: array[start:stop] for field, array in table.arrays.items()})
            for name, (start, stop) in table.offsets.items()
        },
    )
    start, stop = table.offsets["train"]
    try:
        made = _as_list(validation(read, split_seed))
    except Exception as error:
        raise error if isinstance(error, ConfigError) else ConfigError("validation", in_words(error)) from error
    folds = [_checked(fold, number, stop - start) for number, fold in enumerate(made)]
    for number, fold in enumerate(folds):
        if fold.keys() != folds[0].keys():
            raise ConfigError(
                "validation",
                f"fold {number} has the splits {listed(fold)}, fold 0 has {listed(folds[0])}; they must agree",
            )
    parts = {split: [fold[split] + start for fold in folds] for split in folds[0]}
    own: dict[str, str] = {}
    for name, (first, last) in table.offsets.items():
        split = split_meant(name, table.offsets)
        if split in own:
            raise ConfigError("dataset", f"its splits {own[split]!r} and {name!r} both mean {split!r}; rename one")
        own[split] = name
        if split not in parts:
            parts[split] = [np.arange(first, last)] * len(folds)
    ordered = [*(split for split in _FIRST_SPLITS if split in parts), *(s for s in parts if s not in _FIRST_SPLITS)]
    padded = {split: _pad(parts[split]) for split in ordered}
    return Folds(
        indices={split: indices for split, (indices, _) in padded.items()},
        mask={split: mask for split, (_, mask) in padded.items()},
        num_folds=len(folds),
        sizes={split: tuple(len(rows) for rows in parts[split]) for split in ordered},
    )


def join_folds(parts: Sequence[Folds]) -> Folds:
    """Put the folds of several split seeds into one table, one after the other, padded to one length."""
    if len(parts) == 1:
        return parts[0]
    rows = {
        split: [part.indices[split][i][part.mask[split][i]] for part in parts for i in range(part.num_folds)]
        for split in parts[0].indices
    }
    padded = {split: _pad(own) for split, own in rows.items()}
    return Folds(
        indices={split: indices for split, (indices, _) in padded.items()},
        mask={split: mask for split, (_, mask) in padded.items()},
        num_folds=sum(part.num_folds for part in parts),
        sizes={split: tuple(map(len, own)) for split, own in rows.items()},
    )


def replaced_splits(table: Table, folds: Folds) -> list[str]:
    """Name the dataset's own splits that no fold uses, because the validation draws parts of that name."""
    return [
        name
        for name, (first, last) in table.offsets.items()
        if not first <= folds.indices[split_meant(name, table.offsets)][0, 0] < last
    ]


def _pad(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(map(len, rows))
    indices = np.empty((len(rows), longest), np.int32)
    mask = np.zeros((len(rows), longest), bool)
    for number, own in enumerate(rows):
        indices[number, : len(own)], indices[number, len(own) :] = own, own[0]
        mask[number, : len(own)] = True
    return indices, mask


_FORM = "{'train': indices, 'val': indices}, or a list of such dicts, one a fold"


def _as_list(result: Any) -> list[Any]:
    if isinstance(result, Mapping):
        return [result]
    if not isinstance(result, Iterable) or isinstance(result, str | bytes):
        raise ConfigError("validation", f"it returned {_describe(result)}; return {_FORM}")
    folds = list(result)
    if not folds:
        raise ConfigError("validation", f"it returned no folds; return {_FORM}")
    return folds


def _describe(value: Any) -> str:
    return "None" if value is None else with_article(type(value).__name__)


def _checked(fold: Any, number: int, num_train: int) -> dict[str, np.ndarray]:
    """Return a fold as split -> int64[n], or say what is wrong with it."""
    if not isinstance(fold, Mapping):
        raise ConfigError("validation", f"fold {number} is {_describe(fold)}; return {_FORM}")
    parts: dict[str, np.ndarray] = {}
    owner: dict[str, np.ndarray] = {}
    for name, values in fold.items():
        if not isinstance(name, str) or not name:
            raise ConfigError("validation", f"fold {number} has the split name {name!r}; split names are strings")
        split = split_meant(name, [other for other in fold if isinstance(other, str)])
        if split in parts:
            raise ConfigError("validation", f"fold {number} names the split {split!r} twice ({listed(fold)})")
        parts[split] = _checked_indices(values, f"fold {number}, split {name!r}", num_train)
        member = np.zeros(num_train, bool)
        member[parts[split]] = True
        for other, theirs in owner.items():
            both = np.flatnonzero(member & theirs)
            if both.size:
                raise ConfigError(
                    "validation",
                    f"fold {number}: the splits {other!r} and {split!r} overlap in {both.size} examples "
                    f"(index {both[0]}); an example belongs to one split of a fold",
                )
        owner[split] = member
    if "train" not in parts:
        raise ConfigError("validation", f"fold {number} has no 'train' indices; splits: {listed(fold)}")
    return parts


def _checked_indices(values: Any, where: str, num_train: int) -> np.ndarray:
    try:
        indices = np.asarray(values)
    except ValueError:
        raise ConfigError("validation", f"{where}: its indices are no plain list of integers") from None
    if indices.size == 0:
        raise ConfigError("validation", f"{where}: it is empty; leave the split out or give it examples")
    if indices.dtype.kind == "b":
        raise ConfigError("validation", f"{where}: found booleans, expected integers; use np.flatnonzero(mask)")
    if indices.dtype.kind not in "iu" or indices.ndim != 1:
        raise ConfigError(
            "validation",
            f"{where}: found {indices.dtype}{list(indices.shape)}, expected one dimension of integer indices",
        )
    outside = np.flatnonzero((indices < 0) | (indices >= num_train))
    if outside.size:
        raise ConfigError(
            "validation",
            f"{where}: index {indices[outside[0]]} (at position {outside[0]}) is out of range; the training split has "
            f"{num_train} examples, indices 0 … {num_train - 1}",
        )
    indices = indices.astype(np.int64)
    counts = np.bincount(indices)
    if counts.max() > 1:
        raise ConfigError(
            "validation",
            f"{where}: index {int((counts > 1).argmax())} occurs {int(counts[(counts > 1).argmax()])} times; "
            "each example counts once",
        )
    return indices

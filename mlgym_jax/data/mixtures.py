"""The dataset `mixture`: several datasets as one, each with its share of what is trained on.

Synopsis, of two thirds and one third:

    >>> mixed = shares_of({"photos": 2.0, "sketches": 1.0}, {"photos": 50, "sketches": 20})
    >>> mixed.pattern.tolist(), mixed.counts.tolist()
    ([0, 1, 0], [2, 1])
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.blocks import Blocks, Order, joined
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.data.folds import Folds
from mlgym_jax.data.sources import Place, Source, source_of
from mlgym_jax.data.split_names import common_names
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.errors import ConfigError, described, in_words, listed, nearest

_LONGEST = 1 << 16  # places of a pattern


@dataclasses.dataclass(frozen=True, eq=False)
class Shares:
    """How the places of training follow each other: a pattern of sources, again and again.

    Attributes:
        names: of the sources; starts: int64[sources + 1], where each begins in the split.
        pattern: int64[places], whose turn it is; ranks: int64[places], how often it was before within the pattern.
        counts: int64[sources], how often in all of it.
        blocks: how the examples of each source lie together, where it says so.
    """

    names: tuple[str, ...]
    starts: np.ndarray
    pattern: np.ndarray
    ranks: np.ndarray
    counts: np.ndarray
    blocks: tuple[Blocks | None, ...] = ()

    def members(self, rows: np.ndarray, first: int) -> list[np.ndarray]:
        """Return which of these rows of a table are each source's, in their order.

        Args:
            first: the row at which the split begins.

        Raises:
            ConfigError: at `validation`: a source has none.
        """
        owner = np.searchsorted(self.starts, rows - first, "right") - 1
        found = [rows[owner == number] for number in range(len(self.names))]
        for name, mine in zip(self.names, found, strict=True):
            if not mine.size:
                raise ConfigError(
                    "validation",
                    f"it leaves no training example of the source {name!r} of config.dataset in some fold; hold out "
                    "less, or leave the source out",
                )
        return found

    def drawn(self, places: np.ndarray, members: Sequence[Order], key: tuple[int, int] | None) -> np.ndarray:
        """Return the rows that stand at these places of training, counted from its beginning on.

        A source begins anew when all of its members were drawn; then they have another order.

        Args:
            members: the orders of each source's rows; key: split seed and fold, that these are drawn of; None: in turn.
        """
        found = np.empty(places.shape, np.int64)
        turns, within = np.divmod(places, len(self.pattern))
        owner = self.pattern[within]
        drawn = turns * self.counts[owner] + self.ranks[within]
        for number, mine in enumerate(members):
            of_source = owner == number
            epochs, at = np.divmod(drawn[of_source], len(mine))
            rows = mine.in_turn[at]
            for epoch in np.unique(epochs) if key is not None else ():
                now = epochs == epoch
                rows[now] = mine.rows(at[now], (*(key or ()), number), int(epoch) + 1)
            found[of_source] = rows
        return found


def members_of(table: StreamedTable, folds: Folds) -> list[list[Order]]:
    """Return the orders of each source of a mixture in each fold's training part; none, if nothing has shares.

    Raises:
        ConfigError: see `Shares.members`.
    """
    shares: Shares | None = getattr(table.sources["train"], "shares", None)
    if shares is None:
        return []
    first = table.offsets["train"][0]
    rows = zip(folds.indices["train"], folds.mask["train"], strict=True)
    begins = [first + int(start) for start in shares.starts]
    blocks = shares.blocks or (None,) * len(shares.names)
    return [
        [Order(*one) for one in zip(shares.members(mine[mask], first), begins, blocks, strict=False)]
        for mine, mask in rows
    ]


class Joined:
    """Sources behind each other, as one; of those that have shares, it is told who reads them.

    Attributes:
        shares: how they are drawn for training; None: as if they were one.
    """

    def __init__(self, sources: Mapping[str, Source], shares: Shares | None):
        self._names, self._sources, self.shares = [*sources], [*sources.values()], shares
        self._starts = np.cumsum([0, *map(len, self._sources)])
        fields = [getattr(source, "known", {}) for source in self._sources]
        shared = set.intersection(*map(set, fields))
        if any(blocks := [getattr(source, "blocks", None) for source in self._sources]):
            self.blocks = joined(blocks, [len(source) for source in self._sources])
        self.known = {field: np.concatenate([known[field] for known in fields]) for field in sorted(shared)}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, np.ndarray]]:
        if self.shares is not None:
            raise ConfigError(
                "dataset.weights",
                "a mixture is drawn by its weights while its batches are read; write config.loader = "
                "component('streaming', …), with nothing around the mixture, or leave weights out",
            )
        read = self.read(np.asarray(rows))
        return [{field: array[place] for field, array in read.items()} for place in range(len(rows))]

    def name_of(self, row: int) -> str:
        """Say of which source a row is, and which of its."""
        number = int(np.searchsorted(self._starts, row, "right")) - 1
        within, source = row - int(self._starts[number]), self._sources[number]
        inner = getattr(source, "name_of", None)
        return f"source {self._names[number]!r}, {inner(within) if inner else f'record {within}'}"

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        rows, found, first = np.asarray(rows), {}, int(Place.numbers[1])
        owner = np.searchsorted(self._starts, rows, "right") - 1
        for number in np.unique(owner).tolist():
            places, start = np.flatnonzero(owner == number), int(self._starts[number])
            Place.numbers[1:] = first + start, rows[places].min() - start, len(places)
            part = self._sources[number].read(rows[places] - start)
            found = found or {field: np.empty((len(rows), *a.shape[1:]), a.dtype) for field, a in part.items()}
            if found.keys() != part.keys():
                raise ValueError(f"found the fields {listed(part)}, where other sources have {listed(found)}")
            for field, array in part.items():
                if (array.shape[1:], array.dtype) != (found[field].shape[1:], found[field].dtype):
                    raise ValueError(
                        f"its {field} are {array.dtype}{list(array.shape[1:])}, those of other sources "
                        f"{found[field].dtype}{list(found[field].shape[1:])}"
                    )
                found[field][places] = array
        Place.numbers[1] = first
        return found


@register("dataset", "mixture")
def mixture(*, sources: Mapping[str, Any], weights: Mapping[str, float] | None = None) -> Dataset:
    """Train on several datasets at once, of each as much as it weighs.

        sources=dict(photos=component("image_folder", path="photos", size=64),
                     sketches=component("tf_examples", splits=…, fields=…)),
        weights=dict(photos=0.8, sketches=0.2)

    With `component("streaming")`. Whose turn it is follows a fixed pattern, as even as can be, so that a batch of 10
    holds 8 photos and 2 sketches. A source of which more is drawn than it has begins anew, in a new order; which
    example stands at a place depends on split seed, fold and the number of the step alone. An epoch draws as many
    examples as all sources have. Other splits, and "train" where it is evaluated, hold all examples of all sources that
    have them, each once.

    Args:
        sources: name -> dataset; with the same fields, types and classes.
        weights: name -> a number above 0, in any unit; by default each example is drawn once an epoch.

    Raises:
        ConfigError: at `dataset.sources`: there are none, or they differ; at `dataset.weights`: not one for each.
    """
    if not sources:
        raise ConfigError("dataset.sources", "it is empty; write sources=dict(photos=component(…), …)")
    (_, first), *_ = sources.items()
    parts: dict[str, dict[str, Source]] = {}
    names = dict(zip(sources, common_names([one.splits for one in sources.values()]), strict=True))
    for name, dataset in sources.items():
        for what in ("num_classes", "feature_names", "class_names", "categories", "mask_token", "pad_token"):
            found, wanted = getattr(dataset, what), getattr(first, what)
            if repr(found) != repr(wanted):
                raise ConfigError(
                    f"dataset.sources.{name}", f"its {what} are {found}, those of the first source {wanted}"
                )
        if "train" not in dataset.splits:
            raise ConfigError(f"dataset.sources.{name}", f"it has no split 'train'. Splits: {listed(dataset.splits)}")
        if getattr(dataset.splits["train"], "shares", None) is not None:
            raise ConfigError(
                f"dataset.sources.{name}",
                "it is a mixture with weights in a mixture; write all sources, and their weights, in one",
            )
        for split, content in dataset.splits.items():
            if not hasattr(content, "__len__"):
                raise ConfigError(f"dataset.sources.{name}", f"its split {split!r} has no end; a mixture needs one")
            parts.setdefault(names[name][split], {})[name] = source_of(content, split)
    shares = None
    if weights is not None:
        shares = shares_of(weights, {name: len(source) for name, source in parts["train"].items()})
        blocks = tuple(getattr(source, "blocks", None) for source in parts["train"].values())
        shares = dataclasses.replace(shares, blocks=blocks)
    splits = {split: Joined(own, shares if split == "train" else None) for split, own in parts.items()}
    for split, own in parts.items():
        try:
            splits[split].read(splits[split]._starts[:-1])  # the first example of each, for their forms
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError("dataset.sources", f"split {split!r} of {listed(own)}: {in_words(error)}") from error
    return dataclasses.replace(first, splits=splits)


def shares_of(weights: Mapping[str, float], sizes: Mapping[str, int]) -> Shares:
    """Return how sources of these sizes take turns.

    The pattern has the true ratios of weights with few digits; of others those that 65,536 places allow.

    Raises:
        ConfigError: at `dataset.weights`: not a number above 0 for each source, or one too small to be drawn.
    """
    for name in weights:
        if name not in sizes:
            raise ConfigError(
                "dataset.weights", f"there is no source {name!r}{nearest(name, sizes)} Sources: {listed(sizes)}"
            )
    exact = []
    for name in sizes:
        weight = weights.get(name)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            found = f"found {described(weight)}" if name in weights else "it is missing"
            raise ConfigError(
                f"dataset.weights.{name}", f"{found}; a number above 0 is expected, or leave the source out"
            )
        exact.append(Fraction(str(weight)))
    whole = [one * math.lcm(*(each.denominator for each in exact)) for one in exact]
    divisor = math.gcd(*map(int, whole))
    counts = np.array([int(one) // divisor for one in whole], object)
    if (total := int(counts.sum())) > _LONGEST:
        parts = [Fraction(int(count) * _LONGEST, total) for count in counts]
        counts = np.array([int(part) for part in parts])
        rests = [float(part - int(part)) for part in parts]
        counts[np.argsort(rests, kind="stable")[::-1][: _LONGEST - int(counts.sum())]] += 1
        for name, count in zip(sizes, counts, strict=True):
            if not count:
                raise ConfigError(
                    f"dataset.weights.{name}",
                    f"found {weights[name]}, less than one in {_LONGEST:,} of all; give it more, or leave it out",
                )
    counts = counts.astype(np.int64)
    owners = np.repeat(np.arange(len(counts)), counts)
    ranks = np.concatenate([np.arange(count) for count in counts])
    order = np.lexsort((owners, (2 * ranks + 1) / (2 * counts[owners])))
    return Shares(tuple(sizes), np.cumsum([0, *sizes.values()]), owners[order], ranks[order], counts)

"""The batches of a group, read ahead by threads: which examples they hold is a function of seed, fold and step."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlgym_jax.core.cadence import Cadence
from mlgym_jax.core.epoch_shape import EpochShape
from mlgym_jax.data.blocks import Order
from mlgym_jax.data.drawn import Draws
from mlgym_jax.data.folds import Folds
from mlgym_jax.data.mixtures import Shares, members_of
from mlgym_jax.data.processes import Processes
from mlgym_jax.data.streams import StreamedTable, UnreadableRecord
from mlgym_jax.errors import ConfigError, listed

TRAINING = ""  # in the place of a split's name: the training steps, which may also be evaluated as `train`
_LOG = logging.getLogger(__name__)
_CALL_BYTES = 32 * 2**20  # of the batches that are read for one call
_MOST_BATCHES = 256


class Part(NamedTuple):
    """Batches `first` until before `stop` of the training steps, or of a split, of evaluation `number`."""

    split: str
    number: int
    first: int
    stop: int


class Read(NamedTuple):
    """What a part holds: field -> array[streams, batches, examples, …], and bool[streams, batches, examples]."""

    data: dict[str, np.ndarray]
    mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a fold's order is drawn from: the split seed, and its number among the folds of that seed."""

    seed: int
    fold: int


def origins_of(first_fold: Mapping[int, int], num_folds: int) -> tuple[Origin, ...]:
    """Return what the orders of folds are drawn from.

    Args:
        first_fold: split seed -> the number of its first fold; they follow each other.
    """
    starts = sorted((first, seed) for seed, first in first_fold.items())
    ends = [*starts[1:], (num_folds, 0)]
    return tuple(
        Origin(seed, number - first)
        for (first, seed), (end, _) in zip(starts, ends, strict=True)
        for number in range(first, end)
    )


def check_folds(table: StreamedTable, folds: Folds) -> None:
    """Refuse folds that leave nothing of a source of a mixture, or hold out examples of a split without an end.

    Raises:
        ConfigError: at `validation`.
    """
    members_of(table, folds)
    first, stop = table.offsets["train"]
    if table.is_endless and min(folds.sizes["train"]) != stop - first:
        raise ConfigError(
            "validation",
            "the dataset's split 'train' has no end, so no part of it can be held out; write config.validation = "
            "component('holdout', val=0.0), and give the dataset a split 'val' if one is to be evaluated",
        )


class Feed:
    """Reads batches, some before they are asked for.

    Args:
        origins: of each fold, what its order is drawn from.
        weights: of each fold, float[n], by which what it trains on is drawn with replacement; () where it is not.
    """

    def __init__(
        self,
        table: StreamedTable,
        folds: Folds,
        origins: Sequence[Origin],
        shape: EpochShape,
        cadence: Cadence,
        weights: Sequence[np.ndarray] = (),
    ):
        self._table, self._folds, self._origins, self._stream = table, folds, tuple(origins), table.stream
        self._shape, self._cadence = shape, cadence
        self._pool = concurrent.futures.ThreadPoolExecutor(table.stream.num_workers, "reading")
        self._coming: dict[Part, concurrent.futures.Future[Read]] = {}
        self._told: set[int] = set()
        self._processes = Processes(table, table.stream.num_workers) if table.stream.processes else None
        self._reader = self._processes or table
        self._shares: Shares | None = getattr(table.sources["train"], "shares", None)
        self._members = [] if self._shares is None else members_of(table, folds)
        blocks, first = getattr(table.sources["train"], "blocks", None), table.offsets["train"][0]
        rows = zip(folds.indices["train"], folds.sizes["train"], strict=True)
        self._orders = [Order(mine[:size], first, blocks) for mine, size in rows]
        self._draws = [Draws(own) for own in weights]

    def close(self) -> None:
        """Stop reading ahead."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._processes is not None:
            self._processes.close()

    def streams(self, split: str) -> int:
        """Return how many orders of examples a split has: one, where all folds see the same."""
        return 1 if split != TRAINING and self._is_shared(split) else len(self._origins)

    def batches_a_part(self, split: str) -> int:
        """Return how many batches of a split are read at once, which is what a program is compiled for."""
        size = self._shape.batch_size if split == TRAINING else self._shape.eval_batches[split].size
        fit = _CALL_BYTES // (size * self._table.example_bytes * self.streams(split))
        return max(1, min(int(fit), _MOST_BATCHES, self._number(split)))

    def shapes(self, split: str) -> tuple[dict[str, tuple[tuple[int, ...], np.dtype]], tuple[int, ...]]:
        """Return shape and type of each field of a split's parts, and the shape of their mask."""
        size = self._shape.batch_size if split == TRAINING else self._shape.eval_batches[split].size
        leading = (self.streams(split), self.batches_a_part(split), size)
        fields = {field: ((*leading, *one.shape[1:]), one.dtype) for field, one in self._table.arrays.items()}
        return fields, leading

    def parts(self, split: str, number: int, first: int = 0) -> list[Part]:
        """Cut the batches of a split from `first` on into what is read at once."""
        width, stop = self.batches_a_part(split), self._number(split)
        return [Part(split, number, start, min(start + width, stop)) for start in range(first, stop, width)]

    def read(self, part: Part, then: Sequence[Part] = ()) -> Read:
        """Return a part, and begin to read those that are needed `then`, as many as are read ahead.

        Raises:
            UnreadableRecord: see `StreamedTable.read`, unless such records are to be left out.
        """
        for wanted in (part, *then[: self._stream.prefetch]):
            if wanted not in self._coming:
                self._coming[wanted] = self._pool.submit(self._read, wanted)
        found = self._coming.pop(part).result()
        for old in [one for one in self._coming if one not in then]:
            self._coming.pop(old).cancel()
        return found

    def _is_shared(self, split: str) -> bool:
        indices, mask = self._folds.indices[split], self._folds.mask[split]
        return bool((indices == indices[0]).all() and (mask == mask[0]).all())

    def _read(self, part: Part) -> Read:
        width = self.batches_a_part(part.split)
        rows, mask = zip(*(self._rows(part, width, fold) for fold in range(self.streams(part.split))), strict=True)
        rows, mask = np.stack(rows), np.stack(mask)
        flat, kept = rows.reshape(-1), mask.reshape(-1)
        wanted, back = np.unique(flat, return_inverse=True) if len(rows) > 1 else (flat, None)
        try:
            found = self._reader.read(wanted)
        except UnreadableRecord as error:
            if not self._stream.skips:
                raise
            found, kept = self._without(wanted, flat, kept, error.rows)
        if back is not None:
            found = {field: array[back] for field, array in found.items()}
        data = {field: array.reshape(*rows.shape, *array.shape[1:]) for field, array in found.items()}
        return Read(data, kept.reshape(rows.shape))

    def _without(
        self, wanted: np.ndarray, flat: np.ndarray, kept: np.ndarray, bad: Sequence[int]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Read others in the place of records that cannot be read, and mask them; the same ones each time."""
        seen = {*bad}
        while True:
            good = next((row for row in wanted.tolist() if row not in seen), None)
            if good is None:
                good = next(row for row in range(self._table.num_examples) if row not in seen)
            try:
                found = self._reader.read(np.where(np.isin(wanted, list(seen)), good, wanted))
                break
            except UnreadableRecord as error:
                seen |= {*error.rows}
        new = sorted(seen - self._told)
        self._told |= seen
        if new:
            _LOG.warning(
                "config.loader.on_bad_record: %s %s left out (%d so far)",
                listed([self._table.name_at(row) for row in new], 10),
                "is" if len(new) == 1 else "are",
                len(self._told),
            )
        return found, kept & ~np.isin(flat, list(seen))

    def _number(self, split: str) -> int:
        return self._shape.train.number if split == TRAINING else self._shape.eval_batches[split].number

    def _rows(self, part: Part, width: int, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Return int64[width, examples] rows of the table, and which are no padding; padding repeats real examples."""
        split = part.split or "train"
        mine = self._folds.indices[split][fold]
        size = int(self._folds.mask[split][fold].sum())
        batches = part.first + np.arange(width)
        within = batches < part.stop
        if part.split != TRAINING:
            cut = self._shape.eval_batches[part.split]
            places = batches[:, None] * cut.size + np.arange(cut.size)
            return mine[places % size].astype(np.int64), (places < size) & within[:, None]
        cadence, batch = self._cadence, self._shape.batch_size
        an_epoch, total = cadence.steps_per_epoch[fold], cadence.totals[fold]
        every = cadence.every or an_epoch
        steps = (part.number - 1) * every + batches
        within &= (batches < every) & (steps < total)
        places = (steps % an_epoch)[:, None] * batch + np.arange(batch)
        mask = (places < size) & within[:, None]
        places %= size
        origin, epochs = self._origins[fold], steps // an_epoch
        key = (origin.seed, origin.fold) if self._shape.shuffle and not self._table.is_endless else None
        if self._shares is not None:
            since_the_beginning = epochs[:, None] * size + places
            return self._shares.drawn(since_the_beginning, self._members[fold], key), mask
        if self._draws:
            rows = np.empty(places.shape, np.int64)
            for epoch in np.unique(epochs):
                at = epochs == epoch
                own = (origin.seed, origin.fold, int(epoch) + 1)
                rows[at] = mine[self._draws[fold].positions(places[at].reshape(-1), own).reshape(-1, batch)]
            return rows, mask
        drawn = np.unique(epochs[within]) if key is not None else np.empty(0)
        if key is not None and len(drawn) == 1 and within.all():  # as nearly always: of one epoch, and none is padding
            return self._orders[fold].rows(places.reshape(-1), key, int(drawn[0]) + 1).reshape(-1, batch), mask
        rows = mine[places].astype(np.int64)
        for epoch in drawn:
            at = epochs == epoch
            rows[at] = self._orders[fold].rows(places[at].reshape(-1), key or (), int(epoch) + 1).reshape(-1, batch)
        return rows, mask

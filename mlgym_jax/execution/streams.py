"""Epochs whose batches are read while they train: each is put on the devices once, for all rows."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from mlgym_jax.data.feed import TRAINING, Feed, Part
from mlgym_jax.execution.stretches import Running, StretchRunner


class StreamRunner(StretchRunner):
    """A `StretchRunner` that is fed.

    Args:
        feed: reads the batches; folds: what programs know of the folds, without the rows of any.
    """

    _room_name = "room_streamed"

    def __init__(self, *arguments: Any, feed: Feed, **keywords: Any):
        self._feed = feed
        super().__init__(*arguments, **keywords)
        self._part: Part | None = None
        self._read: tuple[Any, ...] = ()  # of that part, on the devices
        self._then: list[Part] = []

    def _run(self, block: Any, folds: Any, live: np.ndarray, epoch: np.int32, dry: bool = False) -> Any:
        assert dry, "epochs are run by `stretches`"
        state, running, zero = block, None, np.int32(0)
        if self._measured:
            shared = (*self._forms(TRAINING), self._folds)
            running = self._call((self._room_name, None), (block, folds, live), shared, dry)
        shared = (*self._forms(TRAINING), self._folds, zero, zero, zero)
        state, running = self._call("train_streamed", (state, running, folds, live), shared, dry)
        by_split = {"train": running} if self._measured else {}
        for split in self._shape.eval_batches:
            shared = (*self._forms(split), self._folds)
            found = self._call((self._room_name, split), (state, folds, live), shared, dry)
            shared = (*shared, epoch, zero, zero, zero)
            found = self._call(("evaluate_streamed", split), (state, found, folds, live), shared, dry)
            by_split[split] = found
        return state, self._call("scores", (by_split, live), (epoch,), dry)

    def close(self) -> None:
        self._feed.close()

    def _forms(self, split: str) -> tuple[Any, Any]:
        fields, mask = self._feed.shapes(split)
        data = {field: jax.ShapeDtypeStruct(shape, dtype) for field, (shape, dtype) in fields.items()}
        return data, jax.ShapeDtypeStruct(mask, np.bool_)

    def _tails(self, *_: Any) -> list[tuple[int, np.ndarray]]:
        return []  # each batch chooses its size

    def _begin(self, under_way: list[Running], epoch: np.int32, first: int) -> None:
        number = int(epoch)
        now = [*self._feed.parts(TRAINING, number, first)]
        for split in self._shape.eval_batches:
            now += self._feed.parts(split, number)
        self._then = [*now, *self._feed.parts(TRAINING, number + 1)]
        self._part, self._read = None, ()

    def _at(self, split: str, first: int) -> tuple[Any, ...]:
        """Return data and mask of the part that holds a batch, and where in it the batch is."""
        if self._part is None or self._part.split != split or not self._part.first <= first < self._part.stop:
            wanted = next(part for part in self._then if part.split == split and part.first <= first < part.stop)
            at = self._then.index(wanted)
            self._then = self._then[at + 1 :]
            self._part, self._read = None, ()  # its memory is needed
            self._read = tuple(jax.device_put(tuple(self._feed.read(wanted, self._then)), self._everywhere))
            self._part = wanted
        return self._read

    def _room(self, split: str | None, one: Running) -> Any:
        read = self._at(split or TRAINING, 0)
        return self._call((self._room_name, split), (one.state, one.block[1], one.live), (*read, self._folds), False)

    def _trained(self, one: Running, first: int, stop: int) -> Any:
        shared = (*self._at(TRAINING, first), self._folds, *self._places(first, stop))
        return self._call("train_streamed", (one.state, one.running, one.block[1], one.live), shared, False)

    def _evaluated(self, split: str, one: Running, found: Any, epoch: np.int32, first: int, stop: int) -> Any:
        shared = (*self._at(split, first), self._folds, epoch, *self._places(first, stop))
        return self._call(("evaluate_streamed", split), (one.state, found, one.block[1], one.live), shared, False)

    def _places(self, first: int, stop: int) -> tuple[np.int32, np.int32, np.int32]:
        start = self._part.first if self._part is not None else 0
        return np.int32(first - start), np.int32(stop - start), np.int32(start)

    def _stop(self, split: str, first: int, number: int) -> int:
        """End a stretch where what is read ends, at the latest."""
        self._at(split, first)
        end = self._part.stop if self._part is not None else number
        return min(super()._stop(split, first, number), end)

"""Long epochs in stretches: many steps a call, as many as take half a second, and between two calls a look around.

A stretch's length is no part of its program (`core.epoch`), so that it may follow the clock and change no number.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.core.state import TrainState, raw_key, with_key
from mlgym_jax.data.feed import TRAINING
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.found import Found
from mlgym_jax.execution.host_copies import Source, begin_copy
from mlgym_jax.execution.snapshot import Block

_CALL_SECONDS = 0.5
_MOST_LONGER = 8  # times the call before: one that was short by chance says little


@dataclasses.dataclass(frozen=True)
class Middle:
    """A group in the middle of an epoch, on the host.

    Attributes:
        epoch: the one under way; position: its training steps that are done.
        read: waits for what is on its way to the host, and returns the next two.
        state: of all rows, stacked, keys as raw words; running: what was measured of those steps, None if nothing is.
    """

    epoch: int
    position: int
    read: Callable[[], tuple[TrainState, Any]]

    @functools.cached_property
    def _read(self) -> tuple[TrainState, Any]:
        return self.read()

    @property
    def state(self) -> TrainState:
        return self._read[0]

    @property
    def running(self) -> Any:
        return self._read[1]

    @property
    def leaves(self) -> list[np.ndarray]:
        """All arrays, in the order of the tree."""
        return jax.tree.leaves((self.state, self.running))


@dataclasses.dataclass(frozen=True)
class Reached:
    """Where in an epoch a group is: batches of a split done, of how many; `middle` reads it off the devices."""

    split: str
    is_training: bool
    batch: int
    num_batches: int
    middle: Callable[[], Middle] | None = None


@dataclasses.dataclass
class Running:
    """One block on its way through an epoch."""

    number: int
    block: Block
    live: np.ndarray
    state: TrainState
    old: TrainState | None  # of rows that rest, where steps would leave them overwritten
    running: Any = None
    order: Any = None


class StretchRunner(GroupRunner):
    """A `GroupRunner` whose epochs are computed in stretches."""

    _room_name = "room"

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords, overwrites=True)
        self._batches_a_call: dict[str, int] = {}

    def epoch(self, active: np.ndarray, epoch: int) -> Found:
        reached = self.stretches(active, epoch)
        while True:
            try:
                next(reached)
            except StopIteration as end:
                return end.value

    def stretches(
        self, active: np.ndarray, epoch: int, middle: Middle | None = None
    ) -> Generator[Reached, None, Found]:
        """Train and evaluate one epoch of the active rows, from its `middle` on if given; yield after each stretch.

        Returns:
            What `read_scores` takes.
        """
        if middle is not None:
            self._blocks = [(ids, folds, self._laid_out(ids, block, middle)) for ids, folds, block in self._blocks]
        self._before, under_way = [] if middle is not None else self._blocks, []
        self._room_on_host.prepare(raw_key(self._blocks[0][2]), self.num_rows)
        for number, block in enumerate(self._blocks):
            live = np.zeros(block[2].step.shape, bool)
            live[: len(block[0])] = active[block[0]]
            if live.any():
                under_way.append(Running(number, block, live, *self._begun(block, live)))
        scores = yield from self._through(under_way, np.int32(epoch), middle)
        blocks = list(self._blocks)
        for one in under_way:
            blocks[one.number] = (*one.block[:2], self._rested(one.state, one.old, one.live))
        self._blocks = blocks
        return [(one.block[0], found) for one, found in zip(under_way, scores, strict=True)]

    def middle(self, epoch: int, position: int, leaves: Sequence[np.ndarray]) -> Middle | None:
        """Return the middle whose arrays these are, `Middle.leaves`; None where they are of another program."""
        block = self._blocks[0][2]
        running = self.programs.results[(self._room_name, None), block.step.shape] if self._measured else None
        expected, structure = jax.tree.flatten((raw_key(block), running))
        if [leaf.shape for leaf in leaves] != [(self.num_rows, *leaf.shape[1:]) for leaf in expected]:
            return None
        state, found = jax.tree.unflatten(structure, leaves)
        return Middle(epoch, position, lambda: (state, found))

    def _run(self, block: Any, folds: Any, live: np.ndarray, epoch: np.int32, dry: bool = False) -> Any:
        assert dry, "epochs are run by `stretches`"
        shape, tables, zero = self._shape, (self._data, self._folds), np.int32(0)
        order = self._call("order", (block, folds, live), (*tables, epoch), dry)
        running = self._call(("room", None), (block, folds, live), tables, dry) if self._measured else None
        state = block
        if shape.train.number:
            carry = (state, running, folds, order, live)
            state, running = self._call("train_stretch", carry, (*tables, zero, zero), dry)
        for size, own in self._tails("train", shape.train, folds, live, dry):
            carry = (state, running, folds, order, own)
            state, running = self._call(("train_tail", size), carry, tables, dry)
        by_split = {"train": running} if self._measured else {}
        for split, cut in shape.eval_batches.items():
            found = self._call(("room", split), (state, folds, live), tables, dry)
            if cut.number:
                arguments = (state, found, folds, live)
                found = self._call(("evaluate_stretch", split), arguments, (*tables, epoch, zero, zero), dry)
            for size, own in self._tails(split, cut, folds, live, dry):
                found = self._call(("evaluate_tail", split, size), (state, found, folds, own), (*tables, epoch), dry)
            by_split[split] = found
        return state, self._call("scores", (by_split, live), (epoch,), dry)

    @property
    def _measured(self) -> bool:
        return "train" not in self._shape.eval_batches

    def _through(
        self, under_way: list[Running], epoch: np.int32, middle: Middle | None
    ) -> Generator[Reached, None, list[Any]]:
        """Bring blocks through an epoch, side by side; return the scores of each."""
        shape, tables = self._shape, (self._data, self._folds)

        def call(name: Any, mapped: tuple[Any, ...], *shared: Any) -> Any:
            return self._call(name, mapped, (*tables, *shared), False)

        first = middle.position if middle is not None else 0
        self._begin(under_way, epoch, first)
        for one in under_way:
            if middle is not None:
                one.running = jax.device_put(self._padded(one.block[0], one.state, middle.running), self._rows)
            elif self._measured:
                one.running = self._room(None, one)
        while first < shape.train.number:
            started, stop = time.perf_counter(), self._stop(TRAINING, first, shape.train.number)
            for one in under_way:
                one.state, one.running = self._trained(one, first, stop)
            jax.block_until_ready([one.state.step for one in under_way])
            self._took(TRAINING, stop - first, time.perf_counter() - started)
            yield Reached("train", True, stop, shape.train.number, lambda at=stop: self._middle(under_way, epoch, at))
            first = stop
        for one in under_way:
            for size, own in self._tails("train", shape.train, one.block[1], one.live, False):
                carry = (one.state, one.running, one.block[1], one.order, own)
                one.state, one.running = call(("train_tail", size), carry)
        found = [{"train": one.running} if self._measured else {} for one in under_way]
        for split, cut in shape.eval_batches.items():
            for one, by_split in zip(under_way, found, strict=True):
                by_split[split] = self._room(split, one)
            first = 0
            while first < cut.number:
                started, stop = time.perf_counter(), self._stop(split, first, cut.number)
                for one, by_split in zip(under_way, found, strict=True):
                    by_split[split] = self._evaluated(split, one, by_split[split], epoch, first, stop)
                jax.block_until_ready(found)
                self._took(split, stop - first, time.perf_counter() - started)
                yield Reached(split, False, stop, cut.number)
                first = stop
            for one, by_split in zip(under_way, found, strict=True):
                for size, own in self._tails(split, cut, one.block[1], one.live, False):
                    arguments = (one.state, by_split[split], one.block[1], own)
                    by_split[split] = call(("evaluate_tail", split, size), arguments, epoch)
        return [
            self._call("scores", (by_split, one.live), (epoch,), False)
            for one, by_split in zip(under_way, found, strict=True)
        ]

    # What of an epoch depends on where its batches come from.

    def _begin(self, under_way: list[Running], epoch: np.int32, first: int) -> None:
        for one in under_way:
            mapped = (one.state, one.block[1], one.live)
            one.order = self._call("order", mapped, (self._data, self._folds, epoch), False)

    def _room(self, split: str | None, one: Running) -> Any:
        mapped = (one.state, one.block[1], one.live)
        return self._call(("room", split), mapped, (self._data, self._folds), False)

    def _trained(self, one: Running, first: int, stop: int) -> Any:
        carry = (one.state, one.running, one.block[1], one.order, one.live)
        return self._call("train_stretch", carry, (self._data, self._folds, np.int32(first), np.int32(stop)), False)

    def _evaluated(self, split: str, one: Running, found: Any, epoch: np.int32, first: int, stop: int) -> Any:
        mapped = (one.state, found, one.block[1], one.live)
        shared = (self._data, self._folds, epoch, np.int32(first), np.int32(stop))
        return self._call(("evaluate_stretch", split), mapped, shared, False)

    def _stop(self, split: str, first: int, number: int) -> int:
        """Return where the stretch that begins at `first` ends."""
        return min(number, first + self._batches_a_call.get(split, 1))

    def _took(self, split: str, batches: int, seconds: float) -> None:
        """Let the next stretch take as long as a call should, by what this one took."""
        before = self._batches_a_call.get(split, 1)
        if batches == before:  # one that the end of an epoch cut short says nothing
            wanted = int(batches * _CALL_SECONDS / max(seconds, 1e-6))
            self._batches_a_call[split] = max(1, min(wanted, _MOST_LONGER * before))

    def _middle(self, under_way: list[Running], epoch: np.int32, position: int) -> Middle:
        at, every = {one.number: one for one in under_way}, np.arange(self.num_rows)
        states = [] if self._base is None else [Source(every, every, self._base)]
        running = [Source(every, every, None)]
        for number, (ids, _, block) in enumerate(self._blocks):
            rows, places = np.asarray(ids), np.arange(len(ids))
            one = at.get(number)
            resting = block if one is None else one.old
            if resting is not None:
                states.append(Source(rows, places, raw_key(resting)))
            if one is not None:
                live = np.flatnonzero(one.live[: len(ids)]) if one.old is not None else places
                states.append(Source(rows[live], live, raw_key(one.state)))
                running.append(Source(rows, places, one.running))
        read = begin_copy(states, self.num_rows, self._room_on_host)
        read_running = begin_copy(running[1:] if self._measured else running, self.num_rows, self._room_on_host)
        return Middle(int(epoch), position, lambda: (read(), read_running()))

    def _laid_out(self, ids: list[int], block: TrainState, middle: Middle) -> TrainState:
        return jax.device_put(with_key(self._padded(ids, block, middle.state), self._abstract), self._states)

    def _padded(self, ids: list[int], block: TrainState, tree: Any) -> Any:
        padded = np.asarray(ids + [ids[0]] * (len(block.step) - len(ids)))
        return jax.tree.map(lambda leaf: leaf[padded], tree)

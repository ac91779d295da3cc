"""Training and evaluation of one experiment on batches that come from outside, many at a time. Pure.

`data` holds field -> array[streams, batches, examples, …] and `mask` bool[streams, batches, examples]; a stream is a
fold's own order of examples, and there is one where all folds see the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.core.epoch import encoded_by, of_true_size
from mlgym_jax.core.epoch_shape import EpochShape
from mlgym_jax.core.inputs import nested
from mlgym_jax.core.program import Program
from mlgym_jax.core.state import STEPS_PER_EPOCH, Batch, MetricState, TrainState


class StreamedFunctions(NamedTuple):
    """The parts of an epoch, for one experiment with fold number `fold`.

    Attributes:
        room: (state, data, mask, folds, fold, split or None for the training steps) -> MetricState of no example.
        train: (state, running, data, mask, folds, fold, first, stop, at) -> (state, running): the batches from `first`
            until before `stop` of `data`, whose first one is batch `at` of the epoch.
        evaluate: (state, found, data, mask, folds, fold, split, epoch, first, stop, at) -> MetricState, likewise.
    """

    room: Callable[..., MetricState]
    train: Callable[..., tuple[TrainState, MetricState | None]]
    evaluate: Callable[..., MetricState]


def make_streamed(
    program: Program, shape: EpochShape, components: Mapping[str, Any] | None = None
) -> StreamedFunctions:
    """Return the epoch of `program` over batches from outside, cut as `shape` says.

    Args:
        components: where an `encoding` is taken from, if there is one.
    """

    def batch_at(
        state: TrainState, data: Mapping[str, Any], mask: jax.Array, folds: Any, fold: jax.Array, j: Any, size: int
    ) -> Batch:
        place = (0 if mask.shape[0] == 1 else fold), j, slice(size)
        batch = {**nested({field: array[place] for field, array in data.items()}), "mask": mask[place]}
        for field in ("class_counts", STEPS_PER_EPOCH):
            if field in folds:
                batch[field] = folds[field][fold]
        return encoded_by(components, state, folds, fold, batch)

    def by_size(
        tails: tuple[int, ...], mask: jax.Array, fold: Any, j: Any, carry: Any, add: Any, may_skip: bool
    ) -> Any:
        """Call add(carry, size, may_be_empty) with the rows of a batch, or with its true size where that matters."""
        whole = mask.shape[2]
        if not tails:
            return add(carry, whole, may_skip)
        count = mask[0 if mask.shape[0] == 1 else fold, j].sum(dtype=jnp.int32)
        sizes = tuple(sorted({0, whole, *tails}))
        return of_true_size(sizes, count, carry, lambda carry, size: add(carry, size, False))

    def train(
        state: TrainState, running: Any, data: Any, mask: Any, folds: Any, fold: Any, first: Any, stop: Any, at: Any
    ) -> tuple[TrainState, Any]:
        def step(j: jax.Array, carry: Any) -> Any:
            def add(carry: Any, size: int, may_be_empty: bool) -> Any:
                state, running = carry
                batch = batch_at(state, data, mask, folds, fold, j, size)
                state, metrics = program.train_step(state, batch, may_be_empty=may_be_empty)
                return state, running and program.put(running, metrics, (at + j) * shape.batch_size)

            return by_size(shape.true_sizes, mask, fold, j, carry, add, shape.train.may_skip)

        return jax.lax.fori_loop(first, stop, step, (state, running))

    def evaluate(
        state: TrainState,
        found: Any,
        data: Any,
        mask: Any,
        folds: Any,
        fold: Any,
        split: str,
        epoch: Any,
        first: Any,
        stop: Any,
        at: Any,
    ) -> MetricState:
        cut = shape.eval_batches[split]

        def step(j: jax.Array, found: Any) -> Any:
            def add(found: Any, size: int, may_be_empty: bool) -> Any:
                batch = batch_at(state, data, mask, folds, fold, j, size)
                return program.put(found, program.eval_step(state, batch, epoch=epoch), (at + j) * cut.size)

            return by_size(cut.tails, mask, fold, j, found, add, cut.may_skip)

        return jax.lax.fori_loop(first, stop, step, found)

    def room(state: TrainState, data: Any, mask: Any, folds: Any, fold: Any, split: str | None) -> MetricState:
        cut = shape.train if split is None else shape.eval_batches[split]

        def one() -> MetricState:
            batch = batch_at(state, data, mask, folds, fold, 0, cut.size)
            if split is None:
                return program.train_step(state, batch, may_be_empty=False)[1]
            return program.eval_step(state, batch, epoch=jnp.int32(1))

        return program.room(jax.eval_shape(one), cut.number * cut.size)

    return StreamedFunctions(room, train, evaluate)

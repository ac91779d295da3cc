"""One epoch of one experiment as pure functions: batch order, training steps, exact evaluation of whole splits.

Everything is written for a single experiment; `execution.batched` lifts it to a group. `data` holds the arrays of the
data set, `folds` the index table {"indices": {split: int32[num_folds, n]}, "mask": {split: bool[num_folds, n]}}, with
`class_counts` int32[num_folds, classes] and `fitted`, what an encoding learnt from each fold's training part; where
folds differ in it and a component needs it, `_steps_per_epoch` int32[num_folds].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.core.blame import named
from mlgym_jax.core.cadence import stretch_order
from mlgym_jax.core.drawing import draw
from mlgym_jax.core.epoch_shape import Cut, EpochShape
from mlgym_jax.core.inputs import nested
from mlgym_jax.core.program import Program
from mlgym_jax.core.shuffling import sorted_by
from mlgym_jax.core.state import ORDER, STEPS_PER_EPOCH, Batch, MetricState, TrainState, key_for

Data = Mapping[str, jax.Array]
Folds = Mapping[str, Any]
Scores = dict[str, dict[str, Any]]


class EpochFunctions(NamedTuple):
    """The parts of an epoch, for one experiment with fold number `fold`.

    Attributes:
        order: (state, data, folds, fold, epoch) -> {"indices": int32[steps, batch], "mask": bool[steps, batch]}.
        train: (state, data, folds, fold, order, i) -> (state, MetricState), step i of `shape.train.number`.
        add_train: (state, running, data, folds, fold, order, i) -> (state, running), the same added to what the steps
            before brought, None where that is not measured.
        add_train_tail: the same with a size of `shape.train.tails` for i: the last, smaller step of a fold that has it.
        add_evaluated: (state, found, data, folds, fold, split, epoch, i) -> MetricState, evaluation batch i added.
        add_evaluated_tail: the same with a size of the split's tails for i.
        room: (state, data, folds, fold, split or None for the training steps) -> MetricState of no example.
        whole: (state, data, folds, fold, epoch) -> (state, {split: scores}), all of it in one program.
        train_stretch: (state, running, data, folds, fold, order, first, stop) -> (state, running): the steps from
            `first` until before `stop`, which are no constants: however an epoch is cut into stretches, one program
            computes them, and the same numbers.
        evaluate_stretch: (state, found, data, folds, fold, split, epoch, first, stop) -> MetricState, likewise.
    """

    order: Callable[..., Batch]
    train: Callable[..., tuple[TrainState, MetricState]]
    add_train: Callable[..., tuple[TrainState, MetricState | None]]
    add_train_tail: Callable[..., tuple[TrainState, MetricState | None]]
    add_evaluated: Callable[..., MetricState]
    add_evaluated_tail: Callable[..., MetricState]
    room: Callable[..., MetricState]
    whole: Callable[..., tuple[TrainState, Scores]]
    train_stretch: Callable[..., tuple[TrainState, MetricState | None]]
    evaluate_stretch: Callable[..., MetricState]


def encoded_by(
    components: Mapping[str, Any] | None, state: TrainState, folds: Folds, fold: jax.Array, batch: Batch
) -> Batch:
    """Return a batch as an experiment's own encoding, if it has one, makes it of what its fold taught."""
    encoding = _component(components, "encoding", state)
    if encoding is None:
        return batch
    with named("encoding", batch):
        return encoding.apply(jax.tree.map(lambda leaf: leaf[fold], folds["fitted"]), batch)


def _component(components: Mapping[str, Any] | None, section: str, state: TrainState) -> Any:
    """Return what a section built, with the swept values of this experiment in place; None if it is not there."""
    found: Any = components or {}
    if section in found and state.hyperparams:
        found = found.bind(state.hyperparams)
    return found.get(section)


def make_epoch(program: Program, shape: EpochShape, components: Mapping[str, Any] | None = None) -> EpochFunctions:
    """Return the epoch of `program` over folds of the given shape.

    Args:
        components: where a `sampler` or an `encoding` is taken from, if there are.
    """

    def order(state: TrainState, data: Data, folds: Folds, fold: jax.Array, epoch: jax.Array) -> Batch:
        if shape.cadence is None:
            return order_of_epoch(state, data, folds, fold, epoch)
        return stretch_order(shape.cadence, lambda at: order_of_epoch(state, data, folds, fold, at), fold, epoch)

    def order_of_epoch(state: TrainState, data: Data, folds: Folds, fold: jax.Array, epoch: jax.Array) -> Batch:
        indices, mask = folds["indices"]["train"][fold], folds["mask"]["train"][fold]
        key = key_for(state.key, ORDER, epoch)
        sampler = _component(components, "sampler", state)
        if sampler is not None:
            with named("sampler", data):
                weights = sampler({**nested({field: array[indices] for field, array in data.items()}), "mask": mask})
            indices = indices[draw(key, jnp.where(mask, weights, 0.0), mask)]
        elif shape.shuffle and shape.buckets is None:
            bits = jax.random.bits(key, indices.shape)
            indices = indices[sorted_by(bits, mask)]
        num_examples = mask.sum(dtype=jnp.int32)
        positions = jnp.arange(shape.num_steps * shape.batch_size, dtype=jnp.int32)
        # Padding repeats real examples, masked out, so that nothing a model computes over a batch meets garbage.
        if shape.shuffle and shape.buckets is not None:
            lengths = shape.buckets.lengths(data)[indices]
            own = jax.random.fold_in(key, 1)  # a sampler has drawn by the key itself
            indices = indices[shape.buckets.order(own, lengths, mask, shape.batch_size, shape.num_steps)]
        else:
            indices = indices[positions % num_examples]
        by_step = (shape.num_steps, shape.batch_size)
        return {"indices": indices.reshape(by_step), "mask": (positions < num_examples).reshape(by_step)}

    def batch_at(
        state: TrainState,
        data: Data,
        folds: Folds,
        fold: jax.Array,
        indices: jax.Array,
        mask: jax.Array,
        length: int | None = None,
    ) -> Batch:
        fields: dict[str, Any] = {field: array[indices] for field, array in data.items()}
        if shape.buckets is not None:
            fields = shape.buckets.cut(fields, length)
        batch = {**nested(fields), "mask": mask}
        if "class_counts" in folds:
            batch["class_counts"] = folds["class_counts"][fold]
        if STEPS_PER_EPOCH in folds:
            batch[STEPS_PER_EPOCH] = folds[STEPS_PER_EPOCH][fold]
        return encoded_by(components, state, folds, fold, batch)

    def of_length(data: Data, rows: Batch, carry: Any, add: Callable[[Any, int | None], Any]) -> Any:
        """Call `add(carry, length)` with the length that a batch is cut to, None for the whole one."""
        if shape.buckets is None:
            return add(carry, None)
        read = {shape.buckets.source: data[shape.buckets.source][rows["indices"]]}
        return shape.buckets.added(read, rows["mask"], carry, add, of_true_size)

    def full(mask: jax.Array, cut: Cut) -> jax.Array:
        """Leave out all of a batch that a tail is made of."""
        return mask & mask.all() if cut.tails and cut.may_skip else mask

    def train(
        state: TrainState, data: Data, folds: Folds, fold: jax.Array, order: Batch, i: jax.Array
    ) -> tuple[TrainState, MetricState]:
        batch = batch_at(state, data, folds, fold, order["indices"][i], full(order["mask"][i], shape.train))
        return program.train_step(state, batch, may_be_empty=shape.train.may_skip)

    def add_train(
        state: TrainState, running: Any, data: Data, folds: Folds, fold: jax.Array, order: Batch, i: jax.Array
    ) -> tuple[TrainState, Any]:
        if shape.true_sizes:
            sizes = (0, *shape.true_sizes, shape.batch_size)
            add = lambda carry, size: add_sized(carry, data, folds, fold, order, i, size)  # noqa: E731
            return of_true_size(sizes, order["mask"][i].sum(dtype=jnp.int32), (state, running), add)
        rows = {"indices": order["indices"][i], "mask": full(order["mask"][i], shape.train)}
        return add_rows((state, running), data, folds, fold, rows, i, shape.train.may_skip)

    def add_sized(carry: Any, data: Data, folds: Folds, fold: jax.Array, order: Batch, i: Any, size: int) -> Any:
        rows = {name: order[name][i, :size] for name in ("indices", "mask")}
        return add_rows(carry, data, folds, fold, rows, i, False)

    def add_rows(carry: Any, data: Data, folds: Folds, fold: jax.Array, rows: Batch, i: Any, may_be_empty: bool) -> Any:
        def add(carry: Any, length: int | None) -> Any:
            state, running = carry
            batch = batch_at(state, data, folds, fold, rows["indices"], rows["mask"], length)
            state, metrics = program.train_step(state, batch, may_be_empty=may_be_empty)
            return state, running and program.put(running, metrics, i * shape.batch_size)

        return of_length(data, rows, carry, add)

    def add_train_tail(
        state: TrainState, running: Any, data: Data, folds: Folds, fold: jax.Array, order: Batch, size: int
    ) -> tuple[TrainState, Any]:
        i = full_batches(shape.train, folds["mask"]["train"][fold])
        return add_sized((state, running), data, folds, fold, order, i, size)

    def evaluated(
        state: TrainState, found: Any, data: Data, folds: Folds, fold: jax.Array, rows: Batch, epoch: Any, start: Any
    ) -> MetricState:
        def add(found: Any, length: int | None) -> MetricState:
            batch = batch_at(state, data, folds, fold, rows["indices"], rows["mask"], length)
            metrics = program.eval_step(state, batch, epoch=epoch)
            return metrics if found is None else program.put(found, metrics, start)

        return add(None, None) if found is None else of_length(data, rows, found, add)

    def part(folds: Folds, fold: jax.Array, split: str, start: jax.Array, size: int, num_rows: int) -> Batch:
        rows = {name: folds[name][split][fold] for name in ("indices", "mask")}
        missing = max(0, num_rows - rows["indices"].shape[0])
        rows["indices"] = jnp.pad(rows["indices"], (0, missing), mode="edge")
        rows["mask"] = jnp.pad(rows["mask"], (0, missing))
        return {name: jax.lax.dynamic_slice_in_dim(array, start, size) for name, array in rows.items()}

    def add_evaluated(
        state: TrainState, found: Any, data: Data, folds: Folds, fold: jax.Array, split: str, epoch: Any, i: Any
    ) -> MetricState:
        cut = shape.eval_batches[split]
        start = jnp.asarray(i, jnp.int32) * cut.size
        rows = part(folds, fold, split, start, cut.size, max(1, cut.number) * cut.size)
        rows = {**rows, "mask": full(rows["mask"], cut)}
        return evaluated(state, found, data, folds, fold, rows, epoch, i * cut.size)

    def add_evaluated_tail(
        state: TrainState, found: Any, data: Data, folds: Folds, fold: jax.Array, split: str, epoch: Any, size: int
    ) -> MetricState:
        cut = shape.eval_batches[split]
        start = full_batches(cut, folds["mask"][split][fold]) * cut.size
        rows = part(folds, fold, split, start, size, size)
        return evaluated(state, found, data, folds, fold, rows, epoch, start)

    def room(state: TrainState, data: Data, folds: Folds, fold: jax.Array, split: str | None) -> MetricState:
        """Make room for what the batches of a split (None: the training steps) will bring."""
        if split is None:
            one = lambda: train(state, data, folds, fold, order(state, data, folds, fold, zero), zero)[1]  # noqa: E731
            return program.room(jax.eval_shape(one), shape.train.num_rows)
        one = lambda: add_evaluated(state, None, data, folds, fold, split, zero, zero)  # noqa: E731
        return program.room(jax.eval_shape(one), shape.eval_batches[split].num_rows)

    zero: Any = np.int32(0)

    def whole(
        state: TrainState, data: Data, folds: Folds, fold: jax.Array, epoch: jax.Array
    ) -> tuple[TrainState, Scores]:
        batches = order(state, data, folds, fold, epoch)
        measured = "train" not in shape.eval_batches

        def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
            state, running = carry
            return add_train(state, running, data, folds, fold, batches, i), None

        def last(carry: Any, size: int) -> Any:
            state, running = carry
            return add_train_tail(state, running, data, folds, fold, batches, size)

        carry: Any = (state, room(state, data, folds, fold, None) if measured else None)
        if shape.train.number:
            carry, _ = jax.lax.scan(step, carry, jnp.arange(shape.train.number, dtype=jnp.int32))
        state, running = with_tail(shape.train, folds["mask"]["train"][fold], carry, last)
        scores = {}
        if measured:
            scores["train"] = program.compute(running, epoch)
        for split, cut in shape.eval_batches.items():

            def added(found: MetricState, i: jax.Array, split: str = split) -> tuple[MetricState, None]:
                return add_evaluated(state, found, data, folds, fold, split, epoch, i), None

            def tail(found: MetricState, size: int, split: str = split) -> MetricState:
                return add_evaluated_tail(state, found, data, folds, fold, split, epoch, size)

            if cut.number == 1:  # traced once: for what there has to be room for, and for what it brings
                metrics = add_evaluated(state, None, data, folds, fold, split, epoch, zero)
                found = program.put(program.room(metrics, cut.num_rows), metrics, zero)
            else:
                found = room(state, data, folds, fold, split)
                found, _ = jax.lax.scan(added, found, jnp.arange(cut.number, dtype=jnp.int32))
            scores[split] = program.compute(with_tail(cut, folds["mask"][split][fold], found, tail), epoch)
        return state, scores

    def train_stretch(
        state: TrainState, running: Any, data: Data, folds: Folds, fold: jax.Array, order: Batch, first: Any, stop: Any
    ) -> tuple[TrainState, Any]:
        def step(i: jax.Array, carry: Any) -> Any:
            state, running = carry
            return add_train(state, running, data, folds, fold, order, i)

        return jax.lax.fori_loop(first, stop, step, (state, running))

    def evaluate_stretch(
        state: TrainState,
        found: Any,
        data: Data,
        folds: Folds,
        fold: Any,
        split: str,
        epoch: Any,
        first: Any,
        stop: Any,
    ) -> MetricState:
        def step(i: jax.Array, found: Any) -> Any:
            return add_evaluated(state, found, data, folds, fold, split, epoch, i)

        return jax.lax.fori_loop(first, stop, step, found)

    return EpochFunctions(
        order,
        train,
        add_train,
        add_train_tail,
        add_evaluated,
        add_evaluated_tail,
        room,
        whole,
        train_stretch,
        evaluate_stretch,
    )


def full_batches(cut: Cut, mask: jax.Array) -> Any:
    """Return how many full batches come before a fold's tail."""
    return cut.number if len(cut.tails) == 1 and not cut.may_skip else mask.sum(dtype=jnp.int32) // cut.size


def with_tail(cut: Cut, mask: jax.Array, carry: Any, add: Callable[[Any, int], Any]) -> Any:
    """Run the last, smaller batch of a fold in its true size, which is one of `cut.tails`.

    A program takes arrays of known sizes alone, so there is a branch for each size. A row by itself runs its own; rows
    that are batched by `vmap` run all of them, and each keeps what its own brought.
    """
    return of_true_size(cut.tails, mask.sum(dtype=jnp.int32) % cut.size, carry, add) if cut.tails else carry


def of_true_size(sizes: tuple[int, ...], found: jax.Array, carry: Any, add: Callable[[Any, int], Any]) -> Any:
    """Call `add(carry, size)` with the size that was found, one of `sizes`, in ascending order; 0 adds nothing."""
    branches = [lambda carry, size=size: add(carry, size) if size else carry for size in sizes]
    if len(branches) == 1:
        return branches[0](carry)
    return jax.lax.switch(jnp.searchsorted(jnp.array(sizes, jnp.int32), found), branches, carry)

"""One epoch of one experiment as pure functions: batch order, training steps, exact evaluation of whole splits.

Everything is written for a single experiment; `execution.batched` lifts it to a group. `data` holds the arrays of the
data set, `folds` the index table {"indices": {split: int32[num_folds, n]}, "mask": {split: bool[num_folds, n]}}, with
`class_counts` int32[num_folds, classes] and `fitted`, what an encoding learnt from each fold's training part; where
folds differ in it and a component needs it, `_steps_per_epoch` int32[num_folds].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.core.drawing import draw
from mlgym_jax.core.inputs import nested
from mlgym_jax.core.program import Program
from mlgym_jax.core.scoring import named
from mlgym_jax.core.state import ORDER, STEPS_PER_EPOCH, Batch, MetricState, TrainState, key_for

Data = Mapping[str, jax.Array]
Folds = Mapping[str, Any]
Scores = dict[str, dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class EpochShape:
    """The sizes that a compiled epoch is built for.

    Attributes:
        batch_size: examples a step.
        num_steps: training steps an epoch, those of the largest fold.
        eval_batches: split -> (number of batches, batch size) of the evaluation.
        tail: size of a last smaller batch that runs in its own true size; 0 where masks serve.
        may_skip: whether the last batch of a smaller fold can be empty.
    """

    batch_size: int
    num_steps: int
    eval_batches: Mapping[str, tuple[int, int]]
    shuffle: bool
    tail: int
    may_skip: bool

    @property
    def num_examples(self) -> int:
        """Rows that the training steps of an epoch visit, padding included."""
        return (self.num_steps - bool(self.tail)) * self.batch_size + self.tail


def epoch_shape(
    sizes: Mapping[str, tuple[int, ...]],
    *,
    batch_size: int,
    eval_batch_size: int,
    shuffle: bool,
    drop_last: bool,
    evaluated: tuple[str, ...],
    has_model_state: bool,
) -> EpochShape:
    """Derive the static sizes from the folds' sizes.

    A model with state, such as batch statistics, would see the padding of a partial batch: where all folds have one
    size, its last batch runs in its true size instead.
    """
    largest, smallest = max(sizes["train"]), min(sizes["train"])
    num_steps = smallest // batch_size if drop_last else -(-largest // batch_size)
    eval_batches = {}
    for split in evaluated:
        number = -(-max(sizes[split]) // eval_batch_size)
        eval_batches[split] = (number, -(-max(sizes[split]) // number))
    partial = 0 if drop_last else largest % batch_size
    return EpochShape(
        batch_size=batch_size,
        num_steps=num_steps,
        eval_batches=eval_batches,
        shuffle=shuffle,
        tail=partial if has_model_state and largest == smallest else 0,
        may_skip=not drop_last and -(-smallest // batch_size) < num_steps,
    )


class EpochFunctions(NamedTuple):
    """The parts of an epoch, for one experiment with fold number `fold`.

    Attributes:
        order: (state, folds, fold, epoch) -> {"indices": int32[steps, batch], "mask": bool[steps, batch]}.
        train: (state, data, folds, fold, order, i) -> (state, MetricState), step i, but for the tail.
        train_tail: the last, smaller step; None where there is none.
        evaluate: (state, data, folds, fold, split, epoch, i) -> MetricState of evaluation batch i.
        room: (state, data, folds, fold, split or None for the training steps) -> MetricState of no example.
        whole: (state, data, folds, fold, epoch) -> (state, {split: scores}), all of it in one program.
    """

    order: Callable[..., Batch]
    train: Callable[..., tuple[TrainState, MetricState]]
    train_tail: Callable[..., tuple[TrainState, MetricState]] | None
    evaluate: Callable[..., MetricState]
    room: Callable[..., MetricState]
    whole: Callable[..., tuple[TrainState, Scores]]


def make_epoch(program: Program, shape: EpochShape, components: Mapping[str, Any] | None = None) -> EpochFunctions:
    """Return the epoch of `program` over folds of the given shape.

    Args:
        components: where a `sampler` or an `encoding` is taken from, if there are.
    """

    def component(section: str, state: TrainState) -> Any:
        """Return what a section built, with the swept values of this experiment in place."""
        found: Any = components or {}
        if section in found and state.hyperparams:
            found = found.bind(state.hyperparams)
        return found.get(section)

    def order(state: TrainState, data: Data, folds: Folds, fold: jax.Array, epoch: jax.Array) -> Batch:
        indices, mask = folds["indices"]["train"][fold], folds["mask"]["train"][fold]
        key = key_for(state.key, ORDER, epoch)
        sampler = component("sampler", state)
        if sampler is not None:
            with named("sampler"):
                weights = sampler({**nested({field: array[indices] for field, array in data.items()}), "mask": mask})
            indices = indices[draw(key, jnp.where(mask, weights, 0.0), mask)]
        elif shape.shuffle:
            bits = jax.random.bits(key, indices.shape)
            _, _, indices = jax.lax.sort(((~mask).astype(jnp.int32), bits, indices), num_keys=2)
        num_examples = mask.sum(dtype=jnp.int32)
        positions = jnp.arange(shape.num_steps * shape.batch_size, dtype=jnp.int32)
        # Padding repeats real examples, masked out, so that nothing a model computes over a batch meets garbage.
        indices = indices[positions % num_examples]
        by_step = (shape.num_steps, shape.batch_size)
        return {"indices": indices.reshape(by_step), "mask": (positions < num_examples).reshape(by_step)}

    def batch_at(
        state: TrainState, data: Data, folds: Folds, fold: jax.Array, indices: jax.Array, mask: jax.Array
    ) -> Batch:
        batch = {**nested({field: array[indices] for field, array in data.items()}), "mask": mask}
        if "class_counts" in folds:
            batch["class_counts"] = folds["class_counts"][fold]
        if STEPS_PER_EPOCH in folds:
            batch[STEPS_PER_EPOCH] = folds[STEPS_PER_EPOCH][fold]
        encoding = component("encoding", state)
        if encoding is not None:
            with named("encoding"):
                batch = encoding.apply(jax.tree.map(lambda leaf: leaf[fold], folds["fitted"]), batch)
        return batch

    def train(
        state: TrainState, data: Data, folds: Folds, fold: jax.Array, order: Batch, i: jax.Array
    ) -> tuple[TrainState, MetricState]:
        mask = order["mask"][i]
        batch = batch_at(state, data, folds, fold, order["indices"][i], mask)
        return program.train_step(state, batch, may_be_empty=shape.may_skip)

    def train_tail(
        state: TrainState, data: Data, folds: Folds, fold: jax.Array, order: Batch, i: jax.Array
    ) -> tuple[TrainState, MetricState]:
        indices, mask = order["indices"][i, : shape.tail], order["mask"][i, : shape.tail]
        batch = batch_at(state, data, folds, fold, indices, mask)
        return program.train_step(state, batch, may_be_empty=False)

    def evaluate(
        state: TrainState, data: Data, folds: Folds, fold: jax.Array, split: str, epoch: Any, i: Any
    ) -> MetricState:
        number, size = shape.eval_batches[split]
        indices, mask = folds["indices"][split][fold], folds["mask"][split][fold]
        missing = number * size - indices.shape[0]
        indices, mask = jnp.pad(indices, (0, max(0, missing)), mode="edge"), jnp.pad(mask, (0, max(0, missing)))
        start = jnp.asarray(i, jnp.int32) * size
        part = (jax.lax.dynamic_slice_in_dim(array, start, size) for array in (indices, mask))
        return program.eval_step(state, batch_at(state, data, folds, fold, *part), epoch=epoch)

    def room(state: TrainState, data: Data, folds: Folds, fold: jax.Array, split: str | None) -> MetricState:
        """Make room for what the batches of a split (None: the training steps) will bring."""
        if split is None:
            one = lambda: train(state, data, folds, fold, order(state, data, folds, fold, zero), zero)[1]  # noqa: E731
            return program.room(jax.eval_shape(one), shape.num_examples)
        number, size = shape.eval_batches[split]
        one = lambda: evaluate(state, data, folds, fold, split, zero, zero)  # noqa: E731
        return program.room(jax.eval_shape(one), number * size)

    zero: Any = np.int32(0)

    def whole(
        state: TrainState, data: Data, folds: Folds, fold: jax.Array, epoch: jax.Array
    ) -> tuple[TrainState, Scores]:
        batches = order(state, data, folds, fold, epoch)
        full_steps = shape.num_steps - bool(shape.tail)
        measured = "train" not in shape.eval_batches

        def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
            state, running = carry
            state, metrics = train(state, data, folds, fold, batches, i)
            return (state, program.put(running, metrics, i * shape.batch_size) if measured else None), None

        carry: Any = (state, room(state, data, folds, fold, None) if measured else None)
        if full_steps:
            carry, _ = jax.lax.scan(step, carry, jnp.arange(full_steps, dtype=jnp.int32))
        state, running = carry
        if shape.tail:
            state, metrics = train_tail(state, data, folds, fold, batches, jnp.asarray(full_steps))
            running = program.put(running, metrics, full_steps * shape.batch_size) if measured else None
        scores = {}
        if measured and running is not None:
            scores["train"] = program.compute(running, epoch)
        for split, (number, size) in shape.eval_batches.items():

            def added(
                found: MetricState, i: jax.Array, split: str = split, size: int = size
            ) -> tuple[MetricState, None]:
                metrics = evaluate(state, data, folds, fold, split, epoch, i)
                return program.put(found, metrics, i * size), None

            found = room(state, data, folds, fold, split)
            if number == 1:
                found, _ = added(found, jnp.zeros((), jnp.int32))
            else:
                found, _ = jax.lax.scan(added, found, jnp.arange(number, dtype=jnp.int32))
            scores[split] = program.compute(found, epoch)
        return state, scores

    return EpochFunctions(order, train, train_tail if shape.tail else None, evaluate, room, whole)

"""One epoch of one experiment as pure functions: batch order, training steps, exact evaluation of whole splits.

Everything is written for a single experiment; `execution.batched` lifts it to a group. `data` holds the arrays of the
data set, `folds` the index table {"indices": {split: int32[num_folds, n]}, "mask": {split: bool[num_folds, n]}}.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.core.program import Program
from mlgym_jax.core.state import ORDER, Batch, MetricState, TrainState, key_for

Data = Mapping[str, jax.Array]
Folds = Mapping[str, Mapping[str, jax.Array]]
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
        train: (state, data, order, i) -> (state, MetricState), step i, but for the tail.
        train_tail: the last, smaller step; None where there is none.
        evaluate: (state, data, folds, fold, split, i) -> MetricState of evaluation batch i.
        whole: (state, data, folds, fold, epoch) -> (state, {split: scores}), all of it in one program.
    """

    order: Callable[..., Batch]
    train: Callable[..., tuple[TrainState, MetricState]]
    train_tail: Callable[..., tuple[TrainState, MetricState]] | None
    evaluate: Callable[..., MetricState]
    whole: Callable[..., tuple[TrainState, Scores]]


def make_epoch(program: Program, shape: EpochShape) -> EpochFunctions:
    """Return the epoch of `program` over folds of the given shape."""

    def order(state: TrainState, folds: Folds, fold: jax.Array, epoch: jax.Array) -> Batch:
        indices, mask = folds["indices"]["train"][fold], folds["mask"]["train"][fold]
        if shape.shuffle:
            bits = jax.random.bits(key_for(state.key, ORDER, epoch), indices.shape)
            _, _, indices = jax.lax.sort(((~mask).astype(jnp.int32), bits, indices), num_keys=2)
        num_examples = mask.sum(dtype=jnp.int32)
        positions = jnp.arange(shape.num_steps * shape.batch_size, dtype=jnp.int32)
        # Padding repeats real examples, masked out, so that nothing a model computes over a batch meets garbage.
        indices = indices[positions % num_examples]
        by_step = (shape.num_steps, shape.batch_size)
        return {"indices": indices.reshape(by_step), "mask": (positions < num_examples).reshape(by_step)}

    def batch_at(data: Data, indices: jax.Array, mask: jax.Array) -> Batch:
        return {**{field: array[indices] for field, array in data.items()}, "mask": mask}

    def train(state: TrainState, data: Data, order: Batch, i: jax.Array) -> tuple[TrainState, MetricState]:
        mask = order["mask"][i]
        updated, metrics = program.train_step(state, batch_at(data, order["indices"][i], mask))
        if shape.may_skip:
            updated = select(mask.any(), updated, state)
        return updated, metrics

    def train_tail(state: TrainState, data: Data, order: Batch, i: jax.Array) -> tuple[TrainState, MetricState]:
        indices, mask = order["indices"][i, : shape.tail], order["mask"][i, : shape.tail]
        return program.train_step(state, batch_at(data, indices, mask))

    def evaluate(state: TrainState, data: Data, folds: Folds, fold: jax.Array, split: str, i: Any) -> MetricState:
        number, size = shape.eval_batches[split]
        indices, mask = folds["indices"][split][fold], folds["mask"][split][fold]
        missing = number * size - indices.shape[0]
        indices, mask = jnp.pad(indices, (0, missing), mode="edge"), jnp.pad(mask, (0, missing))
        start = jnp.asarray(i, jnp.int32) * size
        part = (jax.lax.dynamic_slice_in_dim(array, start, size) for array in (indices, mask))
        return program.eval_step(state, batch_at(data, *part))

    def whole(
        state: TrainState, data: Data, folds: Folds, fold: jax.Array, epoch: jax.Array
    ) -> tuple[TrainState, Scores]:
        batches = order(state, folds, fold, epoch)
        full_steps = shape.num_steps - bool(shape.tail)

        def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
            state, running = carry
            state, metrics = train(state, data, batches, i)
            return (state, program.merge(running, metrics)), None

        carry = (state, program.empty())
        if full_steps:
            carry, _ = jax.lax.scan(step, carry, jnp.arange(full_steps))
        state, running = carry
        if shape.tail:
            state, metrics = train_tail(state, data, batches, jnp.asarray(full_steps))
            running = program.merge(running, metrics)
        scores = {}
        if "train" not in shape.eval_batches:
            scores["train"] = program.compute(running)
        for split, (number, _) in shape.eval_batches.items():

            def merged(found: MetricState, i: jax.Array, split: str = split) -> tuple[MetricState, None]:
                return program.merge(found, evaluate(state, data, folds, fold, split, i)), None

            found = program.empty()
            if number == 1:
                found, _ = merged(found, jnp.zeros((), jnp.int32))
            else:
                found, _ = jax.lax.scan(merged, found, jnp.arange(number))
            scores[split] = program.compute(found)
        return state, scores

    return EpochFunctions(order, train, train_tail if shape.tail else None, evaluate, whole)


def select(condition: jax.Array, new: Any, old: Any) -> Any:
    """Choose between two trees of arrays of one structure; `condition` is a scalar, or one bool a row."""

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(choose, new, old)

"""The programs of a group: an epoch, or its steps, of all rows at once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.core.epoch import EpochFunctions, EpochShape
from mlgym_jax.core.program import Program
from mlgym_jax.core.state import TrainState
from mlgym_jax.core.trees import select
from mlgym_jax.execution import lifting


def make_parts(
    program: Program, functions: EpochFunctions, shape: EpochShape, names: Sequence[str], batching: str
) -> dict[Any, Any]:
    """Return the programs `(mapped, shared) -> mapped`; the last of `mapped` says which rows are active.

    Args:
        names: the scores in the order of the score matrix's columns.
        batching: how functions of one experiment become functions of rows: `vmap`, `map` or `none`.
    """
    lift = {"vmap": lifting.vmapped, "map": lifting.mapped, "none": lifting.single}[batching]

    def flat(scores: Any) -> jax.Array:
        values = [jnp.asarray(scores[split][name]) for split, name in (key.split("/", 1) for key in names)]
        return jnp.stack([value.astype(jnp.result_type(float)) for value in values])

    def whole(mapped: Any, shared: Any) -> Any:
        def one(row: Any, shared: Any) -> Any:
            (state, fold), (data, folds, epoch) = row, shared
            state, scores = functions.whole(state, data, folds, fold, epoch)
            return state, flat(scores)

        state, fold, live = mapped
        new, scores = lift(one, (state, fold), shared, live)
        return select(live, new, state), scores

    def train_with(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
        def train(row: Any, shared: Any) -> Any:
            (state, running, fold, order), (data, folds, i) = row, shared
            state, metrics = function(state, data, folds, fold, order, i)
            return state, running and program.put(running, metrics, i * shape.batch_size)

        return train

    def init(row: Any, batch: Any) -> TrainState:
        seed, hyperparams = row
        return program.init(jax.random.key(seed), batch, hyperparams)

    def order(row: Any, shared: Any) -> Any:
        (state, fold), (data, folds, epoch) = row, shared
        return functions.order(state, data, folds, fold, epoch)

    def room(split: str | None) -> Callable[[Any, Any], Any]:
        return lambda row, shared: functions.room(row[0], *shared, row[1], split)

    def evaluate(split: str) -> Callable[[Any, Any], Any]:
        def evaluate(row: Any, shared: Any) -> Any:
            (state, found, fold), (data, folds, epoch, i) = row, shared
            metrics = functions.evaluate(state, data, folds, fold, split, epoch, i)
            return program.put(found, metrics, i * shape.eval_batches[split][1])

        return evaluate

    def finish(mapped: Any, shared: Any) -> Any:
        state, old, by_split, live = mapped
        scores = lift(
            lambda row, shared: flat({split: program.compute(found, shared[0]) for split, found in row.items()}),
            by_split,
            shared,
            live,
        )
        return select(live, state, old), scores

    def lifted(function: Callable[[Any, Any], Any], lift: Any = lift) -> Callable[[Any, Any], Any]:
        return lambda mapped, shared: lift(function, mapped[:-1], shared, mapped[-1])

    return {
        # Batched random bits take XLA's CPU compiler twice as long: rows are initialised one by one there.
        "init": lifted(init, lifting.vmapped if batching == "vmap" else lifting.mapped),
        "whole": whole,
        "order": lifted(order),
        **{("room", split): lifted(room(split)) for split in (None, *shape.eval_batches)},
        "train": lifted(train_with(functions.train)),
        "train_tail": lifted(train_with(functions.train_tail)) if functions.train_tail else None,
        **{("evaluate", split): lifted(evaluate(split)) for split in shape.eval_batches},
        "finish": finish,
    }

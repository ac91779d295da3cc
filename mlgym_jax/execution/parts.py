"""The programs of a group: an epoch, or its steps, of all rows at once. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.core.epoch import EpochFunctions
from mlgym_jax.core.epoch_shape import Cut, EpochShape
from mlgym_jax.core.program import Program
from mlgym_jax.core.record import Record
from mlgym_jax.core.state import TrainState
from mlgym_jax.core.streamed import StreamedFunctions
from mlgym_jax.core.trees import select
from mlgym_jax.execution import lifting


def make_parts(
    program: Program,
    functions: EpochFunctions,
    shape: EpochShape,
    names: Sequence[str],
    batching: str,
    streamed: StreamedFunctions | None = None,
    *,
    overwrites: bool = False,
) -> dict[Any, Any]:
    """Return the programs `(mapped, shared) -> mapped`; the last of `mapped` says which rows are active.

    Args:
        names: the scores in the order of the score matrix's columns.
        batching: how functions of one experiment become functions of rows: `vmap`, `map` or `none`.
        streamed: the parts of an epoch whose batches come from outside, for which there are programs then, too.
        overwrites: whether programs that train may overwrite the states that they are given. Of rows that are not
            active anything is left then, unless they are mapped; what they are to keep is the caller's to hold.
    """
    lift = {"vmap": lifting.vmapped, "map": lifting.mapped, "none": lifting.single}[batching]

    def flat(scores: Any) -> jax.Array:
        values = [jnp.asarray(scores[split][name]) for split, name in (key.split("/", 1) for key in names)]
        return jnp.stack([value.astype(jnp.result_type(float)) for value in values])

    def records(scores: Any) -> dict[str, dict[str, Record]]:
        kept = {
            split: {name: value for name, value in found.items() if isinstance(value, Record)}
            for split, found in scores.items()
        }
        return {split: found for split, found in kept.items() if found}

    def whole(mapped: Any, shared: Any) -> Any:
        def one(row: Any, shared: Any) -> Any:
            (state, fold), (data, folds, epoch) = row, shared
            state, scores = functions.whole(state, data, folds, fold, epoch)
            return state, (flat(scores), records(scores))

        state, fold, live = mapped
        if overwrites:
            return trained(one, 1)(mapped, shared)
        return lift(one, (state, fold), shared, live, state)

    def train(row: Any, shared: Any) -> Any:
        (state, running, fold, order), (data, folds, i) = row, shared
        return functions.add_train(state, running, data, folds, fold, order, i)

    def train_tail(size: int) -> Callable[[Any, Any], Any]:
        def train_tail(row: Any, shared: Any) -> Any:
            (state, running, fold, order), (data, folds) = row, shared
            return functions.add_train_tail(state, running, data, folds, fold, order, size)

        return train_tail

    def train_stretch(row: Any, shared: Any) -> Any:
        (state, running, fold, order), (data, folds, first, stop) = row, shared
        return functions.train_stretch(state, running, data, folds, fold, order, first, stop)

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
            return functions.add_evaluated(state, found, data, folds, fold, split, epoch, i)

        return evaluate

    def evaluate_stretch(split: str) -> Callable[[Any, Any], Any]:
        def evaluate_stretch(row: Any, shared: Any) -> Any:
            (state, found, fold), (data, folds, epoch, first, stop) = row, shared
            return functions.evaluate_stretch(state, found, data, folds, fold, split, epoch, first, stop)

        return evaluate_stretch

    def evaluate_tail(split: str, size: int) -> Callable[[Any, Any], Any]:
        def evaluate_tail(row: Any, shared: Any) -> Any:
            (state, found, fold), (data, folds, epoch) = row, shared
            return functions.add_evaluated_tail(state, found, data, folds, fold, split, epoch, size)

        return evaluate_tail

    def scores(mapped: Any, shared: Any) -> Any:
        by_split, live = mapped

        def computed(row: Any, shared: Any) -> Any:
            scores = {split: program.compute(found, shared[0]) for split, found in row.items()}
            return flat(scores), records(scores)

        return lift(computed, by_split, shared, live)

    def finish(mapped: Any, shared: Any) -> Any:
        state, old, *found, live = mapped
        return select(live, state, old), scores((*found, live), shared)

    def trained(function: Callable[[Any, Any], Any], over: int = 2) -> Callable[[Any, Any], Any]:
        """Lift what trains: its first results, a state and what was measured, have the form of its first arguments."""
        if overwrites and batching == "map":
            return lambda mapped, shared: lifting.mapped(function, mapped[:-1], shared, mapped[-1], over=over)
        return lifted(function)

    def lifted(function: Callable[[Any, Any], Any], lift: Any = lift) -> Callable[[Any, Any], Any]:
        return lambda mapped, shared: lift(function, mapped[:-1], shared, mapped[-1])

    def tails(cut: Cut, function: Callable[[int], Any], kept: Callable[[Any], Any], lift: Any = lifted) -> Any:
        """Return the program of each size of tail; rows that are not active in it keep what they had."""

        def keeping(program: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
            return lambda mapped, shared: select(mapped[-1], program(mapped, shared), kept(mapped))

        sizes = [size for size in cut.tails if size]
        return {size: keeping(lift(function(size))) if len(cut.tails) > 1 else lift(function(size)) for size in sizes}

    parts: dict[Any, Any] = {
        # Batched random bits take XLA's CPU compiler twice as long: rows are initialised one by one there.
        "init": lifted(init, lifting.vmapped if batching == "vmap" else lifting.mapped),
        "whole": whole,
        "order": lifted(order),
        "train": trained(train),
        "train_stretch": trained(train_stretch),
        "scores": scores,
        "finish": finish,
    }
    for size, tail in tails(shape.train, train_tail, lambda mapped: mapped[:2], trained).items():
        parts["train_tail", size] = tail
    for split in (None, *shape.eval_batches):
        parts["room", split] = lifted(room(split))
    for split, cut in shape.eval_batches.items():
        parts["evaluate", split] = lifted(evaluate(split))
        parts["evaluate_stretch", split] = lifted(evaluate_stretch(split))
        of_split = functools.partial(evaluate_tail, split)
        for size, tail in tails(cut, of_split, lambda mapped: mapped[1]).items():
            parts["evaluate_tail", split, size] = tail
    if streamed is not None:
        own = _of_streams(streamed, shape).items()
        parts |= {name: trained(part) if name == "train_streamed" else lifted(part) for name, part in own}
    return parts


def _of_streams(streamed: StreamedFunctions, shape: EpochShape) -> dict[Any, Callable[[Any, Any], Any]]:
    """Return the parts of an epoch over batches from outside, each of one row and what all share."""

    def train(row: Any, shared: Any) -> Any:
        (state, running, fold), (data, mask, folds, first, stop, at) = row, shared
        return streamed.train(state, running, data, mask, folds, fold, first, stop, at)

    def room(split: str | None) -> Callable[[Any, Any], Any]:
        def room(row: Any, shared: Any) -> Any:
            (state, fold), (data, mask, folds) = row, shared
            return streamed.room(state, data, mask, folds, fold, split)

        return room

    def evaluate(split: str) -> Callable[[Any, Any], Any]:
        def evaluate(row: Any, shared: Any) -> Any:
            (state, found, fold), (data, mask, folds, epoch, first, stop, at) = row, shared
            return streamed.evaluate(state, found, data, mask, folds, fold, split, epoch, first, stop, at)

        return evaluate

    parts: dict[Any, Callable[[Any, Any], Any]] = {"train_streamed": train}
    for split in (None, *shape.eval_batches):
        parts["room_streamed", split] = room(split)
    for split in shape.eval_batches:
        parts["evaluate_streamed", split] = evaluate(split)
    return parts

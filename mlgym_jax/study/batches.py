"""How a group's epochs are cut into batches, and whether that changes what its components compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mlgym_jax.core.buckets import Buckets
from mlgym_jax.core.cadence import Cadence
from mlgym_jax.core.epoch_shape import EpochShape, epoch_shape, evaluated_by
from mlgym_jax.core.independence import by_example
from mlgym_jax.core.inputs import fields_of
from mlgym_jax.core.microbatches import with_derivative
from mlgym_jax.core.program import Program
from mlgym_jax.core.state import Batch, TrainState
from mlgym_jax.data.loaders import Loader
from mlgym_jax.errors import ConfigError, MlgymError, in_words

# Evaluation batches hold about this many input numbers unless the loader says otherwise.
_EVAL_ELEMENTS = 1 << 20


def shape_of(
    program: Program,
    abstract: TrainState,
    loader: Loader,
    arrays: Mapping[str, Any],
    encode: Callable[[Mapping[str, Any]], Batch],
    sizes: Mapping[str, tuple[int, ...]],
    *,
    cadence: Cadence,
    evaluated: tuple[str, ...],
    elements: int,
    whole_batches: bool = False,
) -> EpochShape:
    """Return the sizes that a group's epochs are compiled for.

    Args:
        abstract: the shapes of a state.
        arrays: the fields of the data, whose shapes count.
        encode: a batch of them -> what the program reads.
        sizes: split -> number of examples of each fold.
        elements: numbers an example.
        whole_batches: whether a training step may see more of a batch than single examples, whatever its parts do.
    """

    def sees_padding(train: bool) -> bool:
        if train and getattr(loader, "microbatches", 1) > 1:  # the step itself refuses what sees more than one example
            return False
        if train and (whole_batches or jax.tree.leaves(abstract.model_state)):  # such as batch statistics
            return True
        size = max(2, loader.batch_size)  # shapes of a single example broadcast, and are traced otherwise
        rests = {found % size for found in sizes["train"]} - {0, 1}
        return not _by_example(program, abstract, arrays, encode, (size, min(rests, default=size + 1)), train)

    shape = epoch_shape(
        sizes,
        batch_size=loader.batch_size,
        eval_batch_size=most_evaluated(loader, elements),
        shuffle=loader.shuffle,
        drop_last=loader.drop_last,
        evaluated=evaluated,
        sees_padding=sees_padding,
    )
    shape = evaluated_by(shape, cadence)
    buckets = getattr(loader, "buckets", None)
    return shape if buckets is None else dataclasses.replace(shape, buckets=_of_data(buckets, arrays))


def _of_data(buckets: Buckets, arrays: Mapping[str, Any]) -> Buckets:
    """Return the lengths that data are cut to which may be padded to another length than those of training."""
    flat = fields_of(arrays)
    whole = max((np.shape(flat[field])[1] for field in buckets.fields if field in flat), default=buckets.sizes[-1])
    return dataclasses.replace(buckets, sizes=(*(size for size in buckets.sizes if size < whole), whole))


def check_lengths(
    program: Program, abstract: TrainState, buckets: Buckets, arrays: Mapping[str, Any], encode: Any
) -> None:
    """Refuse components that cannot read a batch which is cut to a shorter length.

    Args:
        arrays: a batch of the data's fields; encode: such a batch -> what the program reads.

    Raises:
        ConfigError: at `loader`, with the length and what is wrong there.
    """
    form = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), abstract)
    for size in buckets.sizes[:-1]:
        try:
            batch = encode(buckets.cut(arrays, size))
            shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(batch))
            after = jax.eval_shape(program.train_step, abstract, shapes)[0]
            jax.eval_shape(program.eval_step, abstract, shapes)
            if jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) != form:
                raise MlgymError("a training step leaves a state of another form")
        except Exception as error:
            raise ConfigError(
                "loader",
                f"'bucketed' cuts batches to {size} of {buckets.sizes[-1]} positions, which what is built here does "
                f"not take: {in_words(error)}. Take a model of any length, or component('in_memory')",
            ) from error


def most_evaluated(loader: Loader, elements: int) -> int:
    """Return how many examples are evaluated at once, at most; `elements` as for `shape_of`."""
    return loader.eval_batch_size or max(loader.batch_size, _EVAL_ELEMENTS // elements)


def _by_example(
    program: Program,
    abstract: TrainState,
    arrays: Mapping[str, Any],
    encode: Callable[[Mapping[str, Any]], Batch],
    sizes: tuple[int, int],
    train: bool,
) -> bool:
    """Tell whether a step certainly computes the outputs and losses, and in training the gradients, of each example."""

    def compute(state: TrainState, batch: Mapping[str, Any]) -> Any:
        batch = {**encode({field: array for field, array in batch.items() if field != "mask"}), "mask": batch["mask"]}
        if not train:
            return program.values(state, batch, False)

        return with_derivative(lambda state, batch: program.values(state, batch, True), state, batch)

    def traced(size: int) -> Any:
        batch = {
            field: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), array)
            for field, array in arrays.items()
        }
        batch["mask"] = jax.ShapeDtypeStruct((size,), np.bool_)
        return jax.make_jaxpr(compute)(abstract, batch)

    try:
        return by_example(traced, sizes)
    except Exception:  # what cannot be traced for another number of examples depends on it
        return False

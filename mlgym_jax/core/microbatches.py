"""The gradient of a batch as the sum of its parts', of which one at a time is in memory: `loader.microbatches`.

A step lowers a sum of quotients: of each term of the loss, what all examples cost, divided by how much they weigh. So
the weights of the whole batch come first, then each part's costs are divided by these, and what the parts give, values
and gradients, adds up to what the whole batch gives. That needs a batch whose examples are computed each by itself,
which is proven before anything compiles, and refused elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp

from mlgym_jax.core.dead_code import handed_on, needed
from mlgym_jax.core.independence import by_example
from mlgym_jax.core.state import STEPS_PER_EPOCH, Batch, MetricState, TrainState
from mlgym_jax.core.trees import path_name
from mlgym_jax.errors import ConfigError

# Fields of a batch that belong to no single example.
_SHARED = ("class_counts", STEPS_PER_EPOCH)
_FIELD = "loader.microbatches"
_INSTEAD = "a smaller loader.batch_size with config.optimizer = component('MultiSteps', every_k_schedule=…, opt=…)"


class Functions(NamedTuple):
    """What a step is made of; `part` is the number of the part, from which it draws.

    Attributes:
        objective: (params, batch, part, weights_of_all) -> (float[], what `measure` takes).
        value_and_grad: such a function of the parameters, and of more -> the same with its gradient.
        weights: (params, batch, part) -> what the terms of the loss are divided by.
        measure: (what `objective` returned, batch, part) -> MetricState.
        room, put: as in `core.scoring`.
    """

    objective: Callable[..., tuple[jax.Array, Any]]
    value_and_grad: Callable[[Callable[..., Any]], Callable[..., Any]]
    weights: Callable[..., tuple[jax.Array, ...]]
    measure: Callable[..., MetricState]
    room: Callable[[MetricState, int], MetricState]
    put: Callable[[MetricState, MetricState, Any], MetricState]


class Added(NamedTuple):
    """What all parts give together: the loss, its gradient, the metrics, and the loss as a function of parameters."""

    value: jax.Array
    gradients: Any
    metrics: MetricState
    value_fn: Callable[[Any], jax.Array]


def added_up(functions: Functions, params: Any, batch: Batch, number: int) -> Added:
    """Compute a batch in `number` parts, one after another; its mask, bool[batch], has a multiple of them.

    Raises:
        ConfigError: at `loader.microbatches`, a loss whose weights depend on the parameters.
    """
    size = batch["mask"].shape[0] // number
    shared, own = _divided(batch)

    def apart(leaf: jax.Array) -> jax.Array:
        # Each part takes every `number`-th example: from each device of a sharded batch, and of the padding at its end.
        return jnp.moveaxis(jnp.asarray(leaf).reshape(size, number, *leaf.shape[1:]), 1, 0)

    numbered = jnp.arange(number, dtype=jnp.int32), jax.tree.map(apart, own)
    first = jax.tree.map(lambda leaf: leaf[0], numbered)
    totals = _total_weights(functions, params, shared, first, numbered)

    def of_part(params: Any, numbered: Any) -> tuple[jax.Array, Any]:
        part, batch = numbered
        return functions.objective(params, {**batch, **shared}, part, totals)

    def measured(found: Any, numbered: Any) -> MetricState:
        part, batch = numbered
        return functions.measure(found, {**batch, **shared}, part)

    def add(carry: Any, numbered: Any) -> tuple[Any, None]:
        value, gradients, metrics = carry
        (more, found), new = functions.value_and_grad(of_part)(params, numbered)
        metrics = functions.put(metrics, measured(found, numbered), numbered[0] * size)
        return (value + more, jax.tree.map(lambda a, b: a + b.astype(a.dtype), gradients, new), metrics), None

    def value_fn(params: Any) -> jax.Array:
        part = jax.checkpoint(lambda params, numbered: of_part(params, numbered)[0])
        add_value = lambda value, numbered: (value + part(params, numbered), None)  # noqa: E731
        return jax.lax.scan(add_value, jnp.zeros(value.shape, value.dtype), numbered)[0]

    value, metrics = jax.eval_shape(lambda: (of_part(params, first)[0], measured(of_part(params, first)[1], first)))
    # Many small parts of a half precision gradient would be lost in its sum.
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32)), params)
    carry: Any = jnp.zeros(value.shape, value.dtype), nothing, functions.room(metrics, number * size)
    (found, gradients, metrics), _ = jax.lax.scan(add, carry, numbered)
    gradients = jax.tree.map(lambda total, leaf: total.astype(leaf.dtype), gradients, params)
    return Added(found, gradients, metrics, value_fn)


def _divided(batch: Batch) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a batch that it has as a whole, and those of its examples."""
    shared = {field: value for field, value in batch.items() if field in _SHARED}
    return shared, {field: value for field, value in batch.items() if field not in _SHARED}


def _total_weights(functions: Functions, params: Any, shared: Any, first: Any, numbered: Any) -> tuple[jax.Array, ...]:
    """Return the weights of the whole batch, without computing what the model makes of it."""

    def weights(params: Any, numbered: Any) -> tuple[jax.Array, ...]:
        part, batch = numbered
        return functions.weights(params, {**batch, **shared}, part)

    traced, shapes = jax.make_jaxpr(weights, return_shape=True)(params, first)
    pruned, used = needed(traced)
    if any(used[: len(jax.tree.leaves(params))]):
        raise ConfigError(
            _FIELD,
            "the weights that the loss returns depend on the parameters, so that the parts of a batch cannot be "
            f"weighed before the model has seen all of them; write 1, or {_INSTEAD}",
        )

    def add(total: tuple[jax.Array, ...], numbered: Any) -> tuple[tuple[jax.Array, ...], None]:
        leaves = jax.tree.leaves((params, numbered))
        given = [leaf for leaf, is_used in zip(leaves, used, strict=True) if is_used]
        new = jax.extend.core.jaxpr_as_fun(pruned)(*given)
        return tuple(a + b for a, b in zip(total, new, strict=True)), None

    return jax.lax.scan(add, tuple(jnp.zeros(shape.shape, shape.dtype) for shape in shapes), numbered)[0]


def check_divisible(
    whole: Callable[[TrainState, Batch], Any],
    pieces: Mapping[str, Callable[[TrainState, Batch], Any]],
    left: Callable[[TrainState, Batch], Any],
    state: TrainState,
    batch: Batch,
) -> None:
    """Refuse a step that is not the sum of its examples.

    Args:
        whole: all that a step computes of a state and a batch before any sum over examples: what is differentiated, and
            what is not.
        pieces: name in words -> what a piece of it computes, as a pair of the same kind.
        left: the model's state after such a step, in the form that it began with.

    Raises:
        ConfigError: at `loader.microbatches`, what sees a whole batch.
    """
    state, batch = jax.tree.map(_shape_of, (state, batch))
    if changed := _changed(left, state, batch):
        raise ConfigError(
            _FIELD,
            f"a training step changes the state of the model ({changed}), as batch statistics are: they would be of "
            "each part, one after another, and not of the batch. Normalise single examples (LayerNorm, GroupNorm), "
            f"write 1, or take {_INSTEAD}, which trains with the statistics of small batches",
        )
    size = max(2, batch["mask"].shape[0])  # shapes of a single example broadcast, and are traced otherwise

    def holds(piece: Callable[[TrainState, Batch], Any]) -> bool:
        return by_example(lambda size: _traced(piece, state, batch, size), (size, size + 1))

    if not holds(whole):
        name = next((name for name, piece in pieces.items() if not holds(piece)), "a post-processor or a metric")
        raise ConfigError(
            _FIELD,
            f"{name} is not known to compute each example of a batch by itself, so that the parts of a batch would "
            f"not give what all of it gives; write 1, or {_INSTEAD} where small batches will do",
        )


def _shape_of(leaf: Any) -> Any:
    found = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(found.shape, found.dtype)


def _traced(piece: Callable[[TrainState, Batch], Any], state: TrainState, batch: Batch, size: int) -> Any:
    """Trace what a piece, and its derivative by the parameters, make of a batch of that size."""
    shared, own = _divided(batch)
    own = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), own)
    traced = jax.make_jaxpr(lambda state, batch: with_derivative(piece, state, batch))(state, {**own, **shared})
    return needed(traced)[0]  # such as what `sow` adds up, and nobody reads


def with_derivative(piece: Callable[[TrainState, Batch], tuple[Any, Any]], state: TrainState, batch: Batch) -> Any:
    """Return the first result of a piece, its derivative along the parameters, and the second one.

    Forwards, all that is done to an example's derivatives is done to that example's alone; the sum over examples, which
    backwards is among it, is the engine's own.
    """

    def of(params: Any) -> tuple[Any, Any]:
        return piece(dataclasses.replace(state, params=params), batch)

    return jax.jvp(of, (state.params,), (state.params,), has_aux=True)


def _changed(left: Callable[[TrainState, Batch], Any], state: TrainState, batch: Batch) -> str:
    """Return the path of a part of the model's state that a step leaves as another; `""` where there is none."""
    before = jax.tree_util.tree_leaves_with_path(state)
    names = [path_name(path) for path, _ in before]
    wanted = [number for number, name in enumerate(names) if name.split("/")[0] == "model_state"]
    if not wanted:
        return ""
    found = handed_on(jax.make_jaxpr(left)(state, batch).jaxpr)
    changed = [names[number] for number, origin in zip(wanted, found, strict=True) if origin != number]
    return changed[0].partition("/")[2] if changed else ""

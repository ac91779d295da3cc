"""Measure a model's outputs: the loss, its parts and every metric, added up over batches, computed over splits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.registry import shared_parameters
from mlgym_jax.core.blame import named, reading
from mlgym_jax.core.metric import Metric
from mlgym_jax.core.outputs import holds, paths, pick
from mlgym_jax.core.state import CLASSES, Batch, MetricState, Outputs
from mlgym_jax.core.weighted import LossValues, check_values, loss_score, loss_state, merged, no_loss
from mlgym_jax.errors import ConfigError, MlgymError, listed, nearest

Given = Mapping[str, Any]
GIVEN = ("params", "state", "key", "step", "train")  # what a loss may take besides outputs and batch
_LOSS = Metric(no_loss, lambda state, values, batch: loss_state(values, batch["mask"]), merged, loss_score)


class Scoring(NamedTuple):
    """The pure functions of measuring.

    Attributes:
        measure: (loss, outputs, processed, batch, given, epoch) -> MetricState of one batch; `given` as in `call_loss`.
        empty: () -> MetricState of no example.
        merge: (MetricState, MetricState) -> MetricState, associative.
        room: (shapes of one batch's MetricState, num_rows) -> MetricState of no example, into which batches are put.
        put: (MetricState with room, MetricState of a batch, first row) -> MetricState.
        compute: (MetricState, epoch) -> {"loss": float[], "accuracy": float[], …}; NaN for what is not due, and a
            `Record` for what is no score.
        of_examples: (outputs, processed, batch) -> float[batch] of each metric that is a mean, by name: what it is the
            mean of.
    """

    measure: Callable[..., MetricState]
    empty: Callable[[], MetricState]
    merge: Callable[[MetricState, MetricState], MetricState]
    room: Callable[[MetricState, int], MetricState]
    put: Callable[[MetricState, MetricState, Any], MetricState]
    compute: Callable[..., dict[str, Any]]
    of_examples: Callable[[Outputs, Outputs, Batch], dict[str, Any]]


def make_scoring(loss: Any, metrics: Mapping[str, Metric]) -> Scoring:
    """Return the measuring functions of a loss (for the names of its parts) and of metrics by name.

    A metric that gathers keeps a row an example: its states are written into one buffer, instead of growing with each
    batch. A metric of `every` k epochs is updated and computed in the epochs k, 2k, 3k… alone.

    Raises:
        ConfigError: a metric that lacks one of its functions.
    """
    for name, metric in metrics.items():
        _check_metric(name, metric)
    means = {"loss": _LOSS, **{f"loss/{part}": _LOSS for part in part_names(loss)}}
    every = {**means, **metrics}

    def measure(
        loss: Any, outputs: Outputs, processed: Outputs, batch: Batch, given: Given, epoch: Any = None
    ) -> MetricState:
        values = loss_values(loss, outputs, batch, given)
        found = {name: _LOSS.update(_LOSS.init(), values[name], batch) for name in means}
        batch = _with_classes(batch)
        for name, metric in metrics.items():
            with named(f"metrics.{name}", batch):
                found[name] = _updated(metric, outputs, processed, batch, epoch)
        return found

    def empty() -> MetricState:
        return {name: metric.init() for name, metric in every.items()}

    def merge(one: MetricState, other: MetricState) -> MetricState:
        return {name: metric.merge(one[name], other[name]) for name, metric in every.items()}

    def room(batch_state: MetricState, num_rows: int) -> MetricState:
        def rows(leaf: Any) -> jax.Array:
            return jnp.zeros((num_rows, *leaf.shape[1:]), leaf.dtype)

        def nothing(leaf: Any) -> jax.Array:
            return jnp.zeros(leaf.shape, leaf.dtype)

        found = {name: jax.tree.map(nothing, batch_state[name]) for name in means}
        for name, metric in metrics.items():
            with named(f"metrics.{name}"):
                own = batch_state[name]
                found[name] = jax.tree.map(rows, own) if _gathers(metric) else _beginning(metric, own)
        return found

    def put(into: MetricState, batch_state: MetricState, first_row: Any) -> MetricState:
        def write(rows: jax.Array, new: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(rows, new, first_row, 0)

        return {
            name: jax.tree.map(write, into[name], batch_state[name])
            if _gathers(metric)
            else metric.merge(into[name], batch_state[name])
            for name, metric in every.items()
        }

    def compute(found: MetricState, epoch: Any = None) -> dict[str, Any]:
        scores: dict[str, Any] = {}
        for name, metric in every.items():
            with named(f"metrics.{name}" if name in metrics else "loss"):
                score = _computed(metric, found[name], epoch)
            if isinstance(score, Mapping):
                scores.update({f"{name}/{part}": value for part, value in score.items()})
            else:
                scores[name] = score
        return scores

    def of_examples(outputs: Outputs, processed: Outputs, batch: Batch) -> dict[str, Any]:
        batch = _with_classes(batch)
        means = {name: getattr(metric, "per_example", None) for name, metric in metrics.items()}
        return {
            name: per_example(_seen(metrics[name], outputs, processed), batch)
            for name, per_example in means.items()
            if per_example is not None
        }

    return Scoring(measure, empty, merge, room, put, compute, of_examples)


def _beginning(metric: Any, shapes: Any) -> Any:
    """Return the state of no example in the form that batches bring: of weights, sums stand in the place of numbers.

    Raises:
        MlgymError: the metric begins with something else than zeros, in another form.
    """
    start = metric.init()
    same = jax.tree.structure(start) == jax.tree.structure(shapes)
    pairs = [*zip(jax.tree.leaves(start), jax.tree.leaves(shapes), strict=False)]
    if same and all(jnp.shape(one) == other.shape for one, other in pairs):
        return jax.tree.map(lambda one, other: jnp.asarray(one, other.dtype), start, shapes)  # -inf stays
    with jax.ensure_compile_time_eval():
        if any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(metric.init())):
            raise MlgymError(f"init() gives {_form(start)}, update() {_form(shapes)}: both must be of one form")
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def _form(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{jnp.result_type(leaf)}{[*jnp.shape(leaf)]}", tree))


@shared_parameters("metric")
def _reading(
    metric: Any,
    *,
    output: str | None = None,
    target: str | None = None,
    where: str | None = None,
    every_num_epochs: int | None = None,
) -> Metric:
    """Add `output`, `target` and `where`, the names of what it reads, and `every_num_epochs`, how often it is computed.

    Raises:
        MlgymError: fewer than 1 epoch.
    """
    if every_num_epochs is not None and every_num_epochs < 1:
        raise MlgymError(f"every_num_epochs: at least 1 is expected, found {every_num_epochs}")
    read, values = metric.update, getattr(metric, "per_example", None)
    if target is not None or where is not None:

        def read(state: Any, outputs: Any, batch: Batch) -> Any:
            return metric.update(state, outputs, with_fields(batch, target, where))

    per_example = values and (lambda outputs, batch: values(outputs, with_fields(batch, target, where)))
    return Metric(
        metric.init,
        read,
        metric.merge,
        metric.compute,
        gathers=_gathers(metric),
        every=every_num_epochs,
        output=output,
        per_example=per_example,
    )


def with_fields(batch: Batch, target: str | None, where: str | None = None, outputs: Outputs = None) -> Batch:
    """Return the batch with others of its fields as `targets` and `where`; of `mask`, all examples count alike.

    Args:
        outputs: where a target is found that is no field of the batch, by its path.

    Raises:
        MlgymError: there is no such field.
    """
    if target is not None and target not in batch and holds(outputs, target):
        batch = {**batch, target: pick(outputs, target)}
    for field in (target, where):
        if field is not None and field not in batch:
            others = f"; outputs: {listed(paths(outputs))}" if field == target and paths(outputs) else ""
            raise MlgymError(f"no field {field!r} in the data{nearest(field, batch)} Fields: {listed(batch)}{others}")
    if target is not None:
        batch = {**batch, "targets": batch[target]}
    if where is None:
        return batch
    others = {name: value for name, value in batch.items() if name != "where"}
    return others if where == "mask" else {**others, "where": batch[where]}


def interval_of(metric: Any) -> int:
    """Return every how many epochs a metric is computed."""
    return getattr(metric, "every", None) or 1


def _gathers(metric: Any) -> bool:
    return getattr(metric, "gathers", False)


def _due(metric: Any, epoch: Any) -> Any:
    return None if epoch is None or interval_of(metric) == 1 else jnp.asarray(epoch) % interval_of(metric) == 0


def _with_classes(batch: Batch) -> Batch:
    """Return the batch as metrics read it: with class numbers where an augmentation made shares of classes."""
    if CLASSES not in batch:
        return batch
    return {**{field: value for field, value in batch.items() if field != CLASSES}, **batch[CLASSES]}


def _seen(metric: Any, outputs: Outputs, processed: Outputs) -> Any:
    path = getattr(metric, "output", None)
    return outputs if path is None else pick(processed, path)


def _updated(metric: Any, outputs: Outputs, processed: Outputs, batch: Batch, epoch: Any) -> Any:
    path = getattr(metric, "output", None)
    seen = _seen(metric, outputs, processed)

    def update() -> Any:
        with reading(seen, path, batch):
            return metric.update(metric.init(), seen, batch)

    due = _due(metric, epoch)
    if due is None:
        return update()
    shapes = jax.eval_shape(update)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.cond(due, update, lambda: nothing if _gathers(metric) else _beginning(metric, shapes))


def _computed(metric: Any, state: Any, epoch: Any) -> Any:
    def compute() -> Any:
        return jax.tree.map(jnp.asarray, metric.compute(state))

    due = _due(metric, epoch)
    if due is None:
        return compute()

    def absent(leaf: Any) -> jax.Array:
        return jnp.full(leaf.shape, jnp.nan if jnp.issubdtype(leaf.dtype, jnp.inexact) else 0, leaf.dtype)

    shapes = jax.eval_shape(compute)
    return jax.lax.cond(due, compute, lambda: jax.tree.map(absent, shapes))


def part_names(loss: Any) -> tuple[str, ...]:
    """Name the parts of a loss that is a sum of others; each is reported by itself."""
    return tuple(getattr(loss, "part_names", ()))


def loss_values(loss: Any, outputs: Outputs, batch: Batch, given: Given) -> dict[str, LossValues]:
    """Return a loss's values an example, by name: `loss`, and `loss/<part>` of each part that it is the sum of.

    Raises:
        ConfigError: neither one value an example nor a pair (sums, weights); see `core.weighted`.
    """
    with named("loss", batch):
        found = {"loss": call_loss(loss, outputs, batch, given)}
        if part_names(loss):
            parts = loss.parts(outputs, batch, given)
            found.update({f"loss/{name}": parts[name] for name in part_names(loss)})
        for values in found.values():
            check_values(values, batch["mask"].shape[0])
    return found


def call_loss(loss: Any, outputs: Outputs, batch: Batch, given: Given, path: str | None = None) -> LossValues:
    """Call a loss with what it takes.

    Args:
        given: what it may take besides by name: `params`, the parameters that the outputs are of; `state`, the model's
            other variables as that call left them, with what it sowed; `key`, a typed PRNG key of this step's own;
            `step`, int32[], the updates done; `train`, whether this is a training step.
        path: the path of `outputs` among the model's, if one was named.

    Raises:
        MlgymError: whatever it raises, in words.
    """
    with reading(outputs, path, batch):
        return loss(outputs, batch, **{name: given[name] for name in taken_by(loss) if name in given})


def taken_by(loss: Any) -> tuple[str, ...]:
    """Return the names of what a loss takes besides outputs and batch; a sum takes what its parts do."""
    if hasattr(loss, "takes"):
        return tuple(loss.takes)
    try:
        parameters = inspect.signature(loss).parameters
    except (TypeError, ValueError):
        return ()
    return tuple(name for name in GIVEN if name in parameters)


def _check_metric(name: str, metric: Any) -> None:
    missing = [part for part in ("init", "update", "merge", "compute") if not callable(getattr(metric, part, None))]
    if missing:
        raise ConfigError(
            f"metrics.{name}",
            f"found {type(metric).__name__} without {', '.join(missing)}; a metric factory returns "
            "mg.Metric(init, update, merge, compute)",
        )

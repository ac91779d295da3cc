"""Metrics of the target's rank among the classes: top-k accuracy, recall@k and the area under it.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.metrics.top_k import recall_at_k
    >>> metric = recall_at_k(k=2)
    >>> batch = {"targets": jnp.array([2, 0]), "mask": jnp.ones(2, bool)}
    >>> state = metric.update(metric.init(), jnp.array([[0.1, 0.2, 0.9], [0.1, 0.2, 0.9]]), batch)
    >>> float(metric.compute(state))
    0.5

Of equal scores the later classes come first, as in scikit-learn's `top_k_accuracy_score`. Recall@k of a ranking of the
*examples* by one class's score is `retrieval_recall_at_k`, in `core.ranking_metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.metric import Batch, Metric, as_numbers, counted, plus_all
from mlgym_jax.core.targets import check_rank
from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics.examples import Examples, number_of_classes, pairs, ratio, read_examples

OverClasses = Literal["micro", "macro", "none"]


class _Ranks(NamedTuple):
    """Numbers of targets by rank, int32[groups, k], and of all, int32[groups]; a group is a class, or all of them.

    With weights they are sums of these.
    """

    at: Any
    count: Any


@register("metric", "top_k")
def top_k(*, k: int = 5) -> Metric:
    """Average whether the target is among the `k` classes of the highest scores; without any example NaN.

    Outputs `[batch, …, classes]`, integer targets `[batch, …]`.

    Raises:
        MlgymError: k < 1; a study with no more than k classes.
    """
    return _of_ranks("top_k", None, k, "micro", None, lambda recalls: recalls[:, -1])


@register("metric", "recall_at_k", needs=("dataset",))
def recall_at_k(
    dataset: Any = None, *, k: int = 5, average: OverClasses = "micro", num_classes: int | None = None
) -> Metric:
    """Share of the targets that are among the `k` classes of the highest scores; averaged over examples or classes.

    Args:
        average: `micro` counts every example alike, which is scikit-learn's `top_k_accuracy_score`; `macro` is the mean
            over the classes that occur in the targets of the share of their examples, for k = 1 `balanced_accuracy`;
            `none` gives that share by class, `{"class_0": …}`, NaN for a class that does not occur.
        num_classes: by default the dataset's; `micro` needs none.

    Without any example it is NaN.

    Raises:
        MlgymError: k < 1; no number of classes; a study with no more than k classes.
    """
    return _of_ranks("recall_at_k", dataset, k, average, num_classes, lambda recalls: recalls[:, -1])


@register("metric", "area_under_recall_at_k", needs=("dataset",))
def area_under_recall_at_k(
    dataset: Any = None, *, k: int = 5, average: OverClasses = "micro", num_classes: int | None = None
) -> Metric:
    """Area under `recall_at_k` over 1, 2, …, `k` by the trapezoidal rule, divided by k - 1: from 0 to 1.

    (recall@1 / 2 + recall@2 + … + recall@(k-1) + recall@k / 2) / (k - 1), which is scikit-learn's
    `auc([1, …, k], recalls) / (k - 1)`. The parameters are those of `recall_at_k`.

    Raises:
        MlgymError: k < 2; no number of classes; a study with fewer than k classes.
    """
    if k < 2:
        raise MlgymError(f"area_under_recall_at_k: an area needs k of at least 2; found {k}")

    def area(recalls: jax.Array) -> jax.Array:
        return (recalls.sum(axis=1) - (recalls[:, 0] + recalls[:, -1]) / 2) / (k - 1)

    return _of_ranks("area_under_recall_at_k", dataset, k, average, num_classes, area, whole=True)


def _of_ranks(
    name: str,
    dataset: Any,
    k: int,
    average: OverClasses,
    num_classes: int | None,
    score: Callable[[jax.Array], jax.Array],
    whole: bool = False,
) -> Metric:
    """Return the metric computed of recall@1, …, recall@k by group, `score(float32[groups, k]) -> float32[groups]`.

    Args:
        whole: whether `k` may be the number of classes, where recall is 1.
    """
    if k < 1:
        raise MlgymError(f"{name}: k counts classes, at least 1; found {k}")
    groups = 1 if average == "micro" else number_of_classes(name, dataset, num_classes)

    def init() -> _Ranks:
        return _Ranks(jnp.zeros((groups, k), jnp.int32), jnp.zeros((groups,), jnp.int32))

    def update(state: _Ranks, outputs: Any, batch: Batch) -> _Ranks:
        found = read_examples(name, outputs, batch, None if average == "micro" else groups)
        check_rank(name, k, 2 if found.single else found.outputs.shape[-1], whole, outputs, batch)
        group = jnp.zeros_like(found.targets) if average == "micro" else found.targets
        of_group = (group[:, None] == jnp.arange(groups, dtype=jnp.int32)[None, :]) & found.mask[:, None]
        at_rank = _rank(found)[:, None] == jnp.arange(k, dtype=jnp.int32)[None, :]
        return plus_all(state, _Ranks(pairs(of_group, at_rank, found.weights), counted(of_group, found.weights)))

    def compute(state: _Ranks) -> Any:
        state = as_numbers(state)
        recalls = ratio(jnp.cumsum(state.at, axis=1), jnp.broadcast_to(state.count[:, None], state.at.shape))
        present = state.count > 0
        scores = jnp.where(present, score(recalls), jnp.nan)
        if average == "micro":
            return scores[0]
        if average == "none":
            return {f"class_{index}": scores[index] for index in range(groups)}
        return jnp.where(present, scores, 0.0).sum() / present.sum(dtype=jnp.int32).astype(jnp.float32)

    return Metric(init, update, plus_all, compute)


def _rank(found: Examples) -> jax.Array:
    """Return int32[n], how many classes come before the target."""
    outputs = jnp.stack([-found.outputs, found.outputs], axis=-1) if found.single else found.outputs
    targets = found.targets[:, None]
    own = jnp.take_along_axis(outputs, targets, axis=-1)
    classes = jax.lax.broadcasted_iota(jnp.int32, outputs.shape, 1)
    # "Not below" and "not at most" put a NaN score of the target last.
    ahead = jnp.where(classes > targets, ~(outputs < own), ~(outputs <= own)) & (classes != targets)
    return ahead.sum(axis=-1, dtype=jnp.int32)

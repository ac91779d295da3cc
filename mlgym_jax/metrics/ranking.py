"""Metrics of the order of all examples by one class's score: AUROC, average precision, recall@k of a retrieval.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.metrics.ranking import auroc
    >>> metric = auroc(num_classes=2)
    >>> batch = {"targets": jnp.array([0, 0, 1, 1]), "mask": jnp.ones(4, bool)}
    >>> float(metric.compute(metric.update(metric.init(), jnp.array([0.1, 0.4, 0.35, 0.8]), batch)))
    0.75

They gather: each class is ranked against all others over the whole split at once. A class's score is

- with `from_logits=True`, its probability by softmax. It is kept as log(p / (1 - p)), which has the same order, so that
  probabilities which float32 rounds to 1 are still told apart;
- with `from_logits=False`, its output as it is: probabilities, or any scores;
- of a single output, that output for class 1 and its negative for class 0.

A class with a score that is not a number has no score. Without any example all of them are NaN. Weights of a field
`where` are those of scikit-learn's `sample_weight`; metrics of the first k examples, which are counted, take none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.metric import Batch, Metric, Sum, add, as_numbers, counted, gathering, summed, zero_sum
from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics.examples import (
    Examples,
    OneVsRest,
    by_example,
    flat_rows,
    number_of_classes,
    over_classes,
    read_examples,
    read_labels,
)


@register("metric", "auroc", needs=("dataset",))
def auroc(
    dataset: Any = None,
    *,
    average: OneVsRest = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    from_logits: bool = True,
    multilabel: bool = False,
) -> Metric:
    """Area under the receiver operating characteristic, each class against the rest; scikit-learn's `roc_auc_score`.

    The share of pairs of an example of the class and one of another in which the first has the higher score; equal
    scores count one half.

    Args:
        average: `macro` is the mean over the classes, `weighted` weighs it by their numbers of examples, `binary` is
            the score of `positive_class`, and `none` gives one score a class, `{"class_0": …}`. Of two classes, `macro`
            and `weighted` are the score of `positive_class`, too, as scikit-learn has it.
        num_classes: by default the dataset's; 2 for a single output.
        from_logits: whether scores are the softmax of the outputs, or the outputs themselves.
        multilabel: targets are 0 or 1 for each of several labels, each ranked by its own output; `num_classes` is their
            number.

    A class without examples, or without examples of other classes, has no score: alone it is NaN, and averages leave it
    out, where scikit-learn warns or raises.

    Raises:
        MlgymError: no number of classes; a positive class that is none; in `update`, outputs of another number.

    References:
        Hanley and McNeil, The meaning and use of the area under a receiver operating characteristic curve, 1982.
    """

    def score(ranked: _Ranked) -> tuple[jax.Array, jax.Array]:
        defined = (ranked.positives > 0) & (ranked.negatives > 0)
        # Of the positive at each row: twice the negatives below and once those of its score; twice those above, too.
        below = ranked.negatives_before + ranked.negatives_through
        above = 2 * ranked.negatives - below
        if ranked.weight is None:
            won, lost = (_exact_sum(jnp.where(ranked.positive, pairs, 0)) for pairs in (below, above))
        else:
            won, lost = (summed(ranked.weight * pairs).value for pairs in (below, above))
        return won / jnp.where(defined, won + lost, 1.0), defined

    return _one_vs_rest("auroc", dataset, average, num_classes, positive_class, from_logits, score, multilabel)


@register("metric", "aupr", needs=("dataset",))
def aupr(
    dataset: Any = None,
    *,
    average: OneVsRest = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    from_logits: bool = True,
    multilabel: bool = False,
    skip_absent: bool = False,
) -> Metric:
    """Area under precision and recall, each class against the rest; scikit-learn's `average_precision_score`.

    sum_t (recall_t - recall_(t-1)) precision_t over the distinct scores t as thresholds, from the highest down: the
    step function itself, without interpolation. The other parameters are those of `auroc`.

    Args:
        skip_absent: leave out classes without examples, or without others, as the Open Graph Benchmark does; by
            default a class without examples scores 0 and counts in the mean, as scikit-learn has it.

    References:
        Davis and Goadrich, The relationship between precision-recall and ROC curves, 2006.
    """

    def score(ranked: _Ranked) -> tuple[jax.Array, jax.Array]:
        hits = (ranked.positives - ranked.positives_before).astype(jnp.float32)
        others = (ranked.negatives - ranked.negatives_before).astype(jnp.float32)
        found = hits + others
        precisions = jnp.where(ranked.positive, hits / jnp.where(found > 0, found, 1.0), 0.0)
        if ranked.weight is not None:
            precisions = precisions * ranked.weight
        mean = summed(precisions).value / jnp.where(ranked.positives > 0, ranked.positives, 1).astype(jnp.float32)
        has_both = (ranked.positives > 0) & (ranked.negatives > 0)
        return mean, has_both if skip_absent else ranked.positives + ranked.negatives > 0

    return _one_vs_rest("aupr", dataset, average, num_classes, positive_class, from_logits, score, multilabel)


@register("metric", "retrieval_recall_at_k", needs=("dataset",))
def retrieval_recall_at_k(
    dataset: Any = None,
    *,
    k: int = 10,
    average: OneVsRest = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    from_logits: bool = True,
) -> Metric:
    """Share of a class's examples that are among the `k` examples with the highest score for it; mlgym's recall@k.

    Examples of one score share the places that are left for them evenly. The parameters are those of `auroc`; a class
    without examples has no score: alone it is NaN, and averages leave it out. With weights the places are filled until
    the weights add up to `k`, and the last example counts by the part that finds room: give weights around 1.

    Raises:
        MlgymError: k < 1, and as `auroc`.
    """
    _check_k("retrieval_recall_at_k", k, 1)

    def score(ranked: _Ranked) -> tuple[jax.Array, jax.Array]:
        return _found_among(ranked, k), ranked.positives > 0

    name = "retrieval_recall_at_k"
    return _one_vs_rest(name, dataset, average, num_classes, positive_class, from_logits, score)


@register("metric", "area_under_retrieval_recall_at_k", needs=("dataset",))
def area_under_retrieval_recall_at_k(
    dataset: Any = None,
    *,
    k: int = 10,
    average: OneVsRest = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    from_logits: bool = True,
) -> Metric:
    """Area under `retrieval_recall_at_k` over 1, 2, …, `k` by the trapezoidal rule, divided by k - 1: from 0 to 1.

    mlgym's area under recall@k divides by k instead. The parameters are those of `retrieval_recall_at_k`.

    Raises:
        MlgymError: k < 2, and as `auroc`.
    """
    name = "area_under_retrieval_recall_at_k"
    _check_k(name, k, 2)

    def score(ranked: _Ranked) -> tuple[jax.Array, jax.Array]:
        recalls = jax.lax.map(lambda places: _found_among(ranked, places), jnp.arange(1, k + 1, dtype=jnp.int32))
        return (recalls.sum() - (recalls[0] + recalls[-1]) / 2) / (k - 1), ranked.positives > 0

    return _one_vs_rest(name, dataset, average, num_classes, positive_class, from_logits, score)


class _Rows(NamedTuple):
    """A row an example: float32[batch, …, columns], int32[batch, …], bool[batch, …]; float32[batch, …] or None.

    Of several labels targets have columns as well, mask and weights one or, where labels are known singly, as many.
    """

    scores: jax.Array
    targets: jax.Array
    mask: jax.Array
    weights: jax.Array | None = None


class _Ranked(NamedTuple):
    """Examples by rising score of one class, those masked out anywhere; int32[n] but for the totals, int32[].

    With weights all of them are sums of these, float32.

    Attributes:
        positive: bool[n], whether the example is of the class.
        positives_before: examples of the class with a lower score.
        positives_through: the same with a score that is not higher.
        positives: examples of the class.
        above: examples with a higher score; tied: those with this one.
    """

    positive: jax.Array
    positives_before: jax.Array
    positives_through: jax.Array
    positives: jax.Array
    negatives_before: jax.Array
    negatives_through: jax.Array
    negatives: jax.Array
    above: jax.Array
    tied: jax.Array
    weight: jax.Array | None = None  # float32[n], of each example of the class, 0 of the others


def _one_vs_rest(
    name: str,
    dataset: Any,
    average: OneVsRest,
    num_classes: int | None,
    positive_class: int,
    from_logits: bool,
    score: Callable[[_Ranked], tuple[jax.Array, jax.Array]],
    multilabel: bool = False,
) -> Metric:
    """Return the metric that is one score a class, averaged; `score` returns it and whether it is defined."""
    classes = number_of_classes(name, dataset, num_classes, positive_class if average == "binary" else None)
    if classes < 2 and not multilabel:
        raise MlgymError(f"{name}: at least 2 classes are ranked; found num_classes={classes}")
    alone = average == "binary" or (classes == 2 and average != "none" and not multilabel)
    if alone:
        number_of_classes(name, dataset, num_classes, positive_class)
    columns = (positive_class,) if alone else tuple(range(classes))

    def init() -> _Rows:
        targets = jnp.zeros((0, len(columns)) if multilabel else (0,), jnp.int32)
        mask = jnp.zeros((0, 1) if multilabel else (0,), bool)
        return _Rows(jnp.zeros((0, len(columns)), jnp.float32), targets, mask)

    def rows(outputs: Any, batch: Batch) -> _Rows:
        if multilabel:
            found = read_labels(name, outputs, batch, classes)
            found = jax.tree.map(lambda leaf: leaf if leaf.shape[-1] == 1 else leaf[:, jnp.asarray(columns)], found)
            weights = found.weights
            leaves = jnp.where(found.mask, found.outputs, 0.0), found.targets.astype(jnp.int32), found.mask
        else:
            found = read_examples(name, outputs, batch, classes)
            scores, weights = scores_of_classes(found, from_logits)[:, jnp.asarray(columns)], found.weights
            leaves = jnp.where(found.mask[:, None], scores, 0.0), found.targets, found.mask
        given = leaves if weights is None else (*leaves, weights)
        return _Rows(*(by_example(leaf, batch["mask"].shape[0]) for leaf in given))

    def compute(state: _Rows) -> Any:
        targets = flat_rows(state.targets, len(columns)) if multilabel else flat_rows(state.targets)
        scores, known = flat_rows(state.scores, len(columns)), state.mask.shape[-1] if multilabel else 1
        shape = (known,) if known > 1 else ()
        mask, weights = jax.tree.map(lambda leaf: flat_rows(leaf, *shape), (state.mask, state.weights))
        if not len(mask):  # no row at all is as good as one that does not count
            scores, targets, mask = (jnp.zeros((1, *leaf.shape[1:]), leaf.dtype) for leaf in (scores, targets, mask))
            weights = None
        own = targets > 0 if multilabel else targets[:, None] == jnp.asarray(columns, jnp.int32)[None, :]

        def of_class(scores: jax.Array, own: jax.Array, mask: jax.Array, weights: Any) -> tuple[jax.Array, jax.Array]:
            found, defined = score(_ranked(scores, own, mask, weights))
            return jnp.where((jnp.isnan(scores) & mask).any(), jnp.nan, found), defined

        by_label = 1 if mask.ndim > 1 else None
        each, defined = jax.vmap(of_class, in_axes=(1, 1, by_label, by_label))(scores, own, mask, weights)
        if alone:
            return jnp.where(defined, each, jnp.nan)[0]
        counts = as_numbers(counted(own & (mask if by_label else mask[:, None]), weights))
        return over_classes(average, each, counts, defined, positive_class)

    return gathering(init, rows, compute)


def scores_of_classes(found: Examples, from_logits: bool) -> jax.Array:
    """Return float32[n, classes], by which examples are ranked: log odds, or without logits the outputs."""
    outputs = found.outputs.astype(jnp.float32)
    if found.single:
        return jnp.stack([-outputs, outputs], axis=-1)
    if not from_logits:
        return outputs
    # log(p / (1 - p)) = logit - logsumexp of the other logits, which for all but the highest class are 1 - p > 1/2.
    is_top = jax.nn.one_hot(outputs.argmax(axis=-1), outputs.shape[-1], dtype=jnp.bool_)
    shifted = outputs - outputs.max(axis=-1, keepdims=True)
    below_top = jnp.where(is_top, -jnp.inf, shifted)
    of_top = -jax.nn.logsumexp(below_top, axis=-1, keepdims=True)
    weights = jnp.exp(below_top)
    of_others = shifted - jnp.log1p(weights.sum(axis=-1, keepdims=True) - weights)
    return jnp.where(is_top, of_top, of_others)


def _ranked(scores: jax.Array, own: jax.Array, mask: jax.Array, weights: jax.Array | None) -> _Ranked:
    marks = (own & mask, mask)
    numbers = (jnp.where(mark, weights, 0.0) if weights is not None else mark.astype(jnp.int32) for mark in marks)
    scores, positive, every = jax.lax.sort((scores, *numbers), num_keys=1)
    differs = scores[1:] != scores[:-1]
    at_end = jnp.ones((1,), bool)
    is_first, is_last = jnp.concatenate([at_end, differs]), jnp.concatenate([differs, at_end])

    def through_ties(marks: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        so_far = jnp.cumsum(marks)
        total = so_far[-1]
        before = jax.lax.cummax(jnp.where(is_first, so_far - marks, 0))
        through = jax.lax.cummin(jnp.where(is_last, so_far, total), reverse=True)
        return before, through, total

    # Summed from the highest score down, where of weights the first few keep their digits.
    from_top = jnp.cumsum(every[::-1])[::-1]
    above = jax.lax.cummax(
        jnp.where(is_last, jnp.concatenate([from_top[1:], jnp.zeros_like(from_top[:1])]), 0), reverse=True
    )
    tied = jax.lax.cummin(jnp.where(is_first, from_top, from_top[0])) - above
    weight = None if weights is None else positive
    return _Ranked(positive > 0, *through_ties(positive), *through_ties(every - positive), above, tied, weight)


def _found_among(ranked: _Ranked, k: Any) -> jax.Array:
    """Return the share of the class's examples that are among the k of the highest scores."""
    places = jnp.clip(jnp.asarray(k, ranked.above.dtype) - ranked.above, 0, ranked.tied).astype(jnp.float32)
    tied = jnp.where(ranked.tied > 0, ranked.tied, 1).astype(jnp.float32)
    shares = jnp.where(ranked.positive, places / tied, 0.0)
    shares = shares if ranked.weight is None else shares * ranked.weight
    positives = jnp.where(ranked.positives > 0, ranked.positives, 1)
    return summed(shares).value / positives.astype(jnp.float32)


def _exact_sum(counts: jax.Array) -> jax.Array:
    """Add int32[n] to a float32 that is rounded once; the sum may be far above 2^31, for up to 2^24 counts."""
    digits = ((counts >> shift & 255).sum(dtype=jnp.uint32) for shift in (0, 8, 16, 24))
    halves = (part for digit in digits for part in (digit & 65535, digit >> 16))
    total = zero_sum()
    for half, scale in zip(halves, (2.0**power for power in (0, 16, 8, 24, 16, 32, 24, 40)), strict=True):
        total = add(total, Sum(half.astype(jnp.float32) * scale, jnp.zeros((), jnp.float32)))
    return total.value


def _check_k(name: str, k: int, least: int) -> None:
    if k < least:
        raise MlgymError(f"{name}: k counts examples, at least {least}; found {k}")

"""Metrics of predicted probabilities: Brier score, calibration errors, perplexity.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.metrics.probability import brier_score
    >>> metric = brier_score(from_logits=False)
    >>> batch = {"targets": jnp.array([0, 1, 1, 0]), "mask": jnp.ones(4, bool)}
    >>> state = metric.update(metric.init(), jnp.array([0.1, 0.9, 0.8, 0.3]), batch)
    >>> round(float(metric.compute(state)), 4)
    0.0375

Outputs, targets and `from_logits` are those of `core.metrics`. Without any example all of them are NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.metric import (
    Batch,
    Mean,
    Metric,
    Sum,
    add,
    add_means,
    as_numbers,
    counted,
    exact_product,
    mean_state,
    mean_value,
    plus_all,
    summed,
    zero_sum,
)
from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics.examples import (
    Examples,
    OneVsRest,
    number_of_classes,
    over_classes,
    probabilities,
    read_examples,
)


@register("metric", "brier_score")
def brier_score(*, from_logits: bool = True, scale_by_half: bool | None = None) -> Metric:
    """Mean squared distance of the probabilities from the target; scikit-learn's `brier_score_loss`.

    1/n sum_i sum_c (p_ic - y_ic)^2 with y_ic = 1 where example i is of class c and 0 elsewhere.

    Args:
        from_logits: whether outputs are logits; otherwise they are probabilities.
        scale_by_half: halve it. By default for two classes alone, where it is then the mean of (p_i - y_i)^2 with the
            probability p_i of class 1.

    References:
        Brier, Verification of forecasts expressed in terms of probability, 1950.
    """

    def update(state: Mean, outputs: Any, batch: Batch) -> Mean:
        found = read_examples("brier_score", outputs, batch)
        by_class = probabilities(found, from_logits)
        is_target = found.targets[:, None] == jnp.arange(by_class.shape[1], dtype=jnp.int32)[None, :]
        values = jnp.square(by_class - is_target.astype(jnp.float32)).sum(axis=1)
        if scale_by_half or (scale_by_half is None and by_class.shape[1] == 2):
            values = values / 2
        return add_means(state, mean_state(values, found.mask, found.weights))

    return Metric(lambda: Mean(zero_sum(), jnp.zeros((), jnp.int32)), update, add_means, mean_value)


@register("metric", "perplexity")
def perplexity(*, from_logits: bool = True, ignore_target: int | None = None) -> Metric:
    """Exponential of the mean cross-entropy of all positions: exp(-1/n sum_i log p_i) with the targets' probabilities.

    Outputs `[batch, positions, classes]`, integer targets `[batch, positions]`. Positions do not count where the
    batch's `mask`, or its field `where`, bool[batch, positions], is False; numbers there weigh them.

    Args:
        from_logits: whether outputs are logits; otherwise they are probabilities.
        ignore_target: a target whose positions do not count either, such as that of padding.

    References:
        Jelinek, Mercer, Bahl and Baker, Perplexity - a measure of the difficulty of speech recognition tasks, 1977.
    """

    def update(state: Mean, outputs: Any, batch: Batch) -> Mean:
        found = read_examples("perplexity", outputs, batch, ignore=ignore_target)
        mask = found.mask if ignore_target is None else found.mask & (found.targets != ignore_target)
        by_class = found.outputs.astype(jnp.float32)
        if found.single:
            by_class = jnp.stack([jnp.zeros_like(by_class) if from_logits else 1 - by_class, by_class], axis=-1)
        own = jnp.take_along_axis(by_class, jnp.where(mask, found.targets, 0)[:, None], axis=-1)[:, 0]
        count = counted(mask, found.weights)
        weighed = lambda values: values if found.weights is None else values * found.weights  # noqa: E731
        if not from_logits:
            return add_means(state, Mean(summed(jnp.where(mask, weighed(-jnp.log(own)), 0.0)), count))
        # -log p = (top - own) + log sum exp(outputs - top); the exponential of the mean asks for every digit.
        top = by_class.max(axis=-1)
        apart = add(Sum(top, jnp.zeros_like(top)), Sum(-own, jnp.zeros_like(own)))
        rest = apart.lost + jnp.log(jnp.exp(by_class - top[:, None]).sum(axis=-1))
        total = add(*(summed(jnp.where(mask, weighed(values), 0.0)) for values in (apart.total, rest)))
        return add_means(state, Mean(total, count))

    def compute(state: Mean) -> jax.Array:
        count = as_numbers(state.count)
        high, low = _quotient(state.sum, jnp.where(count > 0, count, 1).astype(jnp.float32))
        return jnp.where(count > 0, jnp.exp(high) * jnp.exp(low), jnp.nan)

    return Metric(lambda: Mean(zero_sum(), jnp.zeros((), jnp.int32)), update, add_means, compute)


def _quotient(dividend: Sum, divisor: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return dividend / divisor, and what rounding lost of it, by Dekker's exact product (1971)."""
    quotient = dividend.value / divisor
    product, error = exact_product(quotient, divisor)
    remainder = ((dividend.total - product) - error) + dividend.lost
    return quotient, jnp.where(jnp.isfinite(remainder), remainder / divisor, 0.0)


@register("metric", "expected_calibration_error")
def expected_calibration_error(*, num_bins: int = 15, from_logits: bool = True) -> Metric:
    """Mean difference of confidence and accuracy over bins of equal width: sum_b n_b/n |accuracy_b - confidence_b|.

    The confidence is the highest probability, and the accuracy the share of examples whose target it is of. A single
    output stands for two classes. Bin b = 1 … num_bins holds the confidences in ((b-1)/num_bins, b/num_bins], and the
    first 0, too; the edges are float32, as the probabilities are.

    Args:
        from_logits: whether outputs are logits; otherwise they are probabilities.

    Raises:
        MlgymError: no bins.

    References:
        Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, 2015.
        Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, 2017.
    """

    def binned(outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array, Examples]:
        found = read_examples("expected_calibration_error", outputs, batch)
        by_class = probabilities(found, from_logits)
        hit = by_class.argmax(axis=-1).astype(jnp.int32) == found.targets
        return by_class.max(axis=-1)[:, None], hit[:, None], found

    def compute(state: Bins) -> jax.Array:
        return _errors(state)[0]

    return of_bins("expected_calibration_error", 1, num_bins, binned, compute)


@register("metric", "class_wise_calibration_error", needs=("dataset",))
def class_wise_calibration_error(
    dataset: Any = None,
    *,
    num_bins: int = 15,
    average: OneVsRest = "macro",
    num_classes: int | None = None,
    positive_class: int = 1,
    from_logits: bool = True,
) -> Metric:
    """Calibration error of each class's own probability, averaged over classes: sum_b n_b/n |share_b - probability_b|.

    For each class, the bins are those of `expected_calibration_error` over its probability, the highest or not, and
    share_b is the class's share of the examples in bin b.

    Args:
        average: `macro` is the mean over all classes, as published; `weighted` weighs it by their numbers of examples,
            `binary` is the error of `positive_class`, and `none` gives one a class, `{"class_0": …}`.
        num_classes: by default the dataset's.
        from_logits: whether outputs are logits; otherwise they are probabilities.

    Raises:
        MlgymError: no number of classes; a positive class that is none; no bins.

    References:
        Kull et al., Beyond temperature scaling: obtaining well-calibrated multi-class probabilities with Dirichlet
        calibration, 2019.
    """
    name = "class_wise_calibration_error"
    classes = number_of_classes(name, dataset, num_classes, positive_class if average == "binary" else None)

    def binned(outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array, Examples]:
        found = read_examples(name, outputs, batch, classes)
        is_target = found.targets[:, None] == jnp.arange(classes, dtype=jnp.int32)[None, :]
        return probabilities(found, from_logits), is_target, found

    def compute(state: Bins) -> Any:
        counts, defined = as_numbers(state.hit).sum(axis=1), jnp.ones((classes,), bool)
        return over_classes(average, _errors(state), counts, defined, positive_class)

    return of_bins(name, classes, num_bins, binned, compute)


class Bins(NamedTuple):
    """Numbers of examples and of hits, int32[classes, bins] or weights, and their confidences added up."""

    count: Any
    hit: Any
    confidence: Sum


def of_bins(
    name: str,
    classes: int,
    num_bins: int,
    binned: Callable[[Any, Batch], tuple[jax.Array, jax.Array, Examples]],
    compute: Callable[[Bins], Any],
) -> Metric:
    """Return the metric that is computed of bins of confidences.

    `binned` returns confidences float32[n, classes], whether they are of the target, bool[n, classes], and what counts.
    """
    if num_bins < 1:
        raise MlgymError(f"{name}: num_bins is at least 1; found {num_bins}")

    def init() -> Bins:
        nothing = jnp.zeros((classes, num_bins), jnp.int32)
        return Bins(nothing, nothing, zero_sum(classes, num_bins))

    def update(state: Bins, outputs: Any, batch: Batch) -> Bins:
        confidence, hit, examples = binned(outputs, batch)
        weights = examples.weights
        edges = jnp.asarray([edge / num_bins for edge in range(1, num_bins)], jnp.float32)
        index = (confidence[..., None] > edges[None, None, :]).sum(axis=-1, dtype=jnp.int32)
        in_bin = index[..., None] == jnp.arange(num_bins, dtype=jnp.int32)[None, None, :]
        in_bin = in_bin & examples.mask[:, None, None]
        if weights is not None:
            confidence = confidence * weights[:, None]
        found = Bins(
            counted(in_bin, weights),
            counted(in_bin & hit[..., None], weights),
            summed(jnp.where(in_bin, confidence[..., None], 0.0)),
        )
        return plus_all(state, found)

    return Metric(init, update, plus_all, compute)


def _errors(state: Bins) -> jax.Array:
    """Return float32[classes], the calibration errors; NaN without any example."""
    hit, lost = (
        (state.hit.total, state.hit.lost) if isinstance(state.hit, Sum) else (state.hit.astype(jnp.float32), 0.0)
    )
    apart = (hit - state.confidence.total) - (state.confidence.lost - lost)
    total = as_numbers(state.count).sum(axis=1)
    errors = jnp.abs(apart).sum(axis=1) / jnp.where(total > 0, total, 1).astype(jnp.float32)
    return jnp.where(total > 0, errors, jnp.nan)

"""Dice losses of pixels that do not count alike: Optax's formulas, with the sums over pixels weighed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.core.weighted import LossValues, kept_of

DICE = frozenset(("binary_dice_loss", "dice_loss", "multiclass_generalized_dice_loss"))
_EPSILON = 1e-7  # of Optax's class weights


def of_pixels(where: Any, scores: jax.Array) -> bool:
    """Tell whether a field `where` says how much single pixels of outputs [batch, …, classes] count."""
    return where is not None and scores.ndim > 1 and 1 < where.ndim <= scores.ndim and where.size > where.shape[0]


def weighted_dice(name: str, scores: jax.Array, targets: jax.Array, where: Any, settings: dict[str, Any]) -> LossValues:
    r"""Return (sums, weights), float[batch] each, of a dice loss by its name; examples without any pixel do not count.

    \(1 - (I + s) / (I + \alpha (P - I) + \beta (T - I) + s)\) of each class, with \(I = \sum w p t\), \(P = \sum w p\)
    and \(T = \sum w t\) over the pixels of an example (of the generalized one classes count by \((\sum w t)^{-2}\) over
    the batch): a pixel of weight 2 is as two, one of weight 0 is not there.

    Args:
        scores, targets: float[batch, …, classes], or float[batch, …] of the binary one; where: [batch, …], bool or
            weights; settings: the parameters of Optax's function.
    """
    if name == "binary_dice_loss" and scores.shape[-1] != 1:
        scores, targets = scores[..., None], targets[..., None]
    if targets.ndim == scores.ndim - 1:
        targets = targets[..., None]
    kept = kept_of(where, targets[..., 0])
    kept = jnp.ones(targets.shape[:-1], bool) if kept is None else kept
    counts = kept.astype(bool)[..., None]
    scores, targets = (jnp.where(counts, array, jnp.zeros_like(array)) for array in (scores, targets))
    weights = kept.astype(scores.dtype)[..., None]
    probs = jax.nn.sigmoid(scores) if scores.shape[-1] == 1 else jax.nn.softmax(scores, axis=-1)
    axis = settings.get("axis")
    axis = tuple(range(1, scores.ndim - 1)) if axis is None else axis
    shared, said, there = (
        jnp.sum(weights * part, axis=axis) for part in (probs * targets, probs, targets)
    )  # fmt: skip
    smooth = settings.get("smooth", 1.0)
    alpha, beta = settings.get("alpha", 0.5), settings.get("beta", 0.5)
    values = 1 - (shared + smooth) / (shared + alpha * (said - shared) + beta * (there - shared) + smooth)
    of_classes = settings.get("class_weights")
    if name == "multiclass_generalized_dice_loss":
        frequencies = jnp.sum(weights * targets, axis=tuple(range(targets.ndim - 1)))
        of_classes = 1 / (jnp.square(frequencies) + _EPSILON)
        of_classes = of_classes / of_classes.sum() * len(of_classes)
    if of_classes is not None:
        values = values * of_classes.reshape(*(1 for _ in values.shape[1:]), -1)
    if settings.get("ignore_background") and scores.shape[-1] > 1:
        values = values[..., 1:]
    values = values.sum(axis=-1) if settings.get("reduction") == "sum" else values.mean(axis=-1)
    values = values.reshape(len(values), -1).mean(axis=1)
    any_pixel = kept.astype(bool).reshape(len(kept), -1).any(axis=1)
    if name == "multiclass_generalized_dice_loss":  # it relates all examples, and is each one's
        mean = jnp.where(any_pixel, values, 0).sum() / jnp.maximum(any_pixel.sum(), 1).astype(values.dtype)
        values = jnp.broadcast_to(mean, values.shape)
    return jnp.where(any_pixel, values, jnp.zeros_like(values)), any_pixel.astype(jnp.float32)

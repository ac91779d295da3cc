"""Noise on numbers, of tables as of images: gaussian_noise, feature_dropout, swap_noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mlgym_jax.augmentations.fields import Augmentation, floats_of, real, value_of, with_values
from mlgym_jax.augmentations.mixing import shuffled_real
from mlgym_jax.augmentations.strengths import check_finite, check_not_negative, check_share, number
from mlgym_jax.components.registry import register
from mlgym_jax.core.inputs import INPUTS
from mlgym_jax.core.state import Batch


@register("augmentation", "gaussian_noise", dynamic=("scale",))
def gaussian_noise(*, scale: float = 0.1) -> Augmentation:
    """Add to each number of `inputs` a normal one with the standard deviation `scale`.

    Raises:
        ConfigError: a scale below 0; when traced, inputs that are integers.
    """
    check_not_negative(scale=scale)

    def augment(key: jax.Array, batch: Batch) -> Batch:
        inputs = floats_of("gaussian_noise", batch)
        noise = jax.random.normal(key, inputs.shape, jnp.float32) * number(scale)
        return with_values(batch, {INPUTS: inputs + noise.astype(inputs.dtype)})

    return augment


@register("augmentation", "feature_dropout", dynamic=("rate",))
def feature_dropout(*, rate: float = 0.1, value: float = 0.0) -> Augmentation:
    """Replace each number of `inputs`, with the probability `rate`, by one value; the others are not scaled.

    Args:
        value: such as 0 for the mean of standardised columns.

    Raises:
        ConfigError: a rate outside of [0, 1]; when traced, inputs that are integers.
    """
    check_share(rate=rate)
    check_finite(value=value)

    def augment(key: jax.Array, batch: Batch) -> Batch:
        inputs = floats_of("feature_dropout", batch)
        dropped = jax.random.uniform(key, inputs.shape) < number(rate)
        return with_values(batch, {INPUTS: jnp.where(dropped, jnp.asarray(value, inputs.dtype), inputs)})

    return augment


@register("augmentation", "swap_noise", dynamic=("rate",))
def swap_noise(*, rate: float = 0.1) -> Augmentation:
    """Replace each number of `inputs`, with the probability `rate`, by that of another example at the same place.

    Each example has one other of the batch that it takes numbers from, so that columns keep their distribution. What
    comes of padding is nothing.

    Raises:
        ConfigError: a rate outside of [0, 1].
    """
    check_share(rate=rate)

    def augment(key: jax.Array, batch: Batch) -> Batch:
        of_partner, of_swap = jax.random.split(key)
        inputs = value_of("swap_noise", batch)
        others = jnp.take(inputs, shuffled_real(of_partner, real(batch)), axis=0, mode="clip")
        swapped = jax.random.uniform(of_swap, inputs.shape) < number(rate)
        return with_values(batch, {INPUTS: jnp.where(swapped, others, inputs)})

    return augment

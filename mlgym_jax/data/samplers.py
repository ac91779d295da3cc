"""Samplers: how probable each training example is. An epoch draws as many as there are, with replacement.

A sampler is a pure callable `(arrays) -> float[n]` of weights, of a fold's training part: its fields, and `mask`,
bool[n], False where the part is padded. It runs on the device, inside of the compiled program. Of data that are read
while they train it is called once before, with the fields that it asks for, inputs not among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset, array_type
from mlgym_jax.data.sources import few_arrays
from mlgym_jax.errors import ConfigError, listed, nearest

Sampler = Callable[[Mapping[str, jax.Array]], jax.Array]


def _check_classes(dataset: Dataset, name: str) -> int:
    targets = few_arrays(dataset.splits["train"]).get("targets")
    if dataset.num_classes is None or targets is None or targets.ndim != 1 or targets.dtype.kind not in "iub":
        raise ConfigError("sampler", f"{name!r} needs one integer class an example, which the dataset does not have")
    return dataset.num_classes


@register("sampler", "class_balanced", needs=("dataset",), dynamic=("power",))
def class_balanced(dataset: Dataset, *, power: float = 1.0) -> Sampler:
    """Draw rare classes more often: an example of a class of n in the fold's training part weighs n to the -power.

    With the power 1 every class is equally probable, with 0 every example; 0.5 is square-root sampling (Kang et al.,
    "Decoupling representation and classifier for long-tailed recognition", 2020).

    Raises:
        ConfigError: the dataset has no classes.
    """
    num_classes = _check_classes(dataset, "class_balanced")

    def weights(arrays: Mapping[str, jax.Array]) -> jax.Array:
        targets = arrays["targets"].astype(jnp.int32)
        counts = jax.ops.segment_sum(arrays["mask"].astype(jnp.float32), targets, num_classes)
        return jnp.maximum(counts, 1.0)[targets] ** -power

    return weights


@register("sampler", "class_weighted", needs=("dataset",))
def class_weighted(dataset: Dataset, *, weights: tuple[float, ...]) -> Sampler:
    """Draw every example with the weight of its class.

    Args:
        weights: one number a class, at least 0.

    Raises:
        ConfigError: the dataset has no classes, another number of weights, a negative one, or only zeros.
    """
    num_classes = _check_classes(dataset, "class_weighted")
    if len(weights) != num_classes:
        raise ConfigError("sampler.weights", f"found {len(weights)} weights; the dataset has {num_classes} classes")
    _check_weights(np.array(weights), "sampler.weights", "class")
    return lambda arrays: jnp.asarray(weights, jnp.float32)[arrays["targets"]]


@register("sampler", "weighted", needs=("dataset",))
def weighted(dataset: Dataset, *, field: str = "weights") -> Sampler:
    """Draw every example with its own weight, a field of the dataset.

    Args:
        field: float[n], at least 0.

    Raises:
        ConfigError: there is no such field, it has another shape, a negative weight, or only zeros.
    """
    train = dataset.splits["train"]
    arrays = few_arrays(train)
    if field not in arrays:
        raise ConfigError(
            "sampler.field", f"the dataset has no field {field!r}{nearest(field, arrays)} Fields: {listed(arrays)}"
        )
    values = arrays[field]
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise ConfigError("sampler.field", f"{field!r} is {array_type(values)}; one number an example is expected")
    if isinstance(train, Mapping):  # the weights of records are seen when they are read
        _check_weights(values, "sampler.field", "row")
    return lambda arrays: arrays[field].astype(jnp.float32)


def _check_weights(values: np.ndarray, path: str, unit: str) -> None:
    wrong: Any = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        raise ConfigError(path, f"{unit} {wrong[0]} has the weight {values[wrong[0]]}; at least 0 is expected")
    if not (values > 0).any():
        raise ConfigError(path, "all weights are 0, so that nothing can be drawn")

"""Batches of examples of similar length, each cut to the smallest of a few lengths that holds all of it.

A program takes arrays of known shapes alone, so there is a branch for each length; the batch says which one runs. All
of them are parts of one compiled program, and a state is of one form in all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.core.shuffling import sorted_by

MOST_BUCKETS = 16  # a bucket is 4 bits of what an epoch is sorted by


@dataclasses.dataclass(frozen=True)
class Buckets:
    """The lengths that batches are cut to.

    Attributes:
        sizes: in ascending order; the last is the whole length.
        fields: fields of the data that are cut along their second axis, float[batch, length, …].
        source: the field that lengths are known by: whole numbers an example, or a mask of positions.
    """

    sizes: tuple[int, ...]
    fields: tuple[str, ...]
    source: str

    def lengths(self, fields: Mapping[str, Any]) -> Any:
        """Return int32[batch], the positions of each example that are no padding, from its first to its last."""
        found = fields[self.source]
        if found.ndim == 1:
            return found.astype(np.int32)
        own: Any = np if isinstance(found, np.ndarray) else jnp
        places = own.arange(1, found.shape[1] + 1, dtype=np.int32)
        return own.where(found != 0, places[None, :], np.int32(0)).max(axis=1)

    def cut(self, fields: Mapping[str, Any], size: int | None) -> dict[str, Any]:
        """Return the fields of a batch with so many positions; None leaves all."""
        if size is None:
            return dict(fields)
        return {field: array[:, :size] if field in self.fields else array for field, array in fields.items()}

    def order(self, key: jax.Array, lengths: jax.Array, mask: jax.Array, batch_size: int, num_steps: int) -> jax.Array:
        """Return the positions int32[n] of examples in an order whose batches are of similar length.

        Examples of one bucket come in random order, buckets from short to long or from long to short, and full batches
        in random order, of which the last, smaller one stays the last.

        Args:
            key: a typed PRNG key; lengths: int32[n]; mask: bool[n], False for padding, which is at the end.
        """
        of_examples, of_direction, of_batches = jax.random.split(key, 3)
        number = jnp.searchsorted(jnp.asarray(self.sizes[:-1], jnp.int32), lengths).astype(jnp.uint32)
        turned = jnp.uint32(len(self.sizes) - 1) - number
        number = jnp.where(jax.random.bernoulli(of_direction), turned, number)
        bits = (number << 28) | (jax.random.bits(of_examples, lengths.shape) >> 4)
        within = sorted_by(bits, mask)
        full = mask.sum(dtype=jnp.int32) // batch_size
        is_full = jnp.arange(num_steps, dtype=jnp.int32) < full
        batches = sorted_by(jax.random.bits(of_batches, (num_steps,)), is_full)
        places = (batches[:, None] * batch_size + jnp.arange(batch_size, dtype=jnp.int32)[None, :]).reshape(-1)
        return within[places % jnp.maximum(mask.sum(dtype=jnp.int32), 1)]

    def added(
        self,
        fields: Mapping[str, Any],
        mask: jax.Array,
        carry: Any,
        add: Callable[[Any, int], Any],
        choose: Callable[..., Any],
    ) -> Any:
        """Call `add(carry, size)` with the least size that holds all examples of a batch that count."""
        longest = jnp.where(mask, self.lengths(fields), 0).max()
        return choose(self.sizes, jnp.minimum(longest, self.sizes[-1]), carry, add)


def chosen_sizes(lengths: np.ndarray, whole: int, number: int) -> tuple[int, ...]:
    """Return at most `number` sizes, the last of them `whole`, by which examples of these lengths are padded least.

    Found exactly, by dynamic programming over the lengths that occur, or of more than 512 over as many quantiles.
    """
    lengths = np.clip(lengths, min(2, whole), whole)
    every = np.unique(lengths)
    if len(every) > 512:
        every = np.unique(np.quantile(lengths, np.linspace(0, 1, 512), method="higher"))
    every = np.unique(np.append(every, whole)).astype(np.int64)
    # up_to[j]: examples of at most every[j - 1] positions.
    up_to = np.concatenate([[0], np.searchsorted(np.sort(lengths), every, side="right")])
    cost = np.where(np.arange(len(every) + 1) > 0, np.inf, 0.0)
    origins = []
    for _ in range(min(number, len(every))):
        # Of the sizes before, and every[j - 1] as the next one: from i to j the examples are padded to it.
        total = cost[:, None] + (up_to[None, 1:] - up_to[:, None]) * every[None, :].astype(float)
        total[np.arange(len(every) + 1)[:, None] > np.arange(len(every))[None, :]] = np.inf
        origins.append(total.argmin(axis=0))
        cost = np.concatenate([[0.0], np.minimum(total.min(axis=0), np.inf)])
        cost[0] = 0.0
    at, sizes = len(every), []
    for origin in reversed(origins):
        if at == 0:
            break
        sizes.append(int(every[at - 1]))
        at = int(origin[at - 1])
    return tuple(sorted({*sizes}))

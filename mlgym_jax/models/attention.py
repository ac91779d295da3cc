"""Blocks of attention, as Transformers of tokens and of images stack them.

Vaswani et al. 2017, arXiv:1706.03762, with the norm before each branch: Xiong et al. 2020, arXiv:2002.04745.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlgym_jax.errors import ConfigError
from mlgym_jax.models.inputs import dropped, with_path_dropped

# Radford et al. 2019 (GPT-2)
NORMAL = nn.initializers.normal(0.02)
_UNIFORM = nn.initializers.xavier_uniform()


class Attention(nn.Module):
    """Scaled dot products of several heads: of a sequence with itself, or with another one, `memory`."""

    num_heads: int
    causal: bool = False
    kernel_init: Any = _UNIFORM
    out_init: Any = _UNIFORM

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array | None = None,
        real: jax.Array | None = None,
        angles: jax.Array | None = None,
    ) -> jax.Array:
        """Return float[batch, length, width] of the same.

        Args:
            x: what asks; memory: float[batch, other length, width], what is asked, by default `x`.
            real: bool[batch, length of what is asked], the positions that are no padding, or bool[batch, length, length
                of what is asked], those that each position may see.
            angles: float32[length, width of a head / 2], by which pairs of queries and keys are turned, or of each
                example, float32[batch, length, width of a head / 2].
        """
        width = x.shape[-1]
        asked = x if memory is None else memory

        def heads(name: str, of: jax.Array) -> jax.Array:
            return nn.Dense(width, kernel_init=self.kernel_init, name=name)(of).reshape(
                *of.shape[:2], self.num_heads, width // self.num_heads
            )

        query, key, value = heads("query", x), heads("key", asked), heads("value", asked)
        if angles is not None:
            query, key = turned(query, angles), turned(key, angles)
        mask = real if real is None else real[:, None] if real.ndim == 3 else real[:, None, None, :]
        found = jax.nn.dot_product_attention(query, key, value, mask=mask, is_causal=self.causal)
        return nn.Dense(width, kernel_init=self.out_init, name="out")(found.reshape(x.shape))


class FeedForward(nn.Module):
    """Two dense layers, applied at each position."""

    width: int
    activation: Callable[[jax.Array], jax.Array]
    dropout_rate: Any = 0.0
    kernel_init: Any = _UNIFORM
    out_init: Any = _UNIFORM

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        width = x.shape[-1]
        x = self.activation(nn.Dense(self.width, kernel_init=self.kernel_init, name="up")(x))
        x = dropped(x, self.dropout_rate, train)
        return nn.Dense(width, kernel_init=self.out_init, name="down")(x)


class Block(nn.Module):
    """Attention, attention to a memory if there is one, and dense layers, each added to what goes in."""

    num_heads: int
    mlp_width: int
    activation: Callable[[jax.Array], jax.Array]
    causal: bool = False
    dropout_rate: Any = 0.0
    drop_path_rate: Any = 0.0
    epsilon: float = 1e-5
    kernel_init: Any = _UNIFORM
    out_init: Any = _UNIFORM

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        real: jax.Array | None = None,
        angles: jax.Array | None = None,
        memory: jax.Array | None = None,
        memory_real: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        inits = {"kernel_init": self.kernel_init, "out_init": self.out_init}

        def normed(name: str, x: jax.Array) -> jax.Array:
            return nn.LayerNorm(self.epsilon, name=name)(x)

        def added(x: jax.Array, branch: jax.Array) -> jax.Array:
            return x + with_path_dropped(dropped(branch, self.dropout_rate, train), self.drop_path_rate, train)

        attend = Attention(self.num_heads, self.causal, **inits, name="attention")
        x = added(x, attend(normed("attention_norm", x), real=real, angles=angles))
        if memory is not None:
            ask = Attention(self.num_heads, **inits, name="cross_attention")
            x = added(x, ask(normed("cross_attention_norm", x), memory, real=memory_real))
        feed = FeedForward(self.mlp_width, self.activation, self.dropout_rate, **inits, name="mlp")
        return added(x, feed(normed("mlp_norm", x), train))


def token_block(module: Any, name: str, *, causal: bool) -> Block:
    """Return a block by the sizes of a Transformer of tokens, in whose compact method this is called."""
    return Block(
        module.num_heads,
        module.mlp_width,
        getattr(nn, module.activation),
        causal=causal,
        dropout_rate=module.dropout_rate,
        kernel_init=NORMAL,
        # So that the sum of all branches is no larger than one of them, as in GPT-2.
        out_init=nn.initializers.normal(0.02 / (2 * module.depth) ** 0.5),
        name=name,
    )


def positioned(
    module: nn.Module, x: jax.Array, positions: str, max_length: int | None, name: str, places: jax.Array | None = None
) -> jax.Array:
    """Return float[batch, length, width] with a learned vector of each position added, if they are learned.

    Args:
        places: int[batch, length], the position of each; by default 0, 1, 2 …

    Raises:
        ConfigError: at `model.max_length`, a sequence that is longer than the table.
    """
    if positions != "learned":
        return x
    length = x.shape[1]
    rows = max_length or length
    if module.has_variable("params", name):  # without max_length, as long as what it was made with
        rows = module.get_variable("params", name).shape[0]
    if length > rows:
        raise ConfigError(
            "model.max_length",
            f"the sequences have {length} positions, more than the {rows} that the model learns; write "
            f"max_length={length}, or positions='rotary', which takes any length",
        )
    table = module.param(name, NORMAL, (rows, x.shape[2]))
    return x + (table[None, :length] if places is None else table[places]).astype(x.dtype)


def rotary_angles(places: jax.Array, head_width: int) -> jax.Array:
    """Return float32[…, head_width / 2], position times 10000^(-2 i / head_width): arXiv:2104.09864, section 3.

    Args:
        places: int[…], the positions.
    """
    frequencies = 10000.0 ** (-jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
    return jnp.einsum("...,f->...f", places.astype(jnp.float32), frequencies)


def turned(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Turn the pairs (i, i + half) of float[batch, length, heads, width] by an angle a position and pair."""
    one, other = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    angles = (angles if angles.ndim == 3 else angles[None])[:, :, None, :]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([one * cos - other * sin, other * cos + one * sin], axis=-1).astype(x.dtype)

"""Transformers of two sequences: an encoder of the source, and a decoder of the target that attends to it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlgym_jax.models.attention import NORMAL, positioned, rotary_angles, token_block
from mlgym_jax.models.inputs import dropped, real_positions, tokens_of


class Seq2Seq(nn.Module):
    """An encoder that sees all of the source, a causal decoder that also sees the encoded source; one embedding."""

    vocabulary_size: int | None
    width: int
    depth: int
    num_heads: int
    mlp_width: int
    positions: str
    max_length: int | None
    tied: bool
    num_outputs: int | None
    activation: str = "gelu"
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(
        self,
        source: Any,
        target: Any,
        source_lengths: Any = None,
        source_where: Any = None,
        target_lengths: Any = None,
        target_where: Any = None,
        train: bool = False,
    ) -> jax.Array:
        """Return a score of each token after each of the target's, float[batch, target length, num_outputs].

        Args:
            source: int[batch, source length]; target: int[batch, target length], shifted right: its position t is
                the word before the one that is predicted there.
            source_lengths, target_lengths: int[batch]; source_where, target_where: bool[batch, length], as `source` and
                `target` are; which positions are no padding.
        """
        size: Any = self.vocabulary_size
        embedding = nn.Embed(size or 1, self.width, embedding_init=NORMAL, name="embedding")

        def embedded(name: str, tokens: Any, real: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
            x = embedding(tokens_of(f"transformer, {name}:", tokens, real, self.vocabulary_size))
            x = positioned(self, x, self.positions, self.max_length, f"{name}_positions")
            rotary = self.positions == "rotary"
            angles = rotary_angles(jnp.arange(x.shape[1]), self.width // self.num_heads) if rotary else None
            return dropped(x, self.dropout_rate, train), angles

        def real(name: str, tokens: Any, lengths: Any, where: Any) -> jax.Array | None:
            return real_positions(f"transformer, {name}", tokens, lengths, where) if jnp.ndim(tokens) == 2 else None

        source_real = real("source", source, source_lengths, source_where)
        target_real = real("target", target, target_lengths, target_where)
        memory, angles = embedded("source", source, source_real)
        for number in range(self.depth):
            memory = token_block(self, f"encoder_{number}", causal=False)(
                memory, real=source_real, angles=angles, train=train
            )
        memory = nn.LayerNorm(1e-5, name="encoder_norm")(memory)
        x, angles = embedded("target", target, target_real)
        for number in range(self.depth):
            x = token_block(self, f"decoder_{number}", causal=True)(
                x, real=target_real, angles=angles, memory=memory, memory_real=source_real, train=train
            )
        x = nn.LayerNorm(1e-5, name="decoder_norm")(x)
        if self.tied and self.num_outputs in (None, self.vocabulary_size):
            return embedding.attend(x)
        return nn.Dense(self.num_outputs or size, kernel_init=NORMAL, name="head")(x)

"""Transformers of tokens: causal language models, and encoders of whole sequences; `seq2seq` has the two together."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.models.attention import NORMAL, positioned, rotary_angles, token_block
from mlgym_jax.models.inputs import (
    at_least,
    divided,
    dropped,
    pooled,
    real_positions,
    seen_positions,
    tokens_of,
    vocabulary,
)
from mlgym_jax.models.mlp import Activation, checked_rate, output_size
from mlgym_jax.models.seq2seq import Seq2Seq


class Transformer(nn.Module):
    """Embedded tokens with positions, blocks of attention, a norm, and a score of each token, or of each output."""

    vocabulary_size: int | None
    width: int
    depth: int
    num_heads: int
    mlp_width: int
    causal: bool
    positions: str
    max_length: int | None
    pool: str | None
    tied: bool
    num_outputs: int | None
    activation: str = "gelu"
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(
        self,
        tokens: Any,
        lengths: Any = None,
        where: Any = None,
        segments: Any = None,
        positions: Any = None,
        train: bool = False,
    ) -> jax.Array:
        real = real_positions("transformer", tokens, lengths, where) if jnp.ndim(tokens) == 2 else None
        tokens = tokens_of("transformer", tokens, real, self.vocabulary_size)
        sees = seen_positions("transformer", tokens, real, segments, positions)
        size: Any = self.vocabulary_size
        embedding = nn.Embed(size, self.width, embedding_init=NORMAL, name="embedding")
        x = positioned(self, embedding(tokens), self.positions, self.max_length, "positions", positions)
        x = dropped(x, self.dropout_rate, train)
        places = jnp.arange(x.shape[1]) if positions is None else positions
        angles = rotary_angles(places, self.width // self.num_heads) if self.positions == "rotary" else None
        for number in range(self.depth):
            block = token_block(self, f"block_{number}", causal=self.causal)
            x = block(x, real=sees, angles=angles, train=train)
        x = nn.LayerNorm(1e-5, name="norm")(x)
        if self.pool is not None:
            x = pooled(x, real, self.pool)
        if self.tied and self.pool is None and self.num_outputs in (None, self.vocabulary_size):
            return embedding.attend(x)
        return nn.Dense(self.num_outputs or size, kernel_init=NORMAL, name="head")(x)


@register("model", "transformer", needs=("dataset",), dynamic=("dropout_rate",))
def transformer(
    dataset: Any,
    *,
    kind: Literal["causal", "masked", "encoder_decoder"] = "causal",
    vocabulary_size: int | None = None,
    width: int = 128,
    depth: int = 4,
    num_heads: int = 4,
    mlp_width: int | None = None,
    positions: Literal["learned", "rotary"] = "learned",
    max_length: int | None = None,
    pool: Literal["first", "last", "mean"] | None = None,
    tied: bool = True,
    activation: Activation = "gelu",
    dropout_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build a Transformer of tokens int[batch, length], with norms before branches; GPT-2 is width=768, depth=12.

    Inputs may be a dict: `tokens`, and `lengths`, int[batch], or `where`, bool[batch, length], which say what is no
    padding. Nothing depends on padding, and what is given out there is of no use. Several sequences may share a row:
    `segments`, int[batch, length], numbers them, and none sees another; `positions`, int[batch, length], counts the
    places in each. These are fields of component("text", sequences="packed"). An encoder-decoder takes `source` and
    `target`, the words before each that is predicted, with `source_lengths`, `target_where` and so on.

    Args:
        dataset: says tokens and classes.
        kind: `causal`, each position sees those before it; `masked`, all of them, as in BERT; or `encoder_decoder`.
        vocabulary_size: how many tokens there are, by default one more than the largest in the dataset, and at least
            the number of classes where each position has a target.
        width: of the vectors; depth: blocks, of an encoder-decoder of each of the two; num_heads: heads of attention,
            which divide the width; mlp_width: of the dense layers in blocks, by default 4 widths.
        positions: `learned`, a vector for each; or `rotary`, arXiv:2104.09864, which sees distances and takes any
            length.
        max_length: positions that are learned, by default the length of the dataset's sequences.
        pool: None, outputs at each position; or for one a sequence, of the `first` or `last` position or their `mean`.
        tied: whether the scores of tokens are products with their embeddings, or a dense layer's.
        activation: of the dense layers; `gelu` is that of GPT-2, by tanh.
        dropout_rate: after embeddings, branches and the activation, in [0, 1).
        num_outputs: by default the number of classes, or with outputs at each position the number of tokens.

    Raises:
        ConfigError: sizes below 1, heads that do not divide the width, a token that the vocabulary has not; when
            traced, inputs that are no tokens, or more positions than `max_length`.
    """
    at_least(1, width=width, depth=depth, num_heads=num_heads, mlp_width=mlp_width, max_length=max_length)
    divided(width, num_heads)
    if positions == "rotary" and (width // num_heads) % 2:
        raise ConfigError(
            "model.positions",
            f"rotary positions turn pairs, and heads have {width // num_heads} numbers; write width={2 * width}",
        )
    both, mlp_width, rate = kind == "encoder_decoder", mlp_width or 4 * width, checked_rate(dropout_rate)
    fields = ("inputs.source", "inputs.target") if both else ("inputs", "inputs.tokens")
    size = vocabulary(dataset, vocabulary_size, fields, predicted=pool is None)
    if both and pool is not None:
        raise ConfigError("model.pool", f"an encoder_decoder has outputs at each position, not {pool!r}; leave it out")
    if kind == "causal" and pool == "first":
        raise ConfigError(
            "model.pool",
            "the first position of a causal Transformer sees no other; write 'last', or kind='masked'",
        )
    if num_outputs is not None or pool is not None or dataset.num_classes:
        num_outputs = output_size(dataset, num_outputs)
    common = {
        "vocabulary_size": size,
        "width": width,
        "depth": depth,
        "num_heads": num_heads,
        "mlp_width": mlp_width,
        "positions": positions,
        "max_length": max_length,
        "tied": tied,
        "num_outputs": num_outputs,
        "activation": activation,
        "dropout_rate": rate,
    }
    return Seq2Seq(**common) if both else Transformer(**common, causal=kind == "causal", pool=pool)

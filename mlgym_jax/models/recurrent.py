"""Recurrent networks: the LSTM, Hochreiter and Schmidhuber 1997, and the GRU, Cho et al. 2014, arXiv:1406.1078."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.models.inputs import as_float, at_least, dropped, pooled, real_positions, tokens_of, vocabulary
from mlgym_jax.models.mlp import checked_rate, one_input, output_size

_GATES = {"lstm": 4, "gru": 3}
_INPUT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
_Carry = tuple[jax.Array, ...]


def _recurrent_init(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
    """Return an orthogonal matrix for each gate, beside each other: float[hidden, gates * hidden]."""
    keys, orthogonal = jax.random.split(key, shape[1] // shape[0]), nn.initializers.orthogonal()
    return jnp.concatenate([orthogonal(one, (shape[0], shape[0]), dtype) for one in keys], axis=1)


def _remembering(key: jax.Array, shape: tuple[int], dtype: Any = jnp.float32) -> jax.Array:
    """Return the biases of input, forget, cell and output gate: 1 for the second, Jozefowicz et al. 2015."""
    return jnp.repeat(jnp.array([0, 1, 0, 0], dtype), shape[0] // 4)


def _lstm_step(kernel: jax.Array, bias: None, carry: _Carry, gates: jax.Array) -> _Carry:
    hidden, cell = carry
    enter, forget, new, leave = jnp.split(gates + hidden @ kernel, 4, axis=-1)
    cell = nn.sigmoid(forget) * cell + nn.sigmoid(enter) * jnp.tanh(new)
    return nn.sigmoid(leave) * jnp.tanh(cell), cell


def _gru_step(kernel: jax.Array, bias: jax.Array, carry: _Carry, gates: jax.Array) -> _Carry:
    (hidden,) = carry
    of_reset, of_update, of_new = jnp.split(hidden @ kernel, 3, axis=-1)
    reset, update, new = jnp.split(gates, 3, axis=-1)
    update = nn.sigmoid(update + of_update)
    new = jnp.tanh(new + nn.sigmoid(reset + of_reset) * (of_new + bias[None, :]))
    return ((1 - update) * new + update * hidden,)


class Recurrence(nn.Module):
    """One layer, read forwards or backwards; at padding its state stays as it is."""

    cell: str
    hidden: int
    reverse: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, real: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Return the states of all positions, 0 at padding, float[batch, length, hidden], and the last one's."""
        gates, is_lstm = _GATES[self.cell], self.cell == "lstm"
        bias_init = _remembering if is_lstm else nn.initializers.zeros
        x = nn.Dense(gates * self.hidden, kernel_init=_INPUT, bias_init=bias_init, name="input")(x)
        kernel = self.param("recurrent_kernel", _recurrent_init, (self.hidden, gates * self.hidden)).astype(x.dtype)
        bias: Any = None
        if not is_lstm:
            bias = self.param("recurrent_bias", nn.initializers.zeros, (self.hidden,)).astype(x.dtype)
        step: Callable[..., _Carry] = _lstm_step if is_lstm else _gru_step
        kept = jnp.ones(x.shape[:2], bool) if real is None else real

        def read(carry: _Carry, item: tuple[jax.Array, jax.Array]) -> tuple[_Carry, jax.Array]:
            gates, kept = item[0], item[1][:, None]
            new = step(kernel, bias, carry, gates)
            carry = tuple(jnp.where(kept, one, old) for one, old in zip(new, carry, strict=True))
            return carry, jnp.where(kept, carry[0], jnp.zeros_like(carry[0]))

        zeros = jnp.zeros((x.shape[0], self.hidden), x.dtype)
        over_time = x.swapaxes(0, 1), kept.swapaxes(0, 1)
        last, states = jax.lax.scan(read, (zeros,) * (2 if is_lstm else 1), over_time, reverse=self.reverse)
        return states.swapaxes(0, 1), last[0]


class Recurrent(nn.Module):
    """Embedded tokens, or series of numbers, layers of recurrence with dropout between them, and a dense layer."""

    cell: str
    vocabulary_size: int | None
    embedding_width: int
    hidden: int
    num_layers: int
    bidirectional: bool
    pool: str | None
    num_outputs: int
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, tokens: Any, lengths: Any = None, where: Any = None, train: bool = False) -> jax.Array:
        x = jnp.asarray(one_input(self.cell, tokens))
        integers = jnp.issubdtype(x.dtype, jnp.integer)
        if x.ndim not in (2, 3) or (integers and x.ndim == 3):
            found = ", ".join(["batch", *map(str, x.shape[1:])])
            raise ConfigError(
                "model",
                f"{self.cell} takes tokens int[batch, length], or series float[batch, length] or [batch, length, "
                f"features]; found {x.dtype}[{found}]",
            )
        real = real_positions(self.cell, x, lengths, where)
        if integers:
            x = tokens_of(self.cell, x, real, self.vocabulary_size)
            size: Any = self.vocabulary_size
            x = nn.Embed(size, self.embedding_width, name="embedding")(x)
            x = dropped(x, self.dropout_rate, train)
        else:
            x = as_float(x if x.ndim == 3 else x[..., None])
            x = x if real is None else jnp.where(real[..., None], x, jnp.zeros_like(x))
        last = x[:, 0]
        for number in range(self.num_layers):
            x = x if number == 0 else dropped(x, self.dropout_rate, train)
            ways = [("forwards", False), ("backwards", True)][: 2 if self.bidirectional else 1]
            read = [Recurrence(self.cell, self.hidden, back, name=f"{way}_{number}")(x, real) for way, back in ways]
            x, last = (jnp.concatenate(parts, axis=-1) for parts in zip(*read, strict=True))
        if self.pool is not None:
            x = last if self.pool == "last" else pooled(x, real, self.pool)
        return nn.Dense(self.num_outputs, name="head")(dropped(x, self.dropout_rate, train))


def _recurrent(
    cell: str,
    dataset: Any,
    num_outputs: int | None,
    vocabulary_size: int | None,
    embedding_width: int | None,
    dropout_rate: float,
    *,
    hidden: int,
    num_layers: int,
    bidirectional: bool,
    pool: str | None,
) -> nn.Module:
    at_least(1, hidden=hidden, num_layers=num_layers, embedding_width=embedding_width)
    return Recurrent(
        cell,
        vocabulary(dataset, vocabulary_size, ("inputs", "inputs.tokens"), predicted=pool is None),
        embedding_width or hidden,
        hidden,
        num_layers,
        bidirectional,
        pool,
        output_size(dataset, num_outputs),
        checked_rate(dropout_rate),
    )


@register("model", "lstm", needs=("dataset",), dynamic=("dropout_rate",))
def lstm(
    dataset: Any,
    *,
    hidden: int = 64,
    num_layers: int = 2,
    bidirectional: bool = False,
    pool: Literal["last", "mean"] | None = "last",
    vocabulary_size: int | None = None,
    embedding_width: int | None = None,
    dropout_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build layers of LSTMs for tokens int[batch, length] or series float[batch, length, features].

    Inputs may be a dict: `tokens` (also if they are series), and `lengths`, int[batch], or `where`, bool[batch,
    length], which say what is no padding. Nothing depends on padding; outputs there are those of a state of zeros.

    Args:
        dataset: says tokens and classes.
        hidden: width of the state; num_layers: on top of each other; bidirectional: whether each also reads backwards.
        pool: one vector a sequence: of the `last` state (of both ways) or the `mean`; None, outputs at each position.
        vocabulary_size: how many tokens there are, by default one more than the largest in the dataset, and at least
            the number of classes where each position has a target.
        embedding_width: of tokens, by default `hidden`.
        dropout_rate: of embeddings, between layers, and before the last one, in [0, 1).
        num_outputs: by default the number of classes, or 1.

    Raises:
        ConfigError: sizes below 1, a token that the vocabulary has not; when traced, inputs of another shape.
    """
    widths = {"hidden": hidden, "num_layers": num_layers, "bidirectional": bidirectional, "pool": pool}
    return _recurrent("lstm", dataset, num_outputs, vocabulary_size, embedding_width, dropout_rate, **widths)


@register("model", "gru", needs=("dataset",), dynamic=("dropout_rate",))
def gru(
    dataset: Any,
    *,
    hidden: int = 64,
    num_layers: int = 2,
    bidirectional: bool = False,
    pool: Literal["last", "mean"] | None = "last",
    vocabulary_size: int | None = None,
    embedding_width: int | None = None,
    dropout_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build layers of GRUs for tokens int[batch, length] or series float[batch, length, features].

    Parameters and inputs are those of `lstm`. The reset gate is applied after the product, as in cuDNN and PyTorch.

    Raises:
        ConfigError: sizes below 1, a token that the vocabulary has not; when traced, inputs of another shape.
    """
    widths = {"hidden": hidden, "num_layers": num_layers, "bidirectional": bidirectional, "pool": pool}
    return _recurrent("gru", dataset, num_outputs, vocabulary_size, embedding_width, dropout_rate, **widths)

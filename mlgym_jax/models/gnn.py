"""Graph convolutional networks: Kipf and Welling 2016, arXiv:1609.02907."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.models.inputs import as_float, at_least, dropped, rows_of
from mlgym_jax.models.mlp import Activation, checked_rate, output_size


class GraphConvolution(nn.Module):
    """A dense layer of each node, and the sum over its neighbours, weighted: `adjacency @ (x @ kernel) + bias`."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, adjacency: jax.Array) -> jax.Array:
        x = nn.Dense(self.width, use_bias=False, kernel_init=nn.initializers.glorot_uniform(), name="dense")(x)
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        return adjacency.astype(x.dtype) @ x + bias.reshape(1, 1, -1)


class GNN(nn.Module):
    """Graph convolutions with an activation and dropout, and outputs of each node, or a dense layer of the graph."""

    features: tuple[int, ...]
    pool: str | None
    num_outputs: int
    activation: str = "relu"
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(
        self, nodes: Any, edges: Any = None, adjacency: Any = None, node_mask: Any = None, train: bool = False
    ) -> jax.Array:
        x = as_float(jnp.asarray(nodes))
        if x.ndim != 3:
            raise ConfigError("model", f"gnn takes nodes float[batch, nodes, features], found {rows_of(x)}")
        real = _real(x, node_mask)
        x = jnp.where(real[..., None], x, jnp.zeros_like(x))
        weights = normalised(_adjacency(x, edges, adjacency), real)
        widths = (*self.features, self.num_outputs) if self.pool is None else self.features
        for number, width in enumerate(widths):
            x = GraphConvolution(width, name=f"convolution_{number}")(dropped(x, self.dropout_rate, train), weights)
            if number < len(self.features):
                x = getattr(nn, self.activation)(x)
        x = jnp.where(real[..., None], x, jnp.zeros_like(x))
        if self.pool is None:
            return x
        if self.pool == "max":
            x = jnp.where(real[..., None], x, jnp.full_like(x, -jnp.inf)).max(axis=1)
            x = jnp.where(real.any(axis=1)[:, None], x, jnp.zeros_like(x))
        else:
            count = jnp.maximum(real.sum(axis=1), 1)[:, None] if self.pool == "mean" else jnp.ones((1, 1))
            x = x.sum(axis=1) / count.astype(x.dtype)
        return nn.Dense(self.num_outputs, name="head")(dropped(x, self.dropout_rate, train))


def normalised(adjacency: jax.Array, real: jax.Array) -> jax.Array:
    """Return D^-1/2 (A + 1) D^-1/2, where D are the sums of A + 1: float32[batch, nodes, nodes]; 0 at padding.

    Args:
        adjacency: float[batch, nodes, nodes], at [b, i, j] the weight of the edge by which i sees j.
        real: bool[batch, nodes], which nodes are no padding.
    """
    both = real[:, :, None] & real[:, None, :]
    loops = jnp.eye(adjacency.shape[-1], dtype=jnp.float32)[None]
    weights = jnp.where(both, adjacency.astype(jnp.float32) + loops, 0.0)
    degree = weights.sum(axis=-1)
    scale = jnp.where(degree > 0, jax.lax.rsqrt(jnp.where(degree > 0, degree, 1.0)), 0.0)
    return weights * scale[:, :, None] * scale[:, None, :]


def _real(x: jax.Array, node_mask: Any) -> jax.Array:
    if node_mask is None:
        return jnp.ones(x.shape[:2], bool)
    if node_mask.shape != x.shape[:2]:
        raise ConfigError("model", f"gnn: node_mask is bool[batch, {x.shape[1]}], found {rows_of(node_mask)}")
    return node_mask.astype(bool)


def _adjacency(x: jax.Array, edges: Any, adjacency: Any) -> jax.Array:
    batch, nodes = x.shape[:2]
    if (edges is None) == (adjacency is None):
        found = "none of them" if edges is None else "both"
        raise ConfigError(
            "model",
            f"gnn takes edges, int[batch, edges, 2], or adjacency, float[batch, nodes, nodes]; found {found} among the "
            "inputs: write inputs={'nodes': …, 'edges': …} in the Dataset",
        )
    if adjacency is not None:
        if adjacency.shape != (batch, nodes, nodes):
            raise ConfigError("model", f"gnn: adjacency is [batch, {nodes}, {nodes}], found {rows_of(adjacency)}")
        return adjacency
    if edges.ndim != 3 or edges.shape[2] != 2 or not jnp.issubdtype(edges.dtype, jnp.integer):
        raise ConfigError("model", f"gnn: edges are pairs of nodes, int[batch, edges, 2], found {rows_of(edges)}")
    # A pair that names no node, such as (-1, -1), is padding: it goes to a row beside the others.
    inside = ((edges >= 0) & (edges < nodes)).all(axis=-1, keepdims=True)
    one, other = jnp.moveaxis(jnp.where(inside, edges, nodes), -1, 0)
    rows = jnp.arange(batch)[:, None]
    found = jnp.zeros((batch, nodes + 1, nodes + 1), jnp.float32)
    found = found.at[rows, one, other].set(1.0).at[rows, other, one].set(1.0)[:, :nodes, :nodes]
    return found * (1 - jnp.eye(nodes, dtype=jnp.float32))[None]  # each node sees itself anyway


@register("model", "gnn", needs=("dataset",), dynamic=("dropout_rate",))
def gnn(
    dataset: Any,
    *,
    features: tuple[int, ...] = (64, 64),
    pool: Literal["mean", "sum", "max"] | None = "mean",
    activation: Activation = "relu",
    dropout_rate: float = 0.0,
    num_outputs: int | None = None,
) -> nn.Module:
    """Build a graph convolutional network for padded graphs.

    Inputs are a dict: `nodes`, float[batch, nodes, features]; `edges`, int[batch, edges, 2], pairs of nodes that see
    each other, each once or twice, (-1, -1) for padding; or in their place `adjacency`, float[batch, nodes, nodes], not
    negative; and `node_mask`, bool[batch, nodes], which nodes are no padding, by default all. Nothing depends on
    padding, and outputs there are 0.

    Args:
        dataset: says the number of classes.
        features: widths of the convolutions.
        pool: one output a graph, of the `mean`, `sum` or `max` over its nodes; or None, outputs of each node, by one
            more convolution.
        activation: after each of `features`; dropout_rate: of what goes into each layer, in [0, 1).
        num_outputs: by default the number of classes, or 1.

    Raises:
        ConfigError: sizes below 1; when traced, inputs of other names or shapes.
    """
    at_least(1, features=features)
    return GNN(features, pool, output_size(dataset, num_outputs), activation, checked_rate(dropout_rate))

"""Whether each example of a batch is computed by itself is proven from traces, or else denied."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from mlgym_jax.core.independence import by_example

X, IMAGES, CLASSES = ((5,), np.float32), ((8, 8, 1), np.float32), ((), np.int32)


def proven(function, *fields, sizes=(6, 4)):
    def traced(size):
        return jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct((size, *shape), dtype) for shape, dtype in fields))

    return by_example(traced, sizes)


def normal(x, impl=None):
    return x + jax.random.normal(jax.random.key(0, impl=impl), x.shape)


class Attentive(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.max_pool(nn.Conv(4, (3, 3))(x), (2, 2), (2, 2)).reshape(x.shape[0], -1, 4)
        x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
        x = nn.RNN(nn.GRUCell(3))(nn.Dropout(0.1, deterministic=not train)(nn.GroupNorm(2)(x)))
        return nn.Dense(5)(x[:, -1])


def network(images, classes):
    """Return the losses of a network and their derivatives, as training has them."""
    model, key = Attentive(), jax.random.key(0)
    params = model.init(key, jnp.zeros((2, 8, 8, 1)))["params"]

    def losses(params):
        outputs = model.apply({"params": params}, images, True, rngs={"dropout": key})
        return optax.softmax_cross_entropy_with_integer_labels(outputs, classes)

    return jax.jvp(losses, (params,), (params,))


BY_ITSELF = {
    "a network with dropout": (network, IMAGES, CLASSES),
    "softmax": (lambda x: jax.nn.softmax(x), X),
    "standardised features": (lambda x: (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True), X),
    "one-hot": (lambda x, y: (jax.nn.one_hot(y, 5, dtype=np.float32) * x).sum(-1), X, CLASSES),
    "embedding": (lambda y: jnp.ones((7, 3))[y], CLASSES),
    "own class": (lambda x, y: jnp.take_along_axis(x, y[:, None], 1), X, CLASSES),
    "outer products": (lambda x: jnp.einsum("bi,bj->bij", x, x), X),
    "vmap": (jax.vmap(lambda row: jnp.dot(row, row) + row[0]), X),
    "a place of its own": (lambda x: jax.vmap(lambda row: row.at[row.argmax()].add(1.0))(x), X),
    "stacked": (lambda x: jnp.stack([x[:, 0], x[:, 1]], axis=1) + jnp.stack([x[:, 0], x[:, 1]]).T, X),
    "unstacked": (lambda x: sum(jnp.unstack(x, axis=1)) + jnp.unstack(x.T)[0], X),
    "logarithms": (lambda x: jnp.log2(x) + jnp.log10(x), X),
    "a loop over features": (lambda x: jax.lax.scan(lambda c, row: (c + row, c), jnp.zeros(len(x)), x.T)[1].T, X),
    "positions as rows": (lambda x: jnp.repeat(x, 2, axis=0).reshape(-1, 2, 5).mean(1), X),
    "sorted features": (lambda x: jnp.cumsum(jnp.sort(x, 1), 1), X),
    "noise": (normal, X),
    "what is computed again": (jax.checkpoint(lambda x: jnp.sin(x) * x), X),
    "gradients of what is computed again": (
        lambda x: jax.jvp(jax.checkpoint(lambda weight: jnp.sin(x * weight)), (jnp.ones(()),), (jnp.ones(()),)),
        X,
    ),
    "a number by position": (lambda x: x + jnp.arange(len(x), dtype=np.float32)[:, None], X),
}


@pytest.mark.parametrize("case", BY_ITSELF)
def test_each_example_by_itself(case):
    assert proven(*BY_ITSELF[case])


@jax.custom_vjp
def scaled_gradient(x):
    return x


scaled_gradient.defvjp(lambda x: (x, None), lambda _, gradient: (gradient / jnp.linalg.norm(gradient),))


@jax.custom_jvp
def centred_gradient(x):
    return x


centred_gradient.defjvp(lambda primals, tangents: (primals[0], tangents[0] - tangents[0].mean(0, keepdims=True)))


def derivative(function):
    return lambda x: jax.jvp(lambda weight: function(x * weight), (jnp.ones(()),), (jnp.ones(()),))


TOGETHER = {
    "mean": (lambda x: x - x.mean(0, keepdims=True), X),
    "softmax over examples": (lambda x: jax.nn.softmax(x, axis=0), X),
    "similarities": (lambda x: jnp.diag(x @ x.T), X),
    "distances": (lambda x: jnp.abs(x[:, None] - x[None]).sum(-1).min(1), X),
    "attention over examples": (lambda x: jax.nn.softmax(x @ x.T) @ x, X),
    "the first example": (lambda x: x - x[:1], X),
    "the next example": (lambda x: jnp.roll(x, 1, 0), X),
    "backwards": (lambda x: x[::-1], X),
    "sorted": (lambda x: jnp.sort(x, 0), X),
    "running sums": (lambda x: jnp.cumsum(x, 0), X),
    "pairs": (lambda x: x[::2] - x[1::2], X),
    "halves": (lambda x: x.reshape(2, -1, 5)[0], X),
    "twice": (lambda x: jnp.tile(x, (2, 1)), X),
    "an example of another's number": (lambda x, y: x[y], X, CLASSES),
    "places of others": (lambda x, y: x.at[y].add(1.0), X, CLASSES),
    "stacked examples": (lambda x: jnp.stack([x[:, 0], x[:, 1]]).reshape(-1, 2), X),
    "sums by class": (lambda x, y: jax.ops.segment_sum(x, y, 5)[y], X, CLASSES),
    "the number of examples": (lambda x: x / len(x), X),
    "a share of the batch": (lambda x: x + jnp.linspace(0, 1, len(x), dtype=np.float32)[:, None], X),
    "a decision of all": (lambda x: jax.lax.cond(x.sum() > 0, lambda: x, lambda: -x), X),
    "a loop over examples": (lambda x: jax.lax.scan(lambda c, row: (c + row, c), jnp.zeros(5), x)[1], X),
    "a permutation": (lambda x: x[jax.random.permutation(jax.random.key(0), len(x))], X),
    "noise that counts otherwise": (lambda x: normal(x.T).T, X),
    "noise of another generator": (lambda x: normal(x, "rbg"), X),
    "convolution over examples": (lambda x: jax.vmap(lambda c: jnp.convolve(c, jnp.ones(3), "same"), 1, 1)(x), X),
    "a Fourier transform": (lambda x: jnp.fft.fft(x, axis=0).real, X),
    "Python": (lambda x: jax.pure_callback(np.flip, jax.ShapeDtypeStruct(x.shape, x.dtype), x), X),
    "what is computed again of a batch": (jax.checkpoint(lambda x: x - x.mean(0, keepdims=True)), X),
    "gradients of a batch": (derivative(scaled_gradient), X),
    "derivatives of a batch": (derivative(centred_gradient), X),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_examples_together(case):
    assert not proven(*TOGETHER[case])


def test_one_size_that_is_treated_otherwise():
    assert not proven(lambda x: x * 2 if len(x) == 4 else x, X)

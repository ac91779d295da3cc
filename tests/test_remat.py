"""Models of which not all is kept for the gradient: the same numbers, less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import mlgym_jax as mg
from mlgym_jax.components.registry import lookup
from mlgym_jax.errors import ConfigError

WIDTH, DEPTH, SIZE = 16, 5, 512


class Block(nn.Module):
    """Layers that attend, normalise, draw, sow and are told the mode by a keyword."""

    @nn.compact
    def __call__(self, x, *, train):
        y = nn.BatchNorm(use_running_average=not train)(nn.gelu(nn.Dense(8 * WIDTH)(x)))
        self.sow("losses", "size", jnp.square(y).mean())
        return x + nn.Dense(WIDTH)(nn.Dropout(0.1, deterministic=not train)(y))


class Deep(nn.Module):
    num_outputs: int = 3

    @nn.compact
    def __call__(self, x, train=False):
        for _ in range(DEPTH):
            x = Block()(x, train=train)
        return nn.Dense(self.num_outputs)(x)


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.up, self.down = nnx.Linear(WIDTH, 8 * WIDTH, rngs=rngs), nnx.Linear(8 * WIDTH, WIDTH, rngs=rngs)
        self.norm, self.dropout = nnx.BatchNorm(8 * WIDTH, rngs=rngs), nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        return x + self.down(self.dropout(self.norm(nnx.gelu(self.up(x)))))


class NnxDeep(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([NnxBlock(rngs) for _ in range(DEPTH)])
        self.out = nnx.Linear(WIDTH, 3, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.out(x)


def loss(outputs, batch, state):
    sown = sum(jax.tree.leaves(state.get("losses", {})), start=jnp.zeros(()))
    return optax.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"]) + sown


def batch_of(size=SIZE):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(size, WIDTH)).astype(np.float32), rng.integers(0, 3, size).astype(np.int32)
    return {"inputs": inputs, "targets": targets}


@functools.cache
def trained(model, remat):
    """Return what two steps make of a model, and the bytes that a step needs beside its arguments and results."""
    parts = {"model": model, "loss": loss, "optimizer": optax.sgd(0.1), "metrics": {}}
    program = mg.make_program(parts if remat is None else {**parts, "remat": lookup("remat", remat).factory()})
    state = program.init(jax.random.key(0), batch_of())
    step = jax.jit(program.train_step).lower(state, batch_of()).compile()
    for _ in range(2):
        state, metrics = step(state, batch_of())
    return (state.params, state.model_state, program.compute(metrics)), step.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(
    ("model", "remat", "share"),
    [(Deep(), "blocks", 0.5), (Deep(), "dots", 0.7), (NnxDeep, "blocks", 0.5), (Deep(8192), "everything", 0.9)],
)
def test_the_numbers_stay_and_memory_falls(model, remat, share):
    (expected, bytes_before), (found, needed) = trained(model, None), trained(model, remat)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-6)
    assert needed < share * bytes_before


class Handed(nnx.Module):
    def __init__(self, rngs):
        self.block, self.rngs = NnxBlock(rngs), rngs

    def __call__(self, x, rngs):
        return self.block(x)


class Handing(nnx.Module):
    def __init__(self, rngs):
        self.blocks, self.rngs = nnx.List([Handed(rngs), Handed(rngs)]), nnx.Rngs(1)

    def __call__(self, x):
        return self.blocks[1](self.blocks[0](x, self.rngs), self.rngs)


class Flat(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.Dense(4)(x))


PAIR = (
    lambda key, inputs: {"kernel": jax.random.normal(key, (inputs.shape[-1], 3))},
    lambda params, inputs: inputs @ params["kernel"],
)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Flat(), r"no blocks are found in the model Flat: .*Modules inside of it: Dense\. Write .*'dots'"),
        (lambda rngs: nnx.Linear(WIDTH, 3, rngs=rngs), "no blocks are found in the model Linear"),
        (Handing, "a block, Handed, is called with a Rngs"),
        (PAIR, r"a pair of functions, whose blocks cannot be told; write jax\.checkpoint"),
    ],
)
def test_models_without_blocks_are_refused(model, message):
    remat = lookup("remat", "blocks").factory()
    parts = {"model": model, "loss": loss, "optimizer": optax.sgd(0.1), "metrics": {}, "remat": remat}
    program = mg.make_program(parts)
    with pytest.raises(ConfigError, match=rf"^config\.remat: .*{message}"):
        jax.eval_shape(program.train_step, jax.eval_shape(program.init, jax.random.key(0), batch_of()), batch_of())

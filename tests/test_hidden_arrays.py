"""Models of others that keep arrays where NNX does not see them, seed themselves, or return less in evaluation."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, register

pytestmark = pytest.mark.usefixtures("own_registry")

X = np.random.default_rng(5).uniform(-1, 1, (24, 2)).astype(np.float32)
Y = np.sin(3 * X[:, 0]) * X[:, 1]


class Grid:
    """Of no class that NNX knows."""

    def __init__(self, key=None):
        self.points = {"at": jnp.linspace(-1, 1, 5) if key is None else jax.random.normal(key, (5,))}


class Bumps(nnx.Module):
    """As in networks of Kolmogorov and Arnold: bumps at fixed points, and a seed in the place of rngs."""

    def __init__(self, width: int = 1, seed: int = 42):
        self.grid = Grid()
        self.out = nnx.Linear(10, width, rngs=nnx.Rngs(seed))

    def __call__(self, x):
        return self.out(bumps(x, self.grid.points["at"]))[:, 0]


def bumps(x, points):
    return jnp.exp(-jnp.square((x[:, :, None] - points[None, None]) * 2)).reshape(len(x), -1)


def config_of(model, **changes):
    given = {"num_epochs": 2, "loader": component("in_memory", batch_size=16), "model": model}
    given |= {"validation": component("holdout", val=1 / 3), "loss": component("squared_error")}
    return ConfigDict({**given, "optimizer": component("sgd", learning_rate=0.1), **changes})


def test_arrays_in_plain_objects_are_constants_and_a_seed_of_ones_own_is_told(tmp_path, caplog):
    register("model", "bumps")(Bumps)
    with caplog.at_level(logging.WARNING):
        result = mg.run(
            config_of(component("bumps", width=1), validation=None),
            tmp_path,
            data={"train": (X[:16], Y[:16]), "val": (X[16:], Y[16:])},
        )
    assert "config.seed does not change them" in caplog.text
    dense = nnx.Linear(10, 1, rngs=nnx.Rngs(42))
    params = {"kernel": dense.kernel.get_value(), "bias": dense.bias.get_value()}

    def loss(params, x, y):
        out = bumps(x, jnp.linspace(-1, 1, 5)) @ params["kernel"] + params["bias"][None]
        return optax.squared_error(out[:, 0], y).mean()

    losses = []
    for _ in range(2):
        gradients = jax.grad(loss)(params, X[:16], Y[:16])
        params = jax.tree.map(lambda value, gradient: value - 0.1 * gradient, params, gradients)
        losses.append(float(loss(params, X[16:], Y[16:])))
    np.testing.assert_allclose(result.experiments[0].history["val/loss"], losses, rtol=1e-5)


def test_a_random_array_that_nnx_does_not_see_is_refused(tmp_path):
    class Drawn(Bumps):
        def __init__(self, rngs):
            super().__init__()
            self.grid = Grid(rngs.params())

    register("model", "drawn")(lambda: lambda rngs: Drawn(rngs))
    with pytest.raises(mg.ConfigError, match=r"its grid\.points\.at is drawn at random and lies in a dict"):
        mg.run(config_of(component("drawn")), tmp_path, data=(X, Y))


def test_a_model_may_return_nothing_in_a_part_of_what_it_returns(tmp_path):
    class Quantised(nn.Module):
        train: bool = False

        @nn.compact
        def __call__(self, x):
            out = nn.Dense(1)(x)[:, 0]
            return out, {"commitment": jnp.square(out)} if self.train else {}

    register("model", "quantised")(Quantised)
    register("loss", "own")(
        lambda: lambda outputs, batch: jnp.square(outputs[0] - batch["targets"]) + outputs[1].get("commitment", 0)
    )
    result = mg.run(config_of(component("quantised"), loss=component("own")), tmp_path, data=(X, Y))
    assert result.experiments[0].status == "DONE"

"""Models that compute in bfloat16: steps and predictions by hand, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.components.registry import lookup


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(8)(x))
        return {"logits": nn.Dense(3)(nn.relu(x)), "count": jnp.ones(x.shape[0], jnp.int32)}


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        return {"logits": nnx.relu(self.dense(x))}


PAIR = (
    lambda key, inputs: {"kernel": jax.random.normal(key, (inputs.shape[-1], 3))},
    lambda params, inputs: {"logits": inputs @ params["kernel"]},
)


def by_linen(params, state, x):
    outputs, left = Normalised().apply({"params": params, **state}, x, train=True, mutable=["batch_stats"])
    return outputs["logits"], left


def by_nnx(params, state, x):
    return nn.relu(x @ params["dense"]["kernel"] + params["dense"]["bias"][None]), state


def by_pair(params, state, x):
    return PAIR[1](params, x)["logits"], state


def cross_entropy(outputs, batch):
    return optax.softmax_cross_entropy_with_integer_labels(outputs["logits"], batch["targets"])


def half(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {"inputs": rng.normal(size=(16, 5)).astype(np.float32), "targets": rng.integers(0, 3, 16).astype(np.int32)}


@pytest.mark.parametrize(("model", "by_hand"), [(Normalised(), by_linen), (NnxNet, by_nnx), (PAIR, by_pair)])
def test_a_step_equals_one_by_hand(model, by_hand, batch, key):
    mixed = lookup("precision", "mixed").factory()
    parts = {
        "model": model,
        "loss": cross_entropy,
        "optimizer": optax.sgd(0.1, momentum=0.9),
        "metrics": {},
        "precision": mixed,
    }
    program = mg.make_program(parts)
    state = program.init(key, batch)

    def step(params, model_state, opt_state):
        def loss(params):
            with jax.numpy_dtype_promotion("standard"):
                logits, left = by_hand(half(params), model_state, half(batch["inputs"]))
            return cross_entropy({"logits": logits.astype(jnp.float32)}, batch).mean(), left

        (_, left), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optax.sgd(0.1, momentum=0.9).update(gradients, opt_state)
        return optax.apply_updates(params, updates), left, opt_state

    expected = jax.jit(step)(state.params, state.model_state, state.opt_state)
    found, _ = jax.jit(program.train_step)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, (found.params, found.model_state, found.opt_state), expected)
    outputs = program.predict(found, batch)
    floats = {leaf.dtype for leaf in jax.tree.leaves((found, outputs)) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floats == {jnp.dtype("float32")}
    assert outputs["logits"].tolist() == half(outputs["logits"]).astype(jnp.float32).tolist()  # no digits below those


def test_a_run_predicts_as_it_evaluates(tmp_path):
    config = ConfigDict()
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=40, num_features=4, num_classes=3)
    config.model, config.loss = component("linear"), component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.1)
    config.precision = grid(None, component("mixed", compute="bfloat16"))
    result = mg.run(config, tmp_path)
    assert len(result.view.groups) == 2
    inputs = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    exact, rounded = (experiment.predict(inputs) for experiment in result.experiments)
    dense = result.experiments[1].restore().params["Dense_0"]
    by_hand = jax.jit(lambda dense, x: nn.Dense(3).apply({"params": half(dense)}, half(x)).astype(jnp.float32))
    np.testing.assert_array_equal(rounded, by_hand(dense, inputs))  # of programs: XLA leaves out roundings in them
    assert 0 < np.abs(exact - rounded).max() < 0.1

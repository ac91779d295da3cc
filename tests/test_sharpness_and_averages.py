"""SAM and an average with batch statistics of its own, together, against NumPy-like formulas without Flax or Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.usefixtures("own_registry")

RATE, DECAY, MOMENTUM, EPSILON, STEPS = 0.2, 0.7, 0.9, 1e-5, 6


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(6, name="hidden")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON, name="norm")(x)
        return nn.Dense(3, name="out")(nn.tanh(x))


def study(averaging, optimizer):
    mg.register("model", "with_statistics")(lambda: Net())
    config = ConfigDict(type_safe=False)
    config.num_steps = STEPS
    config.evaluate_every_steps = STEPS
    config.dataset = component("synthetic", num_examples=60, num_features=5, num_classes=3)
    config.validation = None
    config.loader = component("in_memory", batch_size=60, shuffle=False)
    config.model = component("with_statistics")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = optimizer
    config.averaging = averaging
    return config


def sam(rho):
    ascent = component("chain", transforms=(component("contrib.normalize"), component("sgd", learning_rate=rho)))
    return component("contrib.sam", optimizer=component("sgd", learning_rate=RATE), adv_optimizer=ascent)


def forward(params, x, statistics=None):
    """Return (logits, mean, variance); batch normalisation by those given, or by the batch's own."""
    x = x @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    mean, variance = (x.mean(axis=0), x.var(axis=0)) if statistics is None else statistics
    x = (x - mean) / jnp.sqrt(variance + EPSILON) * params["norm"]["scale"] + params["norm"]["bias"]
    return jnp.tanh(x) @ params["out"]["kernel"] + params["out"]["bias"], mean, variance


def cross_entropy(logits, targets):
    return (jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(len(targets)), targets]).mean()


def mixed(old, new, share):
    return jax.tree.map(lambda a, b: share * a + (1 - share) * b, old, new)


def by_hand(params, x, targets, rho):
    """Foret et al., 2021, equations 2 and 3 with the Euclidean norm of all parameters; averages; batch statistics."""
    average, zeros = jax.tree.map(jnp.zeros_like, params), jnp.zeros(6)
    own, trained = (zeros, zeros + 1), (zeros, zeros + 1)
    value = lambda params: cross_entropy(forward(params, x)[0], targets)  # noqa: E731
    for step in range(1, STEPS + 1):
        trained = mixed(trained, forward(params, x)[1:], MOMENTUM)
        gradient = jax.grad(value)(params)
        norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
        above = jax.tree.map(lambda w, g, norm=norm: w + rho * g / norm, params, gradient)
        params = jax.tree.map(lambda w, g: w - RATE * g, params, jax.grad(value)(above))
        average = mixed(average, params, DECAY)
        evaluated = jax.tree.map(lambda a, step=step: a / (1 - DECAY**step), average)
        own = mixed(own, forward(evaluated, x)[1:], MOMENTUM)
    return params, evaluated, own, trained


@pytest.mark.parametrize("plan", ["vmap+scan", "map+scan", "none+step"])
def test_sam_with_batch_statistics_and_an_average_with_its_own(tmp_path, plan):
    config = study(component("ema", decay=DECAY), sam(grid(0.05, 0.5)))
    [job] = prepare(config).jobs
    result = mg.run(config, tmp_path, plan=plan)
    x, targets = job.table.arrays["inputs"], job.table.arrays["targets"]
    for row, (rho, experiment) in enumerate(zip((0.05, 0.5), result.experiments, strict=True)):
        first = job.program.init(jax.random.key(0), job.sample, {k: v[row] for k, v in job.hyperparams.items()}).params
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            params, evaluated, own, trained = by_hand(first, x, targets, rho)
            score = cross_entropy(forward(evaluated, x, own)[0], targets)
        state = experiment.restore()
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.params, params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.opt_state.params, evaluated)
        found = state.opt_state.model_state["batch_stats"]["norm"]
        np.testing.assert_allclose(found["mean"], own[0], atol=1e-5)
        np.testing.assert_allclose(found["var"], own[1], atol=1e-5)
        np.testing.assert_allclose(experiment.last["train/loss"], score, rtol=1e-5)
        assert np.abs(own[0] - trained[0]).max() > 1e-4


def test_a_study_of_all_of_them_goes_on_to_the_same_bits(tmp_path):
    config = study(component("ema", decay=grid(0.5, 0.9)), sam(0.1))
    config.num_steps = config.evaluate_every_steps = None
    config.num_epochs, config.loader.batch_size = 4, 20
    whole = mg.run(config, tmp_path / "whole")
    config.num_epochs = 2
    half = mg.run(config, tmp_path / "half")
    for one, other in zip(mg.resume(half.run_dir, num_epochs=4).experiments, whole.experiments, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one.restore().opt_state, other.restore().opt_state)
        assert one.history == other.history

"""Optimizers that take gradients at other parameters than a model is evaluated with, against plain Optax loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.components.registry import lookup
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.study.expand import prepare

RNG = np.random.default_rng(0)
BATCHES = [
    {
        "inputs": RNG.normal(size=(12, 4)).astype(np.float32),
        "targets": RNG.integers(0, 3, 12).astype(np.int32),
    }
    for _ in range(5)
]
RHO = 0.1


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.tanh(nn.Dense(5)(x)))


def cross_entropy(outputs, batch):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"])


def value(params, batch):
    return cross_entropy(Net().apply({"params": params}, batch["inputs"]), batch).mean()


def ascent(rho=RHO):
    return optax.chain(optax.contrib.normalize(), optax.sgd(rho))


def factory(name, **given):
    return lookup("optimizer", name).factory(**given)


def by_engine(optimizer, key):
    """Return the scores that evaluation gives after each step, and the last state."""
    program = mg.make_program({"model": Net(), "loss": cross_entropy, "optimizer": optimizer, "metrics": {}})
    state = jax.jit(program.init)(key, BATCHES[0])
    train, evaluate = (
        jax.jit(program.train_step),
        jax.jit(lambda s, b: program.compute(program.eval_step(s, b))["loss"]),
    )
    scores = []
    for batch in BATCHES:
        state, _ = train(state, batch)
        scores.append(float(evaluate(state, BATCHES[0])))
    return scores, state


def by_hand(params, update, opt_state, evaluated):
    """Loop over the batches; `update(params, opt_state, batch)`, `evaluated(params, opt_state)` are Optax's own."""
    scores = []
    with jax.numpy_dtype_promotion("standard"):
        step, score = jax.jit(update), jax.jit(lambda p, s: value(evaluated(p, s), BATCHES[0]))
        for batch in BATCHES:
            params, opt_state = step(params, opt_state, batch)
            scores.append(float(score(params, opt_state)))
    return scores, params


def start(key):
    program = mg.make_program({"model": Net(), "loss": cross_entropy, "optimizer": optax.sgd(0.1), "metrics": {}})
    return jax.jit(program.init)(key, BATCHES[0]).params


def assert_same(found, expected, params=None):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), found[1].params, expected[1])


@pytest.mark.parametrize("period", [1, 2, 3])
@pytest.mark.parametrize("reset", [True, False])
def test_sam_is_evaluated_and_kept_where_it_began_its_ascent(period, reset, key):
    settings = {"sync_period": period, "reset_state": reset}
    found = by_engine(factory("contrib.sam", optimizer=optax.adam(0.05), adv_optimizer=ascent(), **settings), key)
    opaque = optax.contrib.sam(optax.adam(0.05), ascent(), **settings, opaque_mode=True)

    def update(params, state, batch):
        gradient = jax.grad(value)
        updates, state = opaque.update(
            gradient(params, batch), state, params, grad_fn=lambda params, _: gradient(params, batch)
        )
        return optax.apply_updates(params, updates), state

    params = start(key)
    assert_same(found, by_hand(params, update, opaque.init(params), lambda params, _: params))


def test_sam_that_never_updates_never_moves(key):
    scores, state = by_engine(factory("contrib.sam", optimizer=optax.sgd(0.0), adv_optimizer=ascent(1.0)), key)
    jax.tree.map(np.testing.assert_array_equal, state.params, start(key))
    assert len(set(scores)) == 1


def test_sam_equals_its_two_steps_in_optax_where_both_see_one_batch(key):
    chained = optax.chain(
        optax.clip_by_global_norm(0.5), factory("contrib.sam", optimizer=optax.sgd(0.5), adv_optimizer=ascent())
    )
    found = by_engine(
        factory(
            "MultiSteps",
            opt=factory("contrib.sam", optimizer=optax.sgd(0.5), adv_optimizer=ascent()),
            every_k_schedule=1,
        ),
        key,
    )
    transparent = optax.contrib.sam(optax.sgd(0.5), ascent())

    def update(params, state, batch):
        for _ in range(2):
            updates, state = transparent.update(jax.grad(value)(params, batch), state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    params = start(key)
    assert_same(found, by_hand(params, update, transparent.init(params), lambda params, _: params))
    assert np.isfinite(by_engine(chained, key)[0]).all()


def test_a_sam_whose_ascent_was_a_step_of_its_own_goes_on_from_where_it_began(key):
    """A state that was kept between two steps: its parameters are ascended, and those that count are beside them."""
    optimizer, params = factory("contrib.sam", optimizer=optax.sgd(0.5), adv_optimizer=ascent(0.0)), start(key)
    state = optimizer.init(params)._replace(steps_since_sync=jnp.ones((), jnp.int32))
    moved = jax.tree.map(lambda leaf: leaf + 1.0, params)

    @jax.jit
    def step(params, state):
        gradients = jax.grad(value)(params, BATCHES[0])
        return optimizer.update(gradients, state, params, value_fn=lambda params: value(params, BATCHES[0]))

    updates, after = step(moved, state)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.jit(jax.grad(value))(params, BATCHES[0]))
    found = optax.apply_updates(moved, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), found, expected)
    assert int(after.steps_since_sync) == 0


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (lambda sam: factory("lookahead", fast_optimizer=sam, sync_period=2, slow_step_size=0.5), "needs value_fn"),
        (lambda sam: factory("masked", inner=sam, mask="kernel$"), "it ascends with all parameters"),
    ],
)
def test_where_sam_cannot_ascend_is_said(optimizer, words, key):
    sam = factory("contrib.sam", optimizer=optax.sgd(0.1), adv_optimizer=ascent())
    with pytest.raises(MlgymError, match=f"config.optimizer: contrib.sam: .*{words}"):
        by_engine(optimizer(sam), key)


def plain(tx):
    def update(params, state, batch):
        updates, state = tx.update(jax.grad(value)(params, batch), state, params)
        return optax.apply_updates(params, updates), state

    return update


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw", "schedule_free"])
def test_schedule_free_optimizers_are_evaluated_at_their_averages(name, wrapped, key):
    given = {"learning_rate": 0.3, "b1": 0.8}
    if name == "schedule_free":
        given["base_optimizer"] = optax.sgd(0.3)
    tx = getattr(optax.contrib, name)(**given)
    found = factory(f"contrib.{name}", **given)
    if wrapped:
        tx, found = optax.chain(optax.clip(0.1), tx), factory("chain", transforms=(optax.clip(0.1), found))
    params = start(key)
    inside = (lambda state: state[1]) if wrapped else (lambda state: state)
    expected = by_hand(
        params,
        plain(tx),
        tx.init(params),
        lambda params, state: optax.contrib.schedule_free_eval_params(inside(state), params),
    )
    assert_same(by_engine(found, key), expected)


def test_a_part_of_the_parameters_may_be_averaged(key):
    free = {"learning_rate": 0.3, "b1": 0.8}
    labels = (("^Dense_0/", "free"), ("", "plain"))
    parts = {"free": factory("contrib.schedule_free_sgd", **free), "plain": optax.sgd(0.1)}
    found = by_engine(factory("partition", transforms=parts, param_labels=labels), key)
    by_name = {"Dense_0": "free", "Dense_1": "plain"}
    tx = optax.partition({"free": optax.contrib.schedule_free_sgd(**free), "plain": optax.sgd(0.1)}, by_name)

    def evaluated(params, state):
        inner = state.inner_states["free"].inner_state
        own = optax.contrib.schedule_free_eval_params(inner._replace(z=inner.z["Dense_0"]), params["Dense_0"])
        return {**params, "Dense_0": own}

    params = start(key)
    assert_same(found, by_hand(params, plain(tx), tx.init(params), evaluated))


def test_lookahead_is_evaluated_with_its_slow_parameters(key):
    settings = {"fast_optimizer": optax.sgd(0.5), "sync_period": 2, "slow_step_size": 0.5}
    found = by_engine(factory("lookahead", **settings), key)
    tx, params = optax.lookahead(**settings), start(key)

    def update(pair, state, batch):
        updates, state = tx.update(jax.grad(value)(pair.fast, batch), state, pair)
        return optax.apply_updates(pair, updates), state

    pair = optax.LookaheadParams.init_synced(params)
    scores, pair = by_hand(pair, update, tx.init(pair), lambda pair, _: pair.slow)
    assert_same(found, (scores, pair.fast))


def test_a_swept_period_of_ascents_splits_the_sweep():
    config = ConfigDict()
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=20, num_features=5, num_classes=3)
    config.model = component("mlp", features=())
    config.loss = component("softmax_cross_entropy")
    sgd = component("sgd", learning_rate=mg.grid(0.1, 0.2))
    config.optimizer = component("contrib.sam", optimizer=sgd, adv_optimizer=sgd, sync_period=mg.grid(2, 3))
    assert [len(job.group.ids) for job in prepare(config).jobs] == [4, 4]
    config.optimizer = component("contrib.sam", optimizer=sgd, adv_optimizer=sgd, sync_period=0)
    with pytest.raises(ConfigError, match=r"config\.optimizer\.sync_period: found 0"):
        prepare(config)

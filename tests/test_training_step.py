"""A config's own training step: against loops in Optax, in studies, resumed, and what is refused."""

import functools

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.errors import ConfigError

pytestmark = pytest.mark.usefixtures("own_registry")

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(20, 3)).astype(np.float32)
TARGETS = (INPUTS @ np.array([1.0, -2.0, 0.5], np.float32)).astype(np.float32)


class TwoPlayers(nn.Module):
    """Two linear maps whose outputs are told apart by name."""

    @nn.compact
    def __call__(self, x):
        return {"leader": nn.Dense(1, name="leader")(x), "follower": nn.Dense(1, name="follower")(x)}


def leader_loss(outputs, batch):
    return optax.squared_error(outputs["leader"][:, 0], batch["targets"])


def follower_loss(outputs, batch):
    return optax.squared_error(outputs["follower"][:, 0], jax.lax.stop_gradient(outputs["leader"][:, 0]))


def alternating(leader_rate, follower_rate):
    """Let the leader learn the targets by SGD, then the follower what the leader says by Adam."""
    optimizers = {"leader": optax.sgd(leader_rate), "follower": optax.adam(follower_rate)}
    losses = {"leader": leader_loss, "follower": follower_loss}

    def init(params, parts):
        return {name: optimizer.init(params[name]) for name, optimizer in optimizers.items()}

    def step(state, batch, key, parts):
        params, opt_state = dict(state.params), dict(state.opt_state)
        for name, optimizer in optimizers.items():

            def objective(own, name=name):
                outputs, left = parts.apply({**params, name: own}, state, batch)
                return losses[name](outputs, batch).mean(), (outputs, left)

            (_, (outputs, _)), gradients = parts.value_and_grad(objective)(params[name])
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state[name] = optimizer.update(gradients, opt_state[name], params[name])
            params[name] = optax.apply_updates(params[name], updates)
        metrics = parts.measure(state, outputs, batch)
        return state.replace(params=params, opt_state=opt_state), metrics

    return mg.TrainingStep(step, init)


def registered():
    @mg.register("dataset", "line")
    def line():
        return mg.Dataset(splits={"train": {"inputs": INPUTS, "targets": TARGETS}})

    @mg.register("model", "two_players")
    def model():
        return TwoPlayers()

    @mg.register("loss", "of_leader")
    def loss():
        return leader_loss

    @mg.register("training_step", "alternating_by_hand", dynamic=("leader_rate", "follower_rate"))
    def step(*, leader_rate: float = 0.1, follower_rate: float = 0.01):
        return alternating(leader_rate, follower_rate)


def study(**changes):
    config = ConfigDict(
        {
            "num_epochs": 4,
            "dataset": component("line"),
            "validation": None,
            "loader": component("in_memory", batch_size=20, shuffle=False),
            "model": component("two_players"),
            "loss": component("of_leader"),
            "optimizer": component("sgd", learning_rate=0.1),
        }
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


@functools.cache
def by_hand(leader_rate, follower_rate, steps):
    """The same in plain Optax, without the engine but for what it begins with."""
    program = mg.make_program(mg.build(study(training_step=component("alternating_by_hand"))))
    first = jax.jit(program.init)(jax.random.key(0), {"inputs": INPUTS, "targets": TARGETS}).params
    sgd, adam = optax.sgd(leader_rate), optax.adam(follower_rate)
    leader, follower = first["leader"], first["follower"]
    states = sgd.init(leader), adam.init(follower)
    call = lambda dense, x: (x @ dense["kernel"] + dense["bias"])[:, 0]  # noqa: E731

    @jax.jit
    def step(leader, follower, states):
        gradient = jax.grad(lambda p: ((call(p, INPUTS) - TARGETS) ** 2).mean())(leader)
        updates, one = sgd.update(gradient, states[0], leader)
        leader = optax.apply_updates(leader, updates)
        said = call(leader, INPUTS)
        gradient = jax.grad(lambda p: ((call(p, INPUTS) - said) ** 2).mean())(follower)
        updates, two = adam.update(gradient, states[1], follower)
        return leader, optax.apply_updates(follower, updates), (one, two)

    scores = []
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for _ in range(steps):
            leader, follower, states = step(leader, follower, states)
            scores.append(float(((np.asarray(call(leader, INPUTS)) - TARGETS) ** 2).mean()))
    return jax.device_get({"leader": leader, "follower": follower}), scores


@pytest.mark.parametrize("plan", ["vmap+scan", "none+step"])
def test_two_optimizers_that_alternate_are_those_of_a_loop_in_optax(tmp_path, plan):
    registered()
    step = component("alternating_by_hand", leader_rate=grid(0.05, 0.1), follower_rate=0.01)
    result = mg.run(study(training_step=step), event_storage=tmp_path, plan=plan)
    assert len(result.experiments) == 2
    for experiment in result.experiments:
        rate = experiment.hyperparameters["training_step.leader_rate"]
        params, scores = by_hand(rate, 0.01, 4)
        np.testing.assert_allclose(experiment.history["train/loss"], scores, rtol=1e-5)
        state = experiment.restore()
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.params, params)
        assert {*state.opt_state} == {"leader", "follower"}
        assert int(state.step) == 4


def test_a_study_with_an_optimizer_state_of_its_own_goes_on_to_the_same_bits(tmp_path):
    registered()
    config = study(training_step=component("alternating_by_hand"), checkpoint_interval_seconds=0.0)
    whole = mg.run(config, event_storage=tmp_path / "whole").experiments[0]
    config.num_epochs = 2
    half = mg.run(config, event_storage=tmp_path / "half")
    resumed = mg.resume(half.run_dir, num_epochs=4).experiments[0]
    assert resumed.history["train/loss"] == whole.history["train/loss"]
    jax.tree.map(np.testing.assert_array_equal, resumed.restore().opt_state, whole.restore().opt_state)


def test_a_step_of_two_updates_is_two_steps_of_one_update():
    def twice(state, batch, key, parts):
        for _ in range(2):
            (value, (outputs, left)), gradients = parts.value_and_grad(parts.objective)(state.params, state, batch)
            state = parts.updated(state, gradients, value=value, model_state=left)
        return state, parts.measure(state, outputs, batch)

    parts = {"model": TwoPlayers(), "loss": leader_loss, "optimizer": optax.adam(0.1), "metrics": {}}
    parts |= {"averaging": optax.ema(0.5, debias=False)}
    batch = {"inputs": INPUTS, "targets": TARGETS}
    one, two = mg.make_program(parts), mg.make_program({**parts, "training_step": twice})
    after, again = (jax.jit(program.init)(jax.random.key(0), batch) for program in (one, two))
    first = after.params
    for _ in range(2):
        after, _ = jax.jit(one.train_step)(after, batch)
    again, _ = jax.jit(two.train_step)(again, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after.params, again.params)
    assert (int(after.step), int(again.step)) == (2, 1)
    # The engine averages after each step, whoever makes it: half of what it was, half of what it is.
    halves = jax.tree.map(lambda new, old: 0.5 * new + 0.5 * old, again.params, again.opt_state.averaging.ema)
    assert jax.tree.structure(halves) == jax.tree.structure(first)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 0.5 * b), again.opt_state.params, again.params)


def test_a_batch_without_an_example_changes_nothing():
    registered()
    program = mg.make_program(mg.build(study(training_step=component("alternating_by_hand"))))
    batch = {"inputs": INPUTS, "targets": TARGETS, "mask": np.zeros(20, bool)}
    state = jax.jit(program.init)(jax.random.key(0), batch)
    after, _ = jax.jit(program.train_step)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    assert int(after.step) == 0


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda state, batch, key, parts: state, "returns (state, metrics)"),
        (lambda state, batch, key, parts: None, "found None"),
        (lambda state, batch, key, parts: (state.params, {}), "found (dict, dict)"),
        (lambda state, batch, key, parts: (state.replace(opt_state=()), {}), "opt_state"),
        (
            lambda state, batch, key, parts: (
                state.replace(params=jax.tree.map(lambda leaf: leaf.astype("float16"), state.params)),
                {},
            ),
            "params/follower/bias was float32[1], and is float16[1]",
        ),
        (lambda state, batch, key, parts: batch["weights"], "'weights'"),
    ],
)
def test_what_is_no_step_is_refused_in_words(tmp_path, step, said):
    registered()

    @mg.register("training_step", "wrong")
    def wrong():
        return step

    config = study(training_step=component("wrong"), optimizer=component("adam", learning_rate=0.1))
    with pytest.raises(ConfigError) as raised:
        mg.run(config, event_storage=tmp_path)
    assert "training_step" in str(raised.value)
    assert said in str(raised.value)


def test_parts_of_a_batch_are_refused_beside_a_step_of_ones_own(tmp_path):
    registered()
    config = study(training_step=component("alternating_by_hand"))
    config.loader = component("in_memory", batch_size=20, microbatches=2)
    with pytest.raises(ConfigError, match=r"loader\.microbatches: found 2 beside config\.training_step"):
        mg.run(config, event_storage=tmp_path)

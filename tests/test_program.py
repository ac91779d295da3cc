"""The pure functions of one training against the same training written by hand in plain Flax and Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import mlgym_jax as mg
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.state import INIT, TRAIN, key_for
from mlgym_jax.errors import ConfigError


def cross_entropy(outputs, batch):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"])


def batches(count, size=16, num_features=6, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield {
            "inputs": jnp.asarray(rng.normal(size=(size, num_features)), jnp.float32),
            "targets": jnp.asarray(rng.integers(0, num_classes, size), jnp.int32),
        }


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.relu(nn.Dense(8)(x)))


class Normalised(nn.Module):
    """BatchNorm and Dropout, told by `train`."""

    rate: float = 0.5

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(8)(x))
        return nn.Dense(3)(nn.Dropout(self.rate, deterministic=not train)(x))


class Deterministic(nn.Module):
    """Dropout, told by `deterministic`, with a stream of its own name."""

    @nn.compact
    def __call__(self, x, deterministic=True):
        x = x + (0.0 if deterministic else 1.0) * jax.random.normal(self.make_rng("noise"), x.shape)
        return nn.Dense(3)(nn.Dropout(0.3, deterministic=deterministic)(x))


def program_of(model, optimizer=None, **metrics):
    parts = {"model": model, "loss": cross_entropy, "optimizer": optimizer or optax.adam(1e-2), "metrics": metrics}
    return mg.make_program(parts)


def assert_trees_equal(one, other, tolerance=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), one, other)


def test_linen_training_equals_flax_and_optax_by_hand(key):
    program, model, optimizer = program_of(Plain()), Plain(), optax.adam(1e-2)
    step = jax.jit(program.train_step)
    state = program.init(key, next(batches(1)))
    params = state.params
    opt_state = optimizer.init(params)

    @jax.jit
    def by_hand(params, opt_state, batch):
        def loss(params):
            return cross_entropy(model.apply({"params": params}, batch["inputs"]), batch).mean()

        value, gradients = jax.value_and_grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    for batch in batches(20):
        state, metrics = step(state, batch)
        params, opt_state, value = by_hand(params, opt_state, batch)
        np.testing.assert_allclose(program.compute(metrics)["loss"], value, rtol=0, atol=1e-6)
    assert_trees_equal(state.params, params)
    assert int(state.step) == 20


class Distance(nn.Module):
    """The squared distance of a complex parameter from 1 + 2i, whose gradient is twice what lies between."""

    @nn.compact
    def __call__(self, x):
        between = self.param("w", nn.initializers.zeros, (), jnp.complex64) - (1 + 2j)
        return jnp.broadcast_to(jnp.square(between.real) + jnp.square(between.imag), (len(x),))


def test_complex_parameters_go_down_the_gradient(key):
    (batch,) = batches(1)
    parts = {"model": Distance(), "loss": lambda outputs, batch: outputs, "optimizer": optax.sgd(0.25), "metrics": {}}
    program = mg.make_program(parts)
    state, _ = jax.jit(program.train_step)(program.init(key, batch), batch)
    np.testing.assert_allclose(state.params["w"], 0.5 + 1j, atol=1e-6)


def test_masked_rows_change_nothing(key):
    program = program_of(Plain(), accuracy=mg.mean_of(lambda o, b: (o.argmax(-1) == b["targets"]).astype(jnp.float32)))
    batch = next(batches(1, size=7))
    padded = {name: jnp.concatenate([array, array[:1].repeat(3, 0)]) for name, array in batch.items()}
    padded["inputs"] = padded["inputs"].at[7:].set(1e3)
    padded["mask"] = jnp.arange(10) < 7
    state = program.init(key, batch)

    @jax.jit
    def found(state, batch):
        trained, metrics = program.train_step(state, batch)
        return trained.params, program.compute(metrics), program.compute(program.eval_step(state, batch))

    assert_trees_equal(found(state, batch), found(state, padded))


def test_batch_statistics_equal_flax_by_hand(key):
    program, model = program_of(Normalised(rate=0.0), optax.sgd(0.0)), Normalised(rate=0.0)
    state = program.init(key, next(batches(1)))
    variables = {"params": state.params, **state.model_state}
    step = jax.jit(program.train_step)
    by_hand = jax.jit(lambda variables, x: model.apply(variables, x, train=True, mutable=["batch_stats"]))
    for batch in batches(3):
        state, _ = step(state, batch)
        _, updated = by_hand(variables, batch["inputs"])
        variables = {**variables, **updated}
    assert_trees_equal(state.model_state["batch_stats"], variables["batch_stats"])
    batch = next(batches(1, seed=5))
    assert_trees_equal(program.predict(state, batch), model.apply(variables, batch["inputs"], train=False))


@pytest.mark.parametrize("make", ["ema", "mean"])
def test_averaged_parameters_have_batch_statistics_of_their_own(make, key):
    """As Izmailov et al. (2018) require of averaged weights: those of the trained weights are of other activations."""
    averaging = lookup("averaging", make).factory()
    model, optimizer = Normalised(rate=0.0), optax.sgd(0.5)
    parts = {"model": model, "loss": cross_entropy, "optimizer": optimizer, "metrics": {}}
    program, plain = mg.make_program({**parts, "averaging": averaging}), mg.make_program(parts)
    state, trained = program.init(key, next(batches(1))), plain.init(key, next(batches(1)))
    averages = averaging.init(trained.params)
    statistics, average = trained.model_state, trained.params
    for batch in batches(5):
        state, _ = jax.jit(program.train_step)(state, batch)
        trained, _ = jax.jit(plain.train_step)(trained, batch)
        average, averages = averaging.update(trained.params, averages)
        variables = {"params": average, **statistics}
        _, statistics = model.apply(variables, batch["inputs"], train=True, mutable=["batch_stats"])
    assert_trees_equal(state.params, trained.params, 1e-6)
    assert_trees_equal(state.model_state, trained.model_state, 1e-6)
    batch = next(batches(1, seed=5))
    by_hand = model.apply({"params": average, **statistics}, batch["inputs"], train=False)
    assert_trees_equal(program.predict(state, batch), by_hand, 1e-5)


@pytest.mark.parametrize("model", [Normalised(), Deterministic()])
def test_noise_depends_on_seed_and_step_alone(model, key):
    program = program_of(model)
    batch = next(batches(1))
    state = program.init(key, batch)
    again = program.train_step(state, batch)[0]
    assert_trees_equal(program.train_step(state, batch)[0].params, again.params, 0.0)
    later = program.train_step(state.replace(step=state.step + 1), batch)[0]
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (again.params, later.params)), strict=True))


def test_dropout_is_off_in_evaluation(key):
    program = program_of(Normalised(rate=0.9))
    batch = next(batches(1))
    state = program.init(key, batch)
    assert_trees_equal(program.predict(state, batch), program.predict(state.replace(step=state.step + 7), batch), 0.0)


class NnxNet(nnx.Module):
    def __init__(self, rate, *, rngs):
        self.layers = nnx.List([nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)])
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](self.dropout(nnx.relu(self.norm(self.layers[0](x)))))


def test_nnx_training_equals_nnx_by_hand(key):
    program = program_of(lambda rngs: NnxNet(0.0, rngs=rngs), optax.sgd(0.1))
    step = jax.jit(program.train_step)
    state = program.init(key, next(batches(1)))
    module = NnxNet(0.0, rngs=nnx.Rngs(key_for(key, INIT)))
    module.train()
    optimizer = nnx.Optimizer(module, optax.sgd(0.1), wrt=nnx.Param)

    @nnx.jit
    def by_hand(module, optimizer, batch):
        gradients = nnx.grad(lambda module: cross_entropy(module(batch["inputs"]), batch).mean())(module)
        optimizer.update(module, gradients)

    for batch in batches(10):
        state, _ = step(state, batch)
        by_hand(module, optimizer, batch)
    module.eval()
    batch = next(batches(1, seed=5))
    assert_trees_equal(program.predict(state, batch), module(batch["inputs"]), 1e-5)


def test_nnx_dropout_draws_anew_each_step_and_not_in_evaluation(key):
    program = program_of(lambda rngs: NnxNet(0.5, rngs=rngs), optax.sgd(0.1))
    batch = next(batches(1))
    state = program.init(key, batch)
    one, other = (program.train_step(state.replace(step=jnp.int32(step)), batch)[0].params for step in (0, 1))
    assert np.any(one["layers"]["0"]["kernel"] != other["layers"]["0"]["kernel"])
    assert_trees_equal(program.predict(state, batch), program.predict(state.replace(step=jnp.int32(9)), batch), 0.0)


def test_nnx_modules_train_and_evaluate_under_vmap(key):
    program = program_of(lambda rngs: NnxNet(0.5, rngs=rngs), optax.sgd(0.1))
    batch = next(batches(1))
    keys = jax.random.split(key, 3)

    def trained_from(key):
        return program.train_step(program.init(key, batch), batch)[0]

    trained, alone = jax.jit(jax.vmap(trained_from))(keys), jax.jit(trained_from)(keys[1])
    assert_trees_equal(jax.tree.map(lambda leaf: leaf[1], trained.params), alone.params)


class StackedDropout(nnx.Module):
    """Two layers that are one in memory, as `nnx.vmap` and `nnx.scan` make them, with a key for each."""

    def __init__(self, rngs):
        stack = nnx.split_rngs(splits=2)(nnx.vmap(lambda rngs: nnx.Dropout(0.5, rngs=rngs), in_axes=(0,), out_axes=0))
        self.layers, self.scale = stack(rngs), nnx.Param(jnp.ones(()))

    def __call__(self, x):
        forward = nnx.scan(lambda x, layer: layer(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return forward(x * self.scale[...], self.layers)


class GridOfDropout(nnx.Module):
    """The same with two axes of layers, applied side by side."""

    def __init__(self, rngs):
        row = nnx.vmap(lambda rngs: nnx.Dropout(0.5, rngs=rngs), in_axes=(0,), out_axes=0)
        self.layers = nnx.split_rngs(splits=(2, 3))(nnx.vmap(row, in_axes=(0,), out_axes=0))(rngs)

    def __call__(self, x):
        over = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))
        return nnx.vmap(over, in_axes=(0, None))(self.layers, x).min(axis=(0, 1))


@pytest.mark.parametrize(("model", "layers"), [(StackedDropout, 2), (GridOfDropout, 6)])
def test_each_of_stacked_nnx_layers_draws_for_itself(model, layers, key):
    from mlgym_jax.core.modules import adapt

    pure, inputs = adapt(model), jnp.ones((100, 1000))
    params, state = pure.init(key, inputs)
    outputs, _ = pure.apply(params, state, inputs, key, True)
    share = 0.5**layers  # of what independent layers all keep; one key for all of them would keep a half
    assert abs(np.mean(np.asarray(outputs) != 0) - share) < 5 * np.sqrt(share * (1 - share) / inputs.size)
    np.testing.assert_array_equal(pure.apply(params, state, inputs, key, False)[0], inputs)


class Sown(nn.Module):
    """A network that keeps what it computed, with `sow` and in a variable that is longer after each call."""

    sows: bool

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(nn.Dense(8, name="first")(x))
        if self.sows:
            self.sow("losses", "size", (x**2).mean())
            self.sow("intermediates", "hidden", x)
            longer = self.variable("longer", "seen", lambda: jnp.zeros((1,)))
            if train:
                longer.value = jnp.concatenate([longer.value, longer.value])
        return nn.Dense(3, name="last")(x)


class SownNnx(NnxNet):
    """The same in NNX, which also makes a variable at the first call."""

    def __call__(self, x):
        outputs = super().__call__(x)
        self.sow(nnx.Intermediate, "outputs", outputs)
        self.last = nnx.Variable(outputs)
        return outputs


@pytest.mark.filterwarnings("ignore:.*sow.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("sown", "plain"),
    [(Sown(True), Sown(False)), (lambda rngs: SownNnx(0.0, rngs=rngs), lambda rngs: NnxNet(0.0, rngs=rngs))],
    ids=["linen", "nnx"],
)
def test_what_is_created_or_grows_in_a_call_changes_nothing(sown, plain, key):
    programs = [program_of(model, optax.sgd(0.1)) for model in (sown, plain)]
    states = [program.init(key, next(batches(1))) for program in programs]
    for batch in batches(3):
        states = [jax.jit(program.train_step)(state, batch)[0] for program, state in zip(programs, states, strict=True)]
    one, other = states
    assert_trees_equal(one.params, other.params, 1e-6)
    carried = {name: one.model_state[name] for name in other.model_state}
    assert_trees_equal(carried, other.model_state, 1e-6)
    batch = next(batches(1, seed=5))
    assert_trees_equal(*(program.predict(state, batch) for program, state in zip(programs, states, strict=True)), 1e-6)


@pytest.mark.parametrize(
    "model", [Plain(), Normalised(), lambda rngs: NnxNet(0.5, rngs=rngs)], ids=["plain", "linen", "nnx"]
)
def test_a_batch_without_examples_changes_nothing(model, key):
    program = program_of(model, optax.adamw(0.1))
    batch = next(batches(1))
    before, _ = program.train_step(program.init(key, batch), batch)  # Adam has momentum, the decay never ends
    after, metrics = jax.jit(program.train_step)(before, {**batch, "mask": jnp.zeros(16, bool)})
    for tree in ("step", "params", "model_state", "opt_state"):
        assert_trees_equal(getattr(before, tree), getattr(after, tree), 0.0)
    assert np.isnan(program.compute(metrics)["loss"])


def test_a_swept_dropout_rate_equals_the_same_rate_written_down(key):
    """nn.Dropout asks `rate == 0.0`, which a traced rate cannot answer; the engine's own must draw the same mask."""
    dropout = nn.Dropout(0.4, deterministic=False)
    inputs = jax.random.normal(key, (64, 32))

    class Net(nn.Module):
        rate: float

        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dropout(self.rate, deterministic=not train)(x)

    from mlgym_jax.core.modules import adapt

    traced = jax.jit(lambda rate: adapt(Net(rate)).apply({}, {}, inputs, key, True)[0])(jnp.float32(0.4))
    written = adapt(Net(0.4)).apply({}, {}, inputs, key, True)[0]
    np.testing.assert_allclose(traced, written, rtol=1e-6)
    assert 0.3 < float((written == 0).mean()) < 0.5
    assert dropout.rate == 0.4


@pytest.mark.parametrize(
    "parts, path, words",
    [
        ({"model": "a string"}, "config.model", "Linen module or a callable"),
        ({"model": NnxNet(0.0, rngs=nnx.Rngs(0))}, "config.model", "lambda rngs"),
        ({"loss": lambda outputs, batch: outputs.mean()}, "config.loss", "one value an example"),
        ({"loss": lambda outputs, batch: batch["labels"]}, "config.loss", "labels"),
        ({"metrics": {"mine": object()}}, "config.metrics.mine", "mg.Metric"),
    ],
)
def test_what_a_component_does_wrong_is_named(parts, path, words, key):
    good = {"model": Plain(), "loss": cross_entropy, "optimizer": optax.sgd(0.1), "metrics": {}}
    batch = next(batches(1))
    with pytest.raises(ConfigError, match=words) as caught:
        program = mg.make_program({**good, **parts})
        program.train_step(program.init(key, batch), batch)
    assert str(caught.value).startswith(path)


def test_random_keys_of_purposes_and_steps_differ(key):
    words = {
        tuple(jax.random.key_data(key_for(key, purpose, n)).tolist()) for purpose in (INIT, TRAIN) for n in range(5)
    }
    assert len(words) == 10

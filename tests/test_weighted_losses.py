"""Losses of sums and weights an example: of padded sequences by hand, in steps, over splits, in sums of losses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.scoring import loss_values
from mlgym_jax.core.weighted import mean_over_batch
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.losses.composite import Reading, l2_regularizer, weighted_sum

B, T, C = 10, 5, 4
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(B, T, 3)).astype(np.float32)
TARGETS = RNG.integers(0, C, (B, T)).astype(np.int32)
LENGTHS = np.array([5, 1, 3, 0, 2, 5, 4, 1, 1, 2])
WHERE = np.arange(T) < LENGTHS[:, None]
DATA = {"inputs": INPUTS, "targets": TARGETS, "where": WHERE}


def rows(*numbers):
    return {name: array[list(numbers)] for name, array in DATA.items()}


class Tagger(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(C)(x)


def program_of(loss, optimizer=None, **metrics):
    return mg.make_program(
        {"model": Tagger(), "loss": loss, "optimizer": optimizer or optax.sgd(0.5), "metrics": metrics}
    )


def cross_entropy(params, data):
    """Return the cross-entropy of each position that counts, by hand."""
    logits = Tagger().apply({"params": params}, data["inputs"])
    costs = optax.softmax_cross_entropy_with_integer_labels(logits, data["targets"])
    return jnp.where(data["where"], costs, 0.0).sum() / data["where"].sum().astype(np.float32)


def builtin(name="softmax_cross_entropy", **given):
    return lookup("loss", name).factory(**given)


def own(outputs, batch):
    costs = optax.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"])
    where = batch["where"].astype(jnp.float32)
    return (costs * where).sum(axis=1), where.sum(axis=1)


@pytest.mark.parametrize("loss", [builtin(), own], ids=["builtin", "own"])
def test_a_step_lowers_the_mean_over_the_positions_that_count(loss, key):
    program = program_of(loss)
    state = jax.jit(program.init)(key, DATA)
    value, gradients = jax.jit(jax.value_and_grad(cross_entropy))(state.params, DATA)
    trained, metrics = jax.jit(program.train_step)(state, DATA)
    np.testing.assert_allclose(program.compute(metrics)["loss"], value, rtol=1e-6)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, state.params, gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), trained.params, expected)
    nothing, metrics = jax.jit(program.train_step)(state, rows(3))  # no position of it counts
    jax.tree.map(np.testing.assert_array_equal, nothing.params, state.params)
    assert np.isnan(program.compute(metrics)["loss"])


@pytest.mark.parametrize("loss", [builtin(), own], ids=["builtin", "own"])
def test_a_split_in_uneven_and_padded_batches_is_worth_the_mean_of_its_positions_and_perplexity_agrees(loss, key):
    program = program_of(loss, perplexity=lookup("metric", "perplexity").factory())
    state = jax.jit(program.init)(key, DATA)
    found = program.empty()
    for numbers, mask in (((0, 1, 2), (1, 1, 1)), ((3, 4, 5, 6, 7), (1, 1, 1, 1, 1)), ((8, 9, 0), (1, 1, 0))):
        part = {**rows(*numbers), "mask": np.array(mask, bool)}
        found = program.merge(found, jax.jit(program.eval_step)(state, part))
    scores = program.compute(found)
    np.testing.assert_allclose(scores["loss"], cross_entropy(state.params, DATA), rtol=1e-6)
    np.testing.assert_allclose(scores["perplexity"], np.exp(cross_entropy(state.params, DATA)), rtol=1e-6)
    assert np.isnan(program.compute(jax.jit(program.eval_step)(state, rows(3)))["loss"])


def test_accumulated_steps_are_those_of_optax(key):
    optimizer = optax.MultiSteps(optax.sgd(0.5), 2).gradient_transformation()
    program = program_of(builtin(), optimizer)
    state = jax.jit(program.init)(key, DATA)
    params, opt_state = state.params, optimizer.init(state.params)
    step, update = jax.jit(program.train_step), jax.jit(optimizer.update)
    gradient = jax.jit(jax.grad(cross_entropy))
    for numbers in ((0, 1, 2), (4, 5, 6)):
        state, _ = step(state, rows(*numbers))
        gradients = gradient(params, rows(*numbers))
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), state.params, params)


def test_a_sum_of_losses_divides_each_by_its_own_weights(key):
    inner = weighted_sum(
        losses={"token": Reading(builtin(), weight=0.5), "decay": Reading(l2_regularizer(), weight=0.1)}
    )
    total = weighted_sum(losses={"inner": Reading(inner, weight=2.0), "plain": Reading(lambda o, b: o[:, 0, 0])})
    program = program_of(total)
    state = jax.jit(program.init)(key, DATA)

    def by_hand(params):
        decay = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))
        inner = 0.5 * cross_entropy(params, DATA) + 0.1 * decay
        return inner, Tagger().apply({"params": params}, INPUTS)[:, 0, 0].mean()

    @jax.jit
    def value_and_gradients(params):
        gradients = jax.grad(lambda params: 2 * by_hand(params)[0] + by_hand(params)[1])(params)
        return by_hand(params), gradients

    (inner_value, plain), gradients = value_and_gradients(state.params)
    trained, metrics = jax.jit(program.train_step)(state, DATA)
    scores = program.compute(metrics)
    found = [scores[name] for name in ("loss", "loss/inner", "loss/plain")]
    np.testing.assert_allclose(found, [2 * inner_value + plain, inner_value, plain], rtol=1e-5)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, state.params, gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), trained.params, expected)


@pytest.mark.parametrize(
    ("name", "given", "unreduced"),
    [
        ("squared_error", {}, optax.squared_error),
        ("huber_loss", {"delta": 0.5}, lambda o, t: optax.huber_loss(o, t, delta=0.5)),
        ("sigmoid_binary_cross_entropy", {}, lambda o, t: optax.sigmoid_binary_cross_entropy(o, t)),
        ("hinge_loss", {}, lambda o, t: optax.hinge_loss(o, 2 * t - 1)),
        ("cosine_distance", {}, None),
        ("lp", {"p": 1.0}, lambda o, t: jnp.abs(o - t)),
    ],
)
def test_every_builtin_loss_leaves_out_what_where_does(name, given, unreduced):
    outputs, targets = INPUTS, (INPUTS[::-1] > 0).astype(np.float32)
    sums, weights = builtin(name, **given)(outputs, {"targets": targets, "where": WHERE, "mask": np.ones(B, bool)})
    if unreduced is None:
        costs, counted = optax.cosine_distance(outputs, targets), WHERE
    else:
        costs, counted = unreduced(outputs, targets), np.broadcast_to(WHERE[..., None], outputs.shape)
    np.testing.assert_allclose(sums.sum() / weights.sum(), np.asarray(costs)[counted].mean(), rtol=1e-5)
    assert float(weights.sum()) == counted.sum()


@pytest.mark.parametrize(
    ("name", "targets", "nothing"),
    [
        ("softmax_cross_entropy", TARGETS, -100),
        ("squared_error", RNG.normal(size=(B, T)), np.nan),
        ("lp", None, np.nan),
    ],
)
def test_what_stands_where_nothing_counts_may_be_anything(name, targets, nothing):
    targets = RNG.normal(size=(B, T)).astype(np.float32) if targets is None else targets
    outputs = RNG.normal(size=(B, T, C) if name == "softmax_cross_entropy" else (B, T)).astype(np.float32)
    batch = {"where": WHERE, "mask": np.ones(B, bool)}
    kind = np.int32 if name == "softmax_cross_entropy" else np.float32

    @jax.jit
    def gradient(targets):
        objective = lambda outputs: builtin(name)(outputs, {"targets": targets, **batch})[0].sum()  # noqa: E731
        return jax.grad(objective)(outputs)

    found = gradient(np.where(WHERE, targets, nothing).astype(kind))
    np.testing.assert_array_equal(found, gradient(np.where(WHERE, targets, 0).astype(kind)))
    assert np.isfinite(found).all() and (np.asarray(found)[~WHERE] == 0).all()


def test_totals_of_half_precision_count_every_position():
    values = (jnp.ones(3, jnp.bfloat16), jnp.array([300.0, 1.0, 0.0]))
    assert float(mean_over_batch(values, np.ones(3, bool))) == float(jnp.bfloat16(3 / 301))


def test_classes_that_are_left_out_leave_their_positions_in():
    classes = np.ones((B, T, C), bool)
    classes[..., 0], classes[0, 0] = False, False
    targets = np.maximum(TARGETS, 1)
    logits = RNG.normal(size=(B, T, C)).astype(np.float32)
    sums, weights = builtin()(jnp.asarray(logits), {"targets": targets, "where": classes})
    by_hand = -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits[..., 1:])), targets[..., None] - 1, -1)[..., 0]
    by_hand[0, 0] = 0.0
    np.testing.assert_allclose(sums, by_hand.sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(weights, [T - 1] + [T] * (B - 1))


@pytest.mark.parametrize("name", ["mse", "mae"])
def test_metrics_of_numbers_leave_it_out_too(name):
    metric = lookup("metric", name).factory()
    targets, mask = INPUTS[::-1], np.arange(B) < 7
    batch = {"targets": targets, "where": WHERE, "mask": mask}
    found = jax.jit(lambda outputs: metric.compute(metric.update(metric.init(), outputs, batch)))(INPUTS)
    errors = (INPUTS - targets)[WHERE & mask[:, None]]
    expected = np.square(errors).mean() if name == "mse" else np.abs(errors).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((np.ones(B, np.float32), {"aux": 1}), "(float32[10], dict)"),
        ((np.ones(B, np.float32), np.ones((B, T), np.float32)), "(float32[10], float32[10, 5])"),
        ((np.ones(B, np.float32),) * 3, "(float32[10], float32[10], float32[10])"),
        (np.ones((B, T), np.float32), "shape (10, 5)"),
        (None, "None; does it end with `return`?"),
    ],
)
def test_what_is_neither_values_nor_a_pair_is_named(values, words):
    with pytest.raises(ConfigError) as error:
        loss_values(lambda outputs, batch: values, INPUTS, {"mask": np.ones(B, bool)}, {})
    assert "config.loss: a loss returns one value an example" in str(error.value) and words in str(error.value)


def test_a_where_of_other_positions_is_named():
    with pytest.raises(MlgymError, match=r"where, bool\[10, 2\]"):
        builtin("squared_error")(INPUTS, {"targets": INPUTS, "where": WHERE[:, :2]})


def test_runs_of_uneven_folds_score_every_position_alike(own_registry, tmp_path):
    """Every real position costs log 4, as the model says nothing: 1.3863, whatever the lengths."""

    class Silent(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(C, kernel_init=nn.initializers.zeros)(x)

    mg.register("model", "silent")(Silent)
    mg.register("dataset", "sequences")(lambda: mg.Dataset({"train": DATA}, num_classes=C))
    config = ConfigDict()
    config.num_epochs = 1
    config.dataset = component("sequences")
    config.validation = component("cross_validation", folds=3)
    config.loader = component("in_memory", batch_size=4)
    config.model = component("silent")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.0)
    config.metrics = {"perplexity": component("perplexity")}
    result = mg.run(config, tmp_path, plan="vmap+scan")
    for view in result.view.experiments.values():
        (row,) = view.rows()
        for split in ("train", "val"):
            assert row[f"{split}/loss"] == pytest.approx(np.log(4), abs=1e-6)
            assert row[f"{split}/perplexity"] == pytest.approx(4, abs=1e-5)

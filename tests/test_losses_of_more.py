"""Losses of more than outputs and batch: parameters, the state and what a model sowed, keys, steps, the mode."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics
from flax import linen, nnx
from metric_cases import quick_jit, softmax
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.scoring import taken_by

RANDOM = np.random.default_rng(11)
INPUTS = RANDOM.normal(size=(8, 4)).astype(np.float32)
BATCH = {"inputs": jnp.asarray(INPUTS), "targets": jnp.asarray(RANDOM.integers(0, 3, 8).astype(np.int32))}


def entropy(outputs, batch):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"])


def spread(value):
    return jnp.broadcast_to(value, (8,))


class Sowing(linen.Module):
    """A dense layer whose squared outputs are an auxiliary loss, collected and, under another name, added up."""

    norm: bool = False

    @linen.compact
    def __call__(self, x, train=False):
        if self.norm:
            x = linen.BatchNorm(use_running_average=not train, momentum=0.5, name="norm")(x)
        x = linen.Dense(3, name="head")(x)
        self.sow("losses", "size", (x**2).mean())
        self.sow("sums", "size", (x**2).mean(), reduce_fn=lambda a, b: a + b, init_fn=lambda: jnp.zeros(()))
        return x


class OfNnx(nnx.Module):
    """The same in NNX."""

    def __init__(self, rngs):
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        x = self.head(x)
        self.size = Size((x**2).mean())
        return x


class Size(nnx.Variable):
    """What a call leaves behind."""


def of_pair():
    def apply(params, state, inputs):
        x = inputs @ params["head"]["kernel"] + params["head"]["bias"][None]
        return x, {"size": ((x**2).mean(),)}

    def init(key, inputs):
        return {"head": {"kernel": jax.random.normal(key, (4, 3)), "bias": jnp.zeros(3)}}, {}

    return init, apply


def program_of(model, loss, **sections):
    return mg.make_program({"model": model, "loss": loss, "optimizer": optax.sgd(0.1), **sections})


SIZES = {
    "linen": (Sowing(), lambda state: state["losses"]["size"][0]),
    "linen, beside batch statistics": (Sowing(norm=True), lambda state: state["losses"]["size"][0]),
    "linen, added up": (Sowing(norm=True), lambda state: state["sums"]["size"]),
    "nnx": (lambda rngs: OfNnx(rngs=rngs), lambda state: state["size"]),
    "pair": (of_pair(), lambda state: state["size"][0]),
}


@pytest.mark.parametrize("name", SIZES)
def test_what_a_model_sows_is_a_part_of_the_loss(name, key):
    model, size = SIZES[name]
    program = program_of(model, lambda outputs, batch, state: entropy(outputs, batch) + 0.5 * size(state))
    state, train_step = jax.jit(program.init)(key, BATCH), jax.jit(program.train_step)
    inputs = np.asarray(BATCH["inputs"])
    for _ in range(2):  # in the second step, too, it is of that call alone
        x = inputs
        if "norm" in state.params:
            with jax.numpy_rank_promotion("allow"):
                x = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + np.float32(1e-5))
                x = x * np.asarray(state.params["norm"]["scale"]) + np.asarray(state.params["norm"]["bias"])

        def by_hand(head, x=x):
            logits = x @ head["kernel"] + head["bias"]
            return entropy(logits, BATCH).mean() + 0.5 * (logits**2).mean()

        with jax.numpy_rank_promotion("allow"):
            value, gradient = quick_jit(jax.value_and_grad(by_hand))(state.params["head"])
        stepped = jax.tree.map(lambda p, g: np.asarray(p) - np.float32(0.1) * g, state.params["head"], gradient)
        state, metrics = train_step(state, BATCH)
        assert program.compute(metrics)["loss"] == pytest.approx(float(value), abs=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.params["head"], stepped)
    assert {*state.model_state} <= {"batch_stats"}
    logits = np.asarray(jax.jit(program.predict)(state, BATCH))
    expected = sklearn.metrics.log_loss(BATCH["targets"], softmax(logits), labels=range(3)) + 0.5 * (logits**2).mean()
    assert program.compute(jax.jit(program.eval_step)(state, BATCH))["loss"] == pytest.approx(float(expected), abs=1e-5)


def test_a_second_pass_through_a_net_with_batch_statistics(key):
    """Consistency with perturbed inputs: the loss calls the model again, with the parameters and the state."""
    net = Sowing(norm=True)

    def consistency(outputs, batch, params, state, key, train):
        noisy = batch["inputs"] + jax.random.normal(key, batch["inputs"].shape)
        again = net.apply({"params": params, **state}, noisy, train, mutable=["batch_stats", "losses", "sums"])[0]
        return ((outputs - again) ** 2).mean(axis=1)

    program = program_of(net, consistency)
    state = jax.jit(program.init)(key, BATCH)
    after, metrics = jax.jit(program.train_step)(state, BATCH)
    assert program.compute(metrics)["loss"] > 0
    kernels = [np.asarray(one.params["head"]["kernel"]) for one in (after, state)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0
    np.testing.assert_allclose(after.model_state["batch_stats"]["norm"]["mean"], 0.5 * INPUTS.mean(axis=0), atol=1e-6)


def test_steps_keys_and_the_mode_also_inside_of_composed_losses(key):
    def annealed(outputs, batch, step, train):
        return spread(step.astype(jnp.float32) + (100.0 if train else 0.0))

    def drawn(outputs, batch, *, key):
        return jax.random.uniform(key, (8,))

    compose = lookup("loss", "sum").factory
    weigh = lookup("loss", "class_weighted").factory
    inner = compose(losses={"drawn": drawn})
    loss = compose(losses={"annealed": weigh(loss=annealed, weights=(1.0, 1.0, 1.0)), "inner": inner})
    assert set(taken_by(loss)) == {"step", "train", "key"}
    program = program_of(Sowing(), loss)
    init, train_step, eval_step = map(jax.jit, (program.init, program.train_step, program.eval_step))
    state, seen = init(key, BATCH), []
    for step in range(2):
        draws = [program.compute(eval_step(state, BATCH)) for _ in range(2)]
        assert draws[0] == draws[1]  # the same state is scored the same
        assert draws[0]["loss/annealed"] == step
        state, metrics = train_step(state, BATCH)
        scores = program.compute(metrics)
        assert scores["loss/annealed"] == 100 + step
        seen += [draws[0]["loss/inner"], scores["loss/inner"]]
    assert len({float(value) for value in seen}) == 4  # each step, and its evaluation, draws its own


def test_a_loss_that_asks_for_nothing_is_handed_nothing(key):
    def plain(outputs, batch, **settings):
        assert not settings
        return entropy(outputs, batch)

    program = program_of(Sowing(norm=True), plain)
    state = jax.jit(program.init)(key, BATCH)
    jax.jit(program.train_step)(state, BATCH)
    assert taken_by(plain) == ()


def test_a_run_whose_loss_reads_what_is_sown_is_resumed(tmp_path, own_registry):
    register("model", "sowing")(lambda: Sowing(norm=True))

    @register("loss", "with_sown")
    def with_sown(*, factor: float = 0.1):
        return lambda outputs, batch, state, step: entropy(outputs, batch) + factor * state["losses"]["size"][0]

    config = ConfigDict(
        dict(
            num_epochs=1,
            dataset=component("synthetic", num_examples=64, num_features=4, num_classes=3),
            model=component("sowing"),
            loss=component("with_sown", weight=0.5),
            optimizer=component("sgd", learning_rate=0.1),
        )
    )
    whole = mg.run(config.copy_and_resolve_references(), tmp_path / "whole")
    result = mg.resume(whole.run_dir, num_epochs=2)
    assert (result.status, result.mismatches) == ("DONE", [])
    config.num_epochs = 2
    assert mg.run(config, tmp_path / "at once").experiments[0].history == result.experiments[0].history

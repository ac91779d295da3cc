"""Modules that are told in their own ways whether they train, against Flax by hand; and what is said of others."""

import functools
import logging

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx, struct
from ml_collections import ConfigDict, FrozenConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.core.state import TRAIN, key_for
from mlgym_jax.study.expand import prepare

INPUTS = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
BATCH = {"inputs": INPUTS, "targets": np.arange(16, dtype=np.int32) % 3}


def layers(x, train):
    """Call layers of the same names and draws, whichever compact module they stand in."""
    x = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x))
    return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


class Told(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return layers(x, train)


class ByAnyKeyword(nn.Module):
    @nn.compact
    def __call__(self, x, **rest):
        return layers(x, rest.get("is_training", False))


class HandsOn(nn.Module):
    """Takes anything, and hands it to a module that takes one flag of them."""

    @nn.compact
    def __call__(self, x, **rest):
        return self.of(x, **rest)

    @nn.nowrap
    def of(self, x, *, enable_dropout=False):
        return layers(x, enable_dropout)


class ByTwoFlags(nn.Module):
    @nn.compact
    def __call__(self, x, use_running_average, deterministic=True):
        x = nn.BatchNorm()(nn.Dense(8)(x), use_running_average=use_running_average)
        return nn.Dense(3)(nn.Dropout(0.5)(x, deterministic=deterministic))


class ByField(nn.Module):
    train: bool = False

    @nn.compact
    def __call__(self, x):
        return layers(x, self.train)


class ByFieldOrCall(nn.Module):
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, x, deterministic=None):
        return layers(x, not nn.merge_param("deterministic", self.deterministic, deterministic))


@struct.dataclass
class Mode:
    deterministic: bool = False


class ByConfig(nn.Module):
    config: object

    @nn.compact
    def __call__(self, x):
        return layers(x, not self.config.deterministic)


class ByLayer(nn.Module):
    """Its own mode is known; a layer that it was given says that it trains."""

    drop: nn.Module | functools.partial

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x))
        drop = self.drop() if isinstance(self.drop, functools.partial) else self.drop
        return nn.Dense(3)(drop(x))


ALIKE = {
    "any keyword": ByAnyKeyword(),
    "handed on": HandsOn(),
    "two flags": ByTwoFlags(),
    "a field": ByField(),
    "a field that says training": ByField(train=True),
    "a field or the call": ByFieldOrCall(),
    "a field, not the call": ByFieldOrCall(deterministic=False),
    "a dataclass": ByConfig(Mode()),
    "a config": ByConfig(FrozenConfigDict({"deterministic": False})),
    "a partial layer": ByLayer(functools.partial(nn.Dropout, 0.5, deterministic=False)),
}


def program_of(model):
    def loss(outputs, batch):
        return optax.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"])

    return mg.make_program({"model": model, "loss": loss, "optimizer": optax.sgd(0.1), "metrics": {}})


@pytest.mark.parametrize("name", ALIKE)
def test_a_linen_module_is_told_its_mode_as_flax_would_be_by_hand(name, key):
    program = program_of(ALIKE[name])
    state = program.init(key, BATCH)
    variables = {"params": state.params, **state.model_state}
    of_step = key_for(state.key, TRAIN, state.step)
    streams = {"params": jax.random.fold_in(of_step, 0), "dropout": jax.random.fold_in(of_step, 1)}
    outputs, updated = Told().apply(variables, INPUTS, train=True, rngs=streams, mutable=["batch_stats"])
    expected = optax.softmax_cross_entropy_with_integer_labels(outputs, BATCH["targets"]).mean()
    trained, metrics = program.train_step(state, BATCH)
    np.testing.assert_allclose(program.compute(metrics)["loss"], expected, rtol=0, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, trained.model_state, dict(updated))
    variables = {"params": trained.params, **trained.model_state}
    by_hand = Told().apply(variables, INPUTS, train=False)
    np.testing.assert_allclose(program.predict(trained, BATCH), by_hand, rtol=0, atol=1e-6)


def test_a_layer_that_was_given_is_off_in_evaluation_and_frozen_where_it_says_so(key):
    model = nn.Sequential(
        [nn.Dense(8), nn.BatchNorm(use_running_average=True), nn.Dropout(0.5, deterministic=False), nn.Dense(3)]
    )
    program = program_of(model)
    state = program.init(key, BATCH)
    trained, _ = program.train_step(state, BATCH)
    jax.tree.map(np.testing.assert_array_equal, trained.model_state, state.model_state)
    first, last = (jax.tree.map(np.asarray, state.params[name]) for name in ("layers_0", "layers_3"))
    hidden = (INPUTS @ first["kernel"] + first["bias"]) / np.sqrt(np.float32(1 + 1e-5))  # by the mean 0 and variance 1
    by_hand = hidden @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(program.predict(state, BATCH), by_hand, rtol=0, atol=1e-5)
    losses = [program.compute(program.train_step(state.replace(step=state.step + n), BATCH)[1])["loss"] for n in (0, 1)]
    assert losses[0] != losses[1]


class NnxByAttribute(nnx.Module):
    """The names of its attributes are those of `nnx.Module`'s own methods, or stand in a config."""

    def __init__(self, rngs, *, attribute):
        setattr(self, "train" if attribute == "train" else "config", False if attribute == "train" else Mode(True))
        self.linear, self.drop = nnx.Linear(6, 3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        trains = not self.config.deterministic if hasattr(self, "config") else self.train
        return self.linear(self.drop(x, deterministic=not trains))


@pytest.mark.parametrize("attribute", ["train", "config"])
def test_an_nnx_module_is_told_by_its_attributes(attribute, key):
    program = program_of(lambda rngs: NnxByAttribute(rngs, attribute=attribute))
    state = program.init(key, BATCH)
    linear = jax.tree.map(np.asarray, state.params["linear"])
    by_hand = INPUTS @ linear["kernel"] + linear["bias"]
    np.testing.assert_allclose(program.predict(state, BATCH), by_hand, rtol=0, atol=1e-6)
    losses = [program.compute(program.train_step(state.replace(step=state.step + n), BATCH)[1])["loss"] for n in (0, 1)]
    assert losses[0] != losses[1]


class Always(nn.Module):
    """Drops out, and normalises, as it is written."""

    deterministic_: bool
    width: int = 4

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True)(nn.Dense(self.width)(x))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=self.deterministic_)(x))


class NnxNever(nnx.Module):
    def __init__(self, rngs):
        self.linear, self.drop, self.norm = (
            nnx.Linear(5, 3, rngs=rngs),
            nnx.Dropout(0.5, rngs=rngs),
            nnx.BatchNorm(5, rngs=rngs),
        )

    def __call__(self, x):
        return self.linear(self.drop(self.norm(x, use_running_average=True), deterministic=True))


def study_of(model, loss=None, optimizer=None, microbatches=1):
    config = ConfigDict()
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=60, num_features=5, num_classes=3)
    config.model = model
    config.loss = loss or component("softmax_cross_entropy")
    config.optimizer = optimizer or component("sgd", learning_rate=0.1)
    config.loader = component("in_memory", batch_size=10, microbatches=microbatches)
    return prepare(config)


def test_a_loss_that_draws_in_evaluation_says_so_itself_by_the_key_that_it_takes(own_registry, caplog):
    def noisy(outputs, batch, *, key):
        return outputs[:, 0] + jax.random.normal(key, batch["targets"].shape)

    mg.register("model", "told")(lambda: Told())
    mg.register("loss", "noisy")(lambda: noisy)
    with caplog.at_level(logging.WARNING):
        study_of(component("told"), loss=component("noisy"))
    assert caplog.messages == []


class WithAHeadInTraining(nn.Module):
    """As Inception: a further head, and here a count of its calls, that evaluation knows nothing of."""

    @nn.compact
    def __call__(self, x, train=False):
        outputs = nn.Dense(3)(x)
        if train:
            calls = self.variable("counts", "calls", lambda: np.zeros((), np.int32))
            if not self.is_initializing():
                calls.value = calls.value + 1
            outputs = outputs + 0.3 * nn.Dense(3, name="head")(x)
        return outputs


def test_what_a_call_in_training_alone_creates_is_there_from_the_beginning(key):
    program, model = program_of(WithAHeadInTraining()), WithAHeadInTraining()
    state = program.init(key, BATCH)
    assert jax.tree.map(np.shape, state.params) == jax.tree.map(np.shape, model.init(key, INPUTS, train=True)["params"])
    outputs = model.apply({"params": state.params}, INPUTS, train=True, mutable=["counts"])[0]
    expected = optax.softmax_cross_entropy_with_integer_labels(outputs, BATCH["targets"]).mean()
    trained, metrics = program.train_step(state, BATCH)
    np.testing.assert_allclose(program.compute(metrics)["loss"], expected, rtol=0, atol=1e-6)
    assert trained.model_state["counts"]["calls"] == 1


class Bridged(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nnx.bridge.to_linen(nnx.Linear, 5, 3)(x)


def test_a_module_of_nnx_inside_of_a_linen_one_is_no_dropout(own_registry, caplog):
    mg.register("model", "bridged")(lambda: Bridged())
    with caplog.at_level(logging.WARNING):
        study_of(component("bridged"))
    assert caplog.messages == []


class OfItsBatch(nn.Module):
    """Counts its calls, and normalises by the batch that it sees, in whatever mode."""

    @nn.compact
    def __call__(self, x):
        calls = self.variable("counts", "calls", lambda: np.zeros((), np.int32))
        calls.value = calls.value + 1
        return nn.Dense(3)(nn.BatchNorm(use_running_average=False)(x))


class NnxOfItsBatch(nnx.Module):
    def __init__(self, rngs):
        self.dense, self.norm = nnx.Linear(5, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.dense(x), use_running_average=False)


def test_what_evaluation_changes_is_dropped(key):
    program = program_of(OfItsBatch())
    state = program.init(key, BATCH)
    outputs, _ = OfItsBatch().apply(
        {"params": state.params, **state.model_state}, INPUTS, mutable=["counts", "batch_stats"]
    )
    np.testing.assert_allclose(program.predict(state, BATCH), outputs, rtol=1e-6)
    state, _ = program.train_step(state, BATCH)
    assert state.model_state["counts"]["calls"] == 1 + program.init(key, BATCH).model_state["counts"]["calls"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda *, width: Told(), ()),
        (lambda *, width: OfItsBatch(), ("evaluation normalises by the statistics of its own batches",)),
        (lambda *, width: NnxOfItsBatch, ("evaluation normalises by the statistics of its own batches",)),
        (lambda *, width: Always(False, width), ("evaluation draws random", "leaves its batch statistics")),
        (lambda *, width: Always(True, width), ("dropout is off in training", "leaves its batch statistics")),
        (lambda *, width: NnxNever, ("dropout is off in training", "leaves its batch statistics")),
    ],
)
def test_a_mode_that_does_nothing_is_said_once(model, said, own_registry, caplog):
    mg.register("model", "own")(model)
    with caplog.at_level(logging.WARNING):
        study = study_of(component("own", width=grid(4, 5)))
    assert len(study.jobs) == 2
    assert len(caplog.messages) == len(said)
    for message, words in zip(caplog.messages, said, strict=True):
        assert message.startswith("config.model: ") and words in message


class PartsThatIdle(nn.Module):
    @nn.compact
    def __call__(self, x):
        nn.Dense(2, name="unused")(x)
        rounded = jax.lax.round(nn.Dense(3, name="rounded")(x))
        return nn.Dense(3, name="head")(x) + jax.lax.stop_gradient(nn.Dense(3, name="stopped")(x)) + rounded


@pytest.mark.parametrize("microbatches", [1, 2])
def test_parameters_on_which_the_loss_cannot_depend_are_told_but_for_those_that_are_frozen(
    microbatches, own_registry, caplog
):
    mg.register("model", "idle_parts")(lambda *, width: PartsThatIdle())
    frozen = component("selective_transform", optimizer=component("adam", learning_rate=0.1), freeze_mask="^stopped/")
    with caplog.at_level(logging.WARNING):
        study_of(component("idle_parts", width=3), optimizer=frozen, microbatches=microbatches)
    (message,) = caplog.messages
    assert "its parameters rounded/bias, rounded/kernel, unused/bias, unused/kernel, so that" in message

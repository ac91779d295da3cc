"""What can be meant, and hardly is, is told before training: pairs of all outputs and targets, softmax of softmax."""

import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.data import given
from mlgym_jax.study.expand import prepare

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


def crossed(outputs, batch):
    return ((outputs - batch["targets"][None, :]) ** 2).mean(-1)


def alike(outputs, batch):
    return (outputs[:, 0] - batch["targets"]) ** 2


def of_pairs(outputs, batch):
    """A ranking loss, which compares outputs with outputs where targets differ."""
    scores, targets = outputs[:, 0], batch["targets"]
    apart = jnp.maximum(0.0, 1 - scores[:, None] + scores[None, :])
    return jnp.where(targets[:, None] > targets[None, :], apart, 0.0).mean(1)


@pytest.mark.parametrize(
    ("loss", "metric", "said"),
    [
        (crossed, alike, ["config.loss: outputs float32[batch, 1] and targets float32[batch]"]),
        (alike, crossed, ["config.metrics.own: outputs float32[batch, 1] and targets float32[batch]"]),
        (of_pairs, alike, []),
    ],
)
def test_an_output_beside_all_targets_is_told(loss, metric, said, own_registry, caplog):
    mg.register("loss", "crossing")(lambda: loss)
    mg.register("metric", "crossing")(lambda: mg.mean_of(metric))
    messages = told(caplog, X[:, 0], loss=component("crossing"), metrics={"own": component("crossing")})
    assert [message.partition(" are broadcast to [batch, batch]")[0] for message in messages] == said


@pytest.mark.parametrize("where", ["importance", "where"])
def test_mixing_examples_but_not_what_the_loss_weighs_them_by_is_told(where, own_registry, caplog):
    fields = {"targets": X[:, 0], "importance": abs(X[:, 1]), "patient": np.arange(len(X))}
    mg.register("dataset", "weighed")(lambda: mg.Dataset({"train": {"inputs": X, **fields}}))
    loss = component("squared_error", where="importance")
    config = {"num_epochs": 1, "model": component("linear"), "optimizer": component("sgd", learning_rate=0.1)}
    with caplog.at_level(logging.WARNING):
        mix = component("mixup", where=where)
        prepare(ConfigDict({**config, "dataset": component("weighed"), "loss": loss, "augmentation": mix}))
    told = "mixup mixes each example with another one, and training reads the field 'importance' of the first alone"
    assert [told in message for message in caplog.messages] == [True] * (where == "where")


@pytest.mark.parametrize(
    ("augmentation", "said"),
    [(component("flip"), True), (component("flip", fields=("inputs", "targets")), False), (component("blur"), False)],
)
def test_moving_an_image_but_not_its_map_of_classes_is_told(augmentation, said, own_registry, caplog):
    images = np.random.default_rng(0).normal(size=(20, 6, 6, 1)).astype(np.float32)
    mg.register("dataset", "maps")(
        lambda: mg.Dataset({"train": {"inputs": images, "targets": (images[..., 0] > 0).astype(int)}}, num_classes=2)
    )
    mg.register("model", "pixelwise")(lambda: nn.Dense(2))
    config = {"num_epochs": 1, "optimizer": SGD, "loss": CROSS_ENTROPY, "augmentation": augmentation}
    with caplog.at_level(logging.WARNING):
        prepare(ConfigDict({**config, "dataset": component("maps"), "model": component("pixelwise")}))
    assert [
        "flip moves the pixels of each image, and training reads the field 'targets'" in m for m in caplog.messages
    ] == [True] * said


def test_a_class_that_a_fold_does_not_train_on_is_told(caplog):
    """36 rows of class 0 and 1, and 4 of class 2 in a row, by time: the last of 4 folds sees none of these before."""
    targets = np.r_[np.arange(36) % 2, [2] * 4]
    by_time = component("time_series", folds=4)
    messages = told(caplog, targets, loss=CROSS_ENTROPY, validation=by_time)
    assert len({*targets[:32]}) == 2 and {*targets[32:]} == {0, 1, 2}
    assert messages == [
        "fold 3: its training part has no example of class 2, of which 'val' has 4 (1 such folds): nothing is learnt "
        "of it, and balanced weights of classes count it as 0; cut parts that share it, as stratified=True does"
    ]


def told(caplog, targets, **fields):
    config = {"num_epochs": 1, "model": component("linear"), "optimizer": component("sgd", learning_rate=0.1), **fields}
    with given.at_hand((X, targets)) as own_data, caplog.at_level(logging.WARNING):
        prepare(given.config_of(config, own_data))
    return caplog.messages


PLAIN, OF_SOFTMAX = component("brier_score"), component("brier_score", from_logits=False)
WEIGHTED = component("class_weighted", loss=component("softmax_cross_entropy"))
CROSS_ENTROPY, SIGMOID = component("softmax_cross_entropy"), component("sigmoid_binary_cross_entropy")


@pytest.mark.parametrize(
    ("ends", "loss", "metrics", "said"),
    [
        (jax.nn.softmax, CROSS_ENTROPY, {"plain": PLAIN, "fine": OF_SOFTMAX}, ["loss", "metrics.plain"]),
        (jax.nn.log_softmax, CROSS_ENTROPY, {"plain": PLAIN}, []),
        (
            lambda x: jax.nn.sigmoid(x)[:, 0],
            SIGMOID,
            {"all": component("accuracy"), "half": component("accuracy", threshold=0.5)},
            ["loss", "metrics.all"],
        ),
        (lambda x: x[:, 0], SIGMOID, {"all": component("accuracy")}, []),
        (lambda x: x[:, :1], SIGMOID, {"half": component("accuracy", threshold=0.5)}, ["metrics.half"]),
        (jax.nn.softmax, WEIGHTED, {}, ["loss.loss"]),
        (lambda x: x, WEIGHTED, {"plain": PLAIN, "of": OF_SOFTMAX}, ["metrics.of"]),
        (lambda x: x, component("kl_divergence"), {}, ["loss"]),
        (jax.nn.softmax, component("kl_divergence"), {}, ["loss"]),
        (jax.nn.log_softmax, component("kl_divergence"), {"plain": PLAIN}, []),
    ],
)
def test_probabilities_that_are_read_as_logits_are_told(ends, loss, metrics, said, own_registry, caplog):
    class Ending(nn.Module):
        @nn.compact
        def __call__(self, x):
            return ends(nn.Dense(2)(x))

    mg.register("model", "ending")(lambda: Ending())
    messages = told(caplog, (X[:, 0] > 0).astype(int), model=component("ending"), loss=loss, metrics=metrics)
    assert [message.partition(":")[0].removeprefix("config.") for message in messages] == said


LEARNT = {"plain": lambda t: t, "exp": jnp.exp, "clipped": lambda t: jnp.clip(jnp.exp(t), max=100.0)}


@pytest.mark.parametrize(
    ("parameter", "holds", "said"),
    [
        ("temperature", "plain", []),
        ("temperature", "exp", ["'clip_loss' takes it for the logarithm of the temperature"]),
        ("logit_scale", "clipped", ["'clip_loss' takes it for the logarithm of 1 / temperature"]),
    ],
)
def test_a_learnt_temperature_that_is_no_logarithm_is_told(parameter, holds, said, own_registry, caplog):
    class Towers(nn.Module):
        @nn.compact
        def __call__(self, x):
            t = LEARNT[holds](self.param("t", nn.initializers.zeros, ()))
            return nn.Dense(2)(x), nn.Dense(2)(x), {"t": t}

    mg.register("model", "towers")(Towers)
    messages = told(caplog, X[:, 0], model=component("towers"), loss=component("clip_loss", **{parameter: "2.t"}))
    assert [message.split(", and ")[1].partition(", so")[0] for message in messages] == said


def test_a_model_that_does_not_look_at_its_inputs_is_told(own_registry, caplog):
    class Blind(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(jnp.ones_like(x))

    mg.register("model", "blind")(lambda: Blind())
    [message] = told(caplog, X[:, 0], model=component("blind"), loss=component("squared_error"))
    assert message.startswith("config.model: what it returns does not depend on its inputs")


@pytest.mark.parametrize("by_example", [True, False])
def test_a_state_of_a_value_an_example_is_told(by_example, own_registry, caplog):
    class Remembering(nn.Module):
        @nn.compact
        def __call__(self, x):
            last = self.variable("memory", "last", jnp.zeros, x.shape[:1] if by_example else (32,))
            last.value = x[:, 0] if by_example else last.value + x.mean()
            return nn.Dense(1)(x)

    mg.register("model", "remembering")(Remembering)
    messages = told(caplog, X[:, 0], model=component("remembering"), loss=component("squared_error"))
    assert [message.partition(" which")[0] for message in messages] == [
        "config.model: its variables memory/last have a value for each of the 32 examples of a batch,"
    ] * by_example


def cosine(steps):
    return component("cosine_decay_schedule", init_value=0.1, decay_steps=steps)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (cosine(10), ["it is 0 from about step 10 on, and a training has 40"]),
        (cosine(40), []),
        (component("in_epochs", schedule=cosine(2.5)), ["it is 0 from about epoch 2.5 on, and a training has 10,"]),
        (component("in_epochs", schedule=cosine(10)), []),
        (component("constant_schedule", value=0.1), []),
        (
            component("warmup_constant_schedule", init_value=0.0, peak_value=0.1, warmup_steps=50),
            ["it warms up for 50 steps, and a training has 40"],
        ),
    ],
)
def test_rates_that_are_0_for_most_of_a_training_are_told(rate, words, caplog):
    """40 rows, of which 32 train: 4 steps of 8 an epoch, 10 epochs."""
    inner = component("chain", transforms=(component("clip", max_delta=1.0), component("sgd", learning_rate=rate)))
    fields = {"num_epochs": 10, "loader": component("in_memory", batch_size=8), "optimizer": inner}
    messages = told(caplog, X[:, 0], loss=component("squared_error"), **fields)
    assert len(messages) == len(words)
    for message, own in zip(messages, words, strict=True):
        assert message.startswith("config.optimizer.transforms.1.learning_rate: ") and own in message


@pytest.mark.parametrize(("rate", "is_told"), [(0.0, True), (-0.0, True), (1e-30, False), (grid(0.0, 0.1), False)])
def test_a_rate_of_0_is_told_unless_it_is_one_of_a_grid(rate, is_told, caplog):
    inner = component("chain", transforms=(component("clip", max_delta=1.0), component("sgd", learning_rate=rate)))
    messages = told(caplog, X[:, 0], loss=component("squared_error"), optimizer=inner)
    said = "config.optimizer.transforms.1.learning_rate is 0, so that no parameter is ever moved; is that meant?"
    assert messages == [said] * is_told


def test_metrics_of_what_a_post_processor_made_are_told(caplog):
    metrics = {"twice": component("brier_score", output="p"), "once": component("brier_score", output="outputs")}
    processors = {"p": component("softmax")}
    targets = (X[:, 0] > 0).astype(int)
    [message] = told(caplog, targets, loss=CROSS_ENTROPY, metrics=metrics, post_processors=processors)
    assert message.startswith("config.metrics.twice: ") and message.endswith("write from_logits=False")


SGD, DECAYED = component("sgd", learning_rate=0.1), component("add_decayed_weights", weight_decay=0.01)
UP, GROWS, STAYS = "steps go up the gradient of the parameters", "without any gradient it makes", "it moves none of"


def chain(*transforms):
    return component("chain", transforms=transforms)


@pytest.mark.parametrize(
    ("section", "by_optax", "words"),
    [
        (component("scale_by_adam"), optax.scale_by_adam(), [UP]),
        (component("adadelta"), optax.adadelta(), [UP]),
        (chain(component("scale_by_adam"), component("scale", step_size=0.1)), optax.scale(0.1), [UP]),
        (chain(component("scale_by_adam"), component("scale", step_size=-0.1)), optax.scale(-0.1), []),
        (chain(component("scale_by_adam"), component("scale", step_size=grid(-0.1, 0.1))), optax.scale(0.1), [UP]),
        (chain(SGD, DECAYED), optax.chain(optax.sgd(0.1), optax.add_decayed_weights(0.01)), [GROWS]),
        (chain(DECAYED, SGD), optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1)), []),
        (chain(SGD, component("freeze", mask="kernel|bias")), optax.set_to_zero(), [STAYS]),
        (chain(SGD, component("freeze", mask="kernel")), optax.sgd(0.1), []),
        (component("MultiSteps", opt=SGD, every_k_schedule=2), optax.sgd(0.1), []),
        (
            component("sgd", learning_rate=component("constant_schedule", value=-0.1)),
            optax.sgd(-0.1),
            ["it is -0.1 at"],
        ),
    ],
)
def test_optimizers_that_go_the_other_way_or_nowhere_are_told(section, by_optax, words, caplog):
    messages = told(caplog, X[:, 0], loss=component("squared_error"), optimizer=section, num_epochs=2)
    assert [word in message for word, message in zip(words, messages, strict=True)] == [True] * len(words)
    assert moved_by(by_optax, gradient=1.0, parameter=1.0) > 0 if UP in words else True
    assert (moved_by(by_optax, gradient=0.0, parameter=1.0) > 0) == (GROWS in words)


@pytest.mark.parametrize(
    ("weight", "words"),
    [(-1.0, ["-1, so that it is raised"]), (grid(0.0, 1.0), ["0, so that nothing is learnt"]), (0.5, [])],
)
def test_a_loss_that_is_turned_round_is_told(weight, words, caplog):
    messages = told(caplog, X[:, 0], loss=component("squared_error", weight=weight), optimizer=SGD)
    assert messages == [f"config.loss.weight is {word}; is that meant?" for word in words]


@pytest.mark.parametrize(
    ("targets", "loss", "said"),
    [
        (np.full(40, 2.5, np.float32), component("squared_error"), ["config.dataset: fold 0: all of the 32 targets"]),
        (np.full(40, 2.5, np.float32), component("unread"), []),
        (np.arange(40, dtype=np.float32) == 39, component("squared_error"), []),
        (1e-22 * X[:, 1], component("squared_error"), ["config.dataset: the targets differ by"]),
        (1e-15 * X[:, 1], component("squared_error"), []),
        (1e22 * X[:, 1], component("squared_error"), ["config.dataset: the targets reach"]),
    ],
)
def test_targets_that_are_all_one_number_or_have_no_squares_are_told(targets, loss, said, own_registry, caplog):
    mg.register("loss", "unread")(lambda: lambda outputs, batch: outputs[:, 0] ** 2)
    messages = told(caplog, np.float32(targets), loss=loss)
    assert [re.split(" that it trains on| [0-9.]+e", message)[0] for message in messages] == said


@pytest.mark.parametrize("split", ["val", "test"])
def test_choosing_by_test_scores_is_told(split, caplog):
    best = component("best", monitor=f"{split}/loss", mode="min")
    validation = component("holdout", val=0.2, test=0.2)
    fields = {"loss": component("squared_error"), "optimizer": SGD, "checkpointing": best, "validation": validation}
    messages = told(caplog, X[:, 0], evaluation_splits=("train", "val", "test"), **fields)
    said = ["config.checkpointing.monitor is 'test/loss': what is chosen by the split 'test' fits it"] * (
        split == "test"
    )
    assert [message.partition(", so")[0] for message in messages] == said


def moved_by(optimizer, gradient, parameter):
    parameter = jnp.float32(parameter)
    with jax.numpy_dtype_promotion("standard"):
        return optimizer.update(jnp.float32(gradient), optimizer.init(parameter), parameter)[0]

"""Losses and metrics of one's own that compare every output with all targets are told; those that mean to are not."""

import logging

import jax.numpy as jnp
import numpy as np
import pytest

import mlgym_jax as mg
from mlgym_jax import component
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
    config = {
        "num_epochs": 1,
        "model": component("linear"),
        "loss": component("crossing"),
        "optimizer": component("sgd", learning_rate=0.1),
        "metrics": {"own": component("crossing")},
    }
    with given.at_hand((X, X[:, 0])) as own_data, caplog.at_level(logging.WARNING):
        prepare(given.config_of(config, own_data))
    assert [message.partition(" are broadcast to [batch, batch]")[0] for message in caplog.messages] == said

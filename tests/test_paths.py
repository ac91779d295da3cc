"""Patterns that choose parameters: what they match, with and without boxes, and what is said of a useless one."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.checkpoint.warm_start import from_safetensors
from mlgym_jax.components.registry import lookup, registrations
from mlgym_jax.core.paths import named_leaves, noting_unmatched
from mlgym_jax.errors import ConfigError
from mlgym_jax.events.projection import project
from mlgym_jax.study.expand import prepare

BATCH = {"inputs": np.eye(5, dtype=np.float32), "targets": np.array([0, 1, 2, 0, 1], np.int32)}
PARAMS = {"Dense_0": {"kernel": jnp.ones((5, 3)), "bias": jnp.ones(3)}}


class Boxed(nn.Module):
    """Its kernel is in a box, its bias is not."""

    @nn.compact
    def __call__(self, x):
        start = nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("inputs", "outputs"))
        return nn.Dense(3, kernel_init=start)(x)


def program_of(optimizer, loss=None, model=None):
    loss = loss or lookup("loss", "softmax_cross_entropy").factory()
    return mg.make_program({"model": model or Boxed(), "loss": loss, "optimizer": optimizer, "metrics": {}})


def unboxed(params):
    return nn.meta.unbox(params)


@pytest.mark.parametrize("mask", ["kernel$", "^Dense_0/kernel$", "kernel/value$"])
def test_a_box_is_no_part_of_the_path_that_a_mask_is_searched_in(mask, key):
    given = {"learning_rate": 0.1, "weight_decay": 0.5}
    program = program_of(lookup("optimizer", "adamw").factory(**given, mask=mask))
    state = program.init(key, BATCH)
    trained, _ = jax.jit(program.train_step)(state, BATCH)

    def objective(params):
        logits = Boxed().apply({"params": params}, BATCH["inputs"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, BATCH["targets"]).mean()

    params = unboxed(state.params)
    by_hand = optax.adamw(**given, mask={"Dense_0": {"kernel": True, "bias": False}})
    gradients = jax.jit(jax.grad(objective))(params)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = by_hand.update(gradients, by_hand.init(params), params)
    expected = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), unboxed(trained.params), expected)


def test_labels_and_regularisers_and_names_leave_boxes_out_too(key):
    labels = (("^Dense_0/kernel$", "still"), ("", "moves"))
    transforms = {"still": optax.set_to_zero(), "moves": optax.sgd(0.1)}
    penalty = lookup("loss", "l2_regularizer").factory(paths="^Dense_0/kernel$")
    program = program_of(lookup("optimizer", "partition").factory(transforms=transforms, param_labels=labels), penalty)
    state = program.init(key, BATCH)
    trained, metrics = jax.jit(program.train_step)(state, BATCH)
    kernel = unboxed(state.params)["Dense_0"]["kernel"]
    np.testing.assert_array_equal(unboxed(trained.params)["Dense_0"]["kernel"], kernel)
    np.testing.assert_allclose(program.compute(metrics)["loss"], np.square(np.asarray(kernel)).sum(), rtol=1e-6)
    assert [*named_leaves(state.params)] == ["Dense_0/bias", "Dense_0/kernel"]


@pytest.mark.parametrize("stored", ["Dense_0/kernel", "Dense_0/kernel/value"])
def test_a_warm_start_reaches_into_boxes(stored, key, tmp_path):
    kernel = np.arange(15, dtype=np.float32).reshape(5, 3)
    safetensors.numpy.save_file({stored: kernel}, tmp_path / "kernel.safetensors")
    state = jax.eval_shape(program_of(optax.sgd(0.1)).init, key, BATCH)
    start = from_safetensors(path=str(tmp_path / "kernel.safetensors"), include="kernel$")
    loaded = start(state)
    assert loaded.names == ["Dense_0/kernel"] and loaded.left == ["Dense_0/bias"]
    stacked = jax.tree.map(lambda leaf: np.zeros((2, *leaf.shape), leaf.dtype), state.replace(key=jnp.zeros(2)))
    applied = unboxed(loaded.applied(stacked).params)["Dense_0"]
    np.testing.assert_array_equal(applied["kernel"], np.stack([kernel, kernel]))


SGD = component("sgd", learning_rate=0.1)


def config_of(optimizer=SGD, loss=None):
    config = ConfigDict()
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=20, num_features=5, num_classes=3)
    config.model = component("mlp", features=())
    config.loss = loss or component("softmax_cross_entropy")
    config.optimizer = optimizer
    return config


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            component("adamw", learning_rate=0.1, mask="kernle$"),
            "config.optimizer.mask: adamw: mask='kernle$' is found in no parameter's path; did you mean 'kernel$'? "
            "Parameters: Dense_0/bias, Dense_0/kernel",
        ),
        (
            component("chain", transforms=(SGD, component("freeze", mask="^dense_0/"))),
            "config.optimizer.transforms.1.mask: freeze: mask='^dense_0/' is found in no parameter's path; did you "
            "mean '^Dense_0/'? ",
        ),
        (
            component("selective_transform", optimizer=SGD, freeze_mask="conv"),
            "config.optimizer.freeze_mask: selective_transform: freeze_mask='conv' is found in no parameter's path. ",
        ),
        (
            component(
                "partition",
                transforms=dict(a=SGD, b=component("adamw", learning_rate=grid(0.1, 0.2), mask="bais")),
                param_labels=(("kernel$", "b"), ("", "a")),
            ),
            "config.optimizer.transforms.b.mask: adamw: mask='bais' is found in no parameter's path; did you mean",
        ),
        (
            component("multi_transform", transforms=dict(a=SGD), param_labels=(("", "a"), ("Dense_1", "a"))),
            "config.optimizer.param_labels.1: multi_transform: param_labels='Dense_1' is found in no parameter's path;",
        ),
    ],
)
def test_what_is_found_in_no_path_is_refused_where_it_stands(optimizer, message):
    with pytest.raises(ConfigError) as error:
        prepare(config_of(optimizer))
    assert str(error.value).startswith(message)


def test_a_mask_that_another_part_of_the_parameters_would_match_is_let_through():
    decayed = component("adamw", learning_rate=0.1, mask="kernel$")
    parts = component("partition", transforms=dict(a=decayed, b=decayed), param_labels=(("kernel$", "a"), ("", "b")))
    assert len(prepare(config_of(parts)).jobs) == 1


def test_a_run_that_began_with_such_a_mask_may_go_on_and_is_told(caplog):
    config = config_of(component("adamw", learning_rate=0.1, mask="kernle$"))
    with caplog.at_level(logging.WARNING):
        (job,) = prepare(config, project([])).jobs
    assert len(job.group.ids) == 1
    assert [message.split(" is found")[0] for message in caplog.messages] == [
        "config.optimizer.mask: adamw: mask='kernle$'"
    ]


def test_a_regulariser_that_finds_nothing_says_what_is_near():
    with pytest.raises(ConfigError, match="did you mean 'kernel'"):
        prepare(config_of(loss=component("l2_regularizer", paths="kernal")))


def _with_patterns():
    for entry in registrations("optimizer"):
        for name in entry.parameters:
            if name.endswith("mask"):
                yield pytest.param(entry.name, name, id=f"{entry.name}-{name}")


@pytest.mark.parametrize(("name", "parameter"), [*_with_patterns()])
def test_every_mask_of_every_optimizer_is_noted_where_it_is_found_nowhere(name, parameter):
    entry, inner = lookup("optimizer", name), ("inner", "optimizer", "base_optimizer")
    required = {key for key, item in entry.parameters.items() if item.default is item.empty}
    given = {key: optax.sgd(0.1) if key in inner else 0.1 for key in required}
    with noting_unmatched() as noted:
        jax.eval_shape(entry.factory(**{**given, parameter: "nowhere"}).init, PARAMS)
    assert {(found.parameter, found.pattern) for found in noted} == {(parameter, "nowhere")}
    assert noted[0].words.startswith(f"{name}: {parameter}='nowhere' is found in no parameter's path")

"""Models as pairs of functions (init, apply): Haiku's and stax's forms, and the engine's own."""

import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax.example_libraries import stax
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.modules import adapt
from mlgym_jax.errors import ConfigError

RANDOM = np.random.default_rng(5)
INPUTS = RANDOM.normal(size=(6, 4)).astype(np.float32)
BATCH = {"inputs": jnp.asarray(INPUTS), "targets": jnp.asarray(RANDOM.integers(0, 3, 6).astype(np.int32))}


class Transformed(NamedTuple):
    """Of the form that Haiku's transforms have, whose signatures are those of the function that is transformed."""

    init: object
    apply: object


def weights(key):
    return {"linear": {"w": jax.random.normal(key, (4, 3))}}


def with_signature(function, *names):
    kinds = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    function.__signature__ = inspect.Signature(kinds)
    return function


def with_state(mean):
    def init(rng, *inputs, **modes):
        assert modes == {"is_training": True}
        return weights(rng), {"mean": jnp.zeros(4)}

    def apply(params, state, rng, *inputs, **modes):
        x = inputs[0]
        new = x.mean(axis=0) if modes["is_training"] else state["mean"]
        noise = jax.random.normal(rng, x.shape) if modes["is_training"] else jnp.zeros_like(x)
        return (x - new[None] + 0.0 * noise) @ params["linear"]["w"], {"mean": new, "of_this_call": x}

    return Transformed(
        with_signature(init, "rng", "x", "is_training"),
        with_signature(apply, "params", "state", "rng", "x", "is_training"),
    )


FORMS = {
    "transform": lambda: Transformed(
        with_signature(lambda rng, x: weights(rng), "rng", "x"),
        with_signature(lambda params, rng, x: x @ params["linear"]["w"], "params", "rng", "x"),
    ),
    "without_apply_rng": lambda: Transformed(lambda rng, x: weights(rng), lambda params, x: x @ params["linear"]["w"]),
    "a key alone": lambda: (lambda rng: weights(rng), lambda params, x: x @ params["linear"]["w"]),
    "inputs before the state": lambda: (
        lambda key, inputs: (weights(key), {}),
        lambda variables, inputs, *, scale=1.0, state, train=False: (inputs @ variables["linear"]["w"] * scale, state),
    ),
    "compiled": lambda: (jax.jit(lambda key, x: weights(key)), jax.jit(lambda p, x: x @ p["linear"]["w"])),
    "all of it": lambda: mg.Model(
        lambda key, inputs: (weights(key), {}),
        lambda params, state, inputs, key, train: (inputs @ params["linear"]["w"], state),
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_pairs_are_trained_as_a_plain_loop_trains_them(name, key):
    loss = lookup("loss", "softmax_cross_entropy").factory()
    program = mg.make_program({"model": FORMS[name](), "loss": loss, "optimizer": optax.sgd(0.5)})
    state = program.init(key, BATCH)
    params = state.params

    def objective(params):
        logits = BATCH["inputs"] @ params["linear"]["w"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, BATCH["targets"]).mean()

    for _ in range(3):
        state, _ = program.train_step(state, BATCH)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(objective)(params))
    np.testing.assert_allclose(state.params["linear"]["w"], params["linear"]["w"], atol=1e-6)
    np.testing.assert_allclose(program.predict(state, BATCH), INPUTS @ params["linear"]["w"], atol=1e-5)


@pytest.mark.parametrize("form", [tuple, lambda pair: {"x": pair[0], "y": pair[1]}])
def test_functions_of_several_inputs_take_them_by_name_or_in_order(form, key):
    def init(rng, x, y):
        return {"w": jax.random.normal(rng, (x.shape[1] + y.shape[1], 3))}

    def apply(params, rng, x, y, scale=2.0):
        return scale * jnp.concatenate([x, y], axis=1) @ params["w"]

    inputs, model = form([INPUTS[:, :1], INPUTS[:, 1:]]), adapt((init, apply))
    params, state = model.init(key, inputs)
    outputs, _ = model.apply(params, state, inputs, key, False)
    np.testing.assert_allclose(outputs, 2 * INPUTS @ np.asarray(params["w"]), atol=1e-5)


def test_a_state_is_carried_in_the_form_that_it_began_with(key):
    loss = lookup("loss", "softmax_cross_entropy").factory()
    program = mg.make_program({"model": with_state("mean"), "loss": loss, "optimizer": optax.sgd(0.5)})
    state = program.init(key, BATCH)
    assert state.model_state["mean"].tolist() == [0.0] * 4
    state, _ = jax.jit(program.train_step)(state, BATCH)
    assert list(state.model_state) == ["mean"]
    np.testing.assert_allclose(state.model_state["mean"], INPUTS.mean(axis=0), atol=1e-6)
    expected = (INPUTS - INPUTS.mean(axis=0)) @ np.asarray(state.params["linear"]["w"])
    np.testing.assert_allclose(program.predict(state, BATCH), expected, atol=1e-5)


def test_stax_trains_is_kept_resumed_and_predicts(tmp_path, own_registry):
    @register("model", "of_stax")
    def of_stax():
        return stax.serial(stax.Dense(8), stax.Relu, stax.Dropout(0.9, mode="test"), stax.Dense(3))

    config = ConfigDict(
        dict(
            num_epochs=2,
            dataset=component("synthetic", num_examples=64, num_features=4, num_classes=3),
            model=component("of_stax"),
            loss=component("softmax_cross_entropy"),
            optimizer=component("sgd", learning_rate=0.1),
        )
    )
    with jax.numpy_rank_promotion("allow"):  # which stax relies on
        result = mg.resume(mg.run(config, tmp_path).run_dir, num_epochs=3)
        predicted = result.experiments[0].predict(INPUTS)
    assert (result.status, result.mismatches) == ("DONE", [])
    (w, b), _, _, (v, c) = result.experiments[0].restore().params
    np.testing.assert_allclose(predicted, np.maximum(INPUTS @ w + b, 0) @ v + c, atol=1e-5)
    assert [w.shape, b.shape, v.shape, c.shape] == [(4, 8), (8,), (8, 3), (3,)]


def fails(init, apply):
    pure = adapt((init, apply))
    params, state = pure.init(jax.random.key(0), BATCH["inputs"])
    pure.apply(params, state, BATCH["inputs"], jax.random.key(0), True)


def test_what_a_pair_takes_and_returns_is_said():
    with pytest.raises(
        ConfigError, match=r"apply\(params, x, y\) has a parameter 'y' of which .*`state`, `rng` or `key`"
    ):
        fails(lambda key, x: {}, lambda params, x, y: x)
    with pytest.raises(ConfigError, match=r"apply\(params\) takes no inputs; init takes a key and, if it likes, the"):
        fails(lambda key: {}, lambda params: params)
    with pytest.raises(ConfigError, match=r"its init is expected to return \(params, state\), found \{\}"):
        fails(lambda key, x: {}, lambda params, state, x: x)
    with pytest.raises(
        ConfigError, match=r"its apply is expected to return \(outputs, state\), found an array \[6, 4\]"
    ):
        fails(lambda key, x: ({}, {}), lambda params, state, x: x)


def test_modules_of_other_libraries_are_told_what_to_write():
    def module(library):
        base = type("Module", (), {"__module__": f"{library}.nn", "__call__": lambda self, x: x})
        return type("Net", (base,), {})()

    with pytest.raises(
        ConfigError, match=r"Equinox module Net.*pair \(init, apply\): init = lambda key, x: eqx.filter"
    ):
        adapt(module("equinox"))
    with pytest.raises(ConfigError, match=r"Equinox module Net"):
        adapt(lambda rngs: module("equinox")).init(jax.random.key(0), BATCH["inputs"])
    with pytest.raises(ConfigError, match=r"Equinox module Net and its state; return a pair .*axis_name='batch'"):
        adapt((module("equinox"), object()))
    with pytest.raises(ConfigError, match=r"Haiku module Net; return hk.transform\(lambda x: Net"):
        adapt(module("haiku"))
    with pytest.raises(ConfigError, match="PyTorch module Net"):
        adapt(module("torch"))
    with pytest.raises(ConfigError, match=r"found the class Dense itself; return a module: Dense\(…\)"):
        adapt(linen.Dense)
    with pytest.raises(ConfigError, match=r"found list; .*or a pair of functions \(init, apply\)"):
        adapt([1, 2])


def test_a_callable_that_takes_a_key_gets_one():
    def build(key):
        return nnx.Linear(4, 3, rngs=nnx.Rngs(jax.random.split(key)[0]))

    expected = build(jax.random.key(7)).kernel[...]
    np.testing.assert_array_equal(adapt(build).init(jax.random.key(7), BATCH["inputs"])[0]["kernel"], expected)


def test_arrays_that_are_no_variables_are_told_what_to_write():
    class Bare(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(4, 3, rngs=rngs)
            self.layer.scale = jnp.ones(3)

    with pytest.raises(ConfigError, match=r"its layer.scale is an array .*; write self.scale = nnx.Param\(…\) if"):
        adapt(lambda rngs: Bare(rngs)).init(jax.random.key(0), BATCH["inputs"])


class Annotated(nnx.Module):
    """As in the Flax example of sharded training: parameters annotated with the axes of a mesh that is set there."""

    def __init__(self, rngs):
        self.w = nnx.Param(jax.random.normal(rngs.params(), (4, 3)), out_sharding=(None, "model"))
        self.linear = nnx.Linear(
            3, 3, rngs=rngs, kernel_init=nnx.with_partitioning(nnx.initializers.lecun_normal(), ("model", "embed"))
        )

    def __call__(self, x):
        return self.linear(jnp.tanh(x @ self.w))


def test_annotations_with_the_axes_of_a_mesh_want_none(key):
    model = adapt(Annotated)
    params, state = model.init(key, INPUTS)
    w, linear = (np.asarray(part) for part in (params["w"], params["linear"]["kernel"]))
    outputs, _ = model.apply(params, state, INPUTS, key, True)
    np.testing.assert_allclose(outputs, np.tanh(INPUTS @ w) @ linear, rtol=0, atol=1e-6)
    assert nnx.using_eager_sharding()  # elsewhere it is as it was

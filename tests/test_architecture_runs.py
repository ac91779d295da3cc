"""Every architecture trained in a sweep of one program, and computed again block by block and in bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from metric_cases import quick_jit
from ml_collections import ConfigDict
from reference_values import filled, normal

import mlgym_jax as mg
from mlgym_jax import component, grid, register
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.modules import adapt
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import ConfigError
from mlgym_jax.models import resnet

CLASSES, SIZE = np.arange(8, dtype=np.int32) % 3, {"width": 8, "depth": 2, "num_heads": 2}
IMAGES = 1 / (1 + np.exp(-normal("images", (8, 8, 8, 2))))
TOKENS = np.arange(40, dtype=np.int32).reshape(8, 5) ** 2 % 9
PADDED = {"tokens": TOKENS, "lengths": np.array([5, 1, 3, 2, 5, 4, 1, 3], np.int32)}
PAIRS = {"source": TOKENS, "target": TOKENS[:, :4], "source_lengths": PADDED["lengths"]}
GRAPHS = {"nodes": normal("nodes", (8, 4, 3)), "edges": np.stack([TOKENS[:, :3], TOKENS[:, 2:]], axis=-1) % 5 - 1}
RATES = {"dropout_rate": grid(0.0, 0.3)}
CROSS_ENTROPY = component("softmax_cross_entropy")
OF_INPUTS = component("squared_error", output="reconstruction", target="inputs")
# name -> (model, its parameters, inputs, targets, number of classes, loss)
CASES = {
    "resnet": ("resnet", {"width": 2}, IMAGES, CLASSES, 3, CROSS_ENTROPY),
    "wide_resnet": ("wide_resnet", {"depth": 10, "widen_factor": 1, **RATES}, IMAGES, CLASSES, 3, CROSS_ENTROPY),
    "vit": ("vit", {**SIZE, **RATES}, IMAGES, CLASSES, 3, CROSS_ENTROPY),
    "mlp_mixer": ("mlp_mixer", {"width": 8, "depth": 2, **RATES}, IMAGES, CLASSES, 3, CROSS_ENTROPY),
    "convnext": (
        "convnext",
        {"features": (4, 8), "depths": (1, 1), "drop_path_rate": grid(0.0, 0.3)},
        IMAGES,
        CLASSES,
        3,
        CROSS_ENTROPY,
    ),
    "unet": ("unet", {"features": (4, 8), **RATES}, IMAGES, (8 * IMAGES[..., 0]).astype(np.int32), 8, CROSS_ENTROPY),
    "causal": ("transformer", {**SIZE, **RATES}, TOKENS, (TOKENS + 1) % 9, 9, CROSS_ENTROPY),
    "masked": ("transformer", {**SIZE, "kind": "masked", "pool": "mean", **RATES}, PADDED, CLASSES, 3, CROSS_ENTROPY),
    "encoder_decoder": (
        "transformer",
        {**SIZE, "depth": 1, "kind": "encoder_decoder", "positions": "rotary", **RATES},
        PAIRS,
        TOKENS[:, 1:],
        9,
        CROSS_ENTROPY,
    ),
    "lstm": ("lstm", {"hidden": 4, **RATES}, PADDED, CLASSES, 3, CROSS_ENTROPY),
    "gru": ("gru", {"hidden": 4, "pool": None, "bidirectional": True, **RATES}, TOKENS, TOKENS, 9, CROSS_ENTROPY),
    "autoencoder": ("autoencoder", {"features": (8,), **RATES}, IMAGES, CLASSES, 3, OF_INPUTS),
    "vae": ("vae", {"features": (8,), "latent_size": 2}, IMAGES, CLASSES, 3, component("negative_elbo")),
    "gnn": ("gnn", {"features": (4, 4), **RATES}, GRAPHS, CLASSES, 3, CROSS_ENTROPY),
}


@pytest.fixture(autouse=True)
def small_resnet(monkeypatch):
    """Two stages of a block each, one of which halves the image: all that ResNet-18 repeats."""
    monkeypatch.setitem(resnet._STAGES, 18, ((1, 1), False))


def dataset_of(name):
    _, _, inputs, targets, num_classes, _ = CASES[name]
    split = {"inputs": inputs, "targets": targets}
    return Dataset({"train": split, "val": split}, num_classes)


def loss_by_hand(name, outputs, inputs, targets):
    if name == "autoencoder":
        return jnp.square(outputs["reconstruction"] - inputs).mean()
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


def trained_by_hand(name, num_steps):
    """Return the loss after each step of Adam on all examples, without dropout."""
    kind, parameters, inputs, targets, _, _ = CASES[name]
    rates = {key: 0.0 for key in parameters if key.endswith("_rate")}
    module = lookup("model", kind).factory(dataset=dataset_of(name), **{**parameters, **rates})
    args, named = ((), inputs) if isinstance(inputs, dict) else ((inputs,), {})
    # Of the engine, how a run begins alone.
    program = mg.make_program({"model": module, "loss": None, "optimizer": optax.sgd(0.1), "metrics": {}})
    state = quick_jit(program.init)(jax.random.key(0), {"inputs": inputs, "targets": targets})
    params, rest, optimizer = state.params, state.model_state, optax.adam(0.01)
    of_adam = optimizer.init(params)

    @quick_jit
    def step(params, rest, of_adam):
        def total(params):
            variables, mutable = {"params": params, **rest}, list(rest)
            outputs, new = module.apply(variables, *args, **named, train=True, mutable=mutable)
            return loss_by_hand(name, outputs, inputs, targets), new

        gradient, new = jax.grad(total, has_aux=True)(params)
        with jax.numpy_dtype_promotion("standard"):  # as Optax is written for
            updates, of_adam = optimizer.update(gradient, of_adam)
        params, rest = optax.apply_updates(params, updates), {**rest, **new}
        loss = loss_by_hand(name, module.apply({"params": params, **rest}, *args, **named), inputs, targets)
        return params, rest, of_adam, loss

    losses = []
    for _ in range(num_steps):
        params, rest, of_adam, loss = step(params, rest, of_adam)
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize("name", CASES)
def test_a_sweep_trains_in_one_program_as_by_hand(name, tmp_path, own_registry):
    kind, parameters, _, _, _, loss = CASES[name]
    register("dataset", "examples")(lambda: dataset_of(name))
    config = ConfigDict(
        dict(
            num_epochs=2,
            seed=0,
            dataset=component("examples"),
            loader=component("in_memory", batch_size=8),
            model=component(kind, **parameters),
            loss=component("negative_elbo", beta=grid(0.5, 1.0)) if name == "vae" else loss,
            optimizer=component("adam", learning_rate=grid(0.01, 0.02) if name == "resnet" else 0.01),
            remat=component("blocks"),
        )
    )
    result = mg.run(config, tmp_path)
    assert len(result.view.groups) == 1
    one, other = (experiment.history["val/loss"] for experiment in result.experiments)
    assert np.isfinite([*one, *other]).all() and list(one) != list(other)
    if name != "vae":
        np.testing.assert_allclose(one, trained_by_hand(name, 2), rtol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_blocks_and_of_bfloat16_are_those_of_the_whole_in_float32(name):
    kind, parameters, inputs, targets, _, _ = CASES[name]
    fixed = {key: 0.0 if key.endswith("_rate") else value for key, value in parameters.items()}
    module = lookup("model", kind).factory(dataset=dataset_of(name), **fixed)
    inputs, targets, pure = jax.tree.map(jnp.asarray, inputs), jnp.asarray(targets), adapt(module)
    params, state = jax.eval_shape(pure.init, jax.random.key(1), inputs)
    variables = filled({"params": params, **state})
    params = variables.pop("params")

    def total(params, model):
        outputs = model.apply(params, variables, inputs, jax.random.key(2), True)[0]
        if name == "vae":
            return lookup("loss", "negative_elbo").factory()(outputs, {"inputs": inputs}).mean()
        return loss_by_hand(name, outputs, inputs, targets)

    in_blocks = lookup("remat", "blocks").factory()(module, adapt)
    models = pure, in_blocks, lookup("precision", "mixed").factory()(in_blocks)
    with jax.numpy_dtype_promotion("standard"):  # the gradient of jax.nn.dot_product_attention mixes types
        gradients = quick_jit(lambda params: [jax.grad(total)(params, model) for model in models])(params)
    expected, again, narrow = map(jax.tree.leaves, jax.device_get(gradients))
    size = np.sqrt(sum(np.square(leaf).sum() for leaf in expected))
    for a, b, c in zip(expected, again, narrow, strict=True):
        assert c.dtype == np.float32
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * size)
    # Of 8 bits, in networks of many layers whose batch statistics are of few examples.
    away = np.sqrt(sum(np.square(c - a).sum() for a, c in zip(expected, narrow, strict=True)))
    assert 0 < away < (0.5 if name == "resnet" else 0.2) * size


def test_lengths_beside_the_inputs_are_handed_by_the_config(tmp_path, own_registry):
    """A run whose lengths are a field of the batch is that of one whose lengths are among the inputs."""
    beside = {"inputs": TOKENS, "lengths": PADDED["lengths"], "targets": CLASSES}
    register("dataset", "within")(lambda: dataset_of("lstm"))
    register("dataset", "beside")(lambda: Dataset({"train": beside, "val": beside}, 3))
    scores = []
    for name, given in (("within", {}), ("beside", {"inputs": dict(tokens="inputs", lengths="lengths")})):
        config = ConfigDict(
            dict(
                num_epochs=1,
                dataset=component(name),
                model=component("lstm", hidden=4, **given),
                loss=CROSS_ENTROPY,
                optimizer=component("sgd", learning_rate=0.1),
            )
        )
        scores.append(mg.run(config, tmp_path / name).experiments[0].history["val/loss"][0])
    assert scores[0] == scores[1]


def test_inputs_that_are_no_probabilities_are_refused_before_anything_compiles(tmp_path):
    config = ConfigDict({"num_epochs": 1, "model": component("vae", features=(4,), latent_size=2)})
    config.loss, config.optimizer = component("negative_elbo"), component("sgd", learning_rate=0.1)
    data = {"train": {"inputs": np.tile(np.float32([0, 0.5, 1.75]), (20, 1))}}
    with pytest.raises(ConfigError) as error:
        mg.run(config, tmp_path, data=data)
    assert str(error.value) == (
        "config.loss: loss 'negative_elbo': likelihood='bernoulli' takes values in [0, 1], 'inputs' hold 0 … 1.75; "
        "write config.encoding = component('min_max'), or likelihood='gaussian'"
    )
    config.encoding = component("min_max")
    assert "1 experiment" in str(mg.forecast(config, data=data))

"""What models are called with: fields of the batch and keys that they ask for by name, and a config that says which."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import forget_afterwards
from flax import linen, nnx
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.core.calling import arguments, handed
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.usefixtures("own_registry")

RNG = np.random.default_rng(7)
LEFT = RNG.normal(size=(40, 3)).astype(np.float32)
LENGTHS = RNG.integers(1, 4, 40).astype(np.int32)
TARGETS = RNG.integers(0, 2, 40).astype(np.int32)
FIELDS = {"inputs": LEFT, "lengths": LENGTHS, "targets": TARGETS}
# The same without lengths: what is past them is zero.
SHOWN = {"inputs": np.where(np.arange(3)[None] < LENGTHS[:, None], LEFT, 0), "targets": TARGETS}
zeros = linen.initializers.zeros_init()


def shown(x, lengths):
    return jnp.where(jnp.arange(3)[None] < lengths[:, None], x, jnp.zeros_like(x))


class Masked(linen.Module):
    @linen.compact
    def __call__(self, lengths, inputs, train=False):
        return linen.Dense(2, kernel_init=zeros)(shown(inputs, lengths))


class ByNameAlone(linen.Module):
    @linen.compact
    def __call__(self, *, tokens, size=None):
        return linen.Dense(2, kernel_init=zeros)(tokens if size is None else shown(tokens, size))


class MaskedNnx(nnx.Module):
    def __init__(self, rngs):
        self.head = nnx.Linear(3, 2, rngs=rngs, kernel_init=zeros)

    def __call__(self, x, lengths):
        return self.head(shown(x, lengths))


def pair():
    def init(key, x):
        return {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}

    def apply(params, x, lengths):
        return shown(x, lengths) @ params["kernel"] + params["bias"][None]

    return init, apply


def study(network, fields, **changes):
    register("model", "of_test")(lambda: network)
    register("dataset", "of_test")(lambda: mg.Dataset({"train": fields}, num_classes=2))
    config = ConfigDict(
        {
            "num_epochs": 2,
            "dataset": component("of_test"),
            "validation": component("holdout", val=0.25),
            "loader": component("in_memory", batch_size=10),
            "model": component("of_test"),
            "loss": component("softmax_cross_entropy"),
            "optimizer": component("sgd", learning_rate=0.5),
        }
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """Return the scores of a linear model of data that needs no lengths."""
    with pytest.MonkeyPatch.context() as patch:
        forget_afterwards(patch)
        config = study(linen.Dense(2, kernel_init=zeros), SHOWN)
        return mg.run(config, event_storage=tmp_path_factory.mktemp("plain")).experiments[0].history["val/loss"]


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (Masked(), {}),
        (Masked(), {"remat": component("everything")}),
        (lambda rngs: MaskedNnx(rngs), {}),
        (lambda rngs: MaskedNnx(rngs), {"loader": component("in_memory", batch_size=10, microbatches=2)}),
        (pair(), {}),
        (ByNameAlone(), {"model": component("of_test", inputs=dict(tokens="inputs", size="lengths"))}),
    ],
    ids=["linen", "remat", "nnx", "microbatches", "pair", "rewired"],
)
def test_a_model_is_handed_the_fields_that_it_asks_for(tmp_path, wanted, model, changes):
    found = mg.run(study(model, FIELDS, **changes), event_storage=tmp_path).experiments[0].history["val/loss"]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert wanted[0] != wanted[1]


def test_one_of_several_inputs_has_another_name_in_the_model(tmp_path, wanted):
    fields = {"inputs": {"text": LEFT, "length": LENGTHS}, "targets": TARGETS}
    rewired = component("of_test", inputs=dict(inputs="text", lengths="length"))
    found = mg.run(study(Masked(), fields, model=rewired), event_storage=tmp_path).experiments[0]
    np.testing.assert_allclose(found.history["val/loss"], wanted, rtol=1e-6)
    outputs = found.predict({"text": LEFT, "length": LENGTHS})
    np.testing.assert_allclose(
        outputs[:, 0] - outputs[:, 1],
        found.predict({"text": SHOWN["inputs"], "length": LENGTHS})[:, 0] - outputs[:, 1],
        rtol=1e-5,
    )


class Noisy(linen.Module):
    @linen.compact
    def __call__(self, x, z_rng, noise_key):
        return {"z": jax.random.normal(z_rng, (4,)), "noise": jax.random.normal(noise_key, (4,))}


def test_keys_that_a_model_asks_for_come_from_the_steps_own():
    program = mg.make_program(
        {
            "model": Noisy(),
            "loss": lambda outputs, batch: jnp.zeros_like(batch["targets"], jnp.float32),
            "optimizer": optax.identity(),
        }
    )
    batch = {"inputs": LEFT, "targets": TARGETS}
    init, predict = jax.jit(program.init), jax.jit(program.predict)
    one, two = (init(jax.random.key(seed), batch) for seed in (0, 1))
    first, again, other = predict(one, batch), predict(one, batch), predict(two, batch)
    np.testing.assert_array_equal(first["z"], again["z"])
    drawn = [first["z"], first["noise"], other["z"], other["noise"]]
    assert len({float(values[0]) for values in drawn}) == 4


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (dict(inputs="inputs", lengths="length"), r"model\.inputs\.lengths: the data has no field 'length'; did you"),
        (dict(inputs="text", lengths="lengths"), r"model\.inputs\.inputs: the data has no field 'text'"),
        (dict(tokens="inputs"), r"Masked takes \(lengths, inputs\) .* The dataset has the inputs tokens"),
    ],
)
def test_fields_and_arguments_that_there_are_not_are_said(tmp_path, inputs, said):
    config = study(Masked(), FIELDS, model=component("of_test", inputs=inputs))
    with pytest.raises(ConfigError, match=said):
        mg.run(config, event_storage=tmp_path)


def test_targets_are_handed_where_the_config_says_so_alone():
    def call(self, x, targets):
        raise NotImplementedError

    batch = {**FIELDS, "mask": np.ones(40, bool), "class_counts": np.ones(2)}
    with pytest.raises(ConfigError, match=r"the fields lengths; .* inputs=dict\(x='inputs', targets='targets'\)"):
        arguments(call, handed(batch), {})
    args, named = arguments(call, handed(batch, dict(x="inputs", targets="targets")), {})
    assert args == ()
    assert named["targets"] is TARGETS


def test_an_argument_without_a_default_is_handed_none_where_the_config_says_so():
    def call(self, x, cache):
        raise NotImplementedError

    args, named = arguments(call, handed({**FIELDS, "mask": np.ones(40, bool)}, dict(x="lengths", cache=None)), {})
    assert args == () and named == {"x": FIELDS["lengths"], "cache": None}


class Optional(linen.Module):
    @linen.compact
    def __call__(self, x, lengths=None, where=None):
        return linen.Dense(2)(x if lengths is None else shown(x, lengths))


def test_a_field_that_a_model_takes_and_is_not_handed_is_told():
    fields = {**FIELDS, "where": np.ones(40, bool)}
    (told,) = prepare(study(Optional(), fields)).jobs[0].surprises
    assert "it takes lengths, of which the data have a field, and is not handed it" in told
    assert "inputs=dict(…='inputs', lengths='lengths')" in told
    wired = component("of_test", inputs=dict(x="inputs", lengths="lengths"))
    assert prepare(study(Optional(), fields, model=wired)).jobs[0].surprises == ()

"""Models in the forms in which other people write them, trained by `mg.run` and by a plain loop of Optax.

Each is the smallest of its form: how it is called, what it returns, which collections and streams it has.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx, struct
from jax.experimental.ode import odeint
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, register
from mlgym_jax.study.expand import prepare

pytestmark = [
    pytest.mark.usefixtures("own_registry"),
    pytest.mark.filterwarnings("ignore:Using 'Module.sow:DeprecationWarning"),
]

RNG = np.random.default_rng(3)
ROWS, LENGTH, WORDS, WIDTH = 18, 5, 7, 8
TOKENS = RNG.integers(1, WORDS, (ROWS, LENGTH)).astype(np.int32)
ANSWERS = RNG.integers(1, WORDS, (ROWS, LENGTH)).astype(np.int32)
LENGTHS = RNG.integers(1, LENGTH + 1, ROWS).astype(np.int32)
THERE = (np.arange(LENGTH) < LENGTHS[:, None]).astype(np.float32)
KINDS = RNG.integers(0, 3, ROWS).astype(np.int32)
VALUES = RNG.normal(size=(ROWS, 4)).astype(np.float32)
IMAGES = RNG.normal(size=(ROWS, 6, 6, 3)).astype(np.float32)
entropy = optax.softmax_cross_entropy_with_integer_labels


@struct.dataclass
class Sizes:
    width: int = WIDTH
    dropout_rate: float = 0.0


class Tagger(nn.Module):
    """Takes its inputs and its mode by keyword alone, and its sizes from a struct."""

    config: Sizes

    @nn.compact
    def __call__(self, *, inputs, train):
        c = self.config
        x = nn.Embed(WORDS, c.width)(inputs.astype("int32"))
        x = nn.Dropout(c.dropout_rate)(x, deterministic=not train)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=c.width, deterministic=not train)(x)
        return nn.Dense(WORDS)(nn.LayerNorm()(x))


class Decoder(nn.RNNCellBase):  # draws what it says from a stream of its own
    @nn.compact
    def __call__(self, carry, x):
        state, _ = carry
        state, y = nn.LSTMCell(WIDTH)(state, x)
        logits = nn.Dense(WORDS)(y)
        said = jax.nn.one_hot(jax.random.categorical(self.make_rng("lstm"), logits), WORDS, dtype=jnp.float32)
        return (state, said), (logits, said)

    @property
    def num_feature_axes(self):
        return 1


class Translator(nn.Module):  # of two networks one begins with the carry of the other
    @nn.compact
    def __call__(self, encoder_inputs, decoder_inputs):
        lengths = jnp.argmax(jnp.argmax(encoder_inputs, axis=-1) == 1, axis=-1)
        carry, _ = nn.RNN(nn.LSTMCell(WIDTH), return_carry=True, name="encoder")(encoder_inputs, seq_lengths=lengths)
        decoder = nn.RNN(Decoder(), split_rngs={"params": False, "lstm": True}, name="decoder")
        return decoder(decoder_inputs, initial_carry=(carry, decoder_inputs[:, 0]))


class Encoder(nn.Module):
    shared: Any

    @nn.compact
    def __call__(self, inputs):
        return nn.tanh(nn.Dense(WIDTH)(self.shared(inputs)))


class Shared(nn.Module):
    """Parts made in `setup` share a table, whose transposed it ends with; it is handed its targets."""

    def setup(self):
        self.table = nn.Embed(WORDS, WIDTH)
        self.encoder = Encoder(self.table)
        self.output = nn.Dense(WIDTH)

    def __call__(self, inputs, targets, inputs_positions=None):
        before = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
        return self.table.attend(self.output(self.encoder(inputs) + self.table(before)))


class Scanned(nn.Module):
    @functools.partial(nn.scan, variable_broadcast="params", in_axes=1, out_axes=1, split_rngs={"params": False})
    @nn.compact
    def __call__(self, carry, x):
        return nn.OptimizedLSTMCell(WIDTH)(carry, x)


class Classifier(nn.Module):
    """A lifted scan over the words, a mode that is a field or comes with the call, and attention that is sown."""

    deterministic: bool | None = None

    def setup(self):
        self.table = self.param("embedding", nn.initializers.normal(0.1), (WORDS, WIDTH))
        self.lstm, self.energy, self.head = Scanned(), nn.Dense(1, use_bias=False), nn.Dense(3)
        self.dropout = nn.Dropout(0.0)

    def __call__(self, token_ids, lengths, deterministic: bool | None = None):
        deterministic = nn.merge_param("deterministic", self.deterministic, deterministic)
        x = self.dropout(self.table[token_ids], deterministic=deterministic)
        cell = nn.OptimizedLSTMCell(WIDTH, parent=None)
        _, x = self.lstm(cell.initialize_carry(jax.random.key(0), x[:, 0].shape), x)
        scores = jnp.where(jnp.arange(LENGTH)[None] < lengths[:, None], self.energy(x)[..., 0], -jnp.inf)
        attention = nn.softmax(scores)
        self.sow("intermediates", "attention", attention)
        return self.head((attention[..., None] * x).sum(axis=1))


class StandardConv(nn.Conv):
    """A convolution that overrides what its parameters are when they are read."""

    def param(self, name, *args, **kwargs):
        value = super().param(name, *args, **kwargs)
        if name != "kernel":
            return value
        value = value - value.mean(axis=(0, 1, 2), keepdims=True)
        return value / (value.std(axis=(0, 1, 2), keepdims=True) + 1e-5)


class Big(nn.Module):  # returns logits and, in a dict, everything on the way
    @nn.compact
    def __call__(self, image, *, train=False):
        out = {}
        x = out["stem"] = StandardConv(WIDTH, (3, 3), use_bias=False)(image)
        x = out["pre_logits"] = nn.relu(nn.GroupNorm(num_groups=4)(x)).mean(axis=(1, 2))
        x = out["logits"] = nn.Dense(3, kernel_init=nn.initializers.zeros)(x)
        return x, out


class Cached(nnx.Module):
    """Takes a cache that is none in training, returns it with the logits, and sows what it computes."""

    def __init__(self, rngs: nnx.Rngs):
        self.table = nnx.Embed(WORDS, WIDTH, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(2)])

    def __call__(self, tokens, positions, cache, attention_mask):
        x = self.table(tokens) + jnp.sin(positions[..., None].astype(jnp.float32))
        for layer in self.layers:
            seen = attention_mask.astype(jnp.float32) / attention_mask.sum(axis=-1, keepdims=True).astype(jnp.float32)
            x = x + jnp.tanh(layer(seen @ x))
            self.sow(nnx.Intermediate, "hidden", x)
        return self.table.attend(x), cache


class Flow(nn.Module):
    """The solution of a differential equation, with a step that its error decides."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.normal(0.5), (4, 4))
        path = odeint(lambda y, t, kernel: jnp.tanh(y @ kernel) - 0.1 * t * y, x, jnp.array([0.0, 1.0]), kernel)
        return nn.Dense(3)(path[-1])


class Normed(nn.Module):
    """Weight normalisation: a parameter is a tree, and begins by what the first inputs become."""

    @nn.compact
    def __call__(self, images, *, train):
        def initializer(key):
            direction = jax.random.normal(key, (3, 3))
            out = images @ (direction / jnp.linalg.norm(direction, axis=0, keepdims=True))
            scale = 1 / out.std(axis=(0, 1, 2))
            return dict(direction=direction, scale=scale, bias=-scale * out.mean(axis=(0, 1, 2)))

        p = self.param("weightnorm_params", initializer)
        kernel = p["scale"][None] * p["direction"] / jnp.linalg.norm(p["direction"], axis=0, keepdims=True)
        x = images @ kernel + p["bias"][None, None, None]
        return nn.Dropout(0.0, deterministic=not train)(x)


def likelihood():  # a loss of a user's own, without targets: logistic noise around what the model says
    return lambda outputs, batch: jax.nn.softplus(batch["inputs"] - outputs).mean(axis=(1, 2, 3))


class Case(NamedTuple):
    """A model, its data, a call of it by hand, float[rows …], what each costs, and what its config says."""

    model: Any
    fields: dict[str, Any]
    call: Any
    costs: Any
    config: Any = ()


def of_targets(outputs, fields):
    return entropy(outputs, fields["targets"])


def of_first(outputs, fields):
    return of_targets(outputs[0], fields)


def of_known(outputs, fields):
    return (of_targets(outputs, fields) * fields["where"]).sum() / fields["where"].sum()


ONE_HOT = np.eye(WORDS, dtype=np.float32)
CAUSAL = np.broadcast_to(np.tril(np.ones((LENGTH, LENGTH), bool)), (ROWS, LENGTH, LENGTH))
PLACES = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), TOKENS.shape)
CASES = {
    "keywords alone": Case(
        Tagger(Sizes()),
        {"inputs": TOKENS, "targets": ANSWERS, "where": THERE},
        lambda m, p, f: m.apply({"params": p}, inputs=f["inputs"], train=False),
        of_known,
    ),
    "a carry and a stream": Case(
        Translator(),
        {"inputs": {"encoder_inputs": ONE_HOT[TOKENS], "decoder_inputs": ONE_HOT[ANSWERS]}, "targets": ANSWERS},
        lambda m, p, f: m.apply({"params": p}, **f["inputs"], rngs={"lstm": jax.random.key(0)}),
        of_first,
        {"loss": component("softmax_cross_entropy", output="0")},
    ),
    "shared in setup": Case(
        Shared(),
        {"inputs": TOKENS, "targets": ANSWERS},
        lambda m, p, f: m.apply({"params": p}, f["inputs"], f["targets"]),
        of_targets,
        {"model": component("of_others", inputs=dict(inputs="inputs", targets="targets"))},
    ),
    "scanned and sown": Case(
        Classifier(),
        {"inputs": TOKENS, "lengths": LENGTHS, "targets": KINDS},
        lambda m, p, f: m.apply({"params": p}, f["inputs"], f["lengths"], deterministic=True),
        of_targets,
        {"model": component("of_others", inputs=dict(token_ids="inputs", lengths="lengths"))},
    ),
    "all on the way": Case(
        Big(),
        {"inputs": IMAGES, "targets": KINDS},
        lambda m, p, f: m.apply({"params": p}, f["inputs"], train=True),
        of_first,
        {"loss": component("softmax_cross_entropy", output="1.logits")},
    ),
    "a cache": Case(
        lambda rngs: Cached(rngs),
        {"inputs": TOKENS, "positions": PLACES, "attention_mask": CAUSAL, "targets": ANSWERS},
        lambda m, p, f: cached(p)(f["inputs"], f["positions"], None, f["attention_mask"]),
        of_first,
        {
            "model": component(
                "of_others", inputs=dict(tokens="inputs", cache=None, **{n: n for n in ("positions", "attention_mask")})
            ),
            "loss": component("softmax_cross_entropy", output="0"),
        },
    ),
    "a differential equation": Case(
        Flow(), {"inputs": VALUES, "targets": KINDS}, lambda m, p, f: m.apply({"params": p}, f["inputs"]), of_targets
    ),
    "initialised by data": Case(
        Normed(),
        {"inputs": IMAGES},
        lambda m, p, f: m.apply({"params": p}, f["inputs"], train=False),
        likelihood(),
        {"loss": component("likelihood")},
    ),
}


def cached(params):
    graph, state, _ = nnx.split(nnx.eval_shape(lambda: Cached(nnx.Rngs(0))), nnx.Param, ...)
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graph, state, {})


def parts(case):
    return [jax.tree.map(lambda a, rows=rows: a[rows], case.fields) for rows in (slice(12), slice(12, None))]


def study(case, **changes):
    register("model", "of_others")(lambda: case.model)
    register("loss", "likelihood")(likelihood)
    register("dataset", "of_test")(lambda: mg.Dataset(dict(zip(("train", "val"), parts(case), strict=True))))
    given = {"num_epochs": 2, "dataset": component("of_test"), "loader": component("in_memory", batch_size=12)}
    given |= {"model": component("of_others"), "loss": component("softmax_cross_entropy")}
    given |= {"optimizer": component("sgd", learning_rate=0.2, momentum=0.9), **dict(case.config), **changes}
    return ConfigDict(given)


def by_hand(case, params):
    """Return the validation loss after each of two steps over all rows at once."""
    train, val = parts(case)
    optimizer = optax.sgd(0.2, momentum=0.9)

    def loss(params, fields):
        return case.costs(case.call(case.model, params, fields), fields).mean()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params, train), state, params)
        params = optax.apply_updates(params, updates)
        return params, state, loss(params, val)

    state, losses = optimizer.init(params), []
    for _ in range(2):
        params, state, found = step(params, state)
        losses.append(float(found))
    return losses


@pytest.mark.parametrize("name", CASES)
def test_a_model_of_others_trains_as_by_a_plain_loop(tmp_path, name):
    case = CASES[name]
    config = study(case)
    (job,) = prepare(config).jobs
    assert job.surprises == () or name == "a carry and a stream"
    params = job.program.init(jax.random.key(0), job.sample, {}).params
    found = mg.run(config, event_storage=tmp_path).experiments[0].history["val/loss"]
    np.testing.assert_allclose(found, by_hand(case, params), rtol=1e-6)
    assert found[0] != found[1]


def test_a_model_that_is_initialised_by_data_has_the_first_rows_statistics_and_says_so_of_folds():
    case = CASES["initialised by data"]
    (job,) = prepare(study(case)).jobs
    state = job.program.init(jax.random.key(0), job.sample, {})
    outputs = np.asarray(job.program.predict(state, {"inputs": IMAGES[:12], "mask": np.ones(12, bool)}))
    np.testing.assert_allclose(outputs.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(outputs.std(axis=(0, 1, 2)), 1, rtol=1e-6)
    assert job.surprises == ()
    (folded,) = prepare(study(case, validation=component("cross_validation", folds=3))).jobs
    assert "its first parameters depend on values of the data" in folded.surprises[0]
    (plain,) = prepare(study(CASES["all on the way"], validation=component("cross_validation", folds=3))).jobs
    assert plain.surprises == ()

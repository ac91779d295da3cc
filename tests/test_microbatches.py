"""Steps over the parts of a batch: the numbers of the whole batch, less memory, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.dead_code import handed_on
from mlgym_jax.core.weighted import added, scaled
from mlgym_jax.data.loaders import Loader
from mlgym_jax.errors import ConfigError

SIZE, PARTS = 16, 8


class Net(nn.Module):
    width: int = 16
    depth: int = 1

    @nn.compact
    def __call__(self, x):
        for _ in range(self.depth):
            x = nn.gelu(nn.Dense(self.width)(x))
        return nn.Dense(3)(x)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + nn.Dense(4)(nn.gelu(nn.Dense(8)(x)))


class Blocks(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(Block()(Block()(x)))


class Frozen(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.BatchNorm(use_running_average=True)(x))


def cross_entropy(outputs, batch):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"])


def by_weight(outputs, batch):
    weights = jnp.square(batch["inputs"][:, 0])
    return cross_entropy(outputs, batch) * weights, weights


def of_terms(outputs, batch, params):
    """Sum up a mean, a quotient by weights, and a regulariser."""
    decay = jnp.broadcast_to(jnp.square(params["Dense_0"]["kernel"]).sum(), batch["mask"].shape)
    return added([cross_entropy(outputs, batch), scaled(by_weight(outputs, batch), 0.3), scaled(decay, 0.01)])


def batch_of(real, size=SIZE):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(size, 5)).astype(np.float32), rng.integers(0, 3, size).astype(np.int32)
    return {"inputs": inputs, "targets": targets, "mask": np.arange(size) < real}


def program_of(microbatches, model=None, loss=of_terms, optimizer=None, **more):
    metrics = {name: lookup("metric", name).factory(num_classes=3) for name in ("auroc", "f1")}
    parts = {"model": model or Net(), "loss": loss, "metrics": metrics, "optimizer": optimizer or optax.sgd(0.1)}
    return mg.make_program({**parts, **more, "loader": Loader(SIZE, microbatches=microbatches)})


def sam():
    return lookup("optimizer", "contrib.sam").factory(optimizer=optax.sgd(0.1), adv_optimizer=optax.sgd(0.05))


AVERAGED = {"loss": by_weight, "averaging": lookup("averaging", "ema").factory(decay=0.5)}


@pytest.mark.parametrize(("model", "more"), [(Net(), {"optimizer": sam()}), (Frozen(), AVERAGED)])
def test_parts_give_what_the_whole_batch_gives(model, more, key):
    """Also of batches with padding, with parts that are nothing but padding, and of padding alone."""
    whole, parts = (program_of(number, model, **more) for number in (1, PARTS))
    state = jax.jit(whole.init)(key, batch_of(SIZE))
    one, other = jax.jit(whole.train_step), jax.jit(parts.train_step)
    computed, again = jax.jit(whole.compute), jax.jit(parts.compute)
    for real in (SIZE, 13, 3, 0):
        expected, metrics = one(state, batch_of(real))
        found, added_up = other(state, batch_of(real))
        expected, found = (dataclasses.replace(left, key=jax.random.key_data(left.key)) for left in (expected, found))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-7), found, expected)
        assert int(found.step) == int(real > 0)
        np.testing.assert_allclose([*again(added_up).values()], [*computed(metrics).values()], rtol=1e-6)


def test_parts_need_less_memory(key):
    bytes_of = {}
    for number in (1, PARTS):
        program = program_of(number, Net(width=64, depth=6), cross_entropy)
        batch = batch_of(2048, 2048)
        state = jax.eval_shape(program.init, key, batch)
        bytes_of[number] = jax.jit(program.train_step).lower(state, batch).compile().memory_analysis()
    assert bytes_of[PARTS].temp_size_in_bytes < 0.3 * bytes_of[1].temp_size_in_bytes


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x))


class Centred(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x - x.mean(axis=0, keepdims=True))


def learned(outputs, batch):
    weights = nn.sigmoid(outputs[:, 0])
    return cross_entropy(outputs, batch) * weights, weights


def contrastive(outputs, batch):
    return nn.logsumexp(outputs @ outputs.T, axis=1) - jnp.square(outputs).sum(axis=1)


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        (Normalised(), cross_entropy, r"changes the state of the model \(batch_stats/BatchNorm_0/mean\).*MultiSteps"),
        (Centred(), cross_entropy, "the model is not known to compute each example"),
        (Net(), contrastive, "the loss is not known to compute each example"),
        (Net(), learned, "the weights that the loss returns depend on the parameters"),
    ],
)
def test_what_sees_a_whole_batch_is_refused(model, loss, message, key):
    program = program_of(4, model, loss)
    state = jax.eval_shape(program.init, key, batch_of(SIZE))
    with pytest.raises(ConfigError, match=rf"^config\.loader\.microbatches: .*{message}"):
        jax.eval_shape(program.train_step, state, batch_of(SIZE))


REMATS = ["blocks", "dots", "everything"]


@pytest.fixture(scope="module")
def of_blocks(modules_registry, tmp_path_factory):
    """Return the losses of a run of whole batches, and by remat those of an experiment of parts, of one sweep."""
    mg.register("model", "of_blocks")(lambda: Blocks())
    config = ConfigDict()
    config.num_epochs = 2
    config.dataset = component("synthetic", num_examples=64, num_features=4, num_classes=3)
    config.loader = component("in_memory", batch_size=16)
    config.model = component("of_blocks")
    config.loss, config.optimizer = component("softmax_cross_entropy"), component("adam", learning_rate=0.1)
    [whole] = mg.run(config, tmp_path_factory.mktemp("whole")).experiments
    config.loader.microbatches, config.remat = 4, grid(*map(component, REMATS))
    parts = mg.run(config, tmp_path_factory.mktemp("parts"))
    assert len(parts.view.groups) == 3
    found = {e.hyperparameters["remat"]["component"]: e.history["val/loss"] for e in parts.experiments}
    return whole.history["val/loss"], found


@pytest.mark.parametrize("remat", REMATS)
def test_parts_whose_forward_pass_is_computed_again_give_what_the_whole_batch_gives(of_blocks, remat):
    expected, found = of_blocks
    np.testing.assert_allclose(found[remat], expected, rtol=1e-5)


def test_runs_have_the_scores_of_whole_batches(tmp_path):
    """Of folds of several sizes, with a last batch that is partly padding."""
    config = ConfigDict()
    config.num_epochs = 2
    config.dataset = component("synthetic", num_examples=75, num_features=4, num_classes=3)
    config.validation = component("cross_validation", folds=2)
    config.loader = component("in_memory", batch_size=16, microbatches=grid(1, 4))
    config.model, config.loss = component("linear"), component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=0.1)
    result = mg.run(config, tmp_path)
    histories = {id_: experiment.history for id_, experiment in result.view.experiments.items()}
    assert len(result.view.groups) == 2
    for one, other in ((0, 2), (1, 3)):  # the folds of whole batches, and of parts
        for name in ("train/loss", "val/loss"):
            np.testing.assert_allclose(histories[other][name], histories[one][name], rtol=1e-5)


@pytest.mark.parametrize("within", [jax.jit, jax.checkpoint])
def test_what_is_handed_on_by_a_program_inside_is_known(within):
    inner = within(lambda a, b: (b, a * 2.0))
    assert handed_on(jax.make_jaxpr(lambda a, b: (*inner(a, b), a))(1.0, 2.0).jaxpr) == [1, None, 0]

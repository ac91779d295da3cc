"""Contrastive losses: their papers' formulas by loops, padding, last batches, learnt temperatures, what is refused."""

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
from mlgym_jax.errors import ConfigError, MlgymError
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.usefixtures("own_registry")

RNG = np.random.default_rng(0)
ONE, TWO = RNG.normal(size=(2, 6, 4)).astype(np.float32)
CLASSES = np.array([0, 1, 0, 2, 1, 0], np.int32)


def loss_of(name, outputs, mask=None, targets=CLASSES, **parameters):
    batch = {"mask": np.ones(len(targets), bool) if mask is None else mask, "targets": targets}
    return jax.jit(lookup("loss", name).factory(**parameters))(outputs, batch)


def cosine(a, b):
    a, b = np.float64(a), np.float64(b)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def simclr(one, two, t):
    """Equation 1 of Chen et al. for every view, by loops."""
    every, n = [*one, *two], len(one)
    paid = []
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        below = sum(np.exp(cosine(every[i], every[k]) / t) for k in range(2 * n) if k != i)
        paid.append(-np.log(np.exp(cosine(every[i], every[j]) / t) / below))
    return np.array([(paid[i] + paid[i + n]) / 2 for i in range(n)])


def one_way(one, two, t):
    n = len(one)
    return np.array(
        [
            -np.log(np.exp(cosine(one[i], two[i]) / t) / sum(np.exp(cosine(one[i], two[k]) / t) for k in range(n)))
            for i in range(n)
        ]
    )


def supcon(every, classes, t):
    """Equation 2 of Khosla et al., by loops; NaN without another example of the class."""
    found = []
    for i in range(len(every)):
        below = sum(np.exp(cosine(every[i], every[k]) / t) for k in range(len(every)) if k != i)
        alike = [p for p in range(len(every)) if p != i and classes[p] == classes[i]]
        paid = [-np.log(np.exp(cosine(every[i], every[p]) / t) / below) for p in alike]
        found.append(np.mean(paid) if paid else np.nan)
    return np.array(found)


def test_simclr_by_loops():
    expected = simclr(ONE, TWO, 0.5)
    np.testing.assert_allclose(loss_of("nt_xent", (ONE, TWO)), expected, rtol=1e-5)
    named = loss_of("nt_xent", {"a": ONE, "b": TWO}, first="a", second="b")
    np.testing.assert_allclose(named, expected, rtol=1e-5)
    stacked = loss_of("nt_xent", {"z": np.stack([ONE, TWO], 1)}, views="z")
    np.testing.assert_allclose(stacked, expected, rtol=1e-5)


def test_a_learnt_scale_of_logits_is_one_over_the_temperature():
    outputs = (ONE, TWO, {"t/parameter": np.log([20.0]).astype(np.float32)})  # as big_vision's two towers return it
    expected = (one_way(ONE, TWO, 1 / 20) + one_way(TWO, ONE, 1 / 20)) / 2
    np.testing.assert_allclose(loss_of("clip_loss", outputs, logit_scale="2.t/parameter"), expected, rtol=1e-4)


def test_simclr_is_optax_s_of_two_examples_a_class():
    both = np.concatenate([ONE, TWO])
    unit = both / np.linalg.norm(both, axis=1, keepdims=True)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected = jax.jit(optax.losses.ntxent)(unit, np.tile(np.arange(6), 2), temperature=0.5)
    np.testing.assert_allclose(loss_of("nt_xent", (ONE, TWO)).mean(), expected, rtol=1e-4)


def test_clip_and_info_nce_by_loops():
    there, back = one_way(ONE, TWO, 0.07), one_way(TWO, ONE, 0.07)
    np.testing.assert_allclose(loss_of("info_nce", (ONE, TWO)), there, rtol=1e-4)
    np.testing.assert_allclose(loss_of("clip_loss", (ONE, TWO)), (there + back) / 2, rtol=1e-4)


def test_supervised_by_loops():
    sums, weights = loss_of("supervised_contrastive", ONE, temperature=0.3)
    expected = supcon(ONE, CLASSES, 0.3)
    assert np.isnan(expected).tolist() == [False, False, False, True, False, False]
    np.testing.assert_allclose(sums, np.nan_to_num(expected), rtol=1e-5)
    np.testing.assert_array_equal(weights, [1, 1, 1, 0, 1, 1])


def test_supervised_of_two_views_is_that_of_twice_the_examples():
    sums, weights = loss_of("supervised_contrastive", {"z": np.stack([ONE, TWO], 1)}, views="z", temperature=0.3)
    expected = supcon(np.concatenate([ONE, TWO]), np.tile(CLASSES, 2), 0.3).reshape(2, 6).mean(axis=0)
    np.testing.assert_allclose(sums, expected, rtol=1e-5)
    np.testing.assert_array_equal(weights, np.ones(6))


@pytest.mark.parametrize("name", ["nt_xent", "clip_loss", "info_nce", "supervised_contrastive"])
def test_padding_is_compared_with_nothing(name):
    mask = np.array([1, 1, 1, 1, 0, 0], bool)
    padded = [np.where(mask[:, None], part, np.float32(7)) for part in (ONE, TWO)]
    padded[0][5] = 0  # which has no direction
    whole, short = padded, [part[:4] for part in (ONE, TWO)]
    outputs = [whole[0], short[0]] if name.startswith("sup") else [tuple(whole), tuple(short)]
    found = loss_of(name, outputs[0], mask)
    expected = loss_of(name, outputs[1], targets=CLASSES[:4])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[:4], b, rtol=1e-5), found, expected)

    def total(outputs):
        values = loss_of(name, outputs, mask)
        return jnp.where(mask, values[0] if isinstance(values, tuple) else values, 0).sum()

    gradients = jax.device_get(jax.tree.leaves(jax.jit(jax.grad(total))(outputs[0])))
    assert all(np.isfinite(leaf).all() and (leaf[4:] == 0).all() and (leaf[:3] != 0).any() for leaf in gradients)


class Towers(nn.Module):
    """Two linear maps of the same inputs, with CLIP's temperature."""

    @nn.compact
    def __call__(self, x):
        scale = self.param("log_temperature", nn.initializers.constant(np.log(0.07)), ())
        return {"image": nn.Dense(3)(x), "text": nn.Dense(3)(x), "log_temperature": scale}


def towers():
    return Towers()


def study(loss, **changes):
    config = ConfigDict()
    config.num_epochs = 2
    config.dataset = component("synthetic", num_examples=50, num_features=5, num_classes=3)
    config.validation = component("holdout", val=0.2)
    config.loader = component("in_memory", batch_size=16)
    config.model = component("towers")
    config.loss = loss
    config.optimizer = component("adam", learning_rate=0.05)
    for name, value in changes.items():
        config[name] = value
    return config


def test_temperatures_are_swept_in_one_program_and_last_batches_have_their_true_size(tmp_path):
    mg.register("model", "towers")(towers)
    config = study(component("clip_loss", first="image", second="text", temperature=grid(0.07, 0.5)), num_epochs=6)
    [job] = prepare(config).jobs
    assert job.group.dynamic == ("loss.temperature",)
    assert job.shape.train.tails == (40 % 16,)
    result = mg.run(config, tmp_path)
    assert all(item.history["train/loss"][-1] < item.history["train/loss"][0] for item in result.experiments)
    with pytest.raises(ConfigError, match=r"microbatches.*the loss"):
        prepare(study(config.loss, loader=component("in_memory", batch_size=16, microbatches=2)))


def test_a_learnt_temperature_is_a_parameter_of_the_model():
    mg.register("model", "towers")(towers)
    learnt = component("clip_loss", first="image", second="text", temperature="log_temperature")
    [job], [fixed] = (
        prepare(study(learnt)).jobs,
        prepare(study(component("clip_loss", first="image", second="text"))).jobs,
    )
    state = jax.jit(job.program.init)(jax.random.key(0), job.sample)
    found = [one.program.compute(jax.jit(one.program.eval_step)(state, job.sample))["loss"] for one in (job, fixed)]
    np.testing.assert_allclose(*found, rtol=1e-5)
    after, _ = jax.jit(job.program.train_step)(state, job.sample)
    assert after.params["log_temperature"] != state.params["log_temperature"]


@pytest.mark.parametrize("temperature", [0.0, -1.0, True, grid(0.1, 0.0)])
@pytest.mark.parametrize("name", ["nt_xent", "clip_loss", "info_nce", "supervised_contrastive"])
def test_temperatures_are_above_0(name, temperature):
    mg.register("model", "towers")(towers)
    with pytest.raises(ConfigError, match=r"config\.loss\.temperature: "):
        prepare(study(component(name, temperature=temperature)))


@pytest.mark.parametrize(
    ("name", "outputs", "parameters", "said"),
    [
        ("nt_xent", (ONE, TWO[:, :3]), {}, r"output '1' is float32\[6, 3\]; float\[6, 4\], as of '0' is expected"),
        ("nt_xent", (ONE[:5], TWO), {}, r"output '0' is float32\[5, 4\]; float\[batch, features\] is expected"),
        ("nt_xent", {"z": ONE}, {"views": "z"}, r"float\[batch, 2, features\] is expected"),
        ("clip_loss", {"image": ONE, "text": TWO}, {}, "no output '0'"),
        ("clip_loss", {"image": ONE, "text": TWO}, {"first": "imag", "second": "text"}, "did you mean 'image'"),
        (
            "clip_loss",
            (ONE, TWO, ONE[:, 0]),
            {"temperature": "2"},
            r"output '2' is float32\[6\]; its logarithm, float\[\]",
        ),
        ("supervised_contrastive", ONE[:, 0], {}, r"the model's output is float32\[6\]"),
        ("supervised_contrastive", ONE, {"targets": ONE}, r"class numbers, int\[batch\]; found float32\[6, 4\]"),
    ],
)
def test_outputs_of_other_shapes_are_refused(name, outputs, parameters, said):
    with pytest.raises(MlgymError, match=said):
        loss_of(name, outputs, **parameters)

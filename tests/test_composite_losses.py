"""Sums of losses, class weights, LP losses and regularisers against NumPy, PyTorch's formulas and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.utils
from flax import linen as nn
from metric_cases import quick_jit
from sklearn.metrics import log_loss

import mlgym_jax as mg
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.scoring import loss_values
from mlgym_jax.errors import ConfigError, MlgymError

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(7, 3)).astype(np.float32)
TARGETS = np.array([0, 1, 2, 2, 2, 1, 2], np.int32)
BATCH = {"inputs": np.zeros((7, 2), np.float32), "targets": TARGETS, "mask": np.ones(7, bool)}
PARAMS = {
    "Dense_0": {"kernel": np.float32([[1, -2]]), "bias": np.float32([3])},
    "out": {"kernel": np.float32([4])},
}


def loss(name, **parameters):
    return lookup("loss", name).factory(**parameters)


def entropy(logits=LOGITS, targets=TARGETS):
    logits = np.asarray(logits, np.float64)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), np.asarray(targets)]


def test_a_sum_adds_weighted_losses_and_reports_each_before_its_weight():
    total = loss(
        "sum",
        losses={
            "entropy": loss("softmax_cross_entropy", weight=0.5),
            "square": loss("lp", output="value", target="size", weight=2.0),
            "decay": loss("l2_regularizer", paths="kernel$", weight=0.1),
        },
    )
    size = np.arange(7, dtype=np.float32)
    total = loss("sum", losses={**total.losses, "entropy": loss("softmax_cross_entropy", output="logits", weight=0.5)})
    outputs = {"logits": LOGITS, "value": np.ones((7, 1), np.float32)}
    values = quick_jit(lambda outputs, batch, given: loss_values(total, outputs, batch, given))
    found = values(outputs, {**BATCH, "size": size}, {"params": PARAMS})
    square, decay = (1 - np.arange(7.0)) ** 2, 1 + 4 + 16
    np.testing.assert_allclose(found["loss/entropy"], entropy(), rtol=1e-6)
    np.testing.assert_allclose(found["loss/square"], square, rtol=1e-6)
    np.testing.assert_allclose(found["loss/decay"], np.full(7, decay), rtol=1e-6)
    np.testing.assert_allclose(found["loss"], 0.5 * entropy() + 2 * square + 0.1 * decay, rtol=1e-6)


def test_a_loss_may_compare_two_outputs():
    noise = RNG.normal(size=(7, 4)).astype(np.float32)
    found = loss("squared_error", output="0", target="1.noise")((np.zeros_like(noise), {"noise": noise}), BATCH)
    np.testing.assert_allclose(found, np.square(noise).mean(axis=1), rtol=1e-6)
    with pytest.raises(
        MlgymError, match=r"no field '2' in the data\. Fields: inputs, targets, mask; outputs: 0, 1\.noise"
    ):
        loss("squared_error", output="0", target="2")((noise, {"noise": noise}), BATCH)


@pytest.mark.parametrize("weights", ["balanced", (0.5, 2.0, 3.0)])
def test_class_weights_are_scikit_learns(weights):
    counts = np.bincount(TARGETS)
    by_class = sklearn.utils.compute_class_weight("balanced", classes=np.arange(3), y=np.asarray(TARGETS))
    by_class = by_class if weights == "balanced" else np.asarray(weights)
    weighted = loss("class_weighted", loss=loss("softmax_cross_entropy"), weights=weights)
    found = quick_jit(weighted)(LOGITS, {**BATCH, "class_counts": counts.astype(np.int32)})
    np.testing.assert_allclose(found, entropy() * by_class[np.asarray(TARGETS)], rtol=1e-6)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((1.0, -1.0, 1.0), r"loss\.weights\.1: found -1\.0; weights are finite, at least 0"),
        ((1.0, float("nan"), 1.0), r"loss\.weights\.1: found nan"),
        ((0.0, 0.0, 0.0), r"loss\.weights: all of them are 0, so that nothing is learnt"),
        ((1.0, 1.0, 1.0, 5.0), r"found 4 weights, but outputs of 3 classes"),
    ],
)
def test_weights_that_no_class_can_have_are_refused(weights, words):
    with pytest.raises(MlgymError, match=words):
        loss("class_weighted", loss=loss("softmax_cross_entropy"), weights=weights)(LOGITS, BATCH)


def test_balanced_weights_without_counts_say_what_is_missing():
    with pytest.raises(MlgymError, match="class_counts"):
        loss("class_weighted", loss=loss("softmax_cross_entropy"))(LOGITS, BATCH)


@pytest.mark.parametrize(("p", "root"), [(1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (3.0, 1.5)])
def test_lp_losses(p, root):
    targets = np.concatenate([LOGITS[:1], RNG.normal(size=(6, 3)).astype(np.float32)])  # one example is met exactly

    def both(outputs, batch):
        found, pull_back = jax.vjp(lambda outputs: loss("lp", p=p, root=root)(outputs, batch), outputs)
        return found, pull_back(jnp.ones_like(found))[0]

    found, gradient = quick_jit(both)(LOGITS, {**BATCH, "targets": targets})
    distance = np.abs(np.asarray(LOGITS, np.float64) - np.asarray(targets))
    np.testing.assert_allclose(found, (distance**p).mean(axis=1) ** (1 / root), rtol=1e-6, atol=1e-7)
    assert np.isfinite(gradient).all()


def test_regularisers_choose_parameters_by_path():
    for name, paths, expected in (
        ("l1_regularizer", "", 1 + 2 + 3 + 4),
        ("l1_regularizer", "^Dense_0/", 1 + 2 + 3),
        ("l2_regularizer", "bias$", 9),
        ("l2_regularizer", "", 1 + 4 + 9 + 16),
    ):
        assert quick_jit(loss(name, paths=paths))(LOGITS, BATCH, params=PARAMS).tolist() == [expected] * 7
    with pytest.raises(MlgymError, match=r"found in no parameter's path\. Parameters: Dense_0/bias, Dense_0/kernel"):
        loss("l2_regularizer", paths="conv")(LOGITS, BATCH, params=PARAMS)


class TwoHeads(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {"logits": nn.Dense(3)(x), "value": nn.Dense(1)(x)}


def test_a_regulariser_equals_weight_decay_of_the_gradient_by_hand():
    decay = loss("l2_regularizer", paths="kernel$", weight=0.25)
    total = loss("sum", losses={"fit": loss("softmax_cross_entropy", output="logits"), "decay": decay})
    program = mg.make_program({"model": TwoHeads(), "loss": total, "optimizer": optax.sgd(0.1)})
    batch = {"inputs": RNG.normal(size=(7, 2)).astype(np.float32), "targets": TARGETS}
    state = jax.jit(program.init)(jax.random.key(0), batch)

    def by_hand(params):
        logits = TwoHeads().apply({"params": params}, batch["inputs"])["logits"]
        fit = optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS).mean()
        return fit + 0.25 * sum((params[layer]["kernel"] ** 2).sum() for layer in params)

    value, gradient = jax.device_get(quick_jit(jax.value_and_grad(by_hand))(state.params))
    expected = jax.tree.map(lambda p, g: np.asarray(p) - np.float32(0.1) * g, state.params, gradient)
    after, metrics = jax.jit(program.train_step)(state, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), after.params, expected)
    scores = program.compute(metrics)
    assert scores["loss"] == pytest.approx(float(value), abs=1e-6)
    assert scores["loss"] == pytest.approx(float(scores["loss/fit"] + 0.25 * scores["loss/decay"]), abs=1e-6)


def test_an_output_or_field_that_is_not_there_names_those_that_are():
    program = mg.make_program(
        {"model": TwoHeads(), "loss": loss("softmax_cross_entropy", output="logit"), "optimizer": optax.sgd(0.1)}
    )
    batch = {"inputs": np.zeros((7, 2), np.float32), "targets": TARGETS}
    state = jax.jit(program.init)(jax.random.key(0), batch)
    with pytest.raises(ConfigError, match=r"config\.loss: no output 'logit'; did you mean 'logits'\? Outputs: logits"):
        program.train_step(state, batch)
    metrics = {"accuracy": lookup("metric", "accuracy").factory()}
    logits = loss("softmax_cross_entropy", output="logits")
    program = mg.make_program({"model": TwoHeads(), "loss": logits, "optimizer": optax.sgd(0.1), "metrics": metrics})
    with pytest.raises(ConfigError, match=r"config\.metrics\.accuracy: .*several outputs.*say which.*output='logits'"):
        program.eval_step(state, batch)
    with pytest.raises(MlgymError, match="no field 'label' in the data"):
        loss("softmax_cross_entropy", target="label")(LOGITS, BATCH)


def test_weights_of_examples_are_those_of_scikit_learn():
    """Over batches of which the last one is padded, by steps of the program and over the split."""
    weights = np.array([0.5, 2.0, 0.0, 1.0, 3.0, 0.25, 1.5], np.float32)
    weighted = loss("sample_weighted", loss=loss("softmax_cross_entropy"), field="importance")
    program = mg.make_program(
        {
            "model": mg.Model(lambda key, x: ({}, {}), lambda params, state, x, key, train: (x, state)),
            "loss": weighted,
            "optimizer": optax.sgd(0.1),
        }
    )
    fields = {"inputs": LOGITS, "targets": TARGETS, "importance": weights}
    state, found = program.init(jax.random.key(0), fields), program.empty()
    for start in (0, 4):
        batch = {name: np.resize(array[start : start + 4], (4, *array.shape[1:])) for name, array in fields.items()}
        batch["mask"] = np.arange(start, start + 4) < 7
        found = program.merge(found, program.eval_step(state, batch))
    probabilities = np.exp(LOGITS.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = log_loss(TARGETS, probabilities, sample_weight=weights)
    np.testing.assert_allclose(program.compute(found)["loss"], expected, rtol=1e-6)
    with pytest.raises(ConfigError, match=r"the field 'importance' is one number an example, float\[7\]; found"):
        program.eval_step(state, {**fields, "importance": LOGITS})
    for wrong in (-1.0, np.nan):
        held = {**fields, "importance": np.where(weights > 0, weights, wrong), "mask": np.ones(7, bool)}
        with pytest.raises(
            ConfigError, match=rf"the field 'importance' holds {wrong} .*; weights are finite, at least 0"
        ):
            program.eval_step(state, held)

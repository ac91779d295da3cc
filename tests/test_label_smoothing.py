"""Label smoothing from a config: Optax's smoothed labels, the closed form, swept as one program, in [0, 1)."""

import jax
import numpy as np
import optax
import pytest
from metric_cases import quick_jit, softmax
from ml_collections import ConfigDict

from mlgym_jax import component, grid
from mlgym_jax.components.registry import lookup
from mlgym_jax.errors import ConfigError
from mlgym_jax.study.expand import prepare

LOGITS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
CLASSES = np.array([0, 1, 2, 3, 1, 1], np.int32)
ONE_HOT = np.eye(4, dtype=np.float32)[CLASSES]
SOFT = softmax(LOGITS[::-1] * 2).astype(np.float32)


def loss(name, targets=CLASSES, logits=LOGITS, **parameters):
    return quick_jit(lookup("loss", name).factory(**parameters))(logits, {"targets": targets})


def by_optax(loss, targets, share, logits=LOGITS):
    return quick_jit(lambda logits, targets: loss(logits, optax.smooth_labels(targets, share)))(logits, targets)


@pytest.mark.parametrize("targets, distribution", [(CLASSES, ONE_HOT), (ONE_HOT, ONE_HOT), (SOFT, SOFT)])
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "safe_softmax_cross_entropy", "poly_loss_cross_entropy"])
def test_targets_are_smoothed_as_by_optax(name, targets, distribution):
    expected = by_optax(getattr(optax.losses, name), distribution, 0.2)
    np.testing.assert_allclose(loss(name, targets, label_smoothing=0.2), expected, rtol=1e-6)


def test_integer_labels_too():
    expected = by_optax(optax.softmax_cross_entropy, ONE_HOT, 0.3)
    found = loss("softmax_cross_entropy_with_integer_labels", label_smoothing=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_closed_form():
    # Of equal logits every distribution costs log(4). One class at 0, the others far below: a - share of 3/4 costs 100.
    flat = loss("softmax_cross_entropy", logits=np.zeros((6, 4), np.float32), label_smoothing=0.5)
    np.testing.assert_allclose(flat, np.full(6, np.log(4)), rtol=1e-6)
    sure = loss("softmax_cross_entropy", CLASSES[:1], np.float32([[0, -100, -100, -100]]), label_smoothing=0.4)
    np.testing.assert_allclose(sure, [0.4 * 3 / 4 * 100], rtol=1e-5)
    # Of one output: yes with 1 - a / 2, no with a / 2.
    logit = np.float32([[2], [-1]])
    yes, no = 0.9, 0.1
    expected = [
        -yes * np.log(1 / (1 + np.exp(-2))) - no * np.log(1 / (1 + np.exp(2))),
        -no * np.log(1 / (1 + np.exp(1))) - yes * np.log(1 / (1 + np.exp(-1))),
    ]
    found = loss("sigmoid_binary_cross_entropy", np.int32([1, 0]), logit, label_smoothing=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_focal_loss_of_smoothed_targets_is_the_formula_of_torchvision():
    """alpha_t (1 - p_t)^gamma ce, of targets t = 0.95 and 0.05: `torchvision.ops.sigmoid_focal_loss` by NumPy."""
    logits, classes = np.float32([[2], [-1], [0.5]]), np.int32([1, 0, 0])
    targets = np.where(classes == 1, 0.95, 0.05)
    p = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
    cross_entropy = -targets * np.log(p) - (1 - targets) * np.log(1 - p)
    p_t = p * targets + (1 - p) * (1 - targets)
    alpha_t = 0.25 * targets + 0.75 * (1 - targets)
    found = loss("sigmoid_focal_loss", classes, logits, label_smoothing=0.1, alpha=0.25, gamma=2.0)
    np.testing.assert_allclose(found, alpha_t * (1 - p_t) ** 2 * cross_entropy, rtol=1e-5)


def test_a_class_weight_multiplies_the_whole_smoothed_loss():
    weights = np.float32([1.0, 2.0, 0.5, 3.0])
    inner = lookup("loss", "softmax_cross_entropy").factory(label_smoothing=0.2)
    found = loss("class_weighted", loss=inner, weights=tuple(weights.tolist()))
    log_p = np.log(softmax(LOGITS.astype(np.float64)))
    smoothed = 0.8 * ONE_HOT + 0.2 / 4
    np.testing.assert_allclose(found, weights[CLASSES] * -(smoothed * log_p).sum(-1), rtol=1e-5)


def test_none_is_the_loss_as_it_was_to_the_bit():
    for name in ("softmax_cross_entropy", "sigmoid_binary_cross_entropy"):
        targets = CLASSES if name.startswith("softmax") else ONE_HOT
        assert np.array_equal(loss(name, targets), loss(name, targets, label_smoothing=0.0))


def study(smoothing):
    config = ConfigDict(type_safe=False)
    config.num_epochs = 1
    config.dataset = component("synthetic", num_examples=40, num_features=4, num_classes=3)
    config.model = component("linear")
    config.loss = component("softmax_cross_entropy", label_smoothing=smoothing)
    config.optimizer = component("sgd", learning_rate=0.1)
    return config


def test_it_is_swept_in_one_program():
    [job] = prepare(study(grid(0.0, 0.1, 0.5))).jobs
    assert job.group.dynamic == ("loss.label_smoothing",)
    init, predict, eval_step = map(jax.jit, (job.program.init, job.program.predict, job.program.eval_step))
    for share in (0.0, 0.1, 0.5):
        state = init(jax.random.key(0), job.sample, {"loss.label_smoothing": np.float32(share)})
        one_hot = np.eye(3, dtype=np.float32)[job.sample["targets"]]
        outputs = np.asarray(predict(state, job.sample))
        expected = np.mean(by_optax(optax.softmax_cross_entropy, one_hot, share, outputs))
        found = job.program.compute(eval_step(state, job.sample))["loss"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("share", [1.0, -0.1, 1, grid(0.1, 1.5)])
def test_shares_are_in_their_range(share):
    with pytest.raises(ConfigError, match=r"^config\.loss\.label_smoothing: a number in \[0, 1\) is expected, found"):
        prepare(study(share))

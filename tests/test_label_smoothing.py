"""Label smoothing from a config: Optax's smoothed labels, the closed form, swept as one program, in [0, 1)."""

import inspect

import jax
import numpy as np
import optax
import pytest
from metric_cases import quick_jit, softmax
from ml_collections import ConfigDict

from mlgym_jax import component, grid
from mlgym_jax.components.registry import lookup, registrations
from mlgym_jax.errors import ConfigError
from mlgym_jax.losses.smoothing import NOT_SMOOTHED, SMOOTHED
from mlgym_jax.optimizers import signatures
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


LOG_P = np.log(softmax(LOGITS.astype(np.float64)))
SPREAD = 0.8 * SOFT.astype(np.float64) + 0.2 / 4


@pytest.mark.filterwarnings("ignore:The function convex_kl_divergence:DeprecationWarning")
@pytest.mark.parametrize(
    "name, targets",  # of distributions, whose sums are 1, the convex one is the same
    [("kl_divergence", SOFT), ("convex_kl_divergence", SOFT), ("kl_divergence_with_log_targets", np.log(SOFT))],
)
def test_divergences_are_to_the_smoothed_distribution(name, targets):
    expected = (SPREAD * (np.log(SPREAD) - LOG_P)).sum(-1)
    np.testing.assert_allclose(loss(name, targets, LOG_P.astype(np.float32), label_smoothing=0.2), expected, rtol=1e-5)


def test_losses_of_margins_are_those_expected_of_changed_labels():
    """(1 - a) l(y) + a / C sum_k l(k), of Lukasik et al. (2020), the losses by their formulas."""

    def hinge(scores, k):
        return max(0.0, *(1 + scores[j] - scores[k] for j in range(4) if j != k))

    def perceptron(scores, k):
        return max(scores) - scores[k]

    for name, of in (("multiclass_hinge_loss", hinge), ("multiclass_perceptron_loss", perceptron)):
        expected = [
            0.7 * of(row, y) + 0.3 / 4 * sum(of(row, k) for k in range(4))
            for row, y in zip(LOGITS, CLASSES, strict=True)
        ]
        np.testing.assert_allclose(loss(name, label_smoothing=0.3), expected, rtol=1e-5)
    logits, signs = LOGITS[:, 0], np.int32([1, -1, 1, -1, -1, 1])
    for name, of in (("hinge_loss", lambda m: np.maximum(0, 1 - m)), ("perceptron_loss", lambda m: np.maximum(0, -m))):
        expected = 0.85 * of(logits * signs) + 0.15 * of(-logits * signs)
        np.testing.assert_allclose(loss(name, signs, logits, label_smoothing=0.3), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["multiclass_sparsemax_loss", "sparsemax_loss"])
def test_sparsemax_losses_are_fenchel_young_losses_of_smoothed_labels(name):
    """Of which the gradient is sparsemax of the scores minus the smoothed labels (Blondel et al., 2020)."""
    of_two = name == "sparsemax_loss"
    logits, targets = (LOGITS[:, 0], CLASSES % 2) if of_two else (LOGITS, CLASSES)
    values = lambda logits: lookup("loss", name).factory(label_smoothing=0.2)(logits, {"targets": targets}).sum()  # noqa: E731
    if of_two:
        expected = np.clip((logits + 1) / 2, 0, 1) - np.where(targets == 1, 0.9, 0.1)
    else:
        sizes = np.arange(1, 5)
        threshold = max((np.sort(logits[0])[::-1].cumsum() - 1) / sizes)
        expected = np.maximum(0, logits[0] - threshold) - (0.8 * ONE_HOT[0] + 0.05)
    found = jax.grad(values)(logits)
    np.testing.assert_allclose(found if of_two else found[0], expected, rtol=1e-5, atol=1e-6)


def test_a_loss_over_classes_takes_it_or_says_why_not():
    """What reads class numbers or shares of classes, by hand: the rest are distances, regularisers and contrasts."""
    over_classes = SMOOTHED | NOT_SMOOTHED.keys()
    for entry in registrations("loss"):
        if entry.origin != signatures.__file__:
            continue
        taken = "label_smoothing" in inspect.signature(entry.factory).parameters
        assert taken == (entry.name in SMOOTHED)
        assert ("Label smoothing is not defined: " in entry.factory.__doc__) == (entry.name in NOT_SMOOTHED)
        assert (entry.name in over_classes) != (entry.name in OF_NUMBERS), entry.name


OF_NUMBERS = {
    "cosine_distance",
    "huber_loss",
    "l2_loss",
    "log_cosh",
    "squared_error",
    "triplet_margin_loss",
}


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

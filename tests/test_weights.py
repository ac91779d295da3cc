"""Weights of examples and positions, a field `where` of numbers: scikit-learn's `sample_weight`, and sums by hand."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics as sk
from metric_cases import quick_jit, sigmoid, softmax
from ml_collections import ConfigDict

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.components.registry import lookup, registrations
from mlgym_jax.core.metric import Metric, mean_of
from mlgym_jax.core.scoring import loss_values, make_scoring
from mlgym_jax.core.weighted import mean_over_batch
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import ConfigError, MlgymError

SIZE, CLASSES, CUTS = 61, 4, (0, 9, 40, 61)
RNG = np.random.default_rng(7)
# Weights of all sizes, also 0, and some that a mask leaves out beside.
WEIGHTS = (RNG.gamma(0.7, size=SIZE) * (RNG.random(SIZE) < 0.8)).astype(np.float32)
WEIGHTS[:2] = 1e-3, 25.0
MASK = RNG.random(SIZE) < 0.9
LOGITS = (RNG.normal(size=(SIZE, CLASSES)) * 2).astype(np.float32)
CLASS = np.where(RNG.random(SIZE) < 0.5, LOGITS.argmax(axis=1), RNG.integers(0, CLASSES, SIZE)).astype(np.int32)
LABELS = (RNG.random((SIZE, CLASSES)) < 0.4).astype(np.int32)
NUMBERS, TARGETS = (RNG.normal(size=(SIZE, 3)).astype(np.float32) + 3 for _ in range(2))
ROWS = MASK & (WEIGHTS > 0)
W = WEIGHTS[ROWS].astype(np.float64)


def built(name, **parameters):
    entry = lookup("metric", name)
    needs = {"dataset": Dataset({}, num_classes=CLASSES)} if "num_classes" in entry.parameters else {}
    return entry.factory(**needs, **parameters)


def scores(metrics, outputs, targets, where=WEIGHTS, mask=MASK, cuts=CUTS):
    """Return the scores of metrics over batches that are merged, and put in their places, as a run does."""

    def no_loss(outputs, batch):
        return jnp.zeros(batch["mask"].shape)

    @quick_jit
    def computed(outputs, targets, where, mask):
        scoring = make_scoring(no_loss, metrics)
        parts = []
        for start, stop in itertools.pairwise(cuts):
            rows = {"targets": targets[start:stop], "where": where[start:stop], "mask": mask[start:stop]}
            parts.append(scoring.measure(no_loss, *[outputs[start:stop]] * 2, rows, {}))
        merged = functools.reduce(scoring.merge, parts, scoring.empty())
        room = scoring.room(jax.eval_shape(lambda: parts[0]), len(mask))
        for part, start in zip(parts, cuts, strict=False):
            room = scoring.put(room, part, start)
        return scoring.compute(merged), scoring.compute(room)

    merged, put = jax.device_get(computed(outputs, targets, where, mask))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-7, rtol=2e-7), merged, put)
    return merged


def score(metric, *data, **given):
    return scores({"it": metric}, *data, **given)["it"]


@functools.cache
def scores_of_all():
    """Return every metric's score, of one program for classes and one for numbers."""
    metrics = {name: built(name, **PARAMETERS.get(name, {})) for name in CASES}
    of_numbers = {name: metrics.pop(name) for name in NUMERIC}
    return scores(metrics, LOGITS, CLASS) | scores(of_numbers, NUMBERS, TARGETS)


def predicted():
    return LOGITS[ROWS].argmax(axis=1)


def one_vs_rest(function):
    probabilities = softmax(LOGITS[ROWS])
    return np.mean([function(CLASS[ROWS] == c, probabilities[:, c], sample_weight=W) for c in range(CLASSES)])


def of_classes(function, **given):
    return lambda: function(CLASS[ROWS], predicted(), sample_weight=W, **given)


def of_top(k):
    return sk.top_k_accuracy_score(CLASS[ROWS], LOGITS[ROWS], k=k, sample_weight=W)


def calibration_error(bins=15):
    probabilities = softmax(LOGITS[ROWS])
    sure, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == CLASS[ROWS]
    place = np.ceil(sure * bins).astype(int)
    each = [abs(np.sum(W[place == b] * (hit[place == b] - sure[place == b]))) for b in range(1, bins + 1)]
    return sum(each) / W.sum()


def class_wise_error(bins=15):
    probabilities, errors = softmax(LOGITS[ROWS]), []
    for c in range(CLASSES):
        p, own = probabilities[:, c], CLASS[ROWS] == c
        place = np.ceil(p * bins).astype(int)
        errors.append(sum(abs(np.sum(W[place == b] * (own - p)[place == b])) for b in range(1, bins + 1)) / W.sum())
    return np.mean(errors)


def specificity():
    table = sk.confusion_matrix(CLASS[ROWS], predicted(), sample_weight=W)
    own = np.diag(table)
    negatives = table.sum() - table.sum(axis=1)
    return np.mean((negatives - (table.sum(axis=0) - own)) / negatives)


def of_numbers(function, **given):
    return lambda: function(TARGETS[ROWS].astype(float), NUMBERS[ROWS].astype(float), sample_weight=W, **given)


CASES = {
    "accuracy": of_classes(sk.accuracy_score),
    "balanced_accuracy": of_classes(sk.balanced_accuracy_score),
    "precision": of_classes(sk.precision_score, average="macro", zero_division=0),
    "recall": of_classes(sk.recall_score, average="macro", zero_division=0),
    "f1": of_classes(sk.f1_score, average="macro", zero_division=0),
    "fbeta": of_classes(sk.fbeta_score, beta=2.0, average="macro", zero_division=0),
    "specificity": specificity,
    "matthews_corrcoef": of_classes(sk.matthews_corrcoef),
    "cohen_kappa": lambda: sk.cohen_kappa_score(CLASS[ROWS], predicted(), sample_weight=W),
    "top_k": lambda: of_top(2),
    "recall_at_k": lambda: of_top(2),
    "area_under_recall_at_k": lambda: of_top(1) / 2 + of_top(2) / 2,
    "confusion_matrix": lambda: sk.confusion_matrix(CLASS[ROWS], predicted(), sample_weight=W),
    "brier_score": lambda: np.average(
        np.square(softmax(LOGITS[ROWS]) - np.eye(CLASSES)[CLASS[ROWS]]).sum(axis=1), weights=W
    ),
    "perplexity": lambda: np.exp(sk.log_loss(CLASS[ROWS], softmax(LOGITS[ROWS]), sample_weight=W)),
    "expected_calibration_error": calibration_error,
    "class_wise_calibration_error": class_wise_error,
    "auroc": lambda: one_vs_rest(sk.roc_auc_score),
    "aupr": lambda: one_vs_rest(sk.average_precision_score),
    "mse": of_numbers(sk.mean_squared_error),
    "mae": of_numbers(sk.mean_absolute_error),
    "rmse": of_numbers(sk.root_mean_squared_error),
    "r2": of_numbers(sk.r2_score),
    "explained_variance": of_numbers(sk.explained_variance_score),
}
NUMERIC = ("mse", "mae", "rmse", "r2", "explained_variance")
PARAMETERS = {
    "top_k": {"k": 2},
    "recall_at_k": {"k": 2},
    "area_under_recall_at_k": {"k": 2},
    **{name: {"num_outputs": 3} for name in ("rmse", "r2", "explained_variance")},
}
CURVES = {"roc_curve", "precision_recall_curve", "calibration_curve"}
OF_PLACES = {"retrieval_recall_at_k", "area_under_retrieval_recall_at_k"}


def test_every_metric_takes_weights():
    ours = {entry.name for entry in registrations("metric") if "mlgym_jax/metrics" in entry.origin}
    assert ours == {*CASES} | CURVES | OF_PLACES


@pytest.mark.parametrize("name", CASES)
def test_weighted_metrics_are_those_of_scikit_learn(name):
    found = scores_of_all()[name]
    found = found.values if name == "confusion_matrix" else found
    np.testing.assert_allclose(found, CASES[name](), rtol=1e-6, atol=1e-6)


def test_weighted_metrics_of_labels_are_those_of_scikit_learn():
    said, there, given = LOGITS[ROWS] > 0, LABELS[ROWS], {"sample_weight": W}
    wanted = {
        "accuracy": sk.accuracy_score(there, said, **given),
        "f1": sk.f1_score(there, said, average="macro", **given),
        "auroc": sk.roc_auc_score(there, LOGITS[ROWS], **given),
        "aupr": sk.average_precision_score(there, LOGITS[ROWS], **given),
        "confusion_matrix": sk.multilabel_confusion_matrix(there, said, **given),
    }
    found = scores({name: built(name, multilabel=True) for name in wanted}, LOGITS, LABELS)
    found["confusion_matrix"] = np.stack([found[f"confusion_matrix/{label}"].values for label in range(CLASSES)])
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6, err_msg=name)


def test_weighted_curves_are_those_of_scikit_learn():
    scores, own = LOGITS[:, 0], (CLASS == 1).astype(np.int32)
    two = {"dataset": Dataset({}, num_classes=2)}
    found = score(lookup("metric", "roc_curve").factory(**two, num_thresholds=401), scores, own)
    p = sigmoid(scores[ROWS])
    for place in (50, 200, 300):
        above = p >= found.thresholds[place]
        np.testing.assert_allclose(
            found.y[0][place], W[above & (own[ROWS] > 0)].sum() / W[own[ROWS] > 0].sum(), atol=1e-6
        )
        np.testing.assert_allclose(
            found.x[0][place], W[above & (own[ROWS] < 1)].sum() / W[own[ROWS] < 1].sum(), atol=1e-6
        )
    found = score(lookup("metric", "precision_recall_curve").factory(**two), scores, own)
    above = p >= found.thresholds[50]
    np.testing.assert_allclose(found.y[0][50], W[above & (own[ROWS] > 0)].sum() / W[above].sum(), atol=1e-6)
    found = score(lookup("metric", "calibration_curve").factory(**two, num_bins=4, positive_class=1), scores, own)
    inside = (p > 0.25) & (p <= 0.5)
    wanted = [np.average(values[inside], weights=W[inside]) for values in (p, own[ROWS])]
    np.testing.assert_allclose([found.x[0][1], found.y[0][1]], wanted, rtol=1e-6)


def test_an_example_of_weight_2_takes_two_of_the_first_places():
    """Of a retrieval, by a plain loop over the examples by falling score, equal scores of one class together."""
    logits = LOGITS.round()  # so that some are equal

    def found(k):
        p, shares = logits[ROWS][:, 0].astype(float), np.zeros(ROWS.sum())
        for score in np.unique(p):
            alike = p == score
            shares[alike] = np.clip(k - W[p > score].sum(), 0, W[alike].sum()) / W[alike].sum()
        own = CLASS[ROWS] == 0
        return (shares * W)[own].sum() / W[own].sum()

    def of(name, k):
        return built(name, k=k, average="none", from_logits=False)

    names = ("retrieval_recall_at_k", "area_under_retrieval_recall_at_k")
    recalls = [found(k) for k in range(1, 13)]
    for name, wanted in zip(names, (recalls[-1], (sum(recalls) - (recalls[0] + recalls[-1]) / 2) / 11), strict=True):
        result = scores({"it": of(name, 12)}, logits, CLASS)["it/class_0"]
        np.testing.assert_allclose(result, wanted, rtol=1e-6)
    copies = np.repeat(np.arange(SIZE), MASK * (np.arange(SIZE) % 3))
    once = scores({"it": of(names[0], 12)}, logits, CLASS, where=(np.arange(SIZE) % 3).astype(np.float32))
    several = scores(
        {"it": of(names[0], 12)}, logits[copies], CLASS[copies], where=np.ones(len(copies), bool),
        mask=np.ones(len(copies), bool), cuts=(0, len(copies)),
    )  # fmt: skip
    for number in range(CLASSES):
        np.testing.assert_allclose(once[f"it/class_{number}"], several[f"it/class_{number}"], rtol=1e-6)


POSITIONS = (RNG.gamma(0.5, size=(SIZE, 3)) * (RNG.random((SIZE, 3)) < 0.8)).astype(np.float32)


@pytest.mark.parametrize("where", [POSITIONS, POSITIONS > 0.3], ids=["weights", "bool"])
def test_weights_of_single_elements_are_those_of_each_column(where):
    found = scores({name: built(name, **PARAMETERS.get(name, {})) for name in NUMERIC}, NUMBERS, TARGETS, where=where)
    for name in NUMERIC:
        columns = []
        for column in range(3):
            rows = MASK & (where[:, column] > 0)
            w = where[rows, column].astype(np.float64)
            one, other = TARGETS[rows, column].astype(float), NUMBERS[rows, column].astype(float)
            error = {"mse": np.square, "mae": np.abs}.get(name)
            function = {"rmse": sk.root_mean_squared_error, "r2": sk.r2_score}.get(name, sk.explained_variance_score)
            columns.append((error(one - other) @ w, w.sum()) if error else function(one, other, sample_weight=w))
        wanted = np.divide(*np.sum(columns, axis=0)) if name in ("mse", "mae") else np.mean(columns)
        np.testing.assert_allclose(found[name], wanted, rtol=1e-6, atol=1e-6, err_msg=name)


def test_weights_of_positions_are_those_of_as_many_examples():
    logits, targets = (np.stack([array, array[::-1]], axis=1) for array in (LOGITS, CLASS))
    where = POSITIONS[:, :2]
    metrics = {name: built(name) for name in ("accuracy", "f1", "perplexity", "auroc")}
    found = scores(metrics, logits, targets, where=where)
    flat = [array.reshape(2 * SIZE, *array.shape[2:]) for array in (logits, targets, where, np.repeat(MASK, 2))]
    of_flat = scores(metrics, *flat, cuts=(0, SIZE, 2 * SIZE))
    for name in metrics:
        np.testing.assert_allclose(found[name], of_flat[name], rtol=1e-6, err_msg=name)


def test_a_mean_of_ones_own_counts_examples_by_their_weights():
    metric = mean_of(lambda outputs, batch: outputs[:, 0])
    wanted = np.average(LOGITS[ROWS, 0].astype(float), weights=W)
    for where in (WEIGHTS, WEIGHTS[:, None]):
        np.testing.assert_allclose(score(metric, LOGITS, CLASS, where), wanted, rtol=1e-6, atol=1e-6)


def test_whole_numbers_weigh_as_repetitions_do():
    times = RNG.integers(0, 3, SIZE)
    again = np.repeat(np.arange(SIZE), times)
    metrics = {name: built(name) for name in ("f1", "matthews_corrcoef", "auroc", "aupr")}
    alike = np.ones(len(again), bool)
    repeated = scores(metrics, LOGITS[again], CLASS[again], alike, MASK[again], (0, len(again)))
    found = scores(metrics, LOGITS, CLASS, times.astype(np.int32))
    for name in metrics:
        np.testing.assert_allclose(found[name], repeated[name], rtol=1e-6, err_msg=name)


# Losses: sum w l / sum w, by hand.


def total(loss, outputs, batch, **given):
    batch = {"mask": np.ones(len(batch["targets"]), bool), **batch}
    return float(mean_over_batch(loss_values(loss, outputs, batch, given)["loss"], batch["mask"]))


def logsumexp(x):
    return np.log(np.exp(np.asarray(x, np.float64)).sum(axis=-1))


def cross_entropy(logits, targets):
    return logsumexp(logits) - np.take_along_axis(logits.astype(np.float64), targets[..., None], axis=-1)[..., 0]


BY_HAND = {
    "softmax_cross_entropy": (LOGITS, CLASS, cross_entropy(LOGITS, CLASS)),
    "softmax_cross_entropy_with_integer_labels": (LOGITS, CLASS, cross_entropy(LOGITS, CLASS)),
    "sigmoid_binary_cross_entropy": (
        LOGITS,
        LABELS,
        -(LABELS * np.log(sigmoid(LOGITS)) + (1 - LABELS) * np.log(sigmoid(-LOGITS))).mean(axis=1),
    ),
    "squared_error": (NUMBERS, TARGETS, np.square(NUMBERS.astype(float) - TARGETS).mean(axis=1)),
    "l2_loss": (NUMBERS, TARGETS, np.square(NUMBERS.astype(float) - TARGETS).mean(axis=1) / 2),
    "hinge_loss": (LOGITS[:, 0], LABELS[:, 0], np.maximum(0, 1 - LOGITS[:, 0].astype(float) * (2 * LABELS[:, 0] - 1))),
    "lp": (NUMBERS, TARGETS, np.square(NUMBERS.astype(float) - TARGETS).mean(axis=1)),
    "cosine_distance": (
        NUMBERS,
        TARGETS,
        1 - (NUMBERS * TARGETS).sum(axis=1) / np.linalg.norm(NUMBERS, axis=1) / np.linalg.norm(TARGETS, axis=1),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_weighted_losses_are_means_by_weight(name):
    outputs, targets, values = BY_HAND[name]
    loss = lookup("loss", name).factory()
    found = total(loss, outputs, {"targets": targets, "where": WEIGHTS, "mask": MASK})
    np.testing.assert_allclose(found, np.average(values[ROWS], weights=W), rtol=1e-6)


def test_half_a_weight_counts_half_at_each_position():
    logits, targets = (np.stack([array, array[::-1]], axis=1) for array in (LOGITS, CLASS))
    where = np.where(POSITIONS[:, :2] > 0.2, 1.0, 0.5).astype(np.float32)
    wanted = np.average(cross_entropy(logits, targets), weights=where)
    loss = lookup("loss", "softmax_cross_entropy").factory()
    batch = {"targets": targets, "where": where}
    np.testing.assert_allclose(total(loss, logits, batch), wanted, rtol=1e-6)
    gradient = jax.grad(lambda logits: mean_over_batch(loss(logits, batch), np.ones(SIZE, bool)))(jnp.asarray(logits))
    by_hand = (softmax(logits) - np.eye(CLASSES)[targets]) * (where / where.sum())[..., None]
    np.testing.assert_allclose(gradient, by_hand, atol=1e-7)


def test_what_counts_nothing_may_be_anything():
    targets = np.where(WEIGHTS[:, None] > 0, TARGETS, np.nan).astype(np.float32)
    for name in ("squared_error", "lp"):
        found = total(lookup("loss", name).factory(), NUMBERS, {"targets": targets, "where": WEIGHTS, "mask": MASK})
        np.testing.assert_allclose(found, np.average(BY_HAND[name][2][ROWS], weights=W), rtol=1e-6)


def test_contrastive_and_adversarial_losses_weigh_examples():
    names = {
        "clip_loss": ({"0": NUMBERS, "1": TARGETS}, {}),
        "info_nce": ({"0": NUMBERS, "1": TARGETS}, {}),
        "nt_xent": ({"0": NUMBERS, "1": TARGETS}, {}),
        "gan_discriminator": ({"real_logits": LOGITS[:, 0], "fake_logits": LOGITS[:, 1]}, {}),
        "gan_generator": ({"fake_logits": LOGITS[:, 1]}, {}),
        "gradient_penalty": ({"gradient": NUMBERS}, {}),
        "negative_elbo": (
            {"reconstruction": NUMBERS, "mean": LOGITS, "log_variance": LOGITS},
            {"likelihood": "gaussian", "target": "targets"},
        ),
    }
    for name, (outputs, given) in names.items():
        loss = lookup("loss", name).factory(**given)
        plain = loss(outputs, {"targets": TARGETS, "mask": MASK})
        found = total(loss, outputs, {"targets": TARGETS, "where": WEIGHTS, "mask": MASK})
        np.testing.assert_allclose(found, np.average(np.asarray(plain)[ROWS], weights=W), rtol=1e-6, err_msg=name)
        with pytest.raises(MlgymError, match=r"weighs positions|does not fit"):
            total(loss, outputs, {"targets": TARGETS, "where": np.ones((SIZE, 5), np.float32), "mask": MASK})


def test_the_elbo_adds_up_what_was_observed():
    outputs = {"reconstruction": NUMBERS, "mean": LOGITS, "log_variance": LOGITS}
    loss = lookup("loss", "negative_elbo").factory(likelihood="gaussian", target="targets")
    found = loss(outputs, {"targets": TARGETS, "where": POSITIONS, "mask": MASK})
    z = LOGITS.astype(float)
    wanted = (POSITIONS * np.square(NUMBERS.astype(float) - TARGETS) / 2).sum(axis=1)
    np.testing.assert_allclose(found, wanted + ((z**2 + np.exp(z) - 1 - z) / 2).sum(axis=1), rtol=1e-5)


def test_losses_that_relate_examples_refuse_to_weigh_them():
    where = np.ones(SIZE, np.float32)
    for field in (where, where > 0):
        with pytest.raises(ConfigError) as error:
            total(lookup("loss", "ntxent").factory(), LOGITS, {"targets": CLASS, "where": field})
        assert str(error.value).startswith("config.loss: loss 'ntxent': it relates what the field where, ")


PIXELS = RNG.integers(0, 3, (3, 5, 4))  # how often each counts
PIXELS[1, 0] = 0
IMAGES = RNG.normal(size=(3, 5, 4, 3)).astype(np.float32)
SEGMENTS = RNG.integers(0, 3, (3, 5, 4)).astype(np.int32)


@pytest.mark.parametrize("name", ["dice_loss", "binary_dice_loss", "multiclass_generalized_dice_loss"])
@pytest.mark.parametrize("kind", [bool, np.float32])
def test_dice_of_pixels_that_count_is_that_of_as_many_pixels(name, kind):
    """Optax's loss of each example's pixels, each as often as it counts; nothing where there is no mask."""
    two = name == "binary_dice_loss"
    outputs, targets = (IMAGES[..., 0], SEGMENTS > 0) if two else (IMAGES, SEGMENTS)
    where, settings = PIXELS.astype(kind), {} if name != "dice_loss" else {"alpha": 0.3, "ignore_background": True}
    times = where.astype(int).reshape(3, -1)
    rows = [np.repeat(np.arange(20), row) for row in times]
    flat = [outputs[n].reshape(20, *outputs.shape[3:])[at] for n, at in enumerate(rows)]
    labels = [np.eye(3)[targets[n].ravel()[at]] if not two else targets[n].ravel()[at] for n, at in enumerate(rows)]
    spoiled = np.where(where[..., None] > 0, IMAGES, np.nan) if not two else np.where(where > 0, outputs, np.nan)
    batch = {"targets": targets.astype(np.int32), "where": where}
    sums, weights = quick_jit(lookup("loss", name).factory(**settings))(spoiled.astype(np.float32), batch)
    of_classes = 1.0
    if name == "multiclass_generalized_dice_loss":  # by all pixels of the batch
        of_classes = 1 / (np.sum([one.sum(axis=0) for one in labels], axis=0) ** 2 + 1e-7)
        of_classes *= 3 / of_classes.sum()
    wanted = []
    for scores, one in zip(flat, labels, strict=True):
        columns = (scores[None, :, None], one[None, :, None]) if two else (scores[None], one[None])
        values = optax.losses.dice_loss(*(jnp.asarray(a, jnp.float32) for a in columns), reduction="none", **settings)
        wanted.append((np.asarray(values[0]) * of_classes).mean())
    wanted = np.full(3, np.mean(wanted)) if name == "multiclass_generalized_dice_loss" else wanted
    np.testing.assert_allclose(sums, wanted, rtol=1e-5)
    assert weights.tolist() == [1, 1, 1]
    empty = batch | {"where": np.where(np.arange(3)[:, None, None] == 2, 0, where).astype(kind)}
    assert quick_jit(lookup("loss", name).factory(**settings))(outputs, empty)[1].tolist() == [1, 1, 0]


def test_a_mask_of_classes_takes_no_weights():
    loss = lookup("loss", "softmax_cross_entropy").factory()
    with pytest.raises(ConfigError, match="says which classes there are; it takes no weights"):
        total(loss, LOGITS, {"targets": np.eye(CLASSES, dtype=np.float32)[CLASS], "where": np.ones_like(LOGITS)})


def study(where=None, metric_where=None):
    config = ConfigDict({"num_epochs": 1, "model": component("linear"), "seed": 0})
    config.loss = component("softmax_cross_entropy", **({} if where is None else {"where": where}))
    config.optimizer = component("sgd", learning_rate=0.1)
    given = {} if metric_where is None else {"where": metric_where}
    config.metrics = {"accuracy": component("accuracy", **given), "f1": component("f1", every_num_epochs=1, **given)}
    return config


def data_of(**fields):
    data = {"inputs": LOGITS, "targets": CLASS, **fields}
    return mg.Dataset({"train": data, "val": data}, num_classes=CLASSES)


@pytest.mark.parametrize(
    "fields, given, words",
    [
        (
            {"importance": WEIGHTS},
            {"where": "importances"},
            "no field 'importances' in the data; did you mean 'importance'?",
        ),
        ({"where": -WEIGHTS - 0.5}, {}, "the field where holds -0.50"),
        ({"where": CLASS - 1}, {}, f"the field where holds -1 ({2 * (CLASS == 0).sum()} of {2 * SIZE}); weights"),
        ({"where": 0 * CLASS}, {}, f"fold 0, split 'train': of its {SIZE} examples none counts by the field 'where'"),
        (
            {"where": np.ones((SIZE, 7, 1), np.float32)},
            {},
            "the field where, float32[32, 7], weighs positions, but there is one value an example, of which they are "
            "no part: int32[32]. Name a field of one number an example, where='the_field'",
        ),
    ],
    ids=["name", "negative", "whole", "nothing", "positions"],
)
def test_wrong_weights_are_refused_by_name(fields, given, words, tmp_path):
    with pytest.raises(ConfigError) as error:
        mg.run(study(**given), tmp_path, data=data_of(**fields))
    assert str(error.value).startswith(f"config.loss: {words}")


def test_weights_of_a_stream_are_checked_where_they_are_read(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("mlgym_jax.study.known._MAX_READ", 2)  # of all rows, before training
    wrong, none = WEIGHTS.copy(), WEIGHTS.copy()
    wrong[40], none[40] = -3, 0
    config = {**study("importance"), "optimizer": component("sgd", learning_rate=0.0)}
    skipping = {**config, "loader": component("streaming", on_bad_record="skip")}
    skipped = mg.run(skipping, tmp_path, data=data_of(importance=wrong), run_id="skip").experiments[0].last
    assert "split 'train', record 40 is left out" in caplog.text
    left_out = mg.run(config, tmp_path, data=data_of(importance=none), run_id="zero").experiments[0].last
    assert skipped["train/loss"] == pytest.approx(left_out["train/loss"], rel=1e-6)
    assert skipped["val/loss"] == pytest.approx(left_out["val/loss"], rel=1e-6)


def test_other_data_with_wrong_weights_are_refused(tmp_path, own_registry):
    wrong = WEIGHTS.copy()
    wrong[3] = np.nan
    mg.register("dataset", "wrongly_weighed")(lambda: data_of(importance=wrong))
    result = mg.run(study("importance", "mask"), tmp_path, data=data_of(importance=WEIGHTS))
    with pytest.raises(ConfigError, match=rf"config\.dataset: the field where holds nan \(1 of {SIZE}\)"):
        mg.evaluate(result.run_dir, dataset=component("wrongly_weighed"), split="val")


def test_a_run_scores_by_the_weights_that_its_config_names(tmp_path):
    config = study("importance", "importance")
    config.metrics.plain = component("accuracy")
    result = mg.run(config, tmp_path, data=data_of(importance=WEIGHTS))
    best = result.best("val/loss")
    logits, w, found = np.asarray(best.predict(LOGITS)), WEIGHTS.astype(np.float64), best.last
    assert found["val/loss"] == pytest.approx(np.average(cross_entropy(logits, CLASS), weights=w), rel=1e-6)
    assert found["val/accuracy"] == pytest.approx(sk.accuracy_score(CLASS, logits.argmax(1), sample_weight=w), abs=1e-6)
    assert found["val/plain"] == pytest.approx(sk.accuracy_score(CLASS, logits.argmax(1)), abs=1e-7)
    wanted = sk.f1_score(CLASS[w > 0], logits[w > 0].argmax(1), average="macro", sample_weight=w[w > 0])
    assert found["val/f1"] == pytest.approx(wanted, abs=1e-6)


def lowest_so_far(begins, type_of_batches):
    """A metric of one's own, the largest of targets that are all below 0, with batches in another type or shape."""
    return Metric(
        init=lambda: begins,
        update=lambda state, outputs, batch: jnp.maximum(
            jnp.max(state).astype(type_of_batches),
            jnp.max(jnp.where(batch["mask"], -1.0 - batch["targets"].astype(jnp.float32), -jnp.inf)).astype(
                type_of_batches
            ),
        ),
        merge=jnp.maximum,
        compute=lambda state: state.astype(jnp.float32),
    )


@pytest.mark.parametrize("plan", ["map+scan", "vmap+step"])
@pytest.mark.usefixtures("own_registry")
def test_a_metric_of_ones_own_keeps_what_it_begins_with_in_whatever_type(tmp_path, plan):
    mg.register("metric", "lowest_of_weights")(lambda: lowest_so_far(np.float32(-np.inf), jnp.bfloat16))
    config = study()
    config.metrics = {"lowest": component("lowest_of_weights")}
    config.loader = component("in_memory", batch_size=16)
    assert mg.run(config, tmp_path, data=data_of(), plan=plan).experiments[0].last["val/lowest"] == -1.0 - CLASS.min()


@pytest.mark.usefixtures("own_registry")
def test_a_metric_of_ones_own_that_begins_in_another_shape_is_told_of(tmp_path):
    mg.register("metric", "misshaped_of_weights")(lambda: lowest_so_far(np.full(3, -9.0, np.float32), jnp.float32))
    config = study()
    config.metrics = {"lowest": component("misshaped_of_weights")}
    config.loader = component("in_memory", batch_size=16)
    error = mg.run(config, tmp_path, data=data_of()).experiments[0].error
    assert re.search(
        r"metrics\.lowest.*init\(\) gives float32\[3\], update\(\) float32\[\]: both must be of one form", error
    )

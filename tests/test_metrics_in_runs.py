"""Every registered metric in one study: uneven folds, odd evaluation batches, classes that are absent, several labels.

The model gives its inputs back, so outputs are known, and scikit-learn is asked of them in float64. What scikit-learn
lacks is written out after its definition. All agree to 1e-6, relative, also those that it computes in float64, as sums
here are compensated; `perplexity` alone is the exponential of a mean, of which 1e-6 is what float32 holds.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from flax import linen as nn
from metric_cases import quick_jit

from mlgym_jax import component, register
from mlgym_jax.components.registry import registrations
from mlgym_jax.core.epoch import make_epoch
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.study.expand import prepare

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:sklearn", "ignore::sklearn.exceptions.UndefinedMetricWarning"
)

RNG = np.random.default_rng(1)
CLASSES, LABELS, WIDTH = 4, 3, 2
# Class 3 is absent from what fold 0 validates on, and from what fold 2 trains on.
TARGETS = np.r_[np.arange(17) % 3, np.full(3, 3), RNG.integers(0, 3, 30), np.arange(11) % 4].astype(np.int32)
FOLDS = [(np.arange(17, 61), np.arange(17)), (np.arange(30), np.arange(30, 61)), (np.arange(20, 50), np.arange(50, 61))]
LOGITS = (2 * RNG.normal(size=(61, CLASSES)) + np.eye(CLASSES)[TARGETS]).astype(np.float32)
ONES = (RNG.random((61, LABELS)) < (0.2, 0.5, 0.8)).astype(np.int32)
SIGNS = (RNG.normal(size=(61, LABELS)) + ONES - 0.5).astype(np.float32)
NUMBERS = (100 + 3 * RNG.normal(size=(61, WIDTH))).astype(np.float32)
GUESSES = (NUMBERS + RNG.normal(size=(61, WIDTH))).astype(np.float32)


class Mirror(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x + 0 * self.param("nothing", nn.initializers.zeros, (1, 1))
        return {"classes": x[:, :4], "labels": x[:, 4:7], "numbers": x[:, 7:]}


def softmax(logits):
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def of_classes(score, **parameters):
    return lambda y, logits: score(y, logits.argmax(axis=1), **parameters)


def each_class(score):
    return lambda y, logits: [score(y == c, softmax(logits)[:, c]) for c in range(CLASSES)]


def defined_mean(score):
    return lambda y, logits: np.nanmean(each_class(lambda own, p: score(own, p) if own.any() else np.nan)(y, logits))


def specificities(y, predicted):
    """By scikit-learn's counts of each class that occurs in targets or predictions."""
    counts = sk.multilabel_confusion_matrix(y, predicted)
    return np.mean(counts[:, 0, 0] / counts[:, 0].sum(axis=1))


def found_among(k):
    return lambda own, p: own[np.argsort(-p)[:k]].sum() / own.sum()


def area_among(k):
    return lambda own, p: sk.auc(range(1, k + 1), [found_among(i)(own, p) for i in range(1, k + 1)]) / (k - 1)


def calibration_error(hits, confidences, bins=15):
    """sum_b n_b / n |share of hits - mean confidence| (Guo et al., 2017, equation 3)."""
    where = np.ceil(confidences * bins).clip(1)
    parts = [where == b for b in np.unique(where)]
    return sum(part.mean() * abs(hits[part].mean() - confidences[part].mean()) for part in parts)


def confusion(y, predicted):
    matrix = sk.confusion_matrix(y, predicted, labels=range(CLASSES))
    return {
        f"true_{target}/predicted_{guess}": matrix[target, guess]
        for target in range(CLASSES)
        for guess in range(CLASSES)
    }


OF_CLASSES = {
    "accuracy": (of_classes(sk.accuracy_score), {}),
    "balanced_accuracy": (of_classes(sk.balanced_accuracy_score), {}),
    "precision": (of_classes(sk.precision_score, average="macro", zero_division=0), {}),
    "recall": (of_classes(sk.recall_score, average="weighted", zero_division=0), {"average": "weighted"}),
    "f1": (of_classes(sk.f1_score, average="macro", zero_division=0), {}),
    "fbeta": (of_classes(sk.fbeta_score, beta=2, average="macro", zero_division=0), {}),
    "specificity": (of_classes(specificities), {}),
    "confusion_matrix": (of_classes(confusion), {"as_scores": True}),
    "matthews_corrcoef": (of_classes(sk.matthews_corrcoef), {}),
    "cohen_kappa": (of_classes(sk.cohen_kappa_score), {}),
    "top_k": (lambda y, logits: sk.top_k_accuracy_score(y, logits, k=2, labels=range(CLASSES)), {"k": 2}),
    "recall_at_k": (lambda y, logits: sk.top_k_accuracy_score(y, logits, k=3, labels=range(CLASSES)), {"k": 3}),
    "area_under_recall_at_k": (
        lambda y, logits: (
            sk.auc(
                range(1, 5),
                [sk.top_k_accuracy_score(y, logits, k=k, labels=range(CLASSES)) for k in range(1, 4)] + [1.0],
            )
            / 3
        ),
        {"k": 4},
    ),
    "brier_score": (lambda y, logits: ((softmax(logits) - np.eye(CLASSES)[y]) ** 2).sum(axis=1).mean(), {}),
    "perplexity": (lambda y, logits: np.exp(sk.log_loss(y, softmax(logits), labels=range(CLASSES))), {}),
    "expected_calibration_error": (
        lambda y, logits: calibration_error(logits.argmax(axis=1) == y, softmax(logits).max(axis=1)),
        {},
    ),
    "class_wise_calibration_error": (lambda y, logits: np.mean(each_class(calibration_error)(y, logits)), {}),
    "auroc": (defined_mean(sk.roc_auc_score), {}),
    "aupr": (lambda y, logits: np.mean(each_class(sk.average_precision_score)(y, logits)), {}),
    "retrieval_recall_at_k": (defined_mean(found_among(5)), {"k": 5}),
    "area_under_retrieval_recall_at_k": (defined_mean(area_among(5)), {"k": 5}),
}
OF_LABELS = {
    "accuracy": (lambda y, signs: sk.accuracy_score(y, signs > 0), {}),
    "precision": (lambda y, signs: sk.precision_score(y, signs > 0, average="macro", zero_division=0), {}),
    "recall": (lambda y, signs: sk.recall_score(y, signs > 0, average="micro"), {"average": "micro"}),
    "f1": (lambda y, signs: sk.f1_score(y, signs > 0, average="weighted"), {"average": "weighted"}),
    "fbeta": (lambda y, signs: sk.fbeta_score(y, signs > 0, beta=2, average="macro", zero_division=0), {}),
    "auroc": (lambda y, signs: sk.roc_auc_score(y, signs), {}),
    "aupr": (lambda y, signs: sk.average_precision_score(y, signs), {}),
}
OF_NUMBERS = {
    "mse": (sk.mean_squared_error, {}),
    "mae": (sk.mean_absolute_error, {}),
    "rmse": (sk.root_mean_squared_error, {"num_outputs": WIDTH}),
    "r2": (sk.r2_score, {"num_outputs": WIDTH}),
    "explained_variance": (sk.explained_variance_score, {"num_outputs": WIDTH}),
}


def test_every_metric_is_in_these_tables():
    names = {entry.name for entry in registrations("metric") if "mlgym_jax/metrics" in entry.origin}
    curves = {"roc_curve", "precision_recall_curve", "calibration_curve"}  # tests/test_curves.py
    assert names == {*OF_CLASSES, *OF_LABELS, *OF_NUMBERS, *curves}


@pytest.fixture(scope="module")
def found():
    """Return {score: value} of each fold, of the training steps and of the validation."""
    register("dataset", "of_metrics")(
        lambda: Dataset(
            {
                "train": {
                    "inputs": np.concatenate([LOGITS, SIGNS, GUESSES], axis=1),
                    "targets": TARGETS,
                    "ones": ONES,
                    "numbers": NUMBERS,
                }
            },
            num_classes=CLASSES,
        )
    )
    register("model", "mirror")(lambda: Mirror())
    register("validation", "of_metrics")(
        lambda: lambda dataset, seed: [{"train": train, "val": val} for train, val in FOLDS]
    )
    metrics = {f"c_{name}": component(name, output="classes", **given) for name, (_, given) in OF_CLASSES.items()}
    for name, (_, given) in OF_LABELS.items():
        number = {} if name == "accuracy" else {"num_classes": LABELS}
        metrics[f"l_{name}"] = component(name, output="labels", target="ones", multilabel=True, **number, **given)
    for name, (_, given) in OF_NUMBERS.items():
        metrics[f"n_{name}"] = component(name, output="numbers", target="numbers", **given)
    config = {
        "num_epochs": 1,
        "dataset": component("of_metrics"),
        "validation": component("of_metrics"),
        "loader": component("in_memory", batch_size=8, eval_batch_size=7),
        "model": component("mirror"),
        "loss": component("softmax_cross_entropy", output="classes"),
        "optimizer": component("sgd", learning_rate=0.0),
        "metrics": metrics,
        "evaluation_splits": ("val",),
    }
    (job,) = prepare(config).jobs
    whole = make_epoch(job.program, job.shape, job.components).whole
    state = job.program.init(jax.random.key(0), job.sample)
    data, folds = jax.tree.map(jnp.asarray, (dict(job.table.arrays), job.fold_tables))
    epoch = quick_jit(lambda data, folds, fold: whole(state, data, folds, fold, jnp.int32(1))[1])
    scores = [jax.device_get(epoch(data, folds, jnp.int32(fold))) for fold in range(len(FOLDS))]
    return [{f"{split}/{name}": score for split in of for name, score in of[split].items()} for of in scores]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, table in (("c", OF_CLASSES), ("l", OF_LABELS), ("n", OF_NUMBERS)) for name in table],
)
def test_a_metric_of_each_fold_equals_scikit_learn(found, kind, name, split):
    table, targets, outputs = {
        "c": (OF_CLASSES, TARGETS, LOGITS),
        "l": (OF_LABELS, ONES, SIGNS),
        "n": (OF_NUMBERS, NUMBERS.astype(np.float64), GUESSES.astype(np.float64)),
    }[kind]
    for scores, fold in zip(found, FOLDS, strict=True):
        rows = fold[0] if split == "train" else fold[1]
        expected = table[name][0](targets[rows], outputs[rows])
        if not isinstance(expected, dict):
            expected = {None: expected}
        for part, value in expected.items():
            score = scores[f"{split}/{kind}_{name}" + ("" if part is None else f"/{part}")]
            assert score == pytest.approx(value, rel=1e-6, abs=1e-7)

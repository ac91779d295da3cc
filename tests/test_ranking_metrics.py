"""Metrics of the order of all examples against scikit-learn on random cases, in every way, and with many examples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from metric_cases import IDS, SHAPES, assert_equal, classification, evaluate, softmax
from sklearn.preprocessing import label_binarize

from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics import ranking as metrics

AVERAGES = ("macro", "weighted", "none")
K = 6


def by_class(values):
    return {f"class_{index}": value for index, value in enumerate(values)}


def area_under_curve(positive, scores):
    """By scikit-learn; NaN where it warns that there is none."""
    return np.nan if positive.all() or not positive.any() else sk.roc_auc_score(positive, scores)


def recall_at(k, positive, scores):
    """Count place by place, from the highest score down; those of one score share what is left."""
    if not positive.any():
        return np.nan
    found, places = 0.0, k
    for score in sorted({*scores.tolist()}, reverse=True):
        tied = [own for own, other in zip(positive, scores, strict=True) if other == score]
        taken = min(places, len(tied))
        found += sum(tied) * taken / len(tied)
        places -= taken
        if not places:
            break
    return found / sum(positive)


def area_at(k, positive, scores):
    ks = range(1, k + 1)
    return sk.auc(ks, [recall_at(places, positive, scores) for places in ks]) / (k - 1)


def averaged(each, counts):
    """Average the scores that are defined; this is what the docstrings add to scikit-learn."""
    each, defined = np.array(each), ~np.isnan(each)
    weights = np.where(defined, counts, 0)
    return {
        "macro": each[defined].mean() if defined.any() else np.nan,
        "weighted": np.average(np.where(defined, each, 0), weights=weights) if weights.any() else np.nan,
        "none": by_class(each),
    }


def every_metric(classes, from_logits, averages=AVERAGES):
    of_class = {"num_classes": classes, "from_logits": from_logits}
    found = {
        f"{name}/{a}": getattr(metrics, name)(average=a, **of_class) for name in ("auroc", "aupr") for a in averages
    }
    found["recall/none"] = metrics.retrieval_recall_at_k(k=K, average="none", **of_class)
    found["area/none"] = metrics.area_under_retrieval_recall_at_k(k=K, average="none", **of_class)
    found["recall/macro"] = metrics.retrieval_recall_at_k(k=K, **of_class)
    return found


@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "scores"])
@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_one_against_the_rest(shape, from_logits, record_property):
    classes = shape[1]

    def expected(outputs, targets):
        scores = softmax(outputs) if from_logits else outputs.astype(np.float64)
        counts = np.bincount(targets, minlength=classes)
        columns = [(targets == index, scores[:, index]) for index in range(classes)]
        # Absent classes count 0 in the average precision, as with binarized labels.
        found = {f"auroc/{a}": s for a, s in averaged([area_under_curve(*c) for c in columns], counts).items()}
        each = sk.average_precision_score(label_binarize(targets, classes=range(classes)), scores, average=None)
        found |= {f"aupr/{a}": s for a, s in averaged(each, counts).items()}
        recalls = averaged([recall_at(K, *column) for column in columns], counts)
        found["recall/none"], found["recall/macro"] = recalls["none"], recalls["macro"]
        found["area/none"] = by_class([area_at(K, *column) for column in columns])
        return found

    # Equal logits in another order have equal probabilities only but for rounding, in any implementation.
    number = 180 if classes == 3 else 90
    cases = classification((*shape[:2], number), seed=from_logits, ties=not from_logits)
    found = every_metric(classes, from_logits)
    averages = {name for name in found if not name.endswith("none")}
    assert_equal(found, cases, expected, whole_only=averages, record=record_property)


@pytest.mark.parametrize("columns", [(), (1,), (2,)], ids=["flat", "column", "two columns"])
def test_two_classes(columns, record_property):
    outputs, targets, mask = classification((23, 2, 100), seed=len(columns))
    single = outputs[..., 1] - outputs[..., 0]
    found = every_metric(2, True, ("macro", "weighted", "none", "binary"))
    found["auroc of 0"] = metrics.auroc(num_classes=2, average="binary", positive_class=0)
    found["aupr of 0"] = metrics.aupr(num_classes=2, positive_class=0)

    def expected(outputs, targets):
        score = outputs[:, 1] - outputs[:, 0] if columns == (2,) else outputs.reshape(-1)
        pairs = [(targets == 0, -score), (targets == 1, score)]
        areas = [area_under_curve(*pair) for pair in pairs]
        precisions = [sk.average_precision_score(*pair) for pair in pairs]
        recalls = [recall_at(K, *pair) for pair in pairs]
        wanted = {"auroc/none": by_class(areas), "aupr/none": by_class(precisions), "recall/none": by_class(recalls)}
        wanted["recall/macro"] = recalls[1]
        wanted["area/none"] = by_class([area_at(K, *pair) for pair in pairs])
        wanted["auroc of 0"], wanted["aupr of 0"] = areas[0], precisions[0]
        for average in ("macro", "weighted", "binary"):  # scikit-learn takes no average of binary targets
            wanted[f"auroc/{average}"], wanted[f"aupr/{average}"] = areas[1], precisions[1]
        return wanted

    cases = outputs if columns == (2,) else single.reshape(*single.shape, *columns), targets, mask
    assert_equal(found, cases, expected, whole_only=set(found), record=record_property)


@pytest.mark.filterwarnings("ignore:No positive class found")
def test_averages_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, targets = softmax(rng.normal(size=(30, 4))), np.concatenate([np.arange(4), rng.integers(0, 4, 26)])
        each = [area_under_curve(targets == index, scores[:, index]) for index in range(4)]
        for average in ("macro", "weighted"):
            wanted = sk.roc_auc_score(targets, scores, multi_class="ovr", average=average)
            assert averaged(each, np.bincount(targets))[average] == pytest.approx(wanted, abs=1e-12)
        targets = targets % 3  # without one of the classes, which scikit-learn's average precision has a score for
        binarized = label_binarize(targets, classes=range(4))
        each = [sk.average_precision_score(binarized[:, index], scores[:, index]) for index in range(4)]
        for average in ("macro", "weighted"):
            wanted = sk.average_precision_score(binarized, scores, average=average)
            assert averaged(each, np.bincount(targets, minlength=4))[average] == pytest.approx(wanted, abs=1e-12)


def test_many_examples(record_property):
    rng = np.random.default_rng(0)
    found = {"auroc": metrics.auroc(num_classes=2), "aupr": metrics.aupr(num_classes=2)}
    for share, digits in itertools.product((0.5, 0.01), (None, 3, 1)):
        targets = (rng.random(20_011) < share).astype(np.int32)
        scores = (rng.normal(size=targets.size) + targets).astype(np.float32)
        scores = scores if digits is None else scores.round(digits)
        mask = rng.random(targets.size) < 0.97
        for name, score in (("auroc", sk.roc_auc_score), ("aupr", sk.average_precision_score)):
            error = abs(float(evaluate(found[name], scores, targets, mask)) - score(targets[mask], scores[mask]))
            record_property(name, float(error))
            assert error <= 1e-6, (name, share, digits)


def test_a_perfect_order_scores_exactly_one():
    order, everything = np.arange(50_003, dtype=np.float32), np.ones(50_003, bool)
    targets = (order > 20_500).astype(np.int32)
    auroc = metrics.auroc(num_classes=2)
    assert float(evaluate(auroc, order, targets, everything)) == 1.0
    assert float(evaluate(auroc, -order, targets, everything)) == 0.0
    assert float(evaluate(metrics.aupr(num_classes=2), order, targets, everything)) == 1.0


def test_certain_predictions_are_still_ranked():
    # The probabilities of class 1 are 1 - 1e-13, 1 - 1e-17 and 1 - 1e-9, all of them 1 in float32.
    outputs = np.array([[0.0, 30.0, 0.0], [0.0, 40.0, 0.0], [0.0, 20.0, 0.0]], np.float32)
    metric = metrics.auroc(num_classes=3, average="binary")
    for targets, wanted in (([0, 1, 0], 1.0), ([1, 0, 0], 0.5), ([0, 0, 1], 0.0)):
        assert float(evaluate(metric, outputs, np.array(targets, np.int32), np.ones(3, bool))) == wanted


def test_a_score_that_is_no_number_gives_none():
    outputs, targets = np.array([0.1, np.nan, 0.3], np.float32), np.array([0, 1, 1], np.int32)
    for name in ("auroc", "aupr"):
        metric = getattr(metrics, name)(num_classes=2)
        assert np.isnan(evaluate(metric, outputs, targets, np.ones(3, bool)))
        assert np.isfinite(evaluate(metric, outputs, np.array([0, 1, 1]), np.array([True, False, True])))


def test_positions_are_examples():
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(6, 5, 3)).astype(np.float32), rng.integers(0, 3, (6, 5)).astype(np.int32)
    metric = metrics.auroc(num_classes=3)

    @jax.jit
    def in_parts(outputs, targets):
        state = metric.init()
        for rows in (slice(0, 1), slice(1, 3), slice(3, 6)):
            batch = {"targets": targets[rows], "mask": jnp.ones(len(targets[rows]), bool)}
            state = metric.update(state, outputs[rows], batch)
        assert [leaf.shape[0] for leaf in jax.tree.leaves(state)] == [6, 6, 6]
        return metric.compute(state)

    flat = evaluate(metric, outputs.reshape(30, 3), targets.reshape(30), np.ones(30, bool))
    assert float(in_parts(outputs, targets)) == pytest.approx(float(flat), abs=1e-7)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: metrics.auroc(), "auroc: the dataset names no number of classes; write component('auroc', num_cl"),
        (lambda: metrics.aupr(num_classes=2, positive_class=2), "positive_class is one of 0 … 1; found 2"),
        (lambda: metrics.auroc(num_classes=1), "auroc: at least 2 classes are ranked; found num_classes=1"),
        (lambda: metrics.retrieval_recall_at_k(k=0), "retrieval_recall_at_k: k counts examples, at least 1; found 0"),
        (lambda: metrics.area_under_retrieval_recall_at_k(k=1), "k counts examples, at least 2; found 1"),
        (
            lambda: evaluate(metrics.auroc(num_classes=4), np.ones((2, 3)), np.ones(2, np.int32), np.ones(2, bool)),
            "auroc: 4 classes are expected, found outputs",
        ),
    ],
)
def test_mistakes_are_named(make, words):
    with pytest.raises(MlgymError) as error:
        make()
    assert words in str(error.value)

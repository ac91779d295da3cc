"""Metrics of probabilities against scikit-learn and against their papers' definitions, written out in NumPy."""

import numpy as np
import pytest
import sklearn.metrics as sk
from metric_cases import IDS, SHAPES, assert_equal, classification, evaluate, quick_jit, sigmoid, softmax

from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics import probability as metrics

BINS = 10


def bins_of(confidences, bins):
    """Return the bin ((b - 1) / bins, b / bins] of each confidence, with edges as near as float32 comes to them."""
    edges = (np.arange(1, bins) / bins).astype(np.float32).astype(np.float64)
    return (np.asarray(confidences)[:, None] > edges).sum(axis=1)


def calibration_error(confidences, hits, bins=BINS):
    """sum_b n_b / n |share of hits in b - mean confidence in b| (Guo et al., 2017, equation 3)."""
    where, found = bins_of(confidences, bins), 0.0
    for b in np.unique(where):
        rows = where == b
        found += rows.mean() * abs(np.mean(hits[rows]) - np.mean(confidences[rows]))
    return found


def expected_scores(by_class, targets):
    """Return all scores of probabilities [n, classes] that are float64."""
    size, classes = by_class.shape
    predicted = by_class.argmax(axis=1)
    each = [calibration_error(by_class[:, c], targets == c) for c in range(classes)]
    squares = ((by_class - (targets[:, None] == np.arange(classes))) ** 2).sum(axis=1)
    return {
        "brier": np.mean(squares) / (2 if classes == 2 else 1),
        "ece": calibration_error(by_class[np.arange(size), predicted], targets == predicted),
        "ece of 15 bins": calibration_error(by_class[np.arange(size), predicted], targets == predicted, 15),
        "class-wise/macro": np.mean(each),
        "class-wise/weighted": np.average(each, weights=np.bincount(targets, minlength=classes)),
        "class-wise/binary": each[1],
        "class-wise/none": {f"class_{index}": value for index, value in enumerate(each)},
    }


def every_metric(classes, from_logits):
    found = {
        "brier": metrics.brier_score(from_logits=from_logits),
        "ece": metrics.expected_calibration_error(num_bins=BINS, from_logits=from_logits),
        "ece of 15 bins": metrics.expected_calibration_error(from_logits=from_logits),
    }
    for average in ("macro", "weighted", "binary", "none"):
        found[f"class-wise/{average}"] = metrics.class_wise_calibration_error(
            num_bins=BINS, average=average, num_classes=classes, from_logits=from_logits
        )
    return found


def rounded(by_class):
    """Return float32 probabilities with ties, many of them on the edges of bins."""
    return np.round(by_class, 1).astype(np.float32)


@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "probabilities"])
@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_brier_score_and_calibration_errors(shape, from_logits, record_property):
    outputs, targets, mask = classification((shape[0], shape[1], 140), seed=from_logits)
    if not from_logits:
        outputs = rounded(softmax(outputs))

    def expected(outputs, targets):
        scores = expected_scores(softmax(outputs) if from_logits else outputs.astype(np.float64), targets)
        if not from_logits:
            return scores
        scores["perplexity"] = np.exp(sk.log_loss(targets, softmax(outputs), labels=range(shape[1])))
        brier = sk.brier_score_loss(targets, softmax(outputs), labels=range(shape[1]))
        assert scores["brier"] == pytest.approx(brier, abs=1e-12)
        return scores

    found = every_metric(shape[1], from_logits)
    if from_logits:
        found["perplexity"] = metrics.perplexity()
    cases = outputs, targets, mask
    others = {name for name in found if name not in ("brier", "ece", "class-wise/none", "perplexity")}
    assert_equal(found, cases, expected, whole_only=others, relative=1e-6, record=record_property)


@pytest.mark.parametrize("columns, from_logits", [((), True), ((1,), True), ((), False), ((2,), False)])
def test_two_classes(columns, from_logits, record_property):
    outputs, targets, mask = classification((23, 2, 80), seed=4 + from_logits)
    if from_logits:
        outputs = (outputs[..., 1] - outputs[..., 0]).reshape(*outputs.shape[:2], *columns)
    else:
        outputs = rounded(softmax(outputs)) if columns else rounded(softmax(outputs))[..., 1]

    def expected(outputs, targets):
        if columns == (2,):
            return expected_scores(outputs.astype(np.float64), targets)
        of_one = sigmoid(outputs.reshape(-1)) if from_logits else outputs
        of_other = sigmoid(-outputs.reshape(-1)) if from_logits else np.float32(1) - outputs
        scores = expected_scores(np.stack([of_other, of_one], axis=1).astype(np.float64), targets)
        brier = sk.brier_score_loss(targets, of_one, labels=[0, 1])
        assert scores["brier"] == pytest.approx(brier, abs=1e-6)
        return scores

    found = every_metric(2, from_logits)
    assert_equal(found, (outputs, targets, mask), expected, whole_only=set(found), record=record_property)


def test_brier_score_in_its_two_scales():
    rng = np.random.default_rng(0)
    for classes in (2, 3):
        outputs, targets = softmax(rng.normal(size=(30, classes))), rng.integers(0, classes, 30)
        outputs = outputs.astype(np.float32)
        for by_half in (True, False):
            wanted = expected_scores(outputs.astype(np.float64), targets)["brier"]
            wanted *= (2 if classes == 2 else 1) / (2 if by_half else 1)
            metric = metrics.brier_score(from_logits=False, scale_by_half=by_half)
            assert float(evaluate(metric, outputs, targets, np.ones(30, bool))) == pytest.approx(wanted, abs=1e-6)


def test_perplexity_counts_positions():
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(5, 7, 4)).astype(np.float32), rng.integers(0, 4, (5, 7)).astype(np.int32)
    rows, where = np.array([True, True, False, True, True]), rng.random((5, 7)) < 0.6
    log_p = np.log(softmax(outputs))
    outputs[2], outputs[~where] = np.nan, np.inf

    def perplexity(counted, ignore=None):
        metric = metrics.perplexity(ignore_target=ignore)
        batch = {"targets": targets, "mask": rows, "where": where}
        found = quick_jit(lambda outputs, batch: metric.compute(metric.update(metric.init(), outputs, batch)))(
            outputs, batch
        )
        values = [-log_p[index][targets[index]] for index in np.ndindex(5, 7) if counted[index]]
        assert float(found) == pytest.approx(np.exp(np.mean(values)), rel=1e-6)

    perplexity(rows[:, None] & where)
    perplexity(rows[:, None] & where & (targets != 3), ignore=3)


def test_many_examples(record_property):
    rng = np.random.default_rng(0)
    outputs = (rng.normal(size=(5_003, 3)) * 2).astype(np.float32)
    targets, mask = rng.integers(0, 3, len(outputs)).astype(np.int32), rng.random(len(outputs)) < 0.97
    by_class, kept = softmax(outputs[mask]), targets[mask]
    wanted = expected_scores(by_class.astype(np.float32).astype(np.float64), kept)
    for name, metric in every_metric(3, True).items():
        if name in ("brier", "ece", "class-wise/macro"):
            error = abs(float(evaluate(metric, outputs, targets, mask)) - wanted[name])
            record_property(name, float(error))
            assert error <= 1e-6, name
    found = float(evaluate(metrics.perplexity(), outputs, targets, mask))
    assert found == pytest.approx(np.exp(sk.log_loss(kept, by_class)), rel=1e-6)


@pytest.mark.parametrize("make", [metrics.expected_calibration_error, metrics.class_wise_calibration_error])
def test_bins_are_needed(make):
    classes = {"num_classes": 3} if make is metrics.class_wise_calibration_error else {}
    with pytest.raises(MlgymError, match="num_bins is at least 1; found 0"):
        make(num_bins=0, **classes)

"""Curves and matrices beside scikit-learn's: classes, single outputs, labels; in parts, masked, and without a class."""

import warnings

import jax
import numpy as np
import pytest
import sklearn.metrics as sk
from metric_cases import classification, evaluate, sigmoid, softmax, ways
from sklearn.calibration import calibration_curve as sk_calibration_curve

from mlgym_jax.components.registry import lookup
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import MlgymError

SIZE, CLASSES, LABELS = 400, 3, 4
RNG = np.random.default_rng(19)
TARGETS = RNG.integers(0, CLASSES, SIZE).astype(np.int32)
LOGITS = (RNG.normal(size=(SIZE, CLASSES)) * 3 + 2 * np.eye(CLASSES)[TARGETS]).astype(np.float32)
ONES = (RNG.random((SIZE, LABELS)) < 0.3).astype(np.float32)
SIGNS = (RNG.normal(size=(SIZE, LABELS)) * 2 + ONES).astype(np.float32)
ALL = np.ones(SIZE, bool)


def built(name, classes=CLASSES, **parameters):
    return lookup("metric", name).factory(dataset=Dataset({}, num_classes=classes), **parameters)


def at_least(scores, own, thresholds):
    """Return how many of a class, and of others, have at least each threshold, by scikit-learn's own steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        others, hits, steps = sk.roc_curve(own, scores, drop_intermediate=False)
    where = np.searchsorted(-steps, -np.asarray(thresholds), side="right") - 1  # the last step that is not below
    return others[where], hits[where]


def same(line, wanted, **tolerance):
    np.testing.assert_allclose(line, wanted, **(tolerance or {"rtol": 1e-6, "atol": 1e-7}))


CASES = {
    "classes": (LOGITS, TARGETS, softmax(LOGITS), np.eye(CLASSES)[TARGETS], {}),
    "probabilities": (
        softmax(LOGITS).astype(np.float32),
        TARGETS,
        softmax(LOGITS),
        np.eye(CLASSES)[TARGETS],
        {"from_logits": False},
    ),
    "labels": (SIGNS, ONES, sigmoid(SIGNS), ONES, {"multilabel": True, "num_classes": LABELS}),
    "single": (SIGNS[:, 0], ONES[:, 0].astype(np.int32), sigmoid(SIGNS[:, :1]), ONES[:, :1], {"num_classes": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_roc_points_lie_on_scikit_learns_curve(case):
    outputs, targets, scores, own, given = CASES[case]
    found = evaluate(built("roc_curve", **given), outputs, targets, ALL)
    for line in range(own.shape[1]):
        x, y = at_least(scores[:, line], own[:, line], found.thresholds)
        same(found.x[line], x)
        same(found.y[line], y)
    assert found.thresholds[0] == np.inf and found.thresholds[-1] == 0.0 and len(found.thresholds) == 103
    assert found.labels == (None if case == "single" else tuple(map(str, range(own.shape[1]))))


@pytest.mark.parametrize("case", CASES)
def test_precision_and_recall_are_scikit_learns_at_the_thresholds(case):
    outputs, targets, scores, own, given = CASES[case]
    found = evaluate(built("precision_recall_curve", **given), outputs, targets, ALL)
    for line in range(own.shape[1]):
        for at in (0, 20, 40, 50, 55, 60, 80, -1):
            said = scores[:, line] >= found.thresholds[at]
            precision, recall, _, _ = sk.precision_recall_fscore_support(
                own[:, line], said, average="binary", zero_division=1.0
            )
            same([found.x[line][at], found.y[line][at]], [recall, precision])


def test_many_thresholds_have_the_area_of_the_whole_curve():
    found = evaluate(built("roc_curve", num_thresholds=20_000), LOGITS, TARGETS, ALL)
    for line in range(CLASSES):
        area = sk.roc_auc_score(line == TARGETS, softmax(LOGITS)[:, line])
        # A pair between two thresholds counts one half in place of 0 or 1: 1.4e-5 of the area.
        assert sk.auc(found.x[line], found.y[line]) == pytest.approx(area, abs=1e-4)


@pytest.mark.parametrize("num_bins", [1, 7, 15])
def test_calibration_curves_are_scikit_learns(num_bins):
    p = softmax(LOGITS)
    found = evaluate(built("calibration_curve", num_bins=num_bins, positive_class=1), LOGITS, TARGETS, ALL)
    shares, means = sk_calibration_curve(TARGETS == 1, p[:, 1], n_bins=num_bins)
    kept = ~np.isnan(found.x[0])
    same(found.x[0][kept], means, rtol=1e-5)
    same(found.y[0][kept], shares)
    found = evaluate(built("calibration_curve", num_bins=num_bins), LOGITS, TARGETS, ALL)
    shares, means = sk_calibration_curve(LOGITS.argmax(axis=1) == TARGETS, p.max(axis=1), n_bins=num_bins)
    kept = ~np.isnan(found.x[0])
    same(found.x[0][kept], means, rtol=1e-5)
    same(found.y[0][kept], shares)


def test_confusion_matrices_are_scikit_learns():
    found = evaluate(built("confusion_matrix"), LOGITS, TARGETS, ALL)
    np.testing.assert_array_equal(found.values, sk.confusion_matrix(TARGETS, LOGITS.argmax(axis=1)))
    assert (found.classes, found.y_name, found.x_name) == (("0", "1", "2"), "target", "predicted")
    by_label = evaluate(built("confusion_matrix", multilabel=True, num_classes=LABELS), SIGNS, ONES, ALL)
    wanted = sk.multilabel_confusion_matrix(ONES, SIGNS > 0)
    for label in range(LABELS):
        np.testing.assert_array_equal(by_label[str(label)].values, wanted[label])


@pytest.mark.parametrize("name", ["roc_curve", "precision_recall_curve", "calibration_curve", "confusion_matrix"])
def test_parts_masks_and_vmap_change_nothing(name):
    metric = built(name)
    outputs, targets, masks = (leaf[:40] for leaf in classification((23, CLASSES, 40)))
    by_way = jax.device_get(jax.jit(jax.vmap(lambda *case: ways(metric, *case)))(outputs, targets, masks))
    alone = [evaluate(metric, *(leaf[at][masks[at]] for leaf in (outputs, targets, masks))) for at in range(3)]
    for found in by_way.values():
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(by_way["whole"]), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
        for at, wanted in enumerate(alone):
            for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
                np.testing.assert_allclose(one[at], other, rtol=1e-6)


def test_a_class_that_is_not_there_and_scores_that_are_no_numbers_have_no_points():
    there = TARGETS != 2
    found = evaluate(built("roc_curve"), LOGITS, TARGETS, there)
    assert np.isnan(found.x[2]).all() and not np.isnan(found.x[:2]).any()
    spoiled = SIGNS.copy()
    spoiled[5, 1] = np.nan
    found = evaluate(built("roc_curve", multilabel=True, num_classes=LABELS), spoiled, ONES, ALL)
    assert [bool(np.isnan(line).all()) for line in found.y] == [False, True, False, False]


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("roc_curve", {"num_thresholds": 1}, "num_thresholds is from 2 to 21,843; found 1"),
        ("roc_curve", {"num_classes": 1}, "at least 2 classes are told apart; found num_classes=1"),
        ("roc_curve", {"num_classes": 2, "positive_class": 2}, "positive_class is one of 0 … 1; found 2"),
        ("calibration_curve", {"num_bins": 0}, "num_bins is at least 1; found 0"),
        ("confusion_matrix", {"num_classes": 257}, "at most 256 classes are counted; found 257"),
        ("confusion_matrix", {"multilabel": True, "as_scores": True}, "as_scores=True is of classes"),
    ],
)
def test_what_cannot_be_a_curve(name, parameters, words):
    with pytest.raises(MlgymError, match=words):
        built(name, **parameters)

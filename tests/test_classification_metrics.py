"""Metrics of predicted classes and of the target's rank against scikit-learn on random cases, in every way."""

import numpy as np
import pytest
import sklearn.metrics as sk
from metric_cases import IDS, SHAPES, assert_equal, classification, evaluate, whole

from mlgym_jax.data.dataset import Dataset
from mlgym_jax.metrics import agreement as agreement_metrics
from mlgym_jax.metrics import classification as metrics
from mlgym_jax.metrics import top_k as top_k_metrics
from mlgym_jax.metrics.confusion import confusion_matrix

AVERAGES = ("macro", "micro", "weighted", "none")
BETA = 0.5


def by_class(values):
    return {f"class_{index}": value for index, value in enumerate(values)}


def averaged(scores, targets, predicted, micro):
    """Average one score a class as scikit-learn does, which `test_averages_are_those_of_scikit_learn` holds to it."""
    occurring = np.unique([*targets, *predicted])
    weights = np.bincount(targets, minlength=len(scores))
    return {
        "macro": np.mean(scores[occurring]),
        "weighted": np.average(scores, weights=weights),
        "micro": micro,
        "none": by_class(scores),
    }


def specificities(targets, predicted, classes):
    """Return TN / (TN + FP) of each class, and of all together, by counting."""
    negatives = np.array([sum(t != c for t in targets) for c in range(classes)])
    right = [sum(t != c and p != c for t, p in zip(targets, predicted, strict=True)) for c in range(classes)]
    return np.array(right) / np.maximum(negatives, 1), sum(right) / sum(negatives)


def normalizations(classes):
    return ("none", "true", "predicted", "all") if classes == 3 else ("none",)


def expected_scores(targets, predicted, classes):
    every = sk.precision_recall_fscore_support(targets, predicted, labels=range(classes), zero_division=0)
    share = np.mean(targets == predicted)
    each = {name: (score, share) for name, score in zip(("precision", "recall", "f1"), every[:3], strict=True)}
    each["specificity"] = specificities(targets.tolist(), predicted.tolist(), classes)
    found = {
        f"{name}/{average}": score
        for name, (scores, micro) in each.items()
        for average, score in averaged(scores, targets, predicted, micro).items()
    }
    precision, recall = every[:2]
    divisor = BETA**2 * precision + recall
    f_beta = (1 + BETA**2) * precision * recall / np.where(divisor > 0, divisor, 1)
    found["fbeta/macro"] = averaged(f_beta, targets, predicted, None)["macro"]
    found["accuracy"] = share
    found["balanced_accuracy"] = np.mean(recall[np.unique(targets)])
    found["matthews_corrcoef"] = sk.matthews_corrcoef(targets, predicted)
    found["cohen_kappa"] = sk.cohen_kappa_score(targets, predicted)
    table = sk.confusion_matrix(targets, predicted, labels=range(classes)).astype(np.float64)
    by_target, of_all = table.sum(axis=1, keepdims=True), table.sum()
    by_predicted = table.sum(axis=0, keepdims=True)
    tables = {"none": table, "true": table / np.where(by_target, by_target, 1), "all": table / of_all}
    tables["predicted"] = table / np.where(by_predicted, by_predicted, 1)
    for normalize in normalizations(classes):
        pairs = {f"true_{t}/predicted_{p}": tables[normalize][t, p] for t, p in np.ndindex(classes, classes)}
        found[f"confusion_matrix/{normalize}"] = pairs
    return found


def every_metric(classes):
    found = {"accuracy": metrics.accuracy(), "balanced_accuracy": metrics.balanced_accuracy(num_classes=classes)}
    for name in ("precision", "recall", "f1", "specificity"):
        for average in AVERAGES:
            found[f"{name}/{average}"] = getattr(metrics, name)(average=average, num_classes=classes)
    found["fbeta/macro"] = metrics.fbeta(beta=BETA, num_classes=classes)
    for name in ("matthews_corrcoef", "cohen_kappa"):
        found[name] = getattr(agreement_metrics, name)(num_classes=classes)
    for normalize in normalizations(classes):
        found[f"confusion_matrix/{normalize}"] = confusion_matrix(
            normalize=normalize, num_classes=classes, as_scores=True
        )
    return found


# Counts of nothing are 0; only what is a share of all examples is undefined without any.
EMPTY = {name: 0.0 for name in every_metric(3) if name not in ("accuracy", "balanced_accuracy", "cohen_kappa")}


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_multiclass_scores(shape, record_property):
    def expected(outputs, targets):
        return expected_scores(targets, outputs.argmax(axis=1), shape[1])

    cases = classification(shape)
    found = every_metric(shape[1])
    averages = {name for name in found if name.endswith(("macro", "micro", "weighted", "true", "predicted", "all"))}
    assert_equal(found, cases, expected, whole_only=averages, empty=EMPTY, record=record_property)


@pytest.mark.parametrize("columns", [(), (1,)], ids=["flat", "column"])
def test_binary_scores(columns, record_property):
    outputs, targets, mask = classification((23, 2, 260), seed=len(columns))
    outputs = outputs[..., 1] - outputs[..., 0]
    names = ("precision", "recall", "f1", "specificity")
    found = {name: getattr(metrics, name)(num_classes=2, average="binary") for name in names}
    found["recall of 0"] = metrics.recall(Dataset({}, num_classes=2), average="binary", positive_class=0)
    found["accuracy"] = metrics.accuracy()
    found["balanced_accuracy"] = metrics.balanced_accuracy(num_classes=2)

    def expected(outputs, targets):
        predicted = (outputs.reshape(-1) > 0).astype(int)
        every = sk.precision_recall_fscore_support(targets, predicted, labels=[0, 1], zero_division=0)
        scores = {name: score[1] for name, score in zip(names, every[:3], strict=False)}
        scores["specificity"] = scores["recall of 0"] = every[1][0]
        scores["accuracy"] = sk.accuracy_score(targets, predicted)
        scores["balanced_accuracy"] = sk.balanced_accuracy_score(targets, predicted)
        return scores

    cases = outputs.reshape(*outputs.shape, *columns), targets, mask
    empty = dict.fromkeys((*names, "recall of 0"), 0.0)
    assert_equal(found, cases, expected, empty=empty, record=record_property)


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_top_k_and_recall_at_k(shape, record_property):
    classes = shape[1]
    every_k = (1, 2, classes - 1)
    found = {f"top_k/{k}": top_k_metrics.top_k(k=k) for k in every_k}
    found |= {f"recall_at_k/{k}": top_k_metrics.recall_at_k(k=k) for k in every_k}
    for average in ("macro", "none"):
        more = {"average": average, "num_classes": classes}
        found[f"recall/{average}"] = top_k_metrics.recall_at_k(k=2, **more)
        found[f"area/{average}"] = top_k_metrics.area_under_recall_at_k(k=classes, **more)
    found["area/micro"] = top_k_metrics.area_under_recall_at_k(k=classes)

    def expected(outputs, targets):
        order = np.argsort(outputs, axis=1, kind="mergesort")[:, ::-1]
        rank = np.array([list(row).index(target) for row, target in zip(order, targets, strict=True)])
        groups = [rank] + [rank[targets == index] for index in range(classes)]
        recalls = [[np.mean(ranks < k) if len(ranks) else np.nan for k in range(1, classes + 1)] for ranks in groups]
        areas = [sk.auc(range(1, classes + 1), values) / (classes - 1) for values in recalls]
        scores = {f"recall_at_k/{k}": recalls[0][k - 1] for k in every_k}
        for k in every_k:
            scores[f"top_k/{k}"] = sk.top_k_accuracy_score(targets, outputs, k=k, labels=range(classes))
        scores["recall/none"] = by_class([values[1] for values in recalls[1:]])
        scores["recall/macro"] = np.nanmean([values[1] for values in recalls[1:]])
        scores["area/micro"], scores["area/none"] = areas[0], by_class(areas[1:])
        scores["area/macro"] = np.nanmean(areas[1:])
        return scores

    assert_equal(found, classification(shape, seed=2), expected, record=record_property)


@pytest.mark.filterwarnings("ignore::UserWarning:sklearn", "ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_averages_are_those_of_scikit_learn():
    for outputs, targets, mask in zip(*classification((23, 5, 40), seed=3), strict=True):
        predicted, targets = outputs.argmax(axis=1)[mask], targets[mask]
        if not mask.any():
            continue
        found = expected_scores(targets, predicted, 5)
        wanted = {"balanced_accuracy": sk.balanced_accuracy_score(targets, predicted)}
        for average in ("macro", "micro", "weighted"):
            wanted[f"f1/{average}"] = sk.f1_score(targets, predicted, average=average, zero_division=0)
        wanted["fbeta/macro"] = sk.fbeta_score(targets, predicted, beta=BETA, average="macro", zero_division=0)
        for name, score in wanted.items():
            np.testing.assert_allclose(found[name], score, err_msg=name)


def test_balanced_accuracy_adjusted_for_chance():
    metric = metrics.balanced_accuracy(adjusted=True, num_classes=3)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        outputs, targets = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 3, 20)
        wanted = sk.balanced_accuracy_score(targets, outputs.argmax(axis=1), adjusted=True)
        assert float(evaluate(metric, outputs, targets, np.ones(20, bool))) == pytest.approx(wanted, abs=1e-6)


def test_integer_outputs_are_classes_already():
    predicted, targets = np.array([2, 0, 1, 1], np.int32), np.array([2, 1, 1, 1], np.int32)
    for metric in (metrics.accuracy(), metrics.recall(num_classes=3, average="micro")):
        assert float(evaluate(metric, predicted, targets, np.ones(4, bool))) == 0.75


def test_outputs_that_are_no_numbers_predict_nothing():
    """scikit-learn refuses them; what has diverged must not score by the share of class 0."""
    targets, mask, nan = np.array([0, 0, 1, 1], np.int32), np.ones(4, bool), np.float32("nan")
    single, several = np.array([nan, -1, 2, nan], np.float32), np.array([[nan, 0], [1, 0], [0, 1], [nan, nan]])
    for outputs in (single, several.astype(np.float32)):
        assert float(evaluate(metrics.accuracy(), outputs, targets, mask)) == 0.5
        assert float(evaluate(metrics.f1(num_classes=2), outputs, targets, mask)) == pytest.approx(2 / 3)
    labels = np.array([[0, 0], [0, 0], [0, 1], [1, 0]], np.int32)
    assert float(evaluate(metrics.accuracy(multilabel=True), several.astype(np.float32), labels, mask)) == 0.25
    tables = evaluate(confusion_matrix(num_classes=2, multilabel=True), several.astype(np.float32), labels, mask)
    assert [int(np.sum(tables[label].values)) for label in ("0", "1")] == [2, 3]


def test_agreement_and_specificity_of_outputs_that_are_no_numbers():
    """They are wrong as those of a class are that no target is of: -1, as scikit-learn counts it."""
    rng, mask = np.random.default_rng(0), np.ones(40, bool)
    outputs, targets = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 3, 40).astype(np.int32)
    for invalid in (slice(0, 15), slice(None)):
        outputs[invalid, 1] = np.nan
        predicted = np.where(np.isnan(outputs).any(axis=1), -1, outputs.argmax(axis=1))
        for name, score in (("cohen_kappa", sk.cohen_kappa_score), ("matthews_corrcoef", sk.matthews_corrcoef)):
            found = evaluate(getattr(agreement_metrics, name)(num_classes=3), outputs, targets, mask)
            assert float(found) == pytest.approx(score(targets, predicted), abs=1e-6), name
        rows = list(zip(targets, predicted, strict=True))
        right = [sum(t != c and p not in (c, -1) for t, p in rows) / sum(t != c for t, _ in rows) for c in range(3)]
        found = evaluate(metrics.specificity(num_classes=3), outputs, targets, mask)
        assert float(found) == pytest.approx(np.mean(right), abs=1e-6)


def test_positions_count_but_for_those_that_where_leaves_out():
    outputs, targets = np.eye(3, dtype=np.float32)[np.array([[0, 1], [2, 2]])], np.array([[0, 2], [0, 0]], np.int32)
    for metric in (metrics.accuracy(), top_k_metrics.top_k(k=1)):
        batch = {"targets": targets, "mask": np.array([True, False])}
        assert whole(metric)(outputs, batch) == 0.5
        batch["where"] = np.array([[True, False], [True, True]])
        assert whole(metric)(outputs, batch) == 1.0


@pytest.mark.parametrize("rare", [1, 3, 2_000])
def test_agreement_loses_no_digits_where_one_class_prevails(rare):
    size = 200_000
    rng = np.random.default_rng(rare)
    targets, predicted = np.zeros((2, size), np.int32)
    targets[rng.choice(size, rare)] = 1
    predicted[rng.choice(size, rare)] = 1
    predicted[np.flatnonzero(targets)[0]] = 1
    for name, score in (("matthews_corrcoef", sk.matthews_corrcoef), ("cohen_kappa", sk.cohen_kappa_score)):
        metric = getattr(agreement_metrics, name)(num_classes=2)
        found = float(evaluate(metric, predicted, targets, np.ones(size, bool)))
        assert found == pytest.approx(score(targets, predicted), abs=1e-6), name

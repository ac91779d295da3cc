"""Several labels an example of which not all are known: NaN among the targets, and a field `where` of single labels."""

import functools

import jax
import numpy as np
import pytest
import sklearn.metrics as sk

import mlgym_jax as mg
from mlgym_jax.components.registry import lookup
from mlgym_jax.core.outputs import one_array
from mlgym_jax.data.dataset import to_arrays
from mlgym_jax.errors import ConfigError, MlgymError

RANDOM = np.random.default_rng(11)
LABELS = 4
OUTPUTS = RANDOM.normal(size=(90, LABELS)).astype(np.float32)
KNOWN = RANDOM.random((90, LABELS)) < 0.6
THERE = (RANDOM.random((90, LABELS)) < [0.5, 0.3, 0.4, 0.0]).astype(np.float32)  # of the last nobody has any
TARGETS = np.where(KNOWN, THERE, np.nan).astype(np.float32)
WEIGHTS = np.where(KNOWN, RANDOM.uniform(0.5, 2.0, KNOWN.shape), 0).astype(np.float32)
SAID = OUTPUTS > 0


def by_label(score, given, weights=None, labels=range(LABELS)):
    """Return scikit-learn's score of each label, of the rows in which it is known."""
    rows = [KNOWN[:, label] for label in range(LABELS)]
    weigh = [{} if weights is None else {"sample_weight": weights[rows[label], label]} for label in labels]
    return [
        score(THERE[rows[label], label], given[rows[label], label], **more)
        for label, more in zip(labels, weigh, strict=True)
    ]


def expected(weights):
    f1 = functools.partial(sk.f1_score, zero_division=0)
    with_both = range(LABELS - 1)
    return {
        "f1": np.mean(by_label(f1, SAID, weights)),
        "auroc": np.mean(by_label(sk.roc_auc_score, OUTPUTS, weights, with_both)),
        "aupr": np.sum(by_label(sk.average_precision_score, OUTPUTS, weights, with_both)) / LABELS,
        "aupr present": np.mean(by_label(sk.average_precision_score, OUTPUTS, weights, with_both)),
        "confusion_matrix": by_label(functools.partial(sk.confusion_matrix, labels=[0, 1]), SAID, weights),
    }


def built(name):
    given = {"skip_absent": True} if name == "aupr present" else {}
    return lookup("metric", name.split()[0]).factory(multilabel=True, num_classes=LABELS, **given)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["known", "weighted"])
def test_each_label_is_measured_by_the_examples_of_which_it_is_known(weights):
    wanted = expected(weights)
    metrics = {name: built(name) for name in wanted}
    where = KNOWN if weights is None else weights

    @jax.jit
    def scores():
        found = {}
        for name, metric in metrics.items():
            parts = [slice(0, 50), slice(50, 90)]
            states = [
                metric.update(
                    metric.init(),
                    OUTPUTS[part],
                    {"targets": TARGETS[part], "where": where[part], "mask": np.ones(len(OUTPUTS[part]), bool)},
                )
                for part in parts
            ]
            found[name] = metric.compute(metric.merge(*states))
        return found

    found = scores()
    found["confusion_matrix"] = np.stack([matrix.values for matrix in found["confusion_matrix"].values()])
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_curves_count_the_examples_of_which_a_label_is_known():
    metric = lookup("metric", "roc_curve").factory(multilabel=True, num_classes=LABELS, num_thresholds=9)
    batch = {"targets": TARGETS, "where": WEIGHTS, "mask": np.ones(90, bool)}
    found = metric.compute(metric.update(metric.init(), OUTPUTS, batch))
    above = (1 / (1 + np.exp(-OUTPUTS)) >= found.thresholds[5]) * WEIGHTS
    hits = (above * THERE).sum(axis=0)[:-1] / (WEIGHTS * THERE).sum(axis=0)[:-1]
    np.testing.assert_allclose(np.asarray(found.y)[:-1, 5], hits, rtol=1e-6)


def test_an_example_is_right_if_all_that_is_known_of_it_is():
    metric = lookup("metric", "accuracy").factory(multilabel=True)
    batch = {"targets": TARGETS, "where": KNOWN, "mask": np.ones(90, bool)}
    rows = KNOWN.any(axis=1)
    wanted = np.mean([((THERE > 0) == SAID)[row][KNOWN[row]].all() for row in np.flatnonzero(rows)])
    assert float(metric.compute(metric.update(metric.init(), OUTPUTS, batch))) == pytest.approx(wanted)
    with pytest.raises(MlgymError, match=r"the field where, float32\[90, 4\], weighs single labels"):
        metric.update(metric.init(), OUTPUTS, {**batch, "where": WEIGHTS})


def test_the_loss_is_the_mean_over_known_labels():
    loss = lookup("loss", "sigmoid_binary_cross_entropy").factory()
    sums, counts = loss(OUTPUTS, {"targets": TARGETS, "where": KNOWN, "mask": np.ones(90, bool)})
    wanted = sk.log_loss(THERE[KNOWN], 1 / (1 + np.exp(-OUTPUTS[KNOWN].astype(np.float64))))
    assert float(one_array(sums).sum() / counts.sum()) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("where", [KNOWN, WEIGHTS, KNOWN.all(axis=1)])
def test_targets_may_be_nan_where_they_do_not_count_alone(where):
    targets = np.where(where if where.ndim > 1 else where[:, None], THERE, np.nan)
    fields = {"inputs": OUTPUTS, "targets": targets, "where": where}
    table = to_arrays(mg.Dataset({"train": fields}, num_classes=LABELS))
    np.testing.assert_array_equal(table.arrays["targets"], targets)
    row, label = np.argwhere(where)[0][0], 0
    if where.ndim > 1:
        row, label = np.argwhere(where)[0]
    targets[row, label] = np.nan
    with pytest.raises(ConfigError, match=rf"'targets', row {row}, column {label}: found nan \(1 .*where=~np.isnan"):
        to_arrays(mg.Dataset({"train": fields}, num_classes=LABELS))

"""Metrics against scikit-learn on random cases: alone, in parts, masked, under vmap, scan and shard_map."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from jax.sharding import PartitionSpec

from mlgym_jax.core import metrics
from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import MlgymError

SEEDS = range(8)
AVERAGES = ("macro", "micro", "weighted")
SCORES = {
    "precision": sklearn.metrics.precision_score,
    "recall": sklearn.metrics.recall_score,
    "f1": sklearn.metrics.f1_score,
}


def multiclass(seed):
    """Random logits and targets of some of the classes, with ties, an odd size and a mask that drops some rows."""
    rng = np.random.default_rng(seed)
    size, classes = ((1, 3), (25, 5), (25, 2), (25, 5))[seed % 4]  # few shapes, which compile once
    present = rng.choice(classes, size=int(rng.integers(1, classes + 1)), replace=False)
    outputs = np.round(rng.normal(size=(size, classes)), 1).astype(np.float32)
    mask = rng.random(size) < 0.8
    mask[0] = True
    return outputs, rng.choice(present, size=size).astype(np.int32), mask, classes


def binary(seed):
    rng = np.random.default_rng(seed)
    size = (1, 25, 25)[seed % 3]
    outputs = rng.normal(size=size).astype(np.float32)
    return outputs, (rng.random(size) < rng.random()).astype(np.int32), np.ones(size, bool)


def score(metric, outputs, targets, mask, parts=1):
    """Compute a metric over a split that is cut into parts of any sizes, merged from the last to the first."""
    state = metric.init()
    for rows in reversed(np.array_split(np.arange(len(mask)), parts)):
        batch = {"targets": jnp.asarray(targets[rows]), "mask": jnp.asarray(mask[rows])}
        state = metric.merge(metric.update(metric.init(), jnp.asarray(outputs[rows]), batch), state)
    return metric.compute(state)


def by_scikit_learn(name, targets, predicted, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SCORES[name](targets, predicted, zero_division=0, **parameters)


@pytest.mark.parametrize("seed", SEEDS)
def test_accuracy_and_top_k(seed):
    outputs, targets, mask, classes = multiclass(seed)
    expected = sklearn.metrics.accuracy_score(targets[mask], outputs[mask].argmax(axis=1))
    for parts in (1, 2):
        assert score(metrics.accuracy(), outputs, targets, mask, parts) == pytest.approx(expected, abs=1e-6)
    one_hot = np.eye(classes, dtype=np.float32)[targets]
    assert score(metrics.accuracy(), outputs, one_hot, mask) == pytest.approx(expected, abs=1e-6)
    if classes > 2:
        for k in (1, 2, classes - 1):
            expected = sklearn.metrics.top_k_accuracy_score(targets[mask], outputs[mask], k=k, labels=range(classes))
            assert score(metrics.top_k(k=k), outputs, targets, mask, 2) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SCORES)
def test_precision_recall_f1(name, seed):
    outputs, targets, mask, classes = multiclass(seed)
    predicted = outputs.argmax(axis=1)
    make = getattr(metrics, name)
    for average in AVERAGES:
        expected = by_scikit_learn(name, targets[mask], predicted[mask], average=average)
        for parts in (1, 2):
            found = score(make(average=average, num_classes=classes), outputs, targets, mask, parts)
            assert found == pytest.approx(expected, abs=1e-6), average
    by_class = score(make(average="none", num_classes=classes), outputs, targets, mask)
    expected = by_scikit_learn(name, targets[mask], predicted[mask], average=None, labels=range(classes))
    assert list(by_class) == [f"class_{index}" for index in range(classes)]
    np.testing.assert_allclose(list(by_class.values()), expected, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_binary_scores(shape, seed):
    outputs, targets, mask = binary(seed)
    columns, predicted = outputs.reshape(shape), (outputs > 0.0).astype(int)
    expected = sklearn.metrics.accuracy_score(targets, predicted)
    assert score(metrics.accuracy(), columns, targets, mask) == pytest.approx(expected, abs=1e-6)
    probabilities = 1 / (1 + np.exp(-columns))
    assert score(metrics.accuracy(threshold=0.5), probabilities, targets, mask) == pytest.approx(expected, abs=1e-6)
    for name in SCORES:
        for positive in (0, 1):
            metric = getattr(metrics, name)(Dataset({}, num_classes=2), average="binary", positive_class=positive)
            expected = by_scikit_learn(name, targets, predicted, labels=[positive], average="macro")
            assert score(metric, columns, targets, mask, 2) == pytest.approx(expected, abs=1e-6)


def test_accuracy_averages_over_positions():
    outputs, targets = jnp.eye(3)[jnp.array([[0, 1], [2, 2]])], jnp.array([[0, 2], [0, 0]])
    batch = {"targets": targets, "mask": jnp.array([True, False])}
    for metric in (metrics.accuracy(), metrics.top_k(k=1)):
        assert metric.compute(metric.update(metric.init(), outputs, batch)) == 0.5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("columns", [((-1,), (-1,)), ((-1, 1), (-1,)), ((-1,), (-1, 1)), ((-1, 3), (-1, 3))])
def test_errors(columns, seed):
    rng = np.random.default_rng(seed)
    size = (3, 27, 27)[seed % 3]
    outputs, targets = rng.normal(size=size).astype(np.float32), rng.integers(0, 5, size)
    outputs, targets = outputs.reshape(columns[0]), targets.reshape(columns[1])
    mask = np.arange(len(outputs)) % 4 != 1
    kept = outputs[mask].reshape(mask.sum(), -1), targets[mask].reshape(mask.sum(), -1)
    for metric, expected in (
        (metrics.mse(), sklearn.metrics.mean_squared_error(*kept)),
        (metrics.mae(), sklearn.metrics.mean_absolute_error(*kept)),
    ):
        found = score(metric, outputs, targets, mask, min(2, len(outputs)))
        assert found == pytest.approx(expected, rel=1e-6)


def test_mean_loses_no_digits_over_many_batches():
    metric = metrics.mean_of(lambda outputs, batch: outputs)
    values = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (20_000, 10)), jnp.float32)

    def add(state, row):
        return metric.update(state, row, {"mask": jnp.ones((10,), bool)}), None

    state, _ = jax.jit(lambda values: jax.lax.scan(add, metric.init(), values))(values)
    assert float(metric.compute(state)) == pytest.approx(np.asarray(values, np.float64).mean(), rel=1.2e-7)


def test_mean_of_infinite_masked_and_no_values():
    metric = metrics.mean_of(lambda outputs, batch: outputs)

    def mean(values, mask):
        return float(metric.compute(metric.update(metric.init(), jnp.array(values), {"mask": jnp.array(mask)})))

    assert mean([jnp.inf, 1.0], [True, True]) == np.inf
    assert mean([jnp.nan, 1.0], [False, True]) == 1.0
    assert np.isnan(mean([1.0], [False]))


def every_metric(classes):
    made = [metrics.accuracy(), metrics.top_k(k=2), metrics.mean_of(lambda outputs, batch: outputs[:, 0])]
    return made + [metrics.f1(average=average, num_classes=classes) for average in ("macro", "binary", "none")]


def test_vmap_and_shard_map_change_nothing():
    rng = np.random.default_rng(0)
    outputs = jnp.asarray(rng.normal(size=(3, 8, 4)), jnp.float32)
    batch = {
        "targets": jnp.asarray(rng.integers(0, 4, (3, 8)), jnp.int32),
        "mask": jnp.asarray(rng.random((3, 8)) < 0.7),
    }
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def computed(outputs, batch):
        return [metric.compute(metric.update(metric.init(), outputs, batch)) for metric in every_metric(4)]

    def in_shards(outputs, batch):
        def states(outputs, batch):
            return [metric.update(metric.init(), outputs, batch) for metric in every_metric(4)]

        spec = PartitionSpec("data")
        each = jax.shard_map(
            lambda outputs, batch: jax.tree.map(lambda leaf: leaf[None], states(outputs, batch)),
            mesh=mesh,
            in_specs=spec,
            out_specs=spec,
        )(outputs, batch)
        found = []
        for metric, state in zip(every_metric(4), each, strict=True):
            whole = metric.init()
            for shard in range(jax.device_count()):
                whole = metric.merge(whole, jax.tree.map(lambda leaf, shard=shard: leaf[shard], state))
            found.append(metric.compute(whole))
        return found

    computed = jax.jit(computed)
    alone = [computed(outputs[i], jax.tree.map(lambda leaf, i=i: leaf[i], batch)) for i in range(3)]
    together = jax.jit(jax.vmap(computed))(outputs, batch)
    jax.tree.map(
        lambda *leaves: np.testing.assert_allclose(jnp.stack(leaves[:3]), leaves[3], rtol=1e-6), *alone, together
    )
    sharded = jax.jit(in_shards)(outputs[0], jax.tree.map(lambda leaf: leaf[0], batch))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6), alone[0], sharded)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: metrics.f1(), "f1: the dataset names no number of classes; write component('f1', num_classes=…)"),
        (
            lambda: metrics.f1(num_classes=2, average="binary", positive_class=2),
            "positive_class is one of 0 … 1; found 2",
        ),
        (lambda: metrics.top_k(k=0), "top_k: k counts classes, at least 1; found 0"),
        (
            lambda: score(metrics.accuracy(), np.ones((2, 3), np.float32), np.ones((2, 2), np.int32), np.ones(2, bool)),
            r"accuracy: outputs float32[2, 3] and targets int32[2, 2] do not match",
        ),
        (
            lambda: score(metrics.recall(num_classes=4), np.ones((2, 3)), np.ones(2, np.int32), np.ones(2, bool)),
            "recall: 4 classes are expected, found outputs",
        ),
        (
            lambda: score(metrics.mse(), np.ones((3, 1)), np.ones((3, 3)), np.ones(3, bool)),
            "mse: outputs float32[3, 1] and targets float32[3, 3] do not match",
        ),
    ],
)
def test_mistakes_are_named(make, words):
    with pytest.raises(MlgymError) as error:
        make()
    assert words in str(error.value)

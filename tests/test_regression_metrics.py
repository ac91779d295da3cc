"""Metrics of numbers against scikit-learn on random cases, in every way, with offsets that cost digits."""

import jax
import numpy as np
import pytest
import sklearn.metrics as sk
from metric_cases import assert_equal, evaluate

from mlgym_jax.data.dataset import Dataset
from mlgym_jax.errors import MlgymError
from mlgym_jax.metrics import regression as metrics


def regression(size, width, number, seed):
    rng = np.random.default_rng((seed, size, width))
    targets = rng.normal(size=(number, size, width)) * rng.choice([0.01, 1, 100], size=(number, 1, 1))
    targets += rng.choice([0, 0, 10], size=(number, 1, width))
    errors = (
        rng.normal(size=targets.shape)
        * rng.choice([0.1, 1.0], size=(number, 1, 1))
        * targets.std(axis=1, keepdims=True)
    )
    targets[::20] = targets[::20, :1]  # no variance
    errors[::40] = 0.0
    mask = rng.random((number, size)) < rng.choice([0.1, 0.8, 1.0], size=(number, 1))
    outputs, targets = (targets + errors).astype(np.float32), targets.astype(np.float32)
    outputs[~mask], targets[~mask] = np.nan, np.inf
    return outputs, targets, mask


def exactly(targets, outputs):
    """Return 1 - missed / total by output; the same as scikit-learn's, whose mean of equal values may be another."""
    missed, total = ((targets - outputs) ** 2).sum(axis=0), ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    constant = (targets == targets[:1]).all(axis=0)
    return np.where(constant, (missed == 0).astype(float), 1 - missed / np.where(constant, 1, total)).mean()


@pytest.mark.parametrize("size, width", [(23, 1), (41, 3)])
def test_errors_and_explained_variance(size, width, record_property):
    found = {
        "mse": metrics.mse(),
        "mae": metrics.mae(),
        "rmse": metrics.rmse(num_outputs=width),
        "r2": metrics.r2(num_outputs=width),
        "explained_variance": metrics.explained_variance(num_outputs=width),
    }

    def expected(outputs, targets):
        outputs, targets = outputs.astype(np.float64), targets.astype(np.float64)
        varied = len(targets) > 1 and (targets != targets[:1]).any(axis=0).all()
        if varied:
            assert sk.r2_score(targets, outputs) == pytest.approx(exactly(targets, outputs), rel=1e-9)
        # The mean of the errors is what explained variance forgives.
        forgiven = outputs - (outputs - targets).mean(axis=0)
        return {
            "mse": sk.mean_squared_error(targets, outputs),
            "mae": sk.mean_absolute_error(targets, outputs),
            "rmse": sk.root_mean_squared_error(targets, outputs),
            "r2": exactly(targets, outputs) if len(targets) > 1 else np.nan,
            "explained_variance": sk.explained_variance_score(targets, outputs)
            if varied
            else exactly(targets, forgiven),
        }

    cases = regression(size, width, 520, seed=0)
    assert_equal(found, cases, expected, relative=2e-6, record=record_property)


def test_explained_variance_of_many_examples_far_from_zero(record_property):
    rng = np.random.default_rng(0)
    for name, score in (("r2", sk.r2_score), ("explained_variance", sk.explained_variance_score)):
        metric = getattr(metrics, name)()

        @jax.jit
        def batch_by_batch(cases, metric=metric):
            def add(state, case):
                return metric.update(state, case[0], {"targets": case[1], "mask": case[2]}), None

            return metric.compute(jax.lax.scan(add, metric.init(), cases)[0])

        for offset in (0.0, 1e4, -1e6):
            targets = (rng.normal(size=(40, 500)) + offset + np.linspace(0, 3, 40)[:, None]).astype(np.float32)
            outputs = (targets + 0.5 * rng.normal(size=targets.shape) + 0.1).astype(np.float32)
            mask = rng.random(targets.shape) < 0.9
            exact = [array[mask].astype(np.float64) for array in (targets, outputs)]
            error = abs(float(batch_by_batch((outputs, targets, mask))) - score(*exact))
            record_property(name, float(error))
            assert error <= 1e-6, (name, offset)


def test_number_of_outputs_is_the_dataset_s():
    one, three = np.zeros(4, np.float32), np.zeros((4, 3), np.float32)
    for targets, width in ((one, 1), (one[:, None], 1), (three, 3)):
        for train in ({"targets": targets}, [{"targets": row} for row in targets]):
            assert metrics.r2(Dataset({"train": train})).init().targets.mean.total.shape == (width,)


@pytest.mark.parametrize(
    "metric, columns, words",
    [
        (metrics.r2(), (3,), "r2: 1 outputs an example are expected, found 3; write component('r2', num_outputs=3)"),
        (metrics.mae(), (), "mae: outputs float32[4] and targets float32[4, 3] do not match"),
    ],
)
def test_mistakes_are_named(metric, columns, words):
    with pytest.raises(MlgymError) as error:
        evaluate(metric, np.ones((4, *columns), np.float32), np.ones((4, 3), np.float32), np.ones(4, bool))
    assert words in str(error.value)

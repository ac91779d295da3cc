"""Predictions for inputs that a user brings: numbers that NumPy computes alike, refusals that say what is expected."""

import re

import jax
import numpy as np
import pytest
from study_files import small

import mlgym_jax as mg
from mlgym_jax.errors import MlgymError

X = np.random.default_rng(0).normal(size=(5, 8))


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """An experiment with a linear model of 8 features and 3 classes."""
    folder = tmp_path_factory.mktemp("linear")
    return mg.run(small(folder, "config.num_epochs = 1"), folder / "runs").best("val/accuracy")


def by_hand(experiment, inputs):
    (layer,) = experiment.restore().params.values()
    return np.asarray(inputs, np.float32) @ layer["kernel"] + layer["bias"]


@pytest.mark.parametrize("inputs", [X, X.tolist(), X.astype(">f4"), X.round().astype(int), X > 0, X[:1], [[1.0] * 8]])
def test_arrays_lists_and_whole_numbers(linear, inputs):
    np.testing.assert_allclose(linear.predict(inputs, batch_size=2), by_hand(linear, inputs), rtol=1e-5, atol=1e-6)


def test_no_example_has_no_output(linear):
    found = linear.predict(X[:0])
    assert found.shape == (0, 3) and found.dtype == np.float32


@pytest.mark.parametrize(
    "inputs, message",
    [
        (X[:, :3], "inputs: expected [n, 8], found [5, 3]"),
        (X[0], "inputs: expected [n, 8], found [8]; for one example write inputs[None]"),
        ([[1.0]], "inputs: expected [n, 8], found [1, 1]"),
        ([[1.0], [2.0, 3.0]], "inputs: expected [n, 8], found rows of different lengths"),
        ([["a"] * 8], "inputs: numbers are expected (float32), found <U1"),
        (3.0, "inputs: expected [n, 8], found []"),
        ({"x": X}, "inputs: numbers are expected (float32), found object"),
    ],
)
def test_what_the_model_cannot_take_is_said(linear, inputs, message):
    with pytest.raises(MlgymError, match=f"^{re.escape(message)}"):
        linear.predict(inputs)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True])
def test_batches_that_are_none(linear, batch_size):
    with pytest.raises(MlgymError, match="batch_size: an integer of at least 1 is expected, found "):
        linear.predict(X, batch_size=batch_size)


MEAN_OF_POSITIONS = """
@register("model", "mean_of_positions")
class MeanOfPositions(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x[..., None]).mean(1)
"""


def test_a_model_that_takes_any_length_is_given_it(tmp_path):
    study = small(tmp_path, 'config.num_epochs = 1; config.model = component("mean_of_positions")', MEAN_OF_POSITIONS)
    found = mg.run(study, tmp_path / "runs").experiments[0]
    (layer,) = found.restore().params.values()
    wanted = (X[:, :3, None].astype(np.float32) @ layer["kernel"] + layer["bias"]).mean(1)
    np.testing.assert_allclose(found.predict(X[:, :3]), wanted, rtol=1e-5, atol=1e-6)


def test_an_encoding_fits_no_other_shape(tmp_path):
    """One column would be repeated over all that the encoding was fitted to, without a word."""
    edit = 'config.num_epochs = 1; config.encoding = component("standardise")'
    found = mg.run(small(tmp_path, edit), tmp_path / "runs").experiments[0]
    with pytest.raises(MlgymError, match=re.escape("expected [n, 8], found [5, 1]")):
        found.predict(X[:, :1])
    assert jax.tree.leaves(found.predict(X))[0].shape == (5, 3)

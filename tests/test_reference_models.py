"""Every architecture against PyTorch, whose outputs of the same numbers in its own layers are kept as a file."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from metric_cases import quick_jit
from reference_values import CASES, LENGTHS, OTHER_LENGTHS, TRAINED_TOO, filled, inputs

from mlgym_jax.components.registry import lookup
from mlgym_jax.core.modules import adapt
from mlgym_jax.data.dataset import Dataset

FOUND = np.load(pathlib.Path(__file__).with_name("reference_models.npz"))


@functools.cache
def case(name):
    """Return a case's model, with parameters and state of the numbers that PyTorch's had."""
    kind, parameters, num_classes = CASES[name]
    model = adapt(lookup("model", kind).factory(dataset=Dataset({}, num_classes), **parameters))
    params, state = jax.eval_shape(model.init, jax.random.key(0), inputs(name))
    flat = traverse_util.flatten_dict({"params": params, **state}, sep="/")
    assert [f"{path} {leaf.shape}" for path, leaf in sorted(flat.items())] == FOUND[f"{name}/paths"].tolist()
    variables = jax.tree.map(jnp.asarray, filled({"params": params, **state}))
    return model, variables.pop("params"), variables


@functools.cache
def called(name, train):
    model, *_ = case(name)
    return quick_jit(lambda *args: model.apply(*args, jax.random.key(0), train)[0])


def outputs_of(name, train=False, given=None):
    _, params, state = case(name)
    return jax.device_get(called(name, train)(params, state, inputs(name) if given is None else given))


CALLS = [(name, mode) for name in CASES for mode in (False, True)[: 2 if name in TRAINED_TOO else 1]]


@pytest.mark.parametrize(("name", "train"), CALLS)
def test_outputs_are_those_of_pytorch(name, train):
    outputs = outputs_of(name, train)
    parts = outputs if isinstance(outputs, dict) else {"outputs": outputs}
    for part, found in parts.items():
        expected = FOUND[f"{name}/train/{part}" if train else f"{name}/{part}"]
        if name == "encoder_decoder":  # at padding, neither says anything
            real = np.arange(found.shape[1]) < OTHER_LENGTHS[:, None]
            found, expected = found[real], expected[real]
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_negative_bound_is_that_of_the_distributions_of_pytorch(likelihood):
    x = inputs("vae")
    loss = lookup("loss", "negative_elbo").factory(likelihood=likelihood, beta=2.0)
    outputs = {part: FOUND[f"vae/{part}"] for part in ("reconstruction", "mean", "log_variance")}
    of_inputs = 1 / (1 + np.exp(-x)) if likelihood == "bernoulli" else x
    found = loss(outputs, {"inputs": of_inputs})
    np.testing.assert_allclose(found, FOUND[f"vae/{likelihood}"], rtol=1e-5)


@pytest.mark.parametrize("name", ["masked", "gru", "lstm", "encoder_decoder"])
def test_what_stands_at_padding_changes_nothing(name):
    given = inputs(name)
    for field, lengths in (("tokens", LENGTHS), ("source", LENGTHS), ("target", OTHER_LENGTHS)):
        if field in given:
            padded = np.arange(given[field].shape[1]) >= lengths[:, None]
            given[field] = given[field].copy()
            given[field][padded] = np.nan if given[field].dtype.kind == "f" else 10**6
    assert np.isfinite(outputs_of(name, given=given)).all()
    np.testing.assert_array_equal(outputs_of(name, given=given), outputs_of(name))


@pytest.mark.parametrize("name", ["masked", "gru", "lstm"])
def test_lengths_may_be_said_as_where(name):
    given = inputs(name)
    where = np.arange(7) < given.pop("lengths")[:, None]
    np.testing.assert_array_equal(outputs_of(name, given={**given, "where": where}), outputs_of(name))


@pytest.mark.parametrize("name", ["causal", "encoder_decoder"])
def test_a_position_sees_none_after_it(name):
    given, field = inputs(name), "target"
    tokens = given if name == "causal" else given[field]
    if name == "encoder_decoder":
        given = {"source": given["source"], "target": tokens}
    before = outputs_of(name, given=given)
    for place in (1, 4, tokens.shape[1] - 1):
        changed = tokens.copy()
        changed[:, place] = (changed[:, place] + 1) % 11
        after = outputs_of(name, given=changed if name == "causal" else {**given, field: changed})
        np.testing.assert_array_equal(after[:, :place], before[:, :place])
        assert (np.abs(after[:, place:] - before[:, place:]).max(axis=(0, 2)) > 1e-4).all()

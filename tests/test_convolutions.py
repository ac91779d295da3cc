"""Convolutions of any layout, written as XLA's fast kernel on a CPU takes them: the same numbers, in loops, too."""

import functools
import re

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import conv_general_dilated as convolve
from test_plans import study_of

from mlgym_jax import component, grid
from mlgym_jax.core.convolutions import as_products, channels_last, holds_convolution
from mlgym_jax.core.traced import traced_once
from mlgym_jax.execution.plan import Plan
from mlgym_jax.study import runners
from mlgym_jax.study.runners import make_runner

RANDOM = np.random.default_rng(0)
NHWC = ("NHWC", "HWIO", "NHWC")


def array(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def layouts(jaxpr):
    """Return the layouts of all convolutions in a traced program, and in those inside it."""
    found = [e.params["dimension_numbers"] for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
    for equation in jaxpr.eqns:
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            found += layouts(inner)
    return found


def twice(image, kernel, **how):
    return convolve(jnp.tanh(convolve(image, kernel, (1, 1), "SAME", **how)), kernel, (1, 1), "SAME", **how)


IMAGE, KERNEL = array(2, 6, 7, 3), array(3, 3, 3, 3)
CASES = {
    "padded": (lambda x, k: convolve(x, k, (1, 1), "SAME", dimension_numbers=NHWC), IMAGE, KERNEL),
    "strided": (lambda x, k: convolve(x, k, (2, 1), "VALID", dimension_numbers=NHWC), IMAGE, KERNEL),
    "dilated": (lambda x, k: convolve(x, k, (1, 1), "SAME", None, (2, 2), dimension_numbers=NHWC), IMAGE, KERNEL),
    "transposed": (lambda x, k: jax.lax.conv_transpose(x, k, (2, 2), "SAME"), IMAGE, KERNEL),
    "channels first": (lambda x, k: convolve(x, k, (1, 1), "SAME"), array(2, 3, 5, 6), array(4, 3, 2, 3)),
    "mixed": (
        lambda x, k: convolve(x, k, (1, 2), "VALID", dimension_numbers=("HNCW", "OWIH", "CWNH")),
        array(6, 2, 3, 7),
        array(4, 2, 3, 3),
    ),
    "groups": (
        lambda x, k: convolve(x, k, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=3),
        IMAGE,
        array(3, 3, 1, 6),
    ),
    "a sequence": (
        lambda x, k: convolve(x, k, (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")),
        array(2, 9, 3),
        array(4, 3, 5),
    ),
    "a volume": (
        lambda x, k: convolve(x, k, (1, 1, 1), "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC")),
        array(2, 4, 3, 5, 2),
        array(2, 2, 2, 2, 3),
    ),
    "no window": (lambda x, k: convolve(x, k, (), ()), array(4, 3), array(5, 3)),
    "jitted": (jax.jit(functools.partial(twice, dimension_numbers=NHWC)), IMAGE, KERNEL),
    "remat": (jax.checkpoint(functools.partial(twice, dimension_numbers=NHWC)), IMAGE, KERNEL),
    "in a scan": (
        lambda x, k: jax.lax.scan(lambda x, _: (twice(x, k, dimension_numbers=NHWC), x.sum()), x, None, 3)[0],
        IMAGE,
        0.3 * KERNEL,  # six times over, a larger one makes of rounding what the sine of hundreds makes of it
    ),
    "in a branch": (
        lambda x, k: jax.lax.cond(k.sum() > 0, lambda: twice(x, k, dimension_numbers=NHWC), lambda: x),
        IMAGE,
        abs(KERNEL),
    ),
    "beside what gathers": (
        lambda x, k: jax.jit(lambda x: convolve(x[np.array([1, 0])], k, (1, 1), "SAME", dimension_numbers=NHWC)[::-1])(
            x
        ),
        IMAGE,
        KERNEL,
    ),
    "in a loop that gathers": (
        lambda x, k: jax.lax.fori_loop(
            0, 2, lambda i, y: y + twice(x[i][None], k, dimension_numbers=NHWC)[0], 0 * x[0]
        ),
        IMAGE,
        KERNEL,
    ),
    "vmapped": (lambda x, k: jax.vmap(lambda x: twice(x[None], k, dimension_numbers=NHWC))(x), IMAGE, KERNEL),
}


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients_are_those_of_xla_and_all_have_one_layout(name):
    function, image, kernel = CASES[name]

    def step(image, kernel, factor, scaled):
        def loss(image, kernel):
            return jnp.sin(function(image, kernel)).sum() * factor["of"] * (2.0 if scaled else 1.0)

        return {"loss": loss(image, kernel), "gradients": jax.grad(loss, (0, 1))(image, kernel)}

    rewritten = traced_once(step, channels_last, static=("scaled",))
    given = (image, kernel, {"of": np.float32(0.5)})
    traced = jax.make_jaxpr(functools.partial(rewritten, scaled=True))(*given)
    assert holds_convolution(traced.jaxpr)
    last = np.ndim(image) - 1
    axes = (0, last, *range(1, last)), (last, last - 1, *range(last - 1)), (0, last, *range(1, last))
    rank = len(axes[0])
    for numbers in layouts(traced.jaxpr):
        assert tuple(map(tuple, numbers)) == axes or len(numbers.lhs_spec) != rank
    # jitted once, both: a program of its own for each case and case alone
    expected, found = jax.jit(lambda *given: (step(*given, scaled=True), rewritten(*given, scaled=True)))(*given)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), expected, found)


@pytest.mark.parametrize("name", CASES)
def test_products_give_the_results_and_gradients_of_convolutions(name):
    function, image, kernel = CASES[name]

    def step(image, kernel):
        return jax.value_and_grad(lambda *given: jnp.sin(function(*given)).sum(), (0, 1))(image, kernel)

    written = traced_once(step, as_products)
    left = layouts(jax.make_jaxpr(written)(image, kernel).jaxpr)
    assert bool(left) == (name == "groups")
    expected, found = jax.jit(lambda *given: (step(*given), written(*given)))(image, kernel)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert np.linalg.norm(other - one) <= 1e-4 * np.linalg.norm(one), "sums in another order, and no more"


def test_a_convolution_of_many_places_by_many_stays():
    traced = jax.make_jaxpr(lambda x, k: convolve(x, k, (1, 1), "SAME"))(array(1, 1, 64, 64), array(1, 1, 9, 9))
    assert len(layouts(as_products(traced.jaxpr))) == 1


def test_a_program_without_convolutions_holds_none():
    assert not holds_convolution(jax.make_jaxpr(jax.jit(lambda x: jnp.tanh(x) @ x))(np.eye(2)).jaxpr)


def test_an_epoch_in_one_program_is_compiled_with_that_layout_alone():
    study = study_of(
        dataset=component("digits", flat=False),
        validation=component("holdout", val=0.9),
        model=component("cnn", features=(4, 6), dense_features=()),
        optimizer=component("sgd", learning_rate=0.1),
    )
    [job] = study.jobs
    runner = make_runner(job, Plan("map", "scan", 1, "test"), jax.devices())
    runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    [text] = [compiled.as_text() for (name, _), compiled in runner.programs.compiled.items() if name == "whole"]
    found = re.findall(r" convolution\(.*dim_labels=(\S+?),", text)
    assert len(found) >= 7, "two forward, their gradients but one, and two of each split's evaluation"
    assert set(found) == {"b01f_01io->b01f"}


def test_a_batch_of_networks_trains_to_the_same_scores_by_products(monkeypatch):
    study = study_of(
        dataset=component("digits", flat=False),
        validation=component("holdout", val=0.9),
        model=component("cnn", features=(4, 6), dense_features=()),
        optimizer=component("sgd", learning_rate=grid(0.05, 0.1)),
    )
    [job] = study.jobs

    def scores(of_products):
        monkeypatch.setattr(runners, "_in_products", lambda plan, number: of_products)
        runner = make_runner(job, Plan("vmap", "scan", 1, "test"), jax.devices())
        runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
        [text] = [compiled.as_text() for (name, _), compiled in runner.programs.compiled.items() if name == "whole"]
        return runner.read_scores(runner.epoch(np.ones(len(job.seeds), bool), 1)), len(
            re.findall(r" convolution\(", text)
        )

    (expected, many), (found, none) = scores(False), scores(True)
    assert many
    assert none == 0
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("backend", "batching", "number"), [("gpu", "map", 4), ("gpu", "vmap", 1), ("cpu", "vmap", 4)])
def test_products_are_for_batches_of_networks_on_a_gpu_alone(monkeypatch, backend, batching, number):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert not runners._in_products(Plan(batching, "scan", 1, "test"), number)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert runners._in_products(Plan("vmap", "scan", 1, "test"), 4)

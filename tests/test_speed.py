"""How fast a group trains, what its steps compute, and how much of the devices that uses."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from study_files import events, here, small

from mlgym_jax.core.cadence import Cadence
from mlgym_jax.core.flops import flops_of
from mlgym_jax.execution import peaks
from mlgym_jax.recording.speed import tokens_of_an_example, work

IMAGES, KERNEL = jnp.ones((4, 9, 8, 3)), jnp.ones((3, 3, 3, 16))
LAYERS = jnp.ones((5, 16, 16))


def convolved(**settings):
    def loss(kernel, images):
        out = jax.lax.conv_general_dilated(images, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **settings)
        return (out**2).sum()

    return jax.value_and_grad(loss, (0, 1)), (KERNEL, IMAGES)


def grouped(kernel, images):
    shape = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 3}
    return (jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", **shape) ** 2).sum()


def attention(q, k, v):
    weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k))
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v).sum()


HEADS = jnp.ones((2, 24, 4, 32))


@pytest.mark.parametrize(
    "function, arguments",
    [
        convolved(window_strides=(1, 1), padding="SAME"),
        convolved(window_strides=(2, 3), padding=((2, 0), (1, 5)), rhs_dilation=(2, 1)),
        (jax.value_and_grad(grouped, (0, 1)), (KERNEL[:, :, :1, :15], IMAGES)),
        (jax.value_and_grad(attention, (0, 1, 2)), (HEADS, HEADS, HEADS)),
        (jax.value_and_grad(lambda w, x: jnp.maximum(x @ w, 0).sum()), (jnp.ones((64, 64)), jnp.ones((32, 64)))),
    ],
    ids=["convolution", "strided, padded and dilated", "by groups", "attention", "dense"],
)
def test_operations_are_those_that_xla_counts(function, arguments):
    # Comparisons and choices, which XLA counts, are no operations on numbers.
    of_xla = jax.jit(function).lower(*arguments).cost_analysis()["flops"]
    found = flops_of(jax.make_jaxpr(function)(*arguments).jaxpr)
    assert found.widest == "float32" and found.total == pytest.approx(of_xla, rel=0.04)


def test_what_a_loop_computes_counts_as_often_as_it_runs():
    def deep(x):
        return jax.lax.scan(lambda x, w: (x @ w, None), x, LAYERS)[0]

    assert flops_of(jax.make_jaxpr(deep)(jnp.ones((7, 16))).jaxpr).total == 5 * 2 * 7 * 16 * 16

    def chosen(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ LAYERS[0], lambda x: x, x)

    assert flops_of(jax.make_jaxpr(chosen)(jnp.ones((7, 16))).jaxpr).total == 2 * 7 * 16 * 16
    while_large = lambda x: jax.lax.while_loop(lambda x: x.sum() > 1, lambda x: x / 2, x)  # noqa: E731
    assert flops_of(jax.make_jaxpr(while_large)(jnp.ones(3)).jaxpr) is None


def test_a_group_says_how_fast_it_trained_and_the_terminal_what_that_is_of_the_hardware(tmp_path, monkeypatch):
    monkeypatch.setitem(peaks._PEAKS, "cpu", (2e9, 1e9))
    path = small(tmp_path, "config.seed = grid(0, 1)\n    config.validation = component('holdout', val=0.2)")
    status, out, _ = here("run", f"--config={path}", f"--event_storage={tmp_path}", "--run_id=it", "--devices=2")
    [compiled], [trained] = events(tmp_path / "it", "group_compiled"), events(tmp_path / "it", "group_trained")
    assert status == 0 and compiled["mesh"] == "experiment:2,data:1"
    # A linear model of 8 inputs and 3 classes: its outputs, and the gradient of its weights.
    dense = 2 * 2 * 32 * 8 * 3
    assert dense < compiled["flops_per_step"] < 2 * dense
    # On a device: 200 examples of 8 numbers and a class, at the least.
    assert compiled["bytes_per_device"] > 200 * (8 + 1) * 4
    assert (trained["num_steps"], trained["num_examples"]) == (2 * 3 * 5, 2 * 3 * 160)
    taken = [payload["seconds"] for payload in events(tmp_path / "it", "evaluation_result")]
    assert trained["seconds"] == pytest.approx(sum(taken)) and trained["tokens_per_second"] is None
    assert trained["examples_per_second"] == pytest.approx(2 * 3 * 160 / sum(taken))
    used = compiled["flops_per_step"] * 2 * 3 * 5 / sum(taken) / (2 * 1e9)
    assert trained["utilisation"] == pytest.approx(used)
    line = f"trained at {2 * 3 * 160 / sum(taken):,.0f} examples/s, {100 * used:.2g} % of what the hardware can compute"
    assert line in out and line in here("report", tmp_path / "it")[1]


@pytest.mark.parametrize("every, totals", [(None, (6, 4)), (2, (7, 7)), (4, (5, 5))])
def test_steps_and_examples_add_up_however_a_training_is_evaluated(every, totals):
    cadence = Cadence(steps_per_epoch=(3, 2), totals=totals, every=every)
    job = types.SimpleNamespace(
        cadence=cadence,
        fold_of_row=np.array([0, 1, 1]),
        folds=types.SimpleNamespace(sizes={"train": (5, 4)}),
        shape=types.SimpleNamespace(batch_size=2),
    )
    found = np.array([work(job, epoch, [0, 2]) for epoch in range(1, cadence.num_evaluations + 1)])
    # Batches of the fold of 5 examples have 2, 2 and 1, those of the fold of 4 have 2 and 2.
    batches = [[2, 2, 1] * 3, [2, 2] * 4]
    assert found.sum(0).tolist() == [sum(totals), sum(sum(own[:n]) for own, n in zip(batches, totals, strict=True))]
    assert work(job, 1, [1, 2])[0] == 2 * cadence.steps_after(1, 1)


@pytest.mark.parametrize(
    "kind, half, single",
    [
        ("NVIDIA H100 80GB HBM3", 989e12, 494e12),
        ("NVIDIA H100 PCIe", 756e12, 378e12),
        ("NVIDIA A100-SXM4-40GB", 312e12, 156e12),
        ("TPU v5 lite", 197e12, 197e12),
        ("TPU v5p", None, None),
        ("NVIDIA L40", None, None),
        ("cpu", None, None),
    ],
)
def test_peaks_are_those_of_the_device_and_of_no_other_with_a_like_name(kind, half, single):
    assert (peaks.peak_flops(kind, "bfloat16"), peaks.peak_flops(kind, "float32")) == (half, single)
    assert peaks.peak_flops(kind, "float64") is None


@pytest.mark.parametrize(
    "inputs, targets, length",
    [
        (np.zeros((4, 7), np.int32), np.zeros((4, 7), np.int32), 7),
        (np.zeros((4, 7), np.int32), np.zeros(4, np.int32), None),
        (np.zeros((4, 7), np.float32), np.zeros((4, 7), np.int32), None),
        ({"tokens": np.zeros((4, 7), np.int32)}, np.zeros((4, 7), np.int32), None),
    ],
)
def test_tokens_are_integers_with_a_target_each(inputs, targets, length):
    assert tokens_of_an_example({"inputs": inputs, "targets": targets}) == length

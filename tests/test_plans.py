"""Every plan gives the numbers of one experiment trained alone by a plain loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict
from plain_loop import first_states, train_by_hand

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.core.epoch import make_epoch
from mlgym_jax.errors import MlgymError
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.plan import AUTO, Plan, PlanRequest, choose_plan, logged_plan, parse_plan
from mlgym_jax.study.expand import prepare


class _Normalised(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(8)(x)))
        return nn.Dense(self.num_outputs)(nn.Dropout(0.2, deterministic=not train)(x))


@mg.register("model", "plans_normalised", needs=("dataset",))
def _normalised(dataset):
    return _Normalised(dataset.num_classes)


@mg.register("validation", "plans_uneven")
def _uneven():
    """Three folds of 41, 40 and 39 training examples: with batches of 8, the last is one batch shorter."""

    def split(dataset, seed):
        indices = np.arange(60)
        return [{"train": indices[: 41 - i], "val": indices[41 - i : 60 - 2 * i]} for i in range(3)]

    return split


def study_of(**sections):
    config = ConfigDict()
    config.seed = grid(0, 1)
    config.num_epochs = 3
    config.dataset = component("synthetic", num_examples=60, num_features=5, num_classes=3)
    config.validation = component("holdout", val=0.3)
    config.loader = component("in_memory", batch_size=8, eval_batch_size=13)
    config.model = component("mlp", features=(8,))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(1e-3, 1e-2, 1e-1))
    config.metrics = dict(accuracy=component("accuracy"))
    for name, value in sections.items():
        config[name] = value
    return prepare(config)


def runner_of(job, plan, rows=None, *, overwrites=False):
    rows = slice(None) if rows is None else rows
    return GroupRunner(
        job.program,
        make_epoch(job.program, job.shape, job.components),
        job.shape,
        plan,
        devices=jax.local_devices(),
        data=dict(job.table.arrays),
        folds=job.fold_tables,
        fold_of_row=job.fold_of_row[rows],
        names=job.names,
        overwrites=overwrites,
    )


def train(job, plan, epochs=3, rows=None, fresh=False):
    """Train rows under a plan, from states that are its own (`fresh`) or those of a plain loop."""
    rows = np.arange(len(job.seeds)) if rows is None else np.asarray(rows)
    runner = runner_of(job, plan, rows)
    if fresh:
        runner.start_fresh(
            job.seeds[rows], {path: values[rows] for path, values in job.hyperparams.items()}, job.sample
        )
    else:
        runner.start(first_states(job, rows))
    active = np.ones(len(rows), bool)
    scores = [runner.read_scores(runner.epoch(active, epoch)) for epoch in range(1, epochs + 1)]
    return np.stack(scores), runner.snapshot().states()


@functools.cache
def grid_job():
    """Six experiments: two seeds, three learning rates."""
    return study_of().jobs[0]


@functools.cache
def normalised_job():
    """Plain gradient descent: Adam would blow up the rounding noise of a bias in front of a normalisation."""
    sgd = component("sgd", learning_rate=grid(1e-2, 1e-1, 0.2))
    return study_of(model=component("plans_normalised"), optimizer=sgd).jobs[0]


@functools.cache
def uneven_job():
    adam = component("adam", learning_rate=1e-2)
    (job,) = study_of(validation=component("plans_uneven"), optimizer=adam).jobs
    return job


@functools.cache
def by_hand(job_of, row):
    return train_by_hand(job_of(), row, epochs=3)


PLANS = [("vmap", "scan"), ("map", "scan"), ("none", "scan"), ("vmap", "step"), ("map", "step"), ("none", "step")]


@pytest.mark.parametrize(
    "batching, loop, num_devices", [*((*plan, 1) for plan in PLANS), ("map", "scan", 4), ("none", "step", 4)]
)
def test_plans_equal_a_plain_loop(batching, loop, num_devices):
    job = grid_job()  # 6 experiments do not divide by 4 devices
    scores, states = train(job, Plan(batching, loop, num_devices, "test"), fresh=True)
    for row in (0, 3, 5):
        expected, state = by_hand(grid_job, row)
        np.testing.assert_allclose(scores[:, row], expected, rtol=0, atol=2e-6)
        jax.tree.map(
            lambda leaf, want, row=row: np.testing.assert_allclose(leaf[row], want, rtol=0, atol=2e-6),
            states.params,
            state.params,
        )
        assert states.step[row] == state.step == 3 * 6


@pytest.mark.parametrize("batching, loop, chunk", [("vmap", "scan", 2), ("vmap", "step", 4), ("map", "scan", 5)])
def test_chunks_equal_a_plain_loop(batching, loop, chunk):
    job = grid_job()
    runner = runner_of(job, Plan(batching, loop, 2, "test", chunk))
    runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    scores = np.array([runner.read_scores(runner.epoch(np.ones(6, bool), epoch)) for epoch in (1, 2, 3)])
    for row in (0, 3, 5):
        np.testing.assert_allclose(scores[:, row], by_hand(grid_job, row)[0], rtol=0, atol=2e-6)
    assert {len(block.step) for _, _, block in runner.snapshot().blocks} == {chunk + chunk % 2}


@pytest.mark.parametrize("batching, loop", [("vmap", "scan"), ("map", "scan"), ("none", "step")])
def test_a_partial_last_batch_runs_in_its_true_size_where_batch_statistics_would_see_padding(batching, loop):
    job = normalised_job()
    assert job.shape.train.tails == (42 % 8,)
    scores, states = train(job, Plan(batching, loop, 2, "test"))
    expected, state = by_hand(normalised_job, 4)
    np.testing.assert_allclose(scores[:, 4], expected, rtol=0, atol=2e-5)
    jax.tree.map(
        lambda leaf, want: np.testing.assert_allclose(leaf[4], want, rtol=0, atol=2e-5),
        (states.params, states.model_state),
        (state.params, state.model_state),
    )


@pytest.mark.parametrize("batching, loop", [("vmap", "scan"), ("none", "step")])
def test_folds_of_different_sizes_train_in_one_group(batching, loop):
    job = uneven_job()
    assert [experiment.fold for experiment in job.group.experiments] == [0, 1, 2, 0, 1, 2]
    assert job.shape.train.may_skip
    scores, states = train(job, Plan(batching, loop, 2, "test"))
    for row in range(3):
        expected, state = by_hand(uneven_job, row)
        np.testing.assert_allclose(scores[:, row], expected, rtol=0, atol=2e-6)
        assert states.step[row] == state.step  # an empty batch is no update


def test_an_experiment_under_map_has_the_same_bits_alone():
    job = grid_job()
    together, states = train(job, Plan("map", "scan", 4, "test"))
    for row in (1, 5):
        alone, state = train(job, Plan("map", "scan", 1, "test"), rows=[row])
        np.testing.assert_array_equal(together[:, row], alone[:, 0])
        jax.tree.map(lambda a, b, row=row: np.testing.assert_array_equal(a[row], b[0]), states.params, state.params)


@pytest.mark.parametrize("batching, loop", [("vmap", "scan"), ("map", "scan"), ("vmap", "step")])
def test_rows_that_are_not_active_keep_their_state(batching, loop):
    job = grid_job()
    num_devices = 1 if loop == "step" else 2  # as in another test, whose programs are compiled then
    runner = runner_of(job, Plan(batching, loop, num_devices, "test"))
    runner.start(first_states(job, range(6)))
    runner.epoch(np.ones(6, bool), 1)
    before = runner.snapshot().states()
    active = np.array([True, False, True, False, False, True])
    scores = runner.read_scores(runner.epoch(active, 2))
    after = runner.snapshot().states()
    for row in np.flatnonzero(~active):
        jax.tree.map(lambda a, b, row=row: np.testing.assert_array_equal(a[row], b[row]), before, after)
    assert np.all(np.isfinite(scores[active]))
    assert all(int(after.step[row]) == 12 for row in np.flatnonzero(active))


@pytest.mark.parametrize("batching, loop", [("vmap", "scan"), ("none", "step"), ("map", "scan")])
def test_compaction_keeps_numbers_and_order(batching, loop):
    job = grid_job()
    num_devices = 4 if batching == "none" else 2  # as in another test, whose programs are compiled then
    plan = Plan(batching, loop, num_devices, "test")
    expected, _ = train(job, plan)
    runner = runner_of(job, plan)
    runner.start(first_states(job, range(6)))
    runner.read_scores(runner.epoch(np.ones(6, bool), 1))
    frozen = runner.snapshot().states()
    active = np.array([False, False, False, True, False, True])
    runner.lay_out(runner.worth_laying_out(active))
    for epoch in (2, 3):
        scores = runner.read_scores(runner.epoch(active, epoch))
        np.testing.assert_allclose(scores[active], expected[epoch - 1][active], rtol=0, atol=2e-6)
    final = runner.snapshot().states()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:3], b[:3]), frozen, final)
    assert final.step.tolist() == [6, 6, 6, 18, 6, 18]


def test_batch_order_is_a_permutation_and_differs_by_epoch_and_seed():
    job = grid_job()
    functions = make_epoch(job.program, job.shape)
    folds = {"indices": dict(job.folds.indices), "mask": dict(job.folds.mask)}
    folds = jax.tree.map(jnp.asarray, folds)

    @jax.jit
    def batches_of(seed, epoch):
        return functions.order(job.program.init(jax.random.key(seed), job.sample), {}, folds, 0, epoch)

    def order(seed, epoch):
        batches = batches_of(seed, epoch)
        return np.asarray(batches["indices"])[np.asarray(batches["mask"])].tolist()

    assert sorted(order(0, 1)) == sorted(job.folds.indices["train"][0].tolist())
    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_auto_chooses_for_the_platform(monkeypatch):
    plan = choose_plan(AUTO, num_experiments=6, num_devices=4)
    assert (plan.batching, plan.loop, plan.num_devices) == ("map", "scan", 4)
    assert choose_plan(AUTO, num_experiments=2, num_devices=4).num_devices == 2
    assert choose_plan(PlanRequest("vmap"), num_experiments=2, num_devices=1).batching == "vmap"
    # Measured: 64 networks of 41 kB on two cores are faster in a batch, 256 of them are not, nor are 16 of 312 kB.
    for number, state_bytes, batching in [(64, 41_000, "vmap"), (256, 41_000, "map"), (16, 312_000, "map")]:
        sizes = {"num_experiments": number, "num_devices": 2, "state_bytes": state_bytes}
        assert choose_plan(AUTO, **sizes).batching == batching
        assert choose_plan(AUTO, **sizes, strict=True).batching == "map"
    assert choose_plan(AUTO, num_experiments=2, num_devices=2, state_bytes=8).batching == "map", "one a device"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert choose_plan(AUTO, num_experiments=2, num_devices=1).batching == "vmap"


def test_what_may_stop_early_and_convolutions_are_not_computed_in_one_batch():
    adam = grid_job()
    assert adam.batched_bytes == 3 * 4 * (5 * 8 + 8 + 8 * 3 + 3) + 4 + 4 + 4 + 8  # steps of both, a rate, a key
    stops = study_of(early_stopping=component("no_improvement", monitor="val/loss", mode="min", window_epochs=2))
    halves = study_of(search=component("successive_halving", min_epochs=1, monitor="val/loss", mode="min"))
    images = study_of(dataset=component("digits", flat=False), model=component("cnn", features=(2,)))
    assert [study.jobs[0].batched_bytes for study in (stops, halves, images)] == [None] * 3


def test_strict_never_computes_experiments_in_one_batch(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    chosen = {"num_experiments": 6, "num_devices": 1}
    assert choose_plan(AUTO, **chosen).batching == "vmap"
    assert choose_plan(AUTO, **chosen, strict=True).batching == "map"
    fewer = choose_plan(AUTO, **{**chosen, "num_experiments": 1, "num_devices": 4}, strict=True)
    assert fewer.num_devices == 4  # the program is that of four devices, however many experiments there are
    with pytest.raises(MlgymError, match=r"config\.strict: --plan=vmap computes experiments in one batch"):
        choose_plan(PlanRequest("vmap"), **chosen, strict=True)


@pytest.mark.parametrize("plan", ["map+scan", "none+step+chunk2", "vmap+scan+chunk128"])
def test_a_plan_in_a_log_is_asked_for_again(plan):
    request = logged_plan(f"{plan}x8")
    assert str(request) == plan
    assert str(Plan(request.batching, request.loop, 8, "", request.chunk)) == f"{plan}x8"


@pytest.mark.parametrize(
    "text", ["fast", "chunk0", "chunk", "chunk2+chunk4", "vmap+vmap", "map+scan+step", "", "auto+map"]
)
def test_a_wrong_plan_is_named(text):
    with pytest.raises(MlgymError, match="--plan="):
        parse_plan(text)

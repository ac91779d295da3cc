"""Trainings that are counted in steps, and evaluated by steps: they are those of epochs, cut elsewhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from plain_loop import first_states, train_by_hand
from study_files import events
from test_steps_per_epoch import FOLDS, WHOLE, sgd_until, study, weights

import mlgym_jax as mg
from mlgym_jax import component, grid, register
from mlgym_jax.core.cadence import cadence_of, stretch_order
from mlgym_jax.errors import ConfigError
from mlgym_jax.execution.plan import choose_plan, parse_plan
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.runners import make_runner


class _Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(4)(x))
        return nn.Dense(3)(nn.Dropout(0.2, deterministic=not train)(nn.relu(x)))


register("model", "normed_by_steps")(lambda: _Normed())


def batches(size, steps, epochs):
    """Return each epoch's batches of a fold: the numbers 100 * epoch + example, -1 for padding."""
    examples = np.arange(steps * 4).reshape(steps, 4)
    return [np.where(examples < size, 100 * epoch + examples, -1) for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize("every", [1, 2, 4, 5, 7, 10, 12, 40])
@pytest.mark.parametrize("total", [12, 31])
def test_stretches_are_the_epochs_one_after_the_other(every, total):
    sizes = (20, 15)  # 5 steps of 4, and 4 steps, the last of 3 examples
    cadence = cadence_of((5, 4), num_epochs=None, num_steps=total, every=every)

    @jax.jit
    def order(table, fold, number):
        def order_of_epoch(epoch):
            return {"indices": table[epoch - 1], "mask": table[epoch - 1] >= 0}

        return stretch_order(cadence, order_of_epoch, fold, number)

    assert cadence.num_evaluations == -(-total // every)
    for fold, size in enumerate(sizes):
        steps = cadence.steps_per_epoch[fold]
        table = np.stack(
            [np.pad(one, ((0, 5 - steps), (0, 0)), constant_values=-1) for one in batches(size, steps, 40)]
        )
        found = []
        for number in range(1, cadence.num_evaluations + 1):
            got = jax.device_get(order(jnp.asarray(table), jnp.int32(fold), jnp.int32(number)))
            assert got["indices"].shape == (min(every, total), 4)
            found += [row for row in np.where(got["mask"], got["indices"], -1) if (row >= 0).any()]
            assert len(found) == cadence.steps_after(number, fold)
        np.testing.assert_array_equal(found, np.concatenate(batches(size, steps, 40))[:total])


def test_what_ends_with_epochs_is_counted_in_epochs():
    assert cadence_of((5, 5), num_epochs=None, num_steps=20, every=None) == cadence_of(
        (5, 5), num_epochs=4, num_steps=None, every=None
    )
    assert cadence_of((5, 4), num_epochs=None, num_steps=20, every=None).every == 5


def normed(**fields):
    return {
        "dataset": component("synthetic", num_examples=110, num_features=4, num_classes=3, noise=0.5),
        "validation": component(
            "cross_validation", folds=5
        ),  # of 88 rows, which are 17 and 18 batches of 5, with rests
        "loader": component("in_memory", batch_size=5),
        "model": component("normed_by_steps"),
        "loss": component("softmax_cross_entropy"),
        # Not Adam, which makes steps of rounding errors: the whole gradient of a bias before batch normalisation.
        "optimizer": component("sgd", learning_rate=0.1, momentum=0.9),
        "metrics": {"accuracy": component("accuracy")},
    } | fields


@functools.cache
def by_hand():
    """Return a job and what a plain loop makes of two of its rows: {row: (scores, state)}."""
    (job,) = prepare(normed(num_steps=23, evaluate_every_steps=9)).jobs
    return job, {row: train_by_hand(job, row, 3, evaluated_after=(9, 18, 23)) for row in (0, 4)}


@pytest.mark.parametrize("plan", ["vmap+scan", "none+step"])
def test_evaluations_by_steps_equal_a_plain_loop(plan):
    job, rows_by_hand = by_hand()
    assert job.shape.true_sizes  # batch statistics see no padding, so that last batches run in their true size
    rows = len(job.group.experiments)
    devices = jax.devices()[:1]
    runner = make_runner(job, choose_plan(parse_plan(plan), num_experiments=rows, num_devices=1), devices)
    runner.start(first_states(job, range(rows)))
    found = []
    for number in (1, 2, 3):
        found.append(runner.read_scores(runner.epoch(np.ones(rows, bool), number)))
    for row, (expected, state) in rows_by_hand.items():
        np.testing.assert_allclose([scores[row] for scores in found], expected, rtol=2e-4, atol=2e-5)
        assert int(state.step) == 23


def test_steps_in_place_of_epochs_are_the_same_run(tmp_path):
    config = normed(num_epochs=2, seed=grid(0, 1))
    epochs = mg.run(config, tmp_path, run_id="epochs")
    by_steps = {**config, "num_epochs": None, "num_steps": 36}
    steps = mg.run(by_steps, tmp_path, run_id="steps")
    assert [item.history for item in steps.experiments] == [item.history for item in epochs.experiments]
    assert steps.experiments[0].steps == epochs.experiments[0].steps == [18, 36]
    assert {payload["step"] for payload in events(steps.run_dir, "evaluation_result")} == {18, 36}
    assert events(steps.run_dir, "checkpoint_saved")[-1]["step"] == 36


def test_each_fold_does_its_own_steps_and_schedules_count_its_epochs(tmp_path):
    # 26 rows: fold 0 trains on 20, the others on 21, two steps of 20; the rate is 1 during the first 2 epochs.
    fields = dict(validation=FOLDS, loader=component("in_memory", batch_size=20), num_epochs=None)
    config = study(tmp_path, 26, sgd_until(2), **fields, num_steps=3, evaluate_every_steps=2)
    assert weights(config, tmp_path) == pytest.approx([-2, -3, -3, -3, -3], abs=1e-5)
    each = {**config, "num_steps": None, "num_epochs": 3}
    result = mg.run(each, tmp_path)
    assert [item.steps for item in result.experiments] == [[2, 3, 3], *[[2, 4, 6]] * 4]
    assert [float(item.restore().step) for item in result.experiments] == [3, 6, 6, 6, 6]


def test_a_run_goes_on_by_steps_to_the_same_bits(tmp_path):
    config = normed(num_steps=27, evaluate_every_steps=9, validation=WHOLE)
    whole = mg.run(config, tmp_path, run_id="whole")
    begun = mg.run({**config, "num_steps": 18}, tmp_path, run_id="begun")
    with pytest.raises(ConfigError, match=r"config\.num_epochs: the run's length is num_steps=18, so num_steps alone"):
        mg.resume(begun.run_dir, num_epochs=3)
    with pytest.raises(ConfigError, match=r"config\.num_steps: the run has 18 already, 9 is fewer"):
        mg.resume(begun.run_dir, num_steps=9)
    found = mg.resume(begun.run_dir, num_steps=27)
    assert found.experiments[0].history == whole.experiments[0].history and found.experiments[0].steps == [9, 18, 27]
    early = mg.run({**config, "num_steps": 20}, tmp_path, run_id="early")
    with pytest.raises(
        ConfigError, match=r"config\.num_steps: the run's 20 steps end with 2 after an evaluation.* every 9"
    ):
        mg.resume(early.run_dir, num_steps=27)


def test_a_refit_trains_the_steps_that_were_best(tmp_path):
    fields = dict(num_steps=20, evaluate_every_steps=8, refit=component("selected"))
    result = mg.run(normed(**fields), tmp_path)
    monitor, mode = "val/accuracy", "max"
    best = [item.steps[item.best_score(monitor, mode)[0] - 1] for item in result.experiments]
    assert result.refit[0].steps[-1] == int(np.sort(best)[len(best) // 2])
    assert "num_epochs" not in result.refit[0].config

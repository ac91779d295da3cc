"""When results go out: as soon as their epoch is over, whatever the plan; and how long an epoch is said to take."""

import math
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from test_plans import grid_job, runner_of

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.execution.engine import fit
from mlgym_jax.execution.plan import Plan

NUM_STEPS = 40  # more than a device takes before whoever dispatches them has to wait


@pytest.mark.parametrize("plan", ["map+scan", "vmap+scan", "none+step", "none+scan", "map+scan+chunk2"])
def test_a_result_is_in_the_log_before_the_next_epoch_has_ended(plan, own_registry, tmp_path):
    """The last step of epoch 2 waits until the result of epoch 1 was recorded; where that never comes, it diverges.

    What JAX calls back is given an array of JAX, and must not compute with it: on a device that is busy that waits for
    itself, for ever.
    """
    recorded = threading.Event()

    def waits(step):
        step = np.asarray(step)
        came = recorded.wait(timeout=20) if np.any(step == 2 * NUM_STEPS - 1) else True
        return np.full(np.shape(step), 1.0 if came else np.nan, np.float32)

    @mg.register("loss", "waiting")
    def _waiting():
        def loss(outputs, batch, step, train):
            losses = optax.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"])
            if not train:
                return losses
            shape = jax.ShapeDtypeStruct((), jnp.float32)
            return losses * jax.pure_callback(waits, shape, step, vmap_method="broadcast_all")

        return loss

    def sink(_, events):
        if any(e["event_type"] == "evaluation_result" and e["payload"]["epoch"] == 1 for e in events):
            recorded.set()

    config = ConfigDict()
    config.num_epochs = 2
    config.dataset = component("synthetic", num_examples=NUM_STEPS * 5, num_features=4, num_classes=3)
    config.validation = component("holdout", val=0.2)
    config.loader = component("in_memory", batch_size=4)
    config.model = component("linear")
    config.loss = component("waiting")
    config.optimizer = component("sgd", learning_rate=grid(0.01, 0.02, 0.03))
    result = mg.run(config, tmp_path, plan=plan, devices=1, sinks=[sink])
    assert all(math.isfinite(experiment.last["train/loss"]) for experiment in result.experiments)


def test_what_is_done_with_a_report_is_no_part_of_an_epochs_seconds(monkeypatch):
    """By a clock that goes on by 7 s while an epoch is dispatched step by step, and by 100 s with each report."""
    now = [0.0]
    job = grid_job()
    runner = runner_of(job, Plan("none", "step", 1, "test"))
    runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    dispatch = runner.epoch

    def slowly(active, epoch):
        now[0] += 7
        return dispatch(active, epoch)

    monkeypatch.setattr(runner, "epoch", slowly)
    histories = [[] for _ in job.seeds]
    seconds = []
    for report in fit(runner, histories, num_epochs=3, first_epoch=1, early_stopping=None, clock=lambda: now[0]):
        seconds.append(report.seconds)
        now[0] += 100
    assert seconds == [7.0, 7.0, 7.0]

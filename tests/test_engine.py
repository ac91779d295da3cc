"""The generator that trains a group: who stops, what freezes, what a resume repeats."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from test_plans import grid_job, runner_of

from mlgym_jax.execution.engine import Verdict, fit, judge
from mlgym_jax.execution.plan import Plan


def fast_learner(history):
    """Stop after two epochs what the second brought down well: learning rates of 1e-2 and more, not 1e-3."""
    return len(history) >= 2 and history[1]["train/loss"] < 0.9 * history[0]["train/loss"]


def fit_all(plan, *, epochs=5, early_stopping=None, state=None, histories=None, first_epoch=1):
    job = grid_job()
    runner = runner_of(job, plan)
    if state is None:
        runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    else:
        runner.start(state)
    histories = [[] for _ in job.seeds] if histories is None else histories
    reports = list(fit(runner, histories, num_epochs=epochs, first_epoch=first_epoch, early_stopping=early_stopping))
    return reports, histories


@pytest.mark.parametrize("batching, loop", [("map", "scan"), ("vmap", "scan")])
def test_a_resumed_group_repeats_the_same_bits_with_early_stopping(batching, loop):
    plan = Plan(batching, loop, 2, "test")
    reports, histories = fit_all(plan, early_stopping=fast_learner)
    stopped = {row for report in reports for row in report.ended}
    assert 0 < len(stopped) < 6, "the case is meant to stop some and not others"
    assert all(len(histories[row]) == (2 if row in stopped else 5) for row in range(6))
    for report in reports[1:4]:
        done = report.epoch
        resumed, again = fit_all(
            plan,
            early_stopping=fast_learner,
            state=report.snapshot.states(),
            histories=[history[:done] for history in histories],
            first_epoch=done + 1,
        )
        assert again == histories
        final, repeated = reports[-1].snapshot.states(), resumed[-1].snapshot.states()
        for one, other in zip(final.params["Dense_0"].values(), repeated.params["Dense_0"].values(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_stopped_experiment_keeps_its_state_and_is_reported_once():
    reports, _ = fit_all(Plan("map", "scan", 2, "test"), early_stopping=fast_learner)
    for row in {row for report in reports for row in report.ended}:
        after_stop = [report for report in reports if report.epoch > 2]
        assert all(row not in report.scores and row not in report.ended for report in after_stop)
        assert {int(report.snapshot.states().step[row]) for report in after_stop} == {2 * 6}


def test_training_ends_when_every_experiment_has_stopped():
    reports, histories = fit_all(Plan("map", "scan", 1, "test"), early_stopping=lambda history: len(history) == 2)
    assert [report.epoch for report in reports] == [1, 2]
    assert set(reports[-1].ended) == set(range(6))
    assert all(len(history) == 2 for history in histories)


def test_more_epochs_go_on_where_the_shorter_run_ended():
    plan = Plan("map", "scan", 2, "test")
    _, whole = fit_all(plan, epochs=4)
    reports, histories = fit_all(plan, epochs=2)
    fit_all(plan, epochs=4, state=reports[-1].snapshot.states(), histories=histories, first_epoch=3)
    assert histories == whole


@pytest.mark.parametrize("loss, diverged", [(0.1, False), (math.nan, True), (math.inf, True)])
def test_a_loss_that_is_not_finite_is_a_failure(loss, diverged):
    verdict = judge([{"train/loss": 1.0}, {"train/loss": loss}], None)
    assert (verdict is not None) is diverged
    if verdict is not None:
        assert "train/loss" in verdict.error and "epoch 2" in verdict.error


def test_a_policy_that_raises_fails_its_experiment_alone():
    verdict = judge([{"train/loss": 1.0}], lambda history: history[0]["val/nothing"])
    assert "KeyError" in verdict.error and "early_stopping" in verdict.error
    assert "Traceback" in verdict.stacktrace


@pytest.mark.parametrize("answer", ["no", 1, {"stop": False}])
def test_an_early_stopping_that_answers_neither_true_nor_false_fails(answer):
    verdict = judge([{"train/loss": 1.0}], lambda _: answer)
    assert verdict.error == f"early_stopping returned {answer!r}; True, which stops, or False is expected"


@pytest.mark.parametrize(("answer", "stops"), [(None, False), (np.bool_(True), True), (jnp.asarray(False), False)])
def test_an_early_stopping_may_answer_as_numpy_and_jax_do_or_nothing(answer, stops):
    assert (judge([{"train/loss": 1.0}], lambda _: answer) == Verdict("early stopping")) == stops


def test_a_map_is_dealt_anew_when_those_that_go_on_stand_on_one_device():
    job = grid_job()
    runner = runner_of(job, Plan("map", "scan", 2, "test"))
    runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    compiled = dict(runner.programs.compiled)
    first = np.array([row < 3 for row in range(6)])  # all three on the first of two devices

    def loads():
        [(ids, _, _)] = runner._blocks
        return [sum(bool(first[row]) for row in ids[half : half + 3]) for half in (0, 3)]

    assert loads() == [3, 0]
    before = runner.snapshot().states()
    runner.lay_out(runner.worth_laying_out(first))
    assert sorted(loads()) == [1, 2]
    assert runner.programs.compiled == compiled, "nothing is compiled again"
    assert runner.worth_laying_out(first) is None, "once is enough"
    after = runner.snapshot().states()
    np.testing.assert_array_equal(before.params["Dense_0"]["kernel"], after.params["Dense_0"]["kernel"])


def test_balanced_rows_have_the_same_bits():
    stays = {0, 1, 2}
    histories = {}
    for devices in (1, 2):
        job = grid_job()
        runner = runner_of(job, Plan("map", "scan", devices, "test"))
        runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
        histories[devices] = [[] for _ in job.seeds]

        def stopped(_, epoch):
            return {row: "left behind" for row in range(6) if row not in stays} if epoch == 2 else {}

        reports = list(
            fit(runner, histories[devices], num_epochs=4, first_epoch=1, early_stopping=None, stopped=stopped)
        )
        assert [report.compacted for report in reports] == [None, [0, 1, 2] if devices == 2 else None, None, None]
    assert [len(history) for history in histories[2]] == [4, 4, 4, 2, 2, 2]
    for one, two in zip(histories[1], histories[2], strict=True):
        assert [e["train/loss"] for e in one] == pytest.approx([e["train/loss"] for e in two], rel=1e-6)

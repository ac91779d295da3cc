"""Two short epochs under way while a third is judged: the same numbers, whoever ends or whatever runs out."""

import jax
import numpy as np
import pytest
from test_plans import grid_job, runner_of

from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.engine import fit
from mlgym_jax.execution.plan import Plan

EPOCHS = 6
PLAN = Plan("map", "scan", 2, "test")


def trained(plan=PLAN, **given):
    """Return the reports, and of each the epochs dispatched before it; by a clock that stands, all epochs are short."""
    job, dispatched, reports = grid_job(), [], []
    runner = runner_of(job, plan)
    runner.start_fresh(job.seeds, dict(job.hyperparams), job.sample)
    real, runner.epoch = runner.epoch, lambda active, epoch: (dispatched.append(epoch), real(active, epoch))[1]
    histories = [[] for _ in job.seeds]
    for report in fit(
        runner, histories, num_epochs=EPOCHS, first_epoch=1, early_stopping=None, clock=lambda: 0.0, **given
    ):
        reports.append((report, [*dispatched]))
    return [report for report, _ in reports], [before for _, before in reports], histories


def assert_same(reports, others):
    assert [report.epoch for report in reports] == [report.epoch for report in others]
    for one, other in zip(reports, others, strict=True):
        assert {row: repr(scores) for row, scores in one.scores.items()} == {
            row: repr(scores) for row, scores in other.scores.items()
        }
        assert (one.ended.keys(), one.compacted) == (other.ended.keys(), other.compacted)
        jax.tree.map(np.testing.assert_array_equal, one.snapshot.states(), other.snapshot.states())


@pytest.mark.parametrize("batching", ["map", "vmap", "none"])
def test_they_change_no_number(batching):
    plan = Plan(batching, "scan", 2, "test")
    (one, before_one, _), (two, before_two, _) = trained(plan), trained(plan, may_stop=False)
    assert_same(two, one)
    assert [before[-1] for before in before_one] == [2, 3, 4, 5, 6, 6]
    assert [before[-1] for before in before_two] == [3, 4, 5, 6, 6, 6]


def test_none_is_dispatched_behind_one_that_rests():
    _, before, _ = trained(may_stop=False, rests={3})
    assert [epochs[-1] for epochs in before] == [3, 3, 3, 6, 6, 6]


def test_who_diverges_ends_after_its_own_epoch(monkeypatch):
    real, asked = GroupRunner.read_scores, []

    def read(self, found):
        values = np.array(real(self, found))
        asked.append(1)
        if len(asked) == 3:
            values[[1, 4]] = np.nan
        return values

    monkeypatch.setattr(GroupRunner, "read_scores", read)
    one, _, _ = trained()
    asked.clear()
    two, before, histories = trained(may_stop=False)
    assert_same(two, one)
    assert {*two[2].ended} == {1, 4} and [len(history) for history in histories] == [6, 3, 6, 6, 3, 6]
    assert before[2:4] == [[1, 2, 3, 4, 4, 5], [1, 2, 3, 4, 4, 5, 6]], "what was under way is dispatched anew"


@pytest.mark.parametrize("name, replanned", [("epoch", []), ("read_scores", [4])])
def test_memory_that_runs_out_meanwhile_trains_from_the_right_epoch(monkeypatch, name, replanned):
    """What could not be dispatched is tried as it was, once others are over."""
    (expected, _, _), full = trained(Plan("map", "scan", 1, "test")), []
    real = getattr(GroupRunner, name)

    def refuse(self, *arguments):
        full.append(1)
        if len(full) == 4:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
        return real(self, *arguments)

    monkeypatch.setattr(GroupRunner, name, refuse)
    reports, _, _ = trained(Plan("map", "scan", 1, "test"), may_stop=False)
    assert [report.epoch for report in reports if report.replanned is not None] == replanned
    for one, other in zip(reports, expected, strict=True):
        assert one.scores == {row: pytest.approx(scores, abs=1e-6) for row, scores in other.scores.items()}
        assert one.snapshot.states().step.tolist() == [6 * one.epoch] * 6
    jax.tree.map(
        lambda mine, its: np.testing.assert_allclose(mine, its, atol=1e-6),
        reports[-1].snapshot.states().params,
        expected[-1].snapshot.states().params,
    )

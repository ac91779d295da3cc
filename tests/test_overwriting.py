"""Epochs that overwrite the states before them: the same bits, one state in memory, and what is still possible then."""

import functools
import re
import signal

import jax
import numpy as np
import pytest
from plain_loop import first_states
from study_files import events, here, small
from test_plans import grid_job, runner_of
from test_stretches import by_hand, of_ten_classes

import mlgym_jax as mg
from mlgym_jax import component
from mlgym_jax.execution.engine import fit
from mlgym_jax.execution.memory import memory_needed
from mlgym_jax.execution.plan import Plan
from mlgym_jax.execution.stretches import StretchRunner
from mlgym_jax.recording import group
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.planning import overwrites
from mlgym_jax.study.runners import make_runner

AT_ONCE = Plan("vmap", "scan", 1, "test")
RESTING = np.array([True, True, True, False, True, True])


def trained(plan, *, overwrites):
    """Train three epochs, in two of which a row rests; return scores, states, and the snapshot after the second."""
    job = grid_job()
    runner = runner_of(job, plan, overwrites=overwrites)
    runner.start(first_states(job, range(6)))
    scores = [runner.read_scores(runner.epoch(np.ones(6, bool), 1)), runner.read_scores(runner.epoch(RESTING, 2))]
    second = runner.snapshot()
    scores.append(runner.read_scores(runner.epoch(RESTING, 3)))
    return np.stack(scores), runner.snapshot().states(), second


@functools.cache
def scores_of_the_first_epoch():
    return trained(AT_ONCE, overwrites=False)[0][0]


@pytest.mark.parametrize(
    "batching, loop, num_devices",
    [("map", "scan", 2), ("map", "step", 1), ("none", "scan", 4), ("none", "step", 1), ("vmap", "scan", 2)],
)
def test_states_that_are_overwritten_have_the_same_bits(batching, loop, num_devices):
    plan = Plan(batching, loop, num_devices, "test")
    scores, states, held = trained(plan, overwrites=False)
    own_scores, own_states, gone = trained(plan, overwrites=True)
    np.testing.assert_array_equal(own_scores, scores)
    jax.tree.map(np.testing.assert_array_equal, own_states, states)
    assert states.step[3] == 6 and not held.is_gone
    assert gone.is_gone or batching == "vmap"  # a batch computes the row that rests, too, and copies what it is to keep


def test_a_report_goes_out_before_its_states_are_overwritten():
    runner = runner_of(grid_job(), Plan("map", "scan", 2, "test"), overwrites=True)
    runner.start(first_states(grid_job(), range(6)))
    steps = [
        report.snapshot.states().step
        for report in fit(runner, [[] for _ in range(6)], num_epochs=3, first_epoch=1, early_stopping=None)
    ]
    np.testing.assert_array_equal(steps, [[6] * 6, [12] * 6, [18] * 6])


def failing(runner, at, times):
    """Let memory run out when the scores of an epoch are read, as if a device had said so."""
    real, left = runner.read_scores, [times]

    def read(found):
        if read.epoch == at and left[0]:
            left[0] -= 1
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 204 bytes")
        return real(found)

    read.epoch, runner.read_scores = 1, read
    return read


def test_memory_that_runs_out_in_the_first_epoch_begins_anew_with_fewer_at_once():
    job = grid_job()
    runner = runner_of(job, AT_ONCE, overwrites=True)
    runner.start(first_states(job, range(6)))
    failing(runner, at=1, times=1)
    (report,) = fit(runner, [[] for _ in range(6)], num_epochs=1, first_epoch=1, early_stopping=None)
    assert runner.plan.chunk == 3 and report.replanned is not None
    found = np.array([[*report.scores[row].values()] for row in range(6)])
    np.testing.assert_allclose(found, scores_of_the_first_epoch(), rtol=0, atol=2e-6)


def test_memory_that_runs_out_later_is_nothing_that_states_which_are_overwritten_can_be_tried_again_with():
    runner = runner_of(grid_job(), AT_ONCE, overwrites=True)
    runner.start(first_states(grid_job(), range(6)))
    read = failing(runner, at=2, times=1)
    reports = fit(runner, [[] for _ in range(6)], num_epochs=3, first_epoch=1, early_stopping=None)
    next(reports)
    read.epoch = 2
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        next(reports)


@pytest.mark.parametrize("batching, tolerance", [("map", 0), ("vmap", 2e-6)])
def test_memory_that_runs_out_later_goes_back_to_the_newest_checkpoint_with_fewer_at_once(
    batching, tolerance, tmp_path, monkeypatch, own_registry
):
    """Twice, in the third of four epochs, whose states have been overwritten then."""
    edit = "config.num_epochs = 4; config.seed = grid(*range(8)); config.checkpoint_interval_seconds = 1e9"
    path, words = small(tmp_path, edit), {"plan": f"{batching}+stretch", "devices": 1}
    whole = mg.run(mg.load_config(path), tmp_path / "whole", **words)
    real, saved, refused = StretchRunner._call, group.save, []

    def call(self, name, mapped, shared, dry):
        if name == "scores" and not dry and int(shared[0]) == 3 and len(refused) < 2:
            refused.append(name)
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 204 bytes")
        return real(self, name, mapped, shared, dry)

    def copy_wanted(training, report):
        copied(training, report)
        if report.epoch == 1:  # the one checkpoint before
            saved(training)

    copied = group.copy_wanted
    monkeypatch.setattr(StretchRunner, "_call", call)
    monkeypatch.setattr(group, "copy_wanted", copy_wanted)
    result = mg.run(mg.load_config(path), tmp_path / "short", **words)
    assert result.status == "DONE" and len(refused) == 2 and not result.mismatches
    plans = [group["plan"] for group in result.view.groups]
    assert [re.sub(r".*chunk(\d+)x1", r"\1", plan) for plan in plans] == [f"{batching}+stretchx1", "4", "2"]
    assert "at most 2 experiments at once: memory ran out with 4" in result.view.groups[-1]["reason"]
    assert len(events(result.run_dir, "group_trained")) == 1
    for one, other in zip(result.experiments, whole.experiments, strict=True):
        for name, values in one.history.items():
            np.testing.assert_allclose(values, other.history[name], rtol=0, atol=tolerance)


def test_memory_that_runs_out_in_a_later_call_of_the_first_epoch_begins_anew():
    """An evaluation is refused, after steps that have overwritten what they began with."""
    job = grid_job()
    runner = runner_of(job, Plan("vmap", "step", 1, "test"), overwrites=True)
    runner.start(first_states(job, range(6)))
    real, refused = runner._call, []

    def call(name, mapped, shared, dry):
        if name == ("evaluate", "val") and not dry and not refused:
            refused.append(name)
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 204 bytes")
        return real(name, mapped, shared, dry)

    runner._call = call
    (report,) = fit(runner, [[] for _ in range(6)], num_epochs=1, first_epoch=1, early_stopping=None)
    assert refused and runner.plan.chunk == 3
    found = np.array([[*report.scores[row].values()] for row in range(6)])
    np.testing.assert_allclose(found, scores_of_the_first_epoch(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("batching, num_rows", [("none", 1), ("map", 2)])
def test_an_epoch_needs_the_memory_of_a_loop_by_hand_that_overwrites_its_state(batching, num_rows):
    config = of_ten_classes(features=(1000, 500), optimizer=component("adam", learning_rate=0.01))
    (job,) = prepare(config).jobs
    plan = Plan(batching, "scan", 1, "test")
    runner = runner_of(job, plan, overwrites=True)
    runner.start(first_states(job, [0]))
    ours = memory_needed(runner.programs.compiled["whole", (num_rows,)])
    # A map has a row that nobody trains, and works on a copy of one.
    more = job.state_bytes * (0 if batching == "none" else 2)
    assert ours - more < 1.15 * memory_needed(by_hand(job))


def test_what_is_long_or_split_overwrites_its_states(monkeypatch):
    job = grid_job()
    plan = Plan("map", "scan", 2, "test")
    assert not overwrites(job, plan) and overwrites(job, Plan("none", "scan", 1, "test", data=2))
    operations = job.flops.total * job.cadence.stretch
    monkeypatch.setattr("mlgym_jax.study.planning._CPU_RATE", 3 * operations)  # three experiments a device: a second
    assert overwrites(job, plan) and make_runner(job, plan, jax.devices()).overwrites
    monkeypatch.setattr("mlgym_jax.study.planning._CPU_RATE", 7 * operations)
    assert not overwrites(job, plan)


def test_an_interruption_waits_for_the_end_of_an_epoch_that_has_overwritten_what_no_disk_has(
    tmp_path, monkeypatch, own_registry
):
    real, signalled = group.progress, []

    def progress(training, reached):
        if len(training.histories[0]) == 1 and not signalled:  # in the second of three
            signalled.append(True)
            signal.raise_signal(signal.SIGTERM)
        return real(training, reached)

    monkeypatch.setattr(group, "progress", progress)
    words = f"--config={small(tmp_path)}", f"--event_storage={tmp_path}", "--run_id=cut", "--plan=map+stretch"
    status, _, err = here("run", *words)
    assert status == 130, err
    assert [saved["epoch"] for saved in events(tmp_path / "cut", "checkpoint_saved")] == [2]
    status, _, err = here("run", "--resume=cut", f"--event_storage={tmp_path}")
    assert status == 0, err
    [one] = mg.load_run(tmp_path / "cut").experiments
    assert one.num_epochs == 3 and int(one.restore().step) == 3 * 5


def test_a_program_that_fails_leaves_what_was_saved_before(tmp_path, monkeypatch, own_registry):
    real = StretchRunner.stretches

    def stretches(self, active, epoch, middle=None):
        found = yield from real(self, active, epoch, middle)
        if epoch == 3 and not (tmp_path / "FIXED").exists():
            raise RuntimeError("the sensor is gone")
        return found

    monkeypatch.setattr(StretchRunner, "stretches", stretches)
    edit = "config.num_epochs = 4; config.checkpoint_interval_seconds = 0.0"
    words = f"--config={small(tmp_path, edit)}", f"--event_storage={tmp_path}", "--run_id=cut", "--plan=map+stretch"
    status, _, err = here("run", *words)
    assert status == 1 and "the sensor is gone" in err and "deleted" not in err
    (tmp_path / "FIXED").touch()
    status, _, err = here("run", "--resume=cut", f"--event_storage={tmp_path}")
    assert status == 0, err
    assert [one.num_epochs for one in mg.load_run(tmp_path / "cut").experiments] == [4]

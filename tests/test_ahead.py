"""Groups compiled while others train: the same numbers and events as one after the other, and none of it in the way."""

import signal
import threading

import jax
import pytest
from study_files import assert_same_outcome, events, here, outcome, small

import mlgym_jax as mg
from mlgym_jax.events import read_log
from mlgym_jax.execution.mesh import use_devices
from mlgym_jax.execution.plan import AUTO
from mlgym_jax.recording import ahead
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.planning import plan_of

pytestmark = pytest.mark.usefixtures("own_registry")

THREE = "config.model = component('mlp', features=grid((4,), (5,), (6,))); config.seed = grid(0, 1)"


def run(path, storage, run_id, *words):
    status, _, err = here("run", f"--config={path}", f"--event_storage={storage}", f"--run_id={run_id}", *words)
    return status, err


def kinds(run_dir):
    """Return what happened, in its order, without what a clock decides."""
    kept = ("group_compiled", "evaluation_result", "job_status", "group_trained")
    found = [event["event_type"] for event in read_log(run_dir / "event_storage.log")[0]]
    return [kind for kind in found if kind in kept]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small(tmp_path_factory.mktemp("ahead"), THREE)


@pytest.fixture(scope="module")
def one_by_one(study):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead.Ahead, "begin", lambda self, bytes_per_device: None)
        status, err = run(study, study.parent, "one_by_one")
    assert status == 0, err
    return study.parent / "one_by_one"


def in_threads(monkeypatch, also=lambda: None):
    """Note what is compiled in the threads of `Ahead`."""
    real, found = ahead.Ahead._compile, []

    def noted(self, job, plan, context):
        found.append(job.group.index)
        also()
        return real(self, job, plan, context)

    monkeypatch.setattr(ahead.Ahead, "_compile", noted)
    return found


def test_later_groups_are_compiled_ahead_to_the_same_bits_and_events(study, one_by_one, tmp_path, monkeypatch):
    found = in_threads(monkeypatch)
    status, err = run(study, tmp_path, "it")
    assert status == 0, err
    assert found == [1, 2]
    assert_same_outcome(outcome(tmp_path / "it"), outcome(one_by_one))
    assert kinds(tmp_path / "it") == kinds(one_by_one)
    first, *_ = events(tmp_path / "it", "group_compiled")
    assert first["waited_seconds"] == first["compile_seconds"]


def test_what_fails_ahead_is_compiled_at_its_turn(study, one_by_one, tmp_path, monkeypatch):
    def fails():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory while others train")

    in_threads(monkeypatch, fails)
    status, err = run(study, tmp_path, "it")
    assert status == 0, err
    assert_same_outcome(outcome(tmp_path / "it"), outcome(one_by_one))


def test_an_interruption_does_not_wait_for_what_is_compiled_ahead(study, one_by_one, tmp_path, monkeypatch):
    go_on, begun = threading.Event(), threading.Event()

    def long():
        begun.set()
        signal.raise_signal(signal.SIGTERM)
        go_on.wait(60)

    in_threads(monkeypatch, long)
    try:
        status, err = run(study, tmp_path, "it")
        assert status == 130 and begun.is_set() and "--resume=it" in err
    finally:
        go_on.set()
    monkeypatch.undo()
    status, _, err = here("run", "--resume=it", f"--event_storage={tmp_path}")
    assert status == 0, err
    assert_same_outcome(outcome(tmp_path / "it"), outcome(one_by_one))


def test_a_group_compiled_ahead_holds_no_memory_of_a_device(study, monkeypatch):
    held = []
    monkeypatch.setattr(jax, "device_put", lambda *arguments: held.append(arguments))
    devices, job = use_devices(None), prepare(mg.load_config(study)).jobs[1]
    plan = plan_of(job, AUTO, devices, strict=False)
    with ahead.Ahead(devices, lambda job: plan) as it:
        it.next = [job]
        it.begin(0)
        found = it.runner(job, plan)
    assert {name for name, _ in found.runner.programs.compiled} == {"init", "whole"} and held == []


def test_settings_of_one_thread_are_not_lost(study, tmp_path):
    """What a thread is told of numbers, another does not know: then nothing is compiled ahead."""
    config = mg.load_config(study)
    config.model.features = mg.grid((4,), (5,))
    with jax.default_matmul_precision("highest"):
        result = mg.run(config, tmp_path)
    assert result.status == "DONE"
    waited = [group["waited_seconds"] == group["compile_seconds"] for group in events(result.run_dir, "group_compiled")]
    assert waited == [True] * 2

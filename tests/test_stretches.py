"""Epochs in stretches: the same numbers, told and kept on the way, also after a kill in their middle."""

import errno
import signal
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_loop import first_states, train_by_hand
from study_files import events, finish, here, kill, scores, start, wait_until, write

import mlgym_jax as mg
from mlgym_jax import component, grid
from mlgym_jax.checkpoint import middle
from mlgym_jax.checkpoint.middle import read_middle
from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.execution.memory import memory_needed
from mlgym_jax.execution.plan import choose_plan, parse_plan
from mlgym_jax.execution.stretches import Reached
from mlgym_jax.recording import within_epochs
from mlgym_jax.study.expand import prepare
from mlgym_jax.study.planning import plan_of
from mlgym_jax.study.runners import make_runner

# Each batch takes 10 ms and more. Dropout, momentum, a metric that keeps every example: all that a middle must hold.
SLOW = """
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from mlgym_jax import component, grid, register


def wait(x):
    time.sleep(0.01)
    return np.zeros((), np.float32)


@register("model", "slow_net")
class SlowNet(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        late = jax.pure_callback(wait, jax.ShapeDtypeStruct((), jnp.float32), jax.lax.stop_gradient(x).sum())
        x = nn.Dropout(0.2, deterministic=not train)(nn.relu(nn.Dense(8)(x)))
        return nn.Dense(2)(x) + late


def get_config():
    config = ConfigDict()
    config.name = "slow"
    config.seed = grid(0, 1)
    config.num_epochs = 2
    config.evaluation_splits = ("val",)
    config.checkpoint_interval_seconds = 0.0
    config.dataset = component("synthetic", num_examples=360, num_features=4, num_classes=2, noise=0.7)
    config.loader = component("in_memory", batch_size=6)
    config.model = component("slow_net")
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("sgd", learning_rate=0.1, momentum=0.9)
    config.metrics = dict(auroc=component("auroc"))
    return config
"""
PLAN = "--plan=map+stretch"


@pytest.fixture(scope="module")
def whole(modules_registry, tmp_path_factory):
    """Return the study's file, and an undisturbed run of it."""
    folder = tmp_path_factory.mktemp("whole")
    study = write(folder, SLOW)
    status, _, err = here("run", f"--config={study}", f"--event_storage={folder}", "--run_id=whole", PLAN)
    assert status == 0, err
    return study, folder / "whole"


def begun(study, folder, name, middles):
    """Start a run, and return once it has written where it stands in an epoch so many times."""
    process = start("run", f"--config={study}", f"--event_storage={folder}", f"--run_id={name}", PLAN)
    path, seen = folder / name / "checkpoints/middle/group_0", []

    def written():
        found = path.stat().st_ino if path.exists() else None
        if found is not None and found not in seen[-1:]:
            seen.append(found)
        return len(seen) >= middles

    wait_until(written, process, "the middle of an epoch")
    return process, path


def assert_goes_on(folder, whole, name):
    status, _, err = here("run", f"--resume={name}", f"--event_storage={folder}")
    assert status == 0, err
    assert scores(folder / name) == scores(whole)
    trained, undisturbed = mg.load_run(folder / name), mg.load_run(whole)
    for one, other in zip(trained.experiments, undisturbed.experiments, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one.restore().params, other.restore().params)
        assert int(one.restore().step) == 96
    assert not trained.mismatches
    assert not (folder / name / "checkpoints/middle/group_0").exists()


@pytest.mark.parametrize("middles", [2, 6])
def test_killed_in_the_middle_of_an_epoch(whole, tmp_path, middles):
    study, reference = whole
    process, path = begun(study, tmp_path, "cut", middles)
    kill(process)
    position = read_middle(path)[0]["position"]
    assert 0 < position <= 48
    assert_goes_on(tmp_path, reference, "cut")
    told = [(one["current_epoch"], one["current_batch"]) for one in events(tmp_path / "cut", "experiment_status")]
    assert any(0 < batch < 48 for _, batch in told)


def test_a_middle_that_is_damaged_is_put_aside_and_the_epoch_begins_anew(whole, tmp_path):
    study, reference = whole
    process, path = begun(study, tmp_path, "cut", 3)
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert status == 130 and "--resume=cut" in err
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert_goes_on(tmp_path, reference, "cut")
    (skipped,) = events(tmp_path / "cut", "checkpoint_skipped")
    assert "its contents do not match their checksums" in skipped["error"]
    assert (tmp_path / "cut" / skipped["moved_to"]).read_bytes() == data


def of_ten_classes(features, optimizer):
    return {
        "num_epochs": 1,
        "dataset": component("synthetic", num_examples=200, num_features=64, num_classes=10),
        "validation": component("holdout", val=0.0),
        "loader": component("in_memory", batch_size=20),
        "model": component("mlp", features=features),
        "loss": component("softmax_cross_entropy"),
        "optimizer": optimizer,
    }


def by_hand(job):
    """Compile an epoch of ten batches of 20 as a loop that overwrites its state."""
    data = {field: jnp.asarray(array) for field, array in job.table.arrays.items()}

    def epoch(state, data, order):
        def step(state, rows):
            return job.program.train_step(state, {field: array[rows] for field, array in data.items()})[0], None

        return jax.lax.scan(step, state, order)[0]

    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), job.abstract)
    return jax.jit(epoch, donate_argnums=0).lower(state, data, jnp.zeros((10, 20), jnp.int32)).compile()


@pytest.mark.parametrize("plan", ["none+stretch", "vmap+stretch"])
def test_a_stretch_needs_the_memory_of_a_loop_by_hand_that_overwrites_its_state(plan):
    config = of_ten_classes(features=(1000, 500), optimizer=component("adam", learning_rate=0.01))
    (job,) = prepare(config).jobs
    runner = make_runner(job, choose_plan(parse_plan(plan), num_experiments=1, num_devices=1), jax.devices()[:1])
    runner.start(first_states(job, [0]))
    ours = memory_needed(runner.programs.compiled["train_stretch", (1,)])
    assert ours < 1.15 * memory_needed(by_hand(job))


def test_epochs_of_some_seconds_go_in_stretches(monkeypatch):
    """An epoch of 200 examples through 64 x 3000 and 3000 x 10 weights is 3 x 2 x 200 x 222,000 operations and some."""
    config = of_ten_classes(features=(3000,), optimizer=component("sgd", learning_rate=grid(0.1, 0.2)))
    (job,) = prepare(config).jobs
    operations = 3 * 2 * 200 * 222_000

    def loop(rate, plan="auto", strict=False, devices=1):
        monkeypatch.setattr("mlgym_jax.study.planning._CPU_RATE", rate)
        return str(plan_of(job, parse_plan(plan), jax.devices()[:devices], strict=strict)).partition("x")[0]

    long = operations / 3
    assert loop(long) == loop(long, strict=True) == loop(long, "map") == loop(long, "map", devices=2) == "map+stretch"
    assert loop(long, devices=2) == "none+stretch" and loop(long, devices=2, strict=True) == "map+stretch"
    assert loop(operations) == "map+scan"  # of one experiment: where two are short, each stays in a whole epoch
    assert loop(long, "map+scan") == "map+scan"
    (streamed,) = prepare({**config, "loader": component("streaming", batch_size=20)}).jobs
    assert plan_of(streamed, parse_plan("vmap"), jax.devices(), strict=False).loop == "stretch"
    with pytest.raises(MlgymError, match=r"--plan=map\+step: component\('streaming'\) .* leave 'step' out"):
        plan_of(streamed, parse_plan("map+step"), jax.devices(), strict=False)


@pytest.mark.parametrize("plan", ["map+stretch", "vmap+stretch", "none+stretch"])
def test_stretches_equal_a_plain_loop(plan):
    config = {
        "num_epochs": 2,
        "dataset": component("synthetic", num_examples=110, num_features=4, num_classes=3, noise=0.5),
        "validation": component("cross_validation", folds=5),
        "loader": component("in_memory", batch_size=20, eval_batch_size=16),
        "model": component("mlp", features=(8,)),
        "loss": component("softmax_cross_entropy"),
        "optimizer": component("sgd", learning_rate=grid(0.1, 0.3)),
        "metrics": {"accuracy": component("accuracy")},
    }
    (job,) = prepare(config).jobs
    rows = len(job.group.experiments)
    plan = choose_plan(parse_plan(plan), num_experiments=rows, num_devices=4)
    runner = make_runner(job, plan, jax.devices())
    runner.start(first_states(job, range(rows)))
    active, found = np.ones(rows, bool), []
    active[3] = False  # it stopped before: its state stays
    for epoch in (1, 2):
        before = runner.snapshot().states()
        reached = runner.stretches(active, epoch)
        middle = next(reached).middle()
        assert middle.position == (
            1 if epoch == 1 else 5
        )  # the first call is of one step, and tells how many it may be
        np.testing.assert_array_equal(middle.state.step, np.where(active, 5 * (epoch - 1) + middle.position, 0))
        again = make_runner(job, plan, jax.devices())
        again.start(before)
        found.append(
            again.read_scores(
                runner_end(again.stretches(active, epoch, again.middle(epoch, middle.position, middle.leaves)))
            )
        )
        np.testing.assert_array_equal(runner.read_scores(runner_end(reached))[active], found[-1][active])
    for row in (0, 9):
        expected, _ = train_by_hand(job, row, 2)
        np.testing.assert_allclose([scores[row] for scores in found], expected, rtol=2e-4, atol=2e-5)


def runner_end(reached):
    while True:
        try:
            next(reached)
        except StopIteration as end:
            return end.value


@pytest.fixture
def study_of_many_middles():
    return of_ten_classes((8,), component("sgd", learning_rate=0.1)) | {
        "num_epochs": 2,
        "checkpoint_interval_seconds": 0.0,
    }


def test_training_goes_on_while_a_middle_is_written(study_of_many_middles, tmp_path, monkeypatch):
    epoch_has_ended, waited, write = threading.Event(), [], middle.write_whole

    def slow(*arguments):
        waited.append(epoch_has_ended.wait(30))
        write(*arguments)

    def sink(_, events):
        if any(event["event_type"] == "evaluation_result" for event in events):
            epoch_has_ended.set()

    monkeypatch.setattr(middle, "write_whole", slow)
    mg.run(study_of_many_middles, event_storage=tmp_path, run_id="one", plan="map+stretch", sinks=[sink])
    assert waited and all(waited)
    assert not (tmp_path / "one/checkpoints/middle/group_0").exists()


def test_a_middle_that_the_disk_refuses_ends_the_run_which_goes_on_from_what_there_is(
    study_of_many_middles, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    whole = mg.run(study_of_many_middles, event_storage=tmp_path, plan="map+stretch")
    with monkeypatch.context() as patched:
        patched.setattr(middle, "write_whole", full)
        with pytest.raises(DiskError, match="where an epoch stands could not be written: No space left on device"):
            mg.run(study_of_many_middles, event_storage=tmp_path, run_id="full", plan="map+stretch")
    assert mg.resume(tmp_path / "full").experiments[0].history == whole.experiments[0].history


def test_a_middle_that_has_to_wait_for_a_checkpoint_stays_due(monkeypatch):
    busy, idle = types.SimpleNamespace(is_writing=True), types.SimpleNamespace(is_writing=False)
    standing = types.SimpleNamespace(
        report=types.SimpleNamespace(epoch=1, snapshot=types.SimpleNamespace(is_gone=False))
    )
    training = types.SimpleNamespace(standing=standing, store=busy, middle=idle, written=(0, 5.0))
    monkeypatch.setattr(within_epochs, "save", lambda training: setattr(training, "written", (1, 99.0)))
    assert not within_epochs.save_middle(training, Reached("train", True, 1, 2, list), at_once=False)
    assert training.written == (1, 5.0)

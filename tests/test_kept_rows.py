"""The rows that a strategy keeps and the state that they belong to are one fact, however a launch is cut short."""

import json
import pathlib
import shutil
import time

import orbax.checkpoint as ocp
import pytest
from study_files import assert_same_outcome, events, here, outcome, small, steps

from mlgym_jax.checkpoint import store

# A strategy that keeps the first epoch, and the second of one experiment; WHAT happens to it after the epoch AT.
TOP = """
import os
import signal


@register("checkpointing", "first")
def first():
    def policy(history):
        if os.environ.get("AT") == str(len(history)):
            for what in os.environ["WHAT"].split():
                if what == "raise":
                    raise RuntimeError("a fault of the strategy")
                signal.raise_signal(getattr(signal, what))
        return {1} if history[0]["train/loss"] > 0.6 else {1, 2} & {*range(1, len(history) + 1)}

    return policy
"""
EDIT = """config.num_epochs = 4
    config.loader.batch_size = 40  # which all parts are multiples of
    config.optimizer.learning_rate = grid(0.01, 1.0)
    config.checkpoint_interval_seconds = 0.0
    config.checkpointing = component("first")"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small(tmp_path_factory.mktemp("kept"), EDIT, TOP)


@pytest.fixture(scope="module")
def undisturbed(study):
    """What each experiment is to keep, and all its bits: of a run that nothing cut short."""
    status, _, err = run(study, study.parent, "--run_id=whole")
    assert status == 0, err
    found = outcome(study.parent / "whole")
    assert [checkpoints for *_, checkpoints in found[1].values()] == [[1, 4], [1, 2, 4]]
    return study.parent / "whole", found


def run(study, storage, *arguments):
    return here("run", f"--config={study}", f"--event_storage={storage}", "--quiet", *arguments)


def resume(run_dir):
    return here("run", f"--resume={run_dir.name}", f"--event_storage={run_dir.parent}", "--quiet")


def assert_told_is_held(run_dir):
    """What the newest step and its event say to be kept, steps hold."""
    metas = [json.loads(next((step / "meta").glob("metadata*")).read_text()) for step in steps(run_dir)]
    held = sorted(who for meta in metas for who in meta["kept"])
    assert metas[-1]["wanted"] == events(run_dir, "checkpoint_saved")[-1]["kept"]
    assert all(who in held for who in metas[-1]["wanted"])


CUT = [
    ("SIGINT SIGINT", 1, 0.0),
    ("SIGINT SIGINT", 1, 1000.0),
    ("SIGTERM SIGINT", 2, 0.0),
    ("raise", 2, 0.0),
    ("raise", 2, 1000.0),
]


@pytest.mark.parametrize(("what", "at", "interval"), CUT)
def test_a_strategy_that_is_cut_short_loses_no_row(study, undisturbed, tmp_path, monkeypatch, what, at, interval):
    monkeypatch.setenv("WHAT", what)
    monkeypatch.setenv("AT", str(at))
    changed = f"--config.checkpoint_interval_seconds={interval}"
    status, _, err = run(study, tmp_path, "--run_id=cut", changed)
    assert status == (1 if what == "raise" else 130), err
    run_dir = tmp_path / "cut"
    if (run_dir / "checkpoints/group_0").is_dir():
        assert_told_is_held(run_dir)
    monkeypatch.delenv("AT")
    status, _, err = resume(run_dir)
    assert status == 0, err
    assert_told_is_held(run_dir)
    scores, ends, states = outcome(run_dir)
    assert_same_outcome((scores, ends, states), undisturbed[1])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("method", "call"), [("save", 1), ("save", 2), ("wait_until_finished", 2)])
def test_a_signal_in_a_save_loses_no_row(study, undisturbed, tmp_path, monkeypatch, method, when, call):
    real, calls = getattr(ocp.CheckpointManager, method), []

    def interrupted(self, *arguments, **keywords):
        calls.append(method)
        if len(calls) == call and when == "before":
            raise KeyboardInterrupt
        found = real(self, *arguments, **keywords)
        if len(calls) == call and when == "after":
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(ocp.CheckpointManager, method, interrupted)
    assert run(study, tmp_path, "--run_id=cut")[0] == 130
    monkeypatch.undo()
    status, _, err = resume(tmp_path / "cut")
    assert status == 0, err
    assert_told_is_held(tmp_path / "cut")
    assert events(tmp_path / "cut", "checkpoint_skipped") == []
    assert_same_outcome(outcome(tmp_path / "cut"), undisturbed[1])


@pytest.mark.parametrize("seconds", [86_400.0, 2e9, -86_400.0])
def test_a_clock_that_jumps_in_a_save_loses_nothing(study, undisturbed, tmp_path, monkeypatch, seconds):
    """As of a machine that was suspended; by more than the patience that a save has, it is written again."""
    real, clock, epochs = ocp.CheckpointManager.save, time.time, []

    def jumping(self, epoch, *arguments, **keywords):
        epochs.append(epoch)
        found = real(self, epoch, *arguments, **keywords)
        if epochs.count(epoch) == 1 and epoch in (1, 3):
            number = len(set(epochs))
            monkeypatch.setattr(time, "time", lambda: clock() + number * seconds)
        return found

    monkeypatch.setattr(ocp.CheckpointManager, "save", jumping)
    status, _, err = run(study, tmp_path, "--run_id=jumped")
    monkeypatch.undo()
    assert status == 0, err
    assert len(epochs) > 4 if seconds == 2e9 else epochs == [1, 2, 3, 4]
    assert_told_is_held(tmp_path / "jumped")
    assert_same_outcome(outcome(tmp_path / "jumped"), undisturbed[1])


def test_a_resume_makes_good_what_an_older_launch_left_out(undisturbed, tmp_path):
    """As a launch was cut short that wrote a state without the row of its epoch that the strategy wants."""
    run_dir = pathlib.Path(shutil.copytree(undisturbed[0], tmp_path / "whole"))
    config = json.loads((run_dir / "config.json").read_text()) | {"num_epochs": 2}
    (run_dir / "config.json").write_text(json.dumps(config))
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / "event_storage.log").unlink()
    (run_dir / "event_storage.log").touch()
    assert resume(run_dir)[0] == 0
    for step in steps(run_dir):
        [path] = (step / "meta").glob("metadata*")
        meta = json.loads(path.read_text())
        if step.name == "2":  # both experiments' first rows are in step 1
            assert meta["kept"] == [[1, 2]]
            shutil.rmtree(step / "kept")
            meta |= {"kept": [], "checksums": {**meta["checksums"], "kept": []}}
            path.write_text(json.dumps(meta))
    status, _, err = here("run", "--resume=whole", f"--event_storage={tmp_path}", "--config.num_epochs=4", "--quiet")
    assert status == 0, err
    assert_told_is_held(run_dir)
    assert_same_outcome(outcome(run_dir), undisturbed[1])


def flipped(step):
    path = next(path for path in sorted((step / "kept").rglob("0*")) if path.is_file())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGES = {
    "no meta": lambda step: shutil.rmtree(step / "meta"),
    "no rows": lambda step: shutil.rmtree(step / "kept"),
    "a bit": flipped,
}


def test_a_resume_reads_no_more_of_older_steps_than_takes_seconds(undisturbed, tmp_path, monkeypatch):
    run_dir = pathlib.Path(shutil.copytree(undisturbed[0], tmp_path / "whole"))
    [step] = [step for step in steps(run_dir) if step.name == "2"]
    flipped(step)
    monkeypatch.setattr(store, "_LOOKED_THROUGH", 0)
    assert here("run", "--resume=whole", f"--event_storage={tmp_path}", "--config.num_epochs=5", "--quiet")[0] == 0
    assert events(run_dir, "checkpoint_skipped") == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_step_that_alone_kept_a_row_names_it(undisturbed, tmp_path, damage):
    """Step 2 alone keeps epoch 2 of experiment 1; the newest two steps are whole."""
    run_dir = pathlib.Path(shutil.copytree(undisturbed[0], tmp_path / "whole"))
    [step] = [step for step in steps(run_dir) if step.name == "2"]
    DAMAGES[damage](step)
    status, _, err = here("run", "--resume=whole", f"--event_storage={tmp_path}", "--config.num_epochs=5", "--quiet")
    assert status == 0, err
    [skipped] = events(run_dir, "checkpoint_skipped")
    assert (skipped["step"], skipped["lost"]) == (2, [[1, 2]])
    assert "no checkpoint is left of what was to be kept: experiment 1 epoch 2" in " ".join(err.split())
    assert events(run_dir, "checkpoint_saved")[-1]["kept"] == [[0, 1], [1, 1]]
    assert_told_is_held(run_dir)
    _, ends, _ = outcome(run_dir)
    assert [checkpoints for *_, checkpoints in ends.values()] == [[1, 5], [1, 5]]


def test_a_damaged_step_whose_row_comes_again_loses_none(undisturbed, tmp_path):
    run_dir = pathlib.Path(shutil.copytree(undisturbed[0], tmp_path / "whole"))
    for step in steps(run_dir):
        if step.name != "1":
            shutil.rmtree(step / "meta")
    status, _, err = resume(run_dir)
    assert status == 0, err
    assert len(events(run_dir, "checkpoint_skipped")) >= 2
    assert not any("lost" in it for it in events(run_dir, "checkpoint_skipped"))
    assert_same_outcome(outcome(run_dir), undisturbed[1])

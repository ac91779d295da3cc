"""A run whose folder is moved, removed or replaced while it goes on says so, and leaves nothing under its old name."""

import os
import shutil

import pytest
from study_files import assert_same_outcome, events, here, outcome, small

from mlgym_jax.checkpoint.left_behind import remove_left_behind

# What happens to the folder RUN after the epoch AT.
TOP = """
import os
import shutil


@register("checkpointing", "disturbed")
def disturbed():
    def policy(history):
        if os.environ.get("AT") == str(len(history)):
            run, what = os.environ["RUN"], os.environ["WHAT"]
            if what == "replaced":
                shutil.copytree(run, run + "-copy")
                shutil.rmtree(run)
                os.rename(run + "-copy", run)
            elif what == "removed":
                shutil.rmtree(run)
            else:
                os.rename(run if what == "moved" else os.path.dirname(run), os.environ["TO"])
        return {1}

    return policy
"""
EDIT = """config.num_epochs = 4
    config.loader.batch_size = 40  # which all parts are multiples of
    config.checkpoint_interval_seconds = 0.0
    config.checkpointing = component("disturbed")"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small(tmp_path_factory.mktemp("moved"), EDIT, TOP)


@pytest.fixture(scope="module")
def undisturbed(study):
    status, _, err = here("run", f"--config={study}", f"--event_storage={study.parent}", "--run_id=whole", "--quiet")
    assert status == 0, err
    return outcome(study.parent / "whole")


@pytest.mark.parametrize("at", [2, 4])
@pytest.mark.parametrize("what", ["moved", "storage", "replaced", "removed"])
def test_a_run_that_is_not_where_it_was(study, undisturbed, tmp_path, monkeypatch, what, at):
    run_dir, to = tmp_path / "storage" / "r", tmp_path / "there"
    for name, value in {"AT": at, "RUN": run_dir, "WHAT": what, "TO": to}.items():
        monkeypatch.setenv(name, str(value))
    seconds = 0.0 if what in ("moved", "storage") else 1000.0  # no save is under way where files are copied or removed
    options = f"--event_storage={run_dir.parent}", f"--config.checkpoint_interval_seconds={seconds}"
    status, out, err = here("run", f"--config={study}", *options, "--run_id=r", "--quiet")
    assert (status, out) == (1, "") and "Traceback" not in err
    assert f"{run_dir}: the run was " in err and "nothing more is written" in err
    now = {"moved": to, "storage": to / "r", "replaced": run_dir, "removed": None}[what]
    assert run_dir.exists() == (what == "replaced")
    if now is None:
        assert "was removed while it went on" in err and "--resume=r" not in err
        return
    assert f"python -m mlgym_jax.run --resume={now}\n" in err
    monkeypatch.delenv("AT")
    status, _, err = here("run", f"--resume={now}", "--quiet")
    assert status == 0, err
    assert events(now, "resume_mismatch") == [] and events(now, "checkpoint_skipped") == []
    assert_same_outcome(outcome(now), undisturbed)


def test_what_a_save_under_way_leaves_is_removed_and_nothing_else(tmp_path):
    unfinished = tmp_path / "r/checkpoints/group_0/3.orbax-checkpoint-tmp/state"
    unfinished.mkdir(parents=True)
    (unfinished / "manifest").touch()
    shutil.copytree(tmp_path / "r", tmp_path / "again")
    (tmp_path / "again/event_storage.log").touch()
    shutil.copytree(tmp_path / "r", tmp_path / "notes")
    (tmp_path / "notes/checkpoints/group_0/2").mkdir()
    (tmp_path / "notes/checkpoints/group_0/2/state").touch()
    whole = tmp_path / "r/checkpoints/group_0/2"  # it was being written, and nothing tells who moved the rest
    whole.mkdir()
    (whole / "manifest").touch()
    remove_left_behind(str(tmp_path / "r"), "checkpoints/group_0/2")
    for name in ("again", "notes", "nothing"):
        remove_left_behind(str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ["again", "notes"]
    assert (tmp_path / "again/checkpoints/group_0/3.orbax-checkpoint-tmp/state/manifest").exists()
    assert [path.name for path in (tmp_path / "notes").rglob("*") if path.is_file()] == ["state"]

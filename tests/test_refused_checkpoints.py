"""A resume removes no checkpoint: what it cannot use is put aside and named; where the disk refuses, nothing moves."""

import errno
import os
import pathlib
import shutil
import subprocess
import sys

import orbax.checkpoint as ocp
import pytest
from conftest import ROOT
from study_files import assert_same_outcome, events, here, outcome, overwrite, small, steps, truncate

import mlgym_jax as mg
from mlgym_jax.errors import DiskError

EDIT = (
    'config.checkpoint_interval_seconds = 0.0; config.checkpointing = component("best", monitor="val/loss", mode="min")'
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of three epochs that nothing disturbed, and its outcome."""
    folder = tmp_path_factory.mktemp("finished")
    study = small(folder, EDIT)
    status, _, err = here("run", f"--config={study}", f"--event_storage={folder}", "--run_id=whole", "--quiet")
    assert status == 0, err
    return folder / "whole", outcome(folder / "whole")


@pytest.fixture
def copied(finished, tmp_path):
    return pathlib.Path(shutil.copytree(finished[0], tmp_path / "whole"))


def resume(run_dir):
    return here("run", f"--resume={run_dir.name}", f"--event_storage={run_dir.parent}", "--quiet")


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_put_aside(run_dir, before, err):
    """Every step of before is there still, in its place or where its event says, byte by byte."""
    told = {str(entry["step"]): run_dir / entry["moved_to"] for entry in events(run_dir, "checkpoint_skipped")}
    assert told, "the case is meant to refuse a step"
    for step, content in before.items():
        if step in told:
            assert files_of(told[step]) == content
            assert f"checkpoint {step} of group 0 passed over" in err
            assert str(told[step].relative_to(run_dir)) in err.replace("\n", "")


DAMAGES = {
    "metadata cut off": lambda step: truncate(step / "meta"),
    "metadata gone": lambda step: shutil.rmtree(step / "meta"),
    "arrays overwritten": lambda step: overwrite(step / "state"),
    "arrays gone": lambda step: shutil.rmtree(step / "state"),
    "arrays cut off": lambda step: truncate(step / "state"),
    "a file in the place of a folder": lambda step: (shutil.rmtree(step), step.write_bytes(b"x")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_steps_are_put_aside_and_named(finished, copied, damage):
    newest = steps(copied)[-1]
    DAMAGES[damage](newest)
    before = {step.name: files_of(step) for step in steps(copied)}
    status, _, err = resume(copied)
    assert status == 0, err
    assert_put_aside(copied, before, err)
    assert_same_outcome(outcome(copied), finished[1])


def test_a_second_refused_step_of_the_same_epoch_takes_no_place(finished, copied):
    for _ in range(2):
        overwrite(steps(copied)[-1] / "state")
        assert resume(copied)[0] == 0
    moved = [entry["moved_to"] for entry in events(copied, "checkpoint_skipped")]
    assert moved == ["checkpoints/refused/group_0/3", "checkpoints/refused/group_0/3-2"]
    assert all((copied / path / "state").is_dir() for path in moved)
    assert_same_outcome(outcome(copied), finished[1])


def test_steps_of_other_experiments_are_put_aside(copied, finished, tmp_path):
    edit = f"{EDIT}; config.optimizer.learning_rate = grid(0.1, 0.2)"
    study = small(tmp_path, edit, name="two.py")
    assert here("run", f"--config={study}", f"--event_storage={tmp_path}", "--run_id=two", "--quiet")[0] == 0
    shutil.rmtree(copied / "checkpoints")
    shutil.copytree(tmp_path / "two/checkpoints", copied / "checkpoints")
    before = {step.name: files_of(step) for step in steps(copied)}
    status, _, err = resume(copied)
    assert status == 0, err
    assert_put_aside(copied, before, err)
    assert_same_outcome(outcome(copied), finished[1])


REFUSALS = [(OSError(n, os.strerror(n)), os.strerror(n)) for n in (errno.EMFILE, errno.EACCES, errno.EIO, errno.ESTALE)]
REFUSALS += [(TimeoutError("by Orbax's own clock"), "it took too long")]


@pytest.mark.parametrize(("error", "words"), REFUSALS)
@pytest.mark.parametrize("item", ["meta", "state"])
def test_a_refusal_of_the_system_is_not_the_checkpoints_fault(copied, finished, monkeypatch, error, words, item):
    restore = ocp.Checkpointer.restore

    def refusing(self, directory, *arguments, **keywords):
        if os.path.basename(str(directory)) == item:
            raise error
        return restore(self, directory, *arguments, **keywords)

    before = files_of(copied / "checkpoints")
    monkeypatch.setattr(ocp.Checkpointer, "restore", refusing)
    with pytest.raises(DiskError, match=words):
        mg.resume(copied)
    assert files_of(copied / "checkpoints") == before
    assert events(copied, "checkpoint_skipped") == []
    assert mg.load_run(copied).status == "INTERRUPTED"
    monkeypatch.undo()
    assert mg.resume(copied).status == "DONE"
    assert_same_outcome(outcome(copied), finished[1])


LIMITED = """
import os, resource, sys

from mlgym_jax.checkpoint.store import CheckpointStore
from mlgym_jax.errors import DiskError

store = CheckpointStore(sys.argv[1])
store.load()
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), limits[1]))
try:
    store.load()
except DiskError as error:
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    print(error)
"""


def test_without_free_descriptors_nothing_is_said_of_the_steps(finished):
    """The system itself refuses: so many files are open that none of a checkpoint's can be."""
    command = [sys.executable, "-c", LIMITED, str(finished[0] / "checkpoints/group_0")]
    found = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert "the checkpoint cannot be read: Too many open files" in found.stdout, found

"""A run that somebody else made is read like any other, and its code is executed by who says to trust it alone."""

import json
import os
import pathlib
import pwd
import shutil

import numpy as np
import pytest
from study_files import here, small

import mlgym_jax as mg
from board_server.live import receive
from board_server.store import Store
from board_server.uploads import keep_received
from mlgym_jax.errors import MlgymError
from mlgym_jax.run_folder import trust

ME = pwd.getpwuid(os.geteuid()).pw_name
# A config that leaves a trace when it is executed.
TOP = """
import os
import pathlib

if os.environ.get("TRACE"):
    pathlib.Path(os.environ["TRACE"]).touch()
"""
NOTE = '{"event_id":0,"data":{"event_type":"note","creation_ts":1,"payload":{}}}'


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    study = small(tmp_path_factory.mktemp("trust"), "config.num_epochs = 2", TOP)
    status, _, err = here("run", f"--config={study}", f"--event_storage={study.parent}", "--run_id=r", "--quiet")
    assert status == 0, err
    return study.parent / "r"


@pytest.fixture
def trace(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACE", str(tmp_path / "executed"))
    return tmp_path / "executed"


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def received(run_dir, monkeypatch):
    """What a board got, and somebody copied as `cp -r theirs/* mine/` does: without hidden files."""
    store = Store(run_dir.parent / "board")
    there = store.receiving("r")
    receive(there, NOTE)
    keep_received(there, there.path_of("run.json"), (run_dir / "run.json").read_bytes())
    store.close()
    for path in (run_dir.parent / "board/r").iterdir():
        if not path.name.startswith(".") and path.name != "event_storage.log":
            shutil.copy(path, run_dir)


def of_alice(run_dir, monkeypatch):
    edit(run_dir / "run.json", made_by="alice")


def of_alice_who_trusts_bob(run_dir, monkeypatch):
    edit(run_dir / "run.json", made_by="bob", trusted_by="alice")


def of_another_owner(run_dir, monkeypatch):
    """As `chown` does, which not everybody may: this process is somebody else."""
    monkeypatch.setattr(os, "geteuid", lambda: 54321)


def marked(run_dir, monkeypatch):
    (run_dir / ".published").touch()


FOREIGN = {
    received: "was published to a board by another machine",
    marked: "If you trust it, remove .published from its folder, or say so by --trust",
    of_alice: f"was made by alice, as its run.json says, and you are {ME}",
    of_alice_who_trusts_bob: "was made by bob",
    of_another_owner: f"belongs to {pwd.getpwuid(os.geteuid()).pw_name} (its folder), and you are user 54321",
}


@pytest.fixture(params=FOREIGN, ids=lambda make: make.__name__)
def theirs(request, mine, tmp_path, monkeypatch):
    run_dir = pathlib.Path(shutil.copytree(mine, tmp_path / "r"))
    request.param(run_dir, monkeypatch)
    return run_dir, FOREIGN[request.param]


def test_a_run_of_ones_own_says_whose_it_is(mine, trace):
    assert json.loads((mine / "run.json").read_text())["made_by"] == ME == trust.user()
    assert trust.foreign_because(str(mine), {}) is None  # as of a run that says nothing of it
    assert mg.load_run(mine).experiments[0].predict(np.zeros((2, 8), np.float32)).shape == (2, 3)
    assert trace.exists()


def test_reading_executes_nothing(theirs, trace):
    run_dir, _ = theirs
    result = mg.load_run(run_dir).experiments[0]
    assert result.checkpoints == [2] and int(result.restore().step) > 0
    for words in (("report", run_dir, "--json"), ("export", run_dir, "--list")):
        assert here(*words)[0] == 0
    assert result.predict(np.zeros((2, 8), np.float32)).shape == (2, 3)  # its components are everybody's
    assert not trace.exists()


def test_executing_is_refused(theirs, trace, tmp_path):
    run_dir, why = theirs
    config = f"--config={run_dir}/0/experiment_config.json"
    for words in (
        ("run", f"--resume={run_dir}"),
        ("reproduce", run_dir),
        ("run", config, f"--event_storage={tmp_path}"),
    ):
        status, out, err = here(*words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert why in err and "config.py" in err and "--trust" in err and "trust=True" in err
    with pytest.raises(MlgymError, match="--trust"):
        mg.resume(run_dir)
    edit(run_dir / "config.json", model={"component": "a_model_of_theirs"})
    with pytest.raises(MlgymError, match="--trust"):
        mg.load_run(run_dir).experiments[0].predict(np.zeros((2, 8), np.float32))
    assert not trace.exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "board") == ["r"]


def test_what_is_trusted_is_executed(theirs, trace, tmp_path):
    run_dir, why = theirs
    assert here("reproduce", run_dir, "--trust")[0] == 0 and trace.exists()
    trace.unlink()
    assert mg.load_run(run_dir, trust=True).experiments[0].predict(np.zeros((2, 8), np.float32)).shape == (2, 3)
    assert trace.exists()
    status, _, err = here("run", f"--resume={run_dir}", "--config.num_epochs=3", "--trust", "--quiet")
    assert status == 0, err
    assert mg.load_run(run_dir).experiments[0].num_epochs == 3
    assert not (run_dir / ".published").exists() and not (run_dir / "received.txt").exists()
    status, _, err = here(
        "run", f"--resume={run_dir}", "--quiet"
    )  # it is this user's from now on, unless it belongs to
    assert status == (2 if "belongs to" in why else 0), err  # somebody else


def test_of_a_received_run_copies_say_so_whatever_is_copied(mine, tmp_path):
    run_dir = pathlib.Path(shutil.copytree(mine, tmp_path / "r"))
    (run_dir / "checkpoints/received/0/2").mkdir(parents=True)
    assert here("run", f"--resume={run_dir}")[0] == 2
    assert here("run", f"--resume={run_dir}", "--trust", "--quiet")[0] == 0
    assert here("run", f"--resume={run_dir}", "--quiet")[0] == 0

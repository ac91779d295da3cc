"""A run that is ended before it has a log can be begun again, by one process at a time."""

import os
import pathlib
import re
import shutil

import pytest
from study_files import events, finish, here, kill, small, start, wait_until

import mlgym_jax as mg
from board_server.errors import Conflict
from board_server.live import receive
from board_server.store import Store
from mlgym_jax.events.claim import claimed

NOTE = '{"event_id":0,"data":{"event_type":"note","creation_ts":1,"payload":{}}}'


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return small(tmp_path_factory.mktemp("study"), "config.loader.batch_size = 40  # which all parts are multiples of")


@pytest.fixture(scope="module")
def begun(study):
    """The files of a run that are written before its log, by a run that went well."""
    assert run(study, study.parent, "whole")[0] == 0
    return study.parent / "whole"


def run(study, storage, run_id):
    return here("run", f"--config={study}", f"--event_storage={storage}", f"--run_id={run_id}", "--quiet")


LEFT = {
    "nothing": (),
    "half a config": ("config.json.0a1b2c3d.tmp",),
    "a config": ("config.json",),
    "all but the log": ("config.json", "config.py", "run.json"),
    "sources": ("config.json", "config.py", "sources/a/b.py", "sources/c.py.0a1b2c3d.tmp"),
    "data": ("config.json", "config.py", "data/arrays.npz", "data/dataset.json.0a1b2c3d.tmp"),
}


@pytest.mark.parametrize("left", LEFT)
def test_what_is_left_without_a_log_is_begun_by_its_id(study, begun, tmp_path, left):
    (tmp_path / "cut").mkdir()
    for name in LEFT[left]:
        source = begun / name
        (tmp_path / "cut" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "cut") if source.exists() else (tmp_path / "cut" / name).write_text("{")
    status, out, err = here("run", "--resume=cut", f"--event_storage={tmp_path}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "no run 'cut' in" in err and "--run_id=cut" in err
    status, _, err = run(study, tmp_path, "cut")
    assert status == 0, err
    assert mg.load_run(tmp_path / "cut").status == "DONE"
    assert not list((tmp_path / "cut").rglob("*.tmp"))
    assert not {"sources", "data"} & {path.name for path in (tmp_path / "cut").iterdir()}  # this study has none


def test_a_killed_start_can_be_begun_again(study, tmp_path):
    run_dir = tmp_path / "cut"
    for _ in range(3):
        words = f"--config={study}", f"--event_storage={tmp_path}", "--run_id=cut"
        process = start("run", *words)
        wait_until(run_dir.exists, process, "the folder")
        kill(process)
        if not (run_dir / "event_storage.log").exists():
            break
        shutil.rmtree(run_dir)
    assert run(study, tmp_path, "cut")[0] == 0


KEPT = ["event_storage.log", "notes.txt", ".published", "0", "checkpoints", "data", "sources/mine.py"]


@pytest.mark.parametrize("name", KEPT)
def test_what_holds_anything_else_is_not_taken_over(study, tmp_path, name):
    (tmp_path / "cut" / name).parent.mkdir(parents=True)
    (tmp_path / "cut" / name).write_text("mine")
    status, out, err = run(study, tmp_path, "cut")
    assert (status, out, err.count("\n")) == (2, "", 1) and "is there already" in err
    assert ("--resume=cut" in err) == (name == "event_storage.log")
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [name.split("/")[0]]
    assert (tmp_path / "cut" / name).read_text() == "mine"


def test_one_process_begins_a_run(study, tmp_path):
    (tmp_path / "cut").mkdir()
    with claimed(str(tmp_path / "cut")):
        status, out, err = run(study, tmp_path, "cut")
        assert (status, out, err.count("\n")) == (2, "", 1) and "another process is beginning this run" in err
        assert os.listdir(tmp_path / "cut") == []


@pytest.mark.parametrize("size", [0, 10, 1500])
def test_a_disk_that_is_full_at_the_start(study, tmp_path, size):
    """Room for nothing, for no config, and for no record: the command that is named then goes on."""
    words = f"--config={study}", f"--event_storage={tmp_path}"
    env = {"MLGYM_JAX_CACHE_DIR": "off", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    status, out, err = finish(start("run", *words, max_file_bytes=size, env=env))
    assert (status, out) == (1, "") and "Traceback" not in err
    [run_dir] = [path for path in tmp_path.iterdir() if path.is_dir()]
    if (run_dir / "event_storage.log").exists():
        assert f"--resume={run_dir.name}" in err
        assert here("run", f"--resume={run_dir.name}", f"--event_storage={tmp_path}", "--quiet")[0] == 0
    else:
        assert f"--run_id={run_dir.name}" in err
        assert run(study, tmp_path, run_dir.name)[0] == 0
    assert events(run_dir, "run_finished")[-1]["status"] == "DONE"


def test_a_board_marks_a_folder_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        os, "rename", lambda old, new, rename=os.rename: (seen.append(os.listdir(old)), rename(old, new))
    )
    (tmp_path / ".cut.0a1b2c3d.tmp").mkdir()  # of a board that ended just before
    store = Store(tmp_path)
    assert receive(store.receiving("cut"), NOTE) == ({"ack": 0}, 1)
    store.close()
    assert seen == [[".published"]] and store.names() == ["cut"]


def test_a_board_does_not_take_what_a_local_process_begins(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/config.json").write_text("{}")
    (tmp_path / "file").touch()
    store = Store(tmp_path)
    for name in ("empty", "begun", "file"):
        with pytest.raises(Conflict, match="is no published run"):
            receive(store.receiving(name), NOTE)
    assert sorted(str(path.relative_to(tmp_path)) for path in pathlib.Path(tmp_path).rglob("*")) == [
        "begun",
        "begun/config.json",
        "empty",
        "file",
    ]


def test_one_command_starts_a_run_and_goes_on_with_it(study, tmp_path):
    def job(*more, run_id="job", storage=tmp_path):
        return here("run", f"--config={study}", f"--event_storage={storage}", f"--run_id={run_id}", "--quiet", *more)

    for num_epochs in (1, 3):
        status, _, err = job("--resume_or_start", f"--config.num_epochs={num_epochs}")
        assert status == 0, err
        assert len(events(tmp_path / "job", "evaluation_result")) == num_epochs
    assert len(events(tmp_path / "job", "run_started")) == 2
    before = (tmp_path / "job/event_storage.log").read_bytes()
    for more, words in {
        (): "--run_id=job",
        ("--resume_or_start", "--config.seed=4"): "--run_id=job --resume_or_start: config.seed is 4.* another --run_id",
        ("--resume_or_start", "--resume=job"): "leave --run_id and --resume_or_start out",
    }.items():
        status, out, err = job(*more)
        assert (status, out) == (2, "") and re.search(words, err), err
    assert (tmp_path / "job/event_storage.log").read_bytes() == before
    status, _, err = here("run", f"--config={study}", "--resume_or_start")
    assert status == 2 and "write --run_id=ID, too" in err
    (tmp_path / "inside").mkdir()
    status, _, err = job("--resume_or_start", run_id="../job", storage=tmp_path / "inside")
    assert status == 2 and "--run_id=../job: allowed are" in err, err

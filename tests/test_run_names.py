"""A run is named by its folder, its id, or as the latest one, in every command alike."""

import json

import pytest
from study_files import here, small, write

import mlgym_jax as mg
from mlgym_jax.errors import MlgymError
from mlgym_jax.run_folder import folder as run_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a storage of two runs; the one that began last has the smaller id."""
    folder = tmp_path_factory.mktemp("named")
    config = mg.load_config(small(folder, "config.num_epochs = 1"))
    for run_id in ("second", "first"):
        mg.run(config, folder / "event_storage", run_id=run_id)
    return folder


@pytest.mark.parametrize(
    "name, run_id",
    [
        ("second", "second"),
        ("event_storage/second", "second"),
        ("event_storage/second/", "second"),
        ("latest", "first"),
        ("event_storage/latest", "first"),
    ],
)
def test_where_a_run_is_looked_for(place, name, run_id, monkeypatch):
    monkeypatch.chdir(place)
    status, out, err = here("report", name, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["run_id"] == run_id
    assert here("export", name, "--list")[0] == 0
    assert mg.load_run(name).run_id == run_id


@pytest.mark.parametrize("name", ["first", "event_storage/first", "latest", "event_storage/latest"])
def test_what_can_be_resumed(place, name, monkeypatch):
    monkeypatch.chdir(place)
    status, out, err = here("run", f"--resume={name}", "--quiet")
    assert (status, out.strip()) == (0, str(place / "event_storage" / "first")), err


def test_a_resumed_id_is_one_of_the_storage_that_is_given(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place / "event_storage")
    status, _, err = here("run", "--resume=first", f"--event_storage={tmp_path}")
    assert status == 2 and f"no run 'first' in '{tmp_path}'" in err


def test_a_name_that_is_nowhere_is_answered_with_what_is_there(place, monkeypatch):
    monkeypatch.chdir(place)
    with pytest.raises(MlgymError, match=r"no run 'frist' in .*event_storage'; did you mean 'first'"):
        mg.load_run("frist")


def test_a_run_that_is_called_latest_is_that_run(tmp_path):
    for run_id, began in (("a", 3), ("b", 9), ("c", 5)):
        write_run(tmp_path, run_id, began)
    assert run_folder.require(tmp_path / "latest") == str(tmp_path / "b")
    write_run(tmp_path, "latest", 1)
    assert run_folder.require(tmp_path / "latest") == str(tmp_path / "latest")


def test_a_damaged_log_is_not_the_latest_and_no_run_is_none(tmp_path):
    write_run(tmp_path, "a", 3)
    write_run(tmp_path, "b", 9).write_text("{")
    assert run_folder.require(tmp_path / "latest") == str(tmp_path / "a")
    with pytest.raises(MlgymError, match="there are no runs in"):
        run_folder.require(tmp_path / "a" / "latest")


def write_run(storage, run_id, began):
    (storage / run_id).mkdir()
    event = {"event_type": "run_started", "creation_ts": began, "payload": {}}
    return write(storage / run_id, json.dumps(event) + "\n", "event_storage.log")

"""A real run beside a real board: seen live with no address configured, its checkpoints handed out."""

import json

import numpy as np
import pytest
import safetensors.numpy
from boards import board
from study_files import finish, small, start
from test_board_rest import Client

import mlgym_jax as mg
from mlgym_jax import events as ev


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Let a board watch a folder, start a run in it; return what the board sent, the server and the run's folder."""
    folder = tmp_path_factory.mktemp("store")
    best = "component('best', monitor='val/accuracy', mode='max', num_keep=1)"
    edit = f"config.seed = grid(0, 1); config.checkpointing = {best}"
    study = small(tmp_path_factory.mktemp("study"), edit)
    with board(folder) as server:
        with server.socket("/ws/grid_searches") as listing:
            assert json.loads(listing.recv(timeout=20)) == {"grid_searches": []}
            process = start("run", f"--config={study}", f"--event_storage={folder}", "--run_id=watched", "--quiet")
            found: list = []
            while not found and process.poll() is None:
                found = json.loads(listing.recv(timeout=120))["grid_searches"]
            assert [one["grid_search_id"] for one in found] == ["watched"]
        sent = []
        with server.subscriber("watched") as subscriber:
            while not sent or sent[-1][1]["event_type"] != "run_finished":
                message = json.loads(subscriber.recv(timeout=120))
                batched = message["event_id"] == "batched_events"
                sent += [(one["event_id"], one["data"]) for one in (message["data"] if batched else [message])]
        assert finish(process)[0] == 0
        yield sent, server, folder / "watched"


def test_a_run_is_seen_live_without_any_address(run):
    sent, server, run_dir = run
    lines = (run_dir / "event_storage.log").read_bytes().splitlines()
    assert sent == list(enumerate(json.loads(line) for line in lines))
    assert server.json("/grid_searches")[0]["status"] == "DONE"
    rows = server.json("/grid_searches/watched/experiments")
    result = mg.load_run(run_dir)
    assert [row["last"] for row in rows] == [one.last for one in result.experiments]
    assert [row["hyperparameters"] for row in rows] == [{"seed": 0}, {"seed": 1}]
    assert server.json("/model-card/watched/1") == json.loads((run_dir / "1/model_card.json").read_text())


def test_checkpoints_of_a_local_run_are_handed_out_without_executing_its_config(run):
    _, server, run_dir = run
    result = mg.load_run(run_dir)
    best = result.best("val/accuracy")
    expected = {(one.experiment_id, epoch) for one in result.experiments for epoch in one.checkpoints}
    listed = server.json("/checkpoint_list/watched")
    assert {(one["experiment_id"], one["epoch"]) for one in listed} == expected
    config = run_dir / "config.py"
    before = config.read_text()
    config.write_text("raise SystemExit('config.py was executed')")
    status, headers, body = server.get(f"/checkpoints/watched/{best.experiment_id}/{best.best_epoch}/model")
    config.write_text(before)
    assert status == 200 and "safetensors" in headers["Content-Disposition"]
    arrays, state = safetensors.numpy.load(body), best.restore()
    kernel = next(name for name in arrays if name.endswith("kernel"))
    np.testing.assert_array_equal(arrays[kernel], np.asarray(state.params["Dense_0"]["kernel"]))
    last = {
        row["experiment_id"]: row["last_checkpoint_id"] for row in server.json("/grid_searches/watched/experiments")
    }
    assert last == {one.experiment_id: one.checkpoints[-1] for one in result.experiments}


def test_the_newest_step_of_a_group_holds_the_newest_epoch_of_each_of_its_experiments(tmp_path):
    """By which the page knows them from the events alone, whatever a strategy keeps besides."""
    halving = "component('successive_halving', min_epochs=1, eta=2, monitor='val/loss', mode='min')"
    edit = f"config.optimizer.learning_rate = grid(0.1, 0.01, 0.2, 0.001); config.search = {halving}"
    study = small(tmp_path, f"{edit}; config.num_epochs = 4; config.checkpointing = component('last')")
    result = mg.run(mg.load_config(study), event_storage=tmp_path, run_id="halved")
    events = [event for _, event in ev.read_events(f"{result.run_dir}/event_storage.log")]
    (saved,) = (one["payload"] for one in events if one["event_type"] == "checkpoint_saved")
    (group,) = (one["payload"]["experiments"] for one in events if one["event_type"] == "group_compiled")
    epochs = {number: result.experiments[number].num_epochs for number in group}
    assert sorted(epochs.values()) == [1, 1, 2, 4] and saved["epoch"] == 4 and saved["kept"] == []
    rows = Client(tmp_path).json("/grid_searches/halved/experiments")
    assert {row["experiment_id"]: row["last_checkpoint_id"] for row in rows} == epochs


def test_a_local_runs_checkpoints_are_not_deleted_by_the_board(run):
    _, server, run_dir = run
    epoch = mg.load_run(run_dir).experiments[0].checkpoints[-1]
    status, _, body = server.request("DELETE", f"/checkpoints/watched/0/{epoch}")
    assert status == 409 and "needs to be resumed" in json.loads(body)["error"]
    assert epoch in mg.load_run(run_dir).experiments[0].checkpoints


@pytest.mark.parametrize(("path", "words"), [("7/1", "it has none"), ("0/99", "it has 3")])
def test_a_checkpoint_that_is_not_there_is_said_with_those_that_are(run, path, words):
    _, server, _ = run
    status, _, body = server.get(f"/checkpoints/watched/{path}/model")
    assert status == 404 and words in json.loads(body)["error"]

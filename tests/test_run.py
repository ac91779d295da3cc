"""Whole runs by their command lines: exit status, files, log, report, repetition; the Python API on what is left."""

import datetime
import importlib
import json
import math
import pathlib
import shutil

import jax
import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from study_files import assert_same_bits, edit_log, events, finish, here, scores, small, start, write

import mlgym_jax as mg
from mlgym_jax.config.words import canonical_json, validated
from mlgym_jax.run_folder import folder as run_folder

DIGITS = """
from ml_collections import ConfigDict

from mlgym_jax import component, grid


def get_config():
    config = ConfigDict()
    config.name = "sixty"
    config.seed = grid(*range(6))
    config.num_epochs = 4
    config.dataset = component("digits")
    config.validation = component("holdout", val=0.2, stratified=True)
    config.loader = component("in_memory", batch_size=100)
    config.model = component("mlp", features=(16,))
    config.loss = component("softmax_cross_entropy")
    config.optimizer = component("adam", learning_rate=grid(*(10 ** (-1 - k / 4) for k in range(10))))
    config.metrics = dict(accuracy=component("accuracy"))
    config.checkpointing = component("best", monitor="val/accuracy", mode="max")
    return config
"""
NUM_EPOCHS, NUM_EXPERIMENTS = 4, 60


@pytest.fixture(scope="module")
def sixty(tmp_path_factory):
    """60 experiments by the command line, as a process: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("sixty")
    write(folder, DIGITS)
    process = start("run", "--config=study.py", "--event_storage=storage", "--run_id=first", cwd=folder, fresh=True)
    status, out, err = finish(process)
    assert status == 0, err
    return folder / "storage/first", out, err


def test_the_files_of_a_run(sixty):
    run_dir, out, err = sixty
    assert "sixty DONE" in out and f"run: {run_dir}\n" in out and "20 of 60 experiments" in out
    assert "plan vmap+scanx4" in err and "Traceback" not in err
    ids = {str(number) for number in range(NUM_EXPERIMENTS)}
    files = {"event_storage.log", "config.py", "config.json", "run.json", "checkpoints"}
    assert {path.name for path in run_dir.iterdir()} == files | ids
    text = (run_dir.parent.parent / "study.py").read_text(encoding="utf-8")
    assert (run_dir / "config.py").read_text(encoding="utf-8") == text == DIGITS
    config = validated(mg.load_config(run_dir / "config.py"))
    resolved = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    assert canonical_json(resolved) == canonical_json(config)
    logged = {payload["experiment_id"]: payload for payload in events(run_dir, "experiment_config")}
    for number in range(NUM_EXPERIMENTS):
        [own] = (run_dir / str(number)).glob("experiment_config.json")
        fields = json.loads(own.read_text(encoding="utf-8"))
        assert fields == {key: logged[number][key] for key in fields}
        rate, seed = 10 ** (-1 - (number // 6) / 4), number % 6
        assert fields["hyperparameters"] == {"optimizer.learning_rate": rate, "seed": seed}
        assert (fields["config"]["optimizer"]["learning_rate"], fields["config"]["seed"]) == (rate, seed)


def test_run_json_says_how_to_repeat(sixty):
    run_dir = sixty[0]
    record = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    assert record["command"][1:] == [
        "-m",
        "mlgym_jax.run",
        "--config=study.py",
        "--event_storage=storage",
        "--run_id=first",
    ]
    assert record["working_directory"] == str(run_dir.parent.parent)
    assert record["config_file"] == str(run_dir.parent.parent / "study.py")
    assert record["versions"]["jax"] == jax.__version__ and record["versions"]["mlgym-jax"] == mg.__version__
    assert record["git"] is None  # the study lies in no repository
    assert len(record["data_fingerprint"]["group_0"]) == 64
    assert "xla_flags" in record
    [launch] = record["launches"]
    assert (launch["status"], launch["devices"]) == ("DONE", [f"cpu:{number}" for number in range(4)])
    assert launch["plan"][0].startswith("vmap+scanx4: ")


PINNED = {
    "job_scheduled": {"job_id", "config"},
    "job_status": {
        *("experiment_id", "job_id", "job_type", "status", "starting_time"),
        *("finishing_time", "error", "stacktrace", "device"),
    },
    "experiment_config": {"experiment_id", "job_id", "config", "hyperparameters"},
    "experiment_status": {
        *("experiment_id", "status", "num_epochs", "current_epoch"),
        *("splits", "current_split", "num_batches", "current_batch"),
    },
    "evaluation_result": {"experiment_id", "epoch", "metric_scores", "loss_scores"},
    "group_compiled": {"group", "experiments", "plan", "reason", "compile_seconds"},
}


def test_every_line_of_the_log_is_an_event_with_its_fields(sixty):
    data = (sixty[0] / "event_storage.log").read_bytes()
    assert data.endswith(b"\n")
    found = [json.loads(line) for line in data.splitlines()]
    assert {event["event_type"] for event in found} >= {*PINNED, "run_started", "checkpoint_saved", "run_finished"}
    times = [event["creation_ts"] for event in found]
    assert all(type(ms) is int for ms in times) and times == sorted(times)
    for event in found:
        assert set(event) == {"event_type", "creation_ts", "payload"}
        assert set(event["payload"]) >= {"grid_search_id", *PINNED.get(event["event_type"], ())}
        assert event["payload"]["grid_search_id"] == "first"


def test_the_log_tells_each_fact_once(sixty):
    run_dir = sixty[0]
    assert set(scores(run_dir)) == {(n, epoch) for n in range(NUM_EXPERIMENTS) for epoch in range(1, NUM_EPOCHS + 1)}
    for payload in events(run_dir, "evaluation_result"):
        assert {(entry["metric"], entry["split"]) for entry in payload["metric_scores"]} == {
            ("accuracy", "train"),
            ("accuracy", "val"),
        }
        assert {(entry["loss"], entry["split"]) for entry in payload["loss_scores"]} == {
            ("loss", "train"),
            ("loss", "val"),
        }
    for number in range(NUM_EXPERIMENTS):
        jobs = [payload for payload in events(run_dir, "job_status") if payload["experiment_id"] == number]
        assert [(job["job_type"], job["status"]) for job in jobs] == [
            ("CALC", "INIT"),
            ("CALC", "RUNNING"),
            ("CALC", "DONE"),
        ]
        assert jobs[1]["starting_time"] == jobs[2]["starting_time"] <= jobs[2]["finishing_time"]
        assert jobs[1]["device"] == "cpu:0-3" and jobs[2]["error"] is None
    progress = [payload for payload in events(run_dir, "experiment_status") if payload["experiment_id"] == 7]
    assert progress[-1]["current_epoch"] == progress[-1]["num_epochs"] == NUM_EPOCHS
    assert progress[-1]["status"] in ("TRAINING", "EVALUATING") and progress[-1]["splits"] == ["train", "val"]


def test_sixty_experiments_share_one_program(sixty):
    [compiled] = events(sixty[0], "group_compiled")
    assert (compiled["group"], compiled["experiments"]) == (0, list(range(NUM_EXPERIMENTS)))


def test_report(sixty):
    run_dir = sixty[0]
    status, out, err = finish(start("report", run_dir, fresh=True))
    assert (status, err) == (0, "")
    rows = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    best = [float(row[5].split("@")[0]) for row in rows]
    assert len(rows) == NUM_EXPERIMENTS and best == sorted(best, reverse=True)
    status, out, _ = here("report", run_dir, "--json", "--monitor=val/loss")
    found = json.loads(out)
    assert status == 0 and set(found) == {"run_id", "num_experiments", "experiments", "verdict"}
    assert (found["run_id"], found["num_experiments"]) == ("first", NUM_EXPERIMENTS)
    logged = {(payload["experiment_id"], payload["epoch"]): payload for payload in events(run_dir, "evaluation_result")}
    for number, experiment in enumerate(found["experiments"]):
        fields = {"experiment_id", "hyperparameters", "fold", "status", "epochs", "last", "best"}
        assert set(experiment) == fields
        assert (experiment["experiment_id"], experiment["status"]) == (number, "DONE")
        assert (experiment["epochs"], experiment["fold"]) == (NUM_EPOCHS, None)
        losses = [logged[number, epoch]["loss_scores"] for epoch in range(1, NUM_EPOCHS + 1)]
        by_epoch = [next(entry["score"] for entry in entries if entry["split"] == "val") for entries in losses]
        assert experiment["last"]["val/loss"] == by_epoch[-1]
        assert (experiment["best"]["score"], experiment["best"]["epoch"]) == (
            min(by_epoch),
            1 + by_epoch.index(min(by_epoch)),
        )


def test_reproduce(tmp_path):
    path = small(tmp_path, "config.seed = grid(0, 1); config.model = component('mlp', features=grid((4,), (6,)))")
    assert here("run", f"--config={path}", f"--event_storage={tmp_path}", "--run_id=honest")[0] == 0
    status, out, err = finish(start("reproduce", tmp_path / "honest", fresh=True))
    assert status == 0, err
    assert out.endswith("48 scores of 4 experiments repeated to the bit\n")
    shutil.copytree(tmp_path / "honest", tmp_path / "altered")

    def alter(_, line):
        event = json.loads(line)
        if event["event_type"] == "evaluation_result" and event["payload"]["experiment_id"] == 2:
            event["payload"]["loss_scores"][0]["score"] += 1e-9
        return json.dumps(event).encode() + b"\n"

    edit_log(tmp_path / "altered", alter)
    status, out, _ = here("reproduce", tmp_path / "altered", "--experiment=2")
    assert status == 1
    assert "experiment 2, epoch 1, train/loss" in out and "3 of 12 scores differ" in out
    status, out, err = here("reproduce", tmp_path / "altered", "--experiment=3")
    assert (status, out) == (0, "12 scores of 1 experiments repeated to the bit\n"), err


def test_the_python_api_on_a_run(sixty):
    run_dir = sixty[0]
    result = mg.load_run(run_dir)
    assert (result.run_id, pathlib.Path(result.run_dir)) == ("first", run_dir)
    assert len(result.experiments) == NUM_EXPERIMENTS
    best = result.best("val/accuracy", mode="max")
    top = max(max(experiment.history["val/accuracy"]) for experiment in result.experiments)
    assert max(best.history["val/accuracy"]) == top > 0.9
    assert best.hyperparameters == result.experiments[best.experiment_id].hyperparameters
    assert (best.status, len(best.history["train/loss"])) == ("DONE", NUM_EPOCHS)

    components = mg.build(mg.load_config(run_dir / "config.py"))
    dataset = components["dataset"]
    [fold] = components["validation"](dataset, 0)
    train = dataset.splits["train"]
    inputs, targets = np.asarray(train["inputs"])[fold["val"]], np.asarray(train["targets"])[fold["val"]]
    assert set(best.checkpoints) >= {best.best_epoch, NUM_EPOCHS}
    for epoch in (None, *best.checkpoints):
        logged = best.history["val/accuracy"][(epoch or best.best_epoch) - 1]
        outputs = best.predict(inputs, epoch=epoch)
        assert outputs.shape == (len(inputs), 10)
        assert accuracy_score(targets, outputs.argmax(axis=1)) == pytest.approx(logged, abs=1e-7)
    assert int(best.restore(NUM_EPOCHS).step) == NUM_EPOCHS * math.ceil(len(fold["train"]) / 100)
    assert_same_bits(best.restore(), best.restore(best.best_epoch))
    with pytest.raises(mg.MlgymError, match="no checkpoint of epoch 99"):
        best.restore(99)

    frame = result.to_dataframe()
    assert len(frame) == NUM_EXPERIMENTS * NUM_EPOCHS
    mine = frame[frame.experiment_id == best.experiment_id]
    assert list(mine["val/accuracy"]) == best.history["val/accuracy"]
    assert list(mine.epoch) == list(range(1, NUM_EPOCHS + 1))
    assert set(mine["optimizer.learning_rate"]) == {best.hyperparameters["optimizer.learning_rate"]}

    program = mg.make_program(components)
    batch = {"inputs": inputs[:4], "targets": targets[:4], "mask": np.ones(4, bool)}
    state = program.init(jax.random.key(0), batch, components.hyperparams)
    assert program.predict(state, batch).shape == (4, 10)
    assert int(program.train_step(state, batch)[0].step) == 1


def test_every_pinned_name_and_a_module_that_can_be_called(tmp_path):
    importlib.import_module("mlgym_jax.run")
    for name in (
        *("component", "grid", "uniform", "log_uniform", "int_uniform", "register", "load_config"),
        *("run", "resume", "load_run", "build", "make_program", "Metric", "Dataset"),
    ):
        assert callable(getattr(mg, name)), name
    config = mg.load_config(small(tmp_path), overrides={"num_epochs": 2, "optimizer.learning_rate": 0.5})
    result = mg.run(config, event_storage=tmp_path / "storage", board=None)
    assert result.experiments[0].num_epochs == 2
    again = mg.resume(result.run_dir, num_epochs=3)
    assert again.experiments[0].num_epochs == 3 and again.run_id == result.run_id


def test_quiet_and_ids_that_are_taken(tmp_path):
    words = f"--config={small(tmp_path)}", f"--event_storage={tmp_path}", "--run_id=one", "--config.num_epochs=1"
    assert here("run", *words, "--quiet") == (0, f"{tmp_path / 'one'}\n", "")
    before = (tmp_path / "one/event_storage.log").read_bytes()
    status, out, err = here("run", *words)
    assert (status, out) == (2, "") and "--resume=one" in err
    assert (tmp_path / "one/event_storage.log").read_bytes() == before
    now = datetime.datetime(2026, 11, 23, 17, 59, 10, tzinfo=datetime.UTC)
    names = [pathlib.Path(run_folder.create(str(tmp_path), None, now)).name for _ in range(3)]
    assert names == ["2026-11-23--17-59-10", "2026-11-23--17-59-10-2", "2026-11-23--17-59-10-3"]

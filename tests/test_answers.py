"""With --json every command answers as docs/answers.schema.json says, and whatever else is printed goes to stderr."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import jsonschema_rs
import pytest
from boards import board
from conftest import ROOT
from forks import popen
from forks import run as command
from study_files import STUDY, edit_log, finish, here, small, start, wait_until, write

from mlgym_jax.errors import ConfigError, MlgymError, as_data

SCHEMA = json.loads((ROOT / "docs/answers.schema.json").read_text(encoding="utf-8"))


def valid(name, document):
    """Check a document against the definition of a name, and return it."""
    whole = {**SCHEMA, "$ref": f"#/$defs/{name}"}
    jsonschema_rs.Draft202012Validator(whole).validate(document)
    return document


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run `r` of two experiments, one of which diverges, and what the command printed."""
    folder = tmp_path_factory.mktemp("answers")
    edit = """config.model = component("mlp", features=(8,))
    config.optimizer = component("sgd", learning_rate=grid(0.1, 1e38))
    config.checkpointing = component("best", monitor="val/loss", mode="min")
    print("a config may print")"""
    path = small(folder, edit)
    words = [f"--config={path}", f"--event_storage={folder / 'event_storage'}", "--run_id=r", "--json"]
    return folder, path, here("run", *words)


@pytest.fixture
def inside(runs, monkeypatch):
    monkeypatch.chdir(runs[0])
    return runs[0]


def test_a_run_tells_a_line_for_each_thing_and_its_result_last(runs):
    _, _, (status, out, err) = runs
    lines = [valid("run_line", json.loads(line)) for line in out.splitlines()]
    kinds = [line["type"] for line in lines]
    assert status == 1 and kinds[0] == "started" and kinds[-1] == "result" and {"compiled", "failed"} <= {*kinds}
    assert "a config may print" in err and "a config may print" not in out
    result = lines[-1]
    assert result["run_id"] == "r" and result["status"] == "FAILED" and result["best"]["experiment_id"] == 0
    scores = [one["last"]["val/loss"] for one in result["experiments"]]
    assert result["best"]["score"] <= scores[0]


def test_a_report_is_the_result_of_the_run(runs, inside):
    status, out, _ = here("report", "r", "--json")
    found = valid("report", json.loads(out))
    found.pop("verdict")  # its commands name the run as it is found from here
    result = json.loads(runs[2][1].splitlines()[-1])
    assert status == 0 and {name: result[name] for name in found} == found


@pytest.mark.parametrize("word, seconds", [("--dry_run", False), ("--dry_run=measure", True)])
def test_a_dry_run(runs, inside, word, seconds):
    status, out, err = here("run", f"--config={runs[1]}", word, "--json")
    found = valid("dry_run", json.loads(out))
    assert status == 0 and found["num_experiments"] == 2 and found["num_epochs"] == 6
    assert [group["experiments"] for group in found["groups"]] == [[0, 1]]
    assert (found["seconds"] is not None) == seconds == (found["groups"][0]["measured"] is not None)
    assert "2 experiments" in err  # in words


def test_reproduce_names_each_score_that_differs(inside, tmp_path):
    status, out, err = here("reproduce", "r", "--json")
    assert status == 0 and valid("reproduce", json.loads(out))["differences"] == [] and "to the bit" in err
    other = shutil.copytree("event_storage/r", tmp_path / "other")

    def changed(_number, line):
        event = json.loads(line)
        told = event["payload"]
        if event["event_type"] == "evaluation_result" and (told["experiment_id"], told["epoch"]) == (0, 2):
            told["loss_scores"][0]["score"] = 0.125
        return json.dumps(event).encode() + b"\n"

    edit_log(other, changed)
    status, out, _ = here("reproduce", other, "--trust", "--json")
    [difference] = valid("reproduce", json.loads(out))["differences"]
    assert status == 1 and (difference["experiment_id"], difference["epoch"]) == (0, 2)
    assert difference["recorded"] == 0.125 != difference["repeated"]


def test_evaluate_export_and_find_learning_rate(runs, inside, tmp_path):
    status, out, err = here("evaluate", "r", "--experiment=0", "--split=val", "--json")
    assert status == 0, err
    found = valid("evaluate", json.loads(out))
    assert found["scores"] == found["recorded"]
    status, out, _ = here("export", "r", "--best", f"--output={tmp_path / 'm.safetensors'}", "--json")
    assert status == 0 and valid("export", json.loads(out))["experiments"] == [0]
    assert pathlib.Path(json.loads(out)["output"]).is_file()
    status, out, _ = here("export", "r", "--list", "--json")
    assert {one["experiment_id"] for one in valid("export_list", json.loads(out))} >= {0}
    words = ["--num=3", "--num_steps=4", "--config.optimizer.learning_rate=0.1", "--json"]
    status, out, err = here("find_learning_rate", f"--config={runs[1]}", *words)
    assert status == 0 and len(valid("find_learning_rate", json.loads(out))["rates"]) == 3


def test_publish_and_the_board(inside, tmp_path):
    with board(tmp_path / "shown") as server:
        status, out, err = here("publish", "r", f"--board={server.url}", "--json")
        assert status == 0, err
        [told] = valid("publish", json.loads(out))["boards"]
        assert told["complete"] and told["unsent"] == [] and told["events"] > 5
    status, out, err = here("publish", "r", f"--board={server.url}", "--wait=0.1", "--json")
    [told] = valid("publish", json.loads(out))["boards"]
    assert status == 1 and not told["complete"] and told["unsent"] and told["problem"]


def test_to_and_from_other_trackers(inside, tmp_path):
    status, out, err = here("export_logs", "r", "--to=tensorboard", f"--out={tmp_path / 'logs'}", "--json")
    assert status == 0, err
    [told] = valid("export_logs", json.loads(out))["exports"]
    assert told["to"] == "tensorboard" and told["new_epochs"] >= 3
    (tmp_path / "metrics.csv").write_text("epoch,val/loss\n1,0.5\n2,0.25\n")
    words = [tmp_path / "metrics.csv", f"--event_storage={tmp_path / 'runs'}", "--json"]
    found = [valid("import_logs", json.loads(here("import_logs", *words)[1]))["imports"][0] for _ in range(2)]
    assert [one["is_new"] for one in found] == [True, False] and found[0]["run_dir"] == found[1]["run_dir"]


def test_the_board_says_where_it_is(tmp_path):
    words = [f"--event_storage={tmp_path}", "--port=0", "--json"]
    ends = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = popen("board", *words, module="board_server", **ends)
    found = valid("board_server_line", json.loads(process.stdout.readline()))
    assert (
        found["url"].startswith("http://127.0.0.1:") and found["is_there"] and found["event_storage"] == str(tmp_path)
    )
    process.terminate()
    assert finish(process)[0] == 0
    status, out, err = finish(popen("board", "--port=-1", "--json", module="board_server", **ends))
    error = valid("error", json.loads(out))["error"]
    assert status == 2 and error["path"] == "--port" and error["message"] in err


def test_watch_schema_and_the_commands(inside, tmp_path):
    status, out, _ = here("watch", "r", "--json")
    assert status == 0 and valid("watch", json.loads(out))["status"] == "FAILED"
    status, out, _ = here("schema", f"--out={tmp_path / 's.json'}", "--json")
    assert status == 0 and valid("schema_out", json.loads(out))["num_components"] > 300
    done = command("events", "--json", module="mlgym_jax")
    named = {one["command"].rpartition(".")[2] for one in valid("commands", json.loads(done.stdout))["commands"]}
    there = {path.stem for path in (ROOT / "mlgym_jax").glob("*.py") if "Parser(" in path.read_text(encoding="utf-8")}
    assert done.returncode == 0 and there - {"command_line"} <= named
    done = command("events", "raport", "--json", module="mlgym_jax")
    assert done.returncode == 2 and "'report'" in valid("error", json.loads(done.stdout))["error"]["message"]


COMMANDS = ["run", "report", "reproduce", "evaluate", "export", "publish", "find_learning_rate", "watch", "schema"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_a_document_and_a_wrong_option_an_error(name, inside):
    status, out, _ = here(name, "--help", "--json")
    found = valid("help", json.loads(out))
    assert (
        status == 0 and found["command"].endswith(f".{name}") and "--json" in {one["name"] for one in found["options"]}
    )
    status, out, err = here(
        name, "--jsn", "--json", *([] if name in ("run", "find_learning_rate", "schema") else ["r"])
    )
    error = valid("error", json.loads(out))["error"]
    assert status == 2 and error["found"] == "--jsn" and error["nearest"] == "--json" and error["message"] in err


@pytest.mark.parametrize(
    "name, words, parts",
    [
        ("run", ["--config.optimizer.component=sgdd"], {"path": "config.optimizer", "found": "sgdd", "nearest": "sgd"}),
        ("run", ["--config.optimizer.learning_rat=1"], {"path": "config.optimizer.learning_rat", "nearest": "learning_rate"}),  # noqa: E501
        ("run", ["--config.num_epochs=0"], {"path": "config.num_epochs", "found": "0"}),
        ("find_learning_rate", ["--field=optimizer.learning_rat"], {}),
        ("report", ["r", "--monitor=val/los"], {"path": "--monitor", "found": "val/los", "nearest": "val/loss"}),
        ("report", ["q"], {"found": "q", "allowed": ["r"]}),
        ("export", ["r", "--output=m"], {}),
        ("evaluate", ["r", "--experiment=9"], {}),
        ("publish", ["r"], {}),
        ("reproduce", ["r", "--experiment=9"], {}),
    ],
)  # fmt: skip
def test_errors_come_in_parts(runs, inside, name, words, parts):
    words = [f"--config={runs[1]}", *words] if name in ("run", "find_learning_rate") else words
    status, out, err = here(name, *words, "--json")
    error = valid("error", json.loads(out.splitlines()[-1]))["error"]
    assert status == 2 and {key: error.get(key) for key in parts} == parts and error["message"] in err


def test_an_interrupted_run_says_how_to_go_on(tmp_path):
    path, held = write(tmp_path, STUDY), tmp_path / "held"
    env = {"HOLD_AFTER_EPOCH": "2", "HELD": str(held), "RELEASE": str(tmp_path / "release")}
    process = start("run", f"--config={path}", "--run_id=r", "--json", cwd=tmp_path, env=env)
    wait_until(held.exists, process, "it held")
    process.send_signal(signal.SIGINT)
    (tmp_path / "release").touch()
    status, out, _ = finish(process)
    *lines, last = [json.loads(line) for line in out.splitlines()]
    assert status == 130 and all(valid("run_line", line) for line in lines)
    assert valid("error", last)["error"]["resume"].startswith("python -m mlgym_jax.run --resume=r")


@pytest.mark.parametrize(
    "error, parts",
    [
        (MlgymError("nothing to take apart"), {}),
        (MlgymError("--mesh=experiment:2: too many"), {"path": "--mesh", "found": "experiment:2"}),
        (MlgymError("--x: found 'a b'; did you mean 'ab'? Allowed: ab, or c"), {"path": "--x", "found": "a b", "nearest": "ab", "allowed": ["ab", "c"]}),  # noqa: E501
        (ConfigError("seed", "found -1, allowed are 0 to 9 (the seed)"), {"path": "config.seed", "found": "-1", "allowed": ["0 to 9"]}),  # noqa: E501
        (ConfigError("los", "unknown field; did you mean 'loss'? Fields: name, seed, … (9 in all)"), {"path": "config.los", "found": "los", "nearest": "loss", "allowed": ["name", "seed"]}),  # noqa: E501
    ],
)  # fmt: skip
def test_an_error_is_taken_apart(error, parts):
    assert as_data(error) == {"message": str(error), **parts}


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_list_of_commands_that_nobody_reads_ends_quietly(words):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "mlgym_jax", *words]
        ended = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")

"""The MCP server, asked by the SDK's own client over stdio: every tool, on a run with failures, and wrong requests."""

import asyncio
import json
import math
import os
import sys

import pytest
from boards import board
from conftest import ROOT
from mcp import Client, StdioServerParameters
from study_files import here

from mlgym_jax import events as ev
from mlgym_jax.events import EventLog, layout

RUN, OTHER = "2026-11-23--17-59-10", "2026-11-24--08-00-00"
CONFIG = {"name": "study", "num_epochs": 2, "optimizer": {"component": "adam", "learning_rate": 0.1}}


def recorded(folder, run_id, config, scores, failed=()):
    """Write the log of a run whose experiment n had these values of val/accuracy."""
    (folder / run_id).mkdir(parents=True)
    with EventLog.open(folder / run_id / layout.LOG) as log:
        facts = {"num_experiments": len(scores), "num_groups": 1, "resumed": False, "config_hash": "0" * 64}
        log.append([ev.run_started(run_id, name=config["name"], **facts, now_ms=1_000)])
        log.append([ev.job_scheduled(run_id, job_id="g", config=config, now_ms=1_000)])
        for number, values in enumerate(scores):
            own = {"job_id": str(number), "config": config, "hyperparameters": {"seed": number}, "fold": None}
            log.append([ev.experiment_config(run_id, experiment_id=number, **own, now_ms=1_000)])
            for at, value in enumerate(values, 1):
                told = {"val/accuracy": value, "val/loss": 1 - value}
                log.append(
                    [ev.evaluation_result(run_id, experiment_id=number, epoch=at, scores=told, seconds=0.1, now_ms=2)]
                )
            if number in failed:
                said = {"error": "diverged: loss nan", "stacktrace": "Traceback\n  net.py, line 3"}
                log.append([ev.experiment_failed(run_id, experiment_id=number, epoch=2, **said, now_ms=3_000)])


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mcp") / layout.STORAGE
    recorded(folder, RUN, CONFIG, [[0.5, 0.7], [0.9, 0.8], [0.6, math.nan]], failed=[2])
    recorded(folder, OTHER, {**CONFIG, "num_epochs": 9}, [[0.95]])
    return folder


def ask(words, *questions):
    """Start the server with these words; return the tools, and the answer to each (tool, arguments)."""

    async def talk():
        env = {name: os.environ[name] for name in ("PATH", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
        env |= {"PYTHONPATH": str(ROOT)}
        server = StdioServerParameters(command=sys.executable, args=["-m", "mlgym_jax.mcp", *words], env=env)
        async with Client(server) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, given) for name, given in questions]

    return asyncio.run(asyncio.wait_for(talk(), 100))


def told(answer):
    assert not answer.is_error, answer
    return answer.structured_content


@pytest.fixture(scope="module")
def asked(storage):
    questions = {
        "runs": ("list_runs", {}),
        "searched": ("list_runs", {"search": OTHER}),
        "verdict": ("verdict", {"run": RUN}),
        "experiments": ("experiments", {"run": RUN}),
        "by_loss": ("experiments", {"run": RUN, "monitor": "val/loss", "limit": 1}),
        "scores": ("scores", {"run": RUN, "names": ["val/accuracy"], "experiments": "1"}),
        "compare": ("compare", {"runs": [RUN, OTHER]}),
        "failures": ("failures", {"run": RUN}),
        "config": ("config", {"run": RUN}),
        "own_config": ("config", {"run": RUN, "experiment_id": 1}),
        "resume": ("resume_command", {"run": RUN}),
        "checkpoints": ("checkpoints", {"run": RUN}),
        "no_run": ("verdict", {"run": "nothing"}),
        "no_score": ("experiments", {"run": RUN, "monitor": "val/acc"}),
        "one_run": ("compare", {"runs": [RUN]}),
        "no_experiment": ("config", {"run": RUN, "experiment_id": 7}),
        "too_many": ("list_runs", {"limit": 10**6}),
        "outside": ("verdict", {"run": "../../etc/passwd"}),
    }
    tools, answers = ask([f"--event_storage={storage}"], *questions.values())
    return tools, dict(zip(questions, answers, strict=True))


def test_every_tool_says_what_it_does_and_only_reads(asked):
    tools, _ = asked
    assert len(tools) == 9
    for tool in tools:
        assert tool.description and tool.annotations.read_only_hint is True


def test_runs_are_listed_newest_first_and_searched(asked):
    found = told(asked[1]["runs"])
    assert found["num_runs"] == 2 and {run["grid_search_id"] for run in found["runs"]} == {RUN, OTHER}
    assert [run["grid_search_id"] for run in told(asked[1]["searched"])["runs"]] == [OTHER]


def test_the_verdict_names_the_best(asked):
    found = told(asked[1]["verdict"])
    assert found["best"]["experiment_id"] == 1 and found["monitor"] == "val/accuracy"


def test_experiments_come_best_first(asked):
    found = told(asked[1]["experiments"])
    assert [one["experiment_id"] for one in found["experiments"]] == [1, 0, 2]
    assert found["experiments"][0]["best"] == {"epoch": 1, "score": 0.9}
    assert found["experiments"][2]["error"] == "diverged: loss nan"
    by_loss = told(asked[1]["by_loss"])
    assert by_loss["mode"] == "min" and [one["experiment_id"] for one in by_loss["experiments"]] == [1]


def test_scores_failures_and_configs(asked):
    answers = asked[1]
    assert "0.9" in json.dumps(told(answers["scores"])) and "0.5" not in json.dumps(told(answers["scores"])["series"])
    failures = told(answers["failures"])
    assert failures["num_failed"] == 1 and "net.py, line 3" in failures["failures"][0]["stacktrace"]
    assert told(answers["config"])["optimizer"] == CONFIG["optimizer"] == told(answers["own_config"])["optimizer"]


def test_runs_are_compared_by_what_differs(asked):
    found = told(asked[1]["compare"])
    assert found["configs_differ_in"] == {"num_epochs": {RUN: 2, OTHER: 9}}
    assert found["runs"][OTHER]["best"]["best"]["score"] == 0.95


def test_commands_name_the_folder(asked, storage):
    assert f"--resume={RUN} --event_storage={storage}" in told(asked[1]["resume"])["command"]
    assert told(asked[1]["checkpoints"])["num_checkpoints"] == 0


@pytest.mark.parametrize(
    "name, said",
    [
        ("no_run", "nothing"),
        ("no_score", "Scores: val/accuracy, val/loss"),
        ("one_run", "2 to 20 ids are expected, found 1"),
        ("no_experiment", "no experiment 7"),
        ("too_many", "from 1 to 200"),
        ("outside", "404"),
    ],
)
def test_a_wrong_question_is_answered_in_words(asked, name, said):
    answer = asked[1][name]
    assert answer.is_error and said in answer.content[0].text and "Traceback" not in answer.content[0].text


def test_a_board_elsewhere_is_asked_with_its_token(storage, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("a-token-of-mine")
    with board(storage, "--token=a-token-of-mine") as server:
        words = [f"--board={server.url}", f"--board_token_file={tmp_path / 'token'}"]
        _, [answer] = ask(words, ("resume_command", {"run": RUN}))
        assert told(answer)["command"] == f"python -m mlgym_jax.run --resume={RUN}"
        status, _, err = here("mcp", f"--board={server.url}")
        assert status == 2 and "401" in err and "MLGYM_JAX_BOARD_TOKEN" in err


@pytest.mark.parametrize(
    "words, said",
    [
        (["--event_storage=/not/there"], "no such folder"),
        (["--board=http://127.0.0.1:1"], "cannot be reached"),
        (["--board=http://127.0.0.1:1", "--event_storage=x"], "give one of them"),
        (["--json"], "leave it out"),
    ],
)
def test_wrong_requests(words, said):
    status, out, err = here("mcp", *words)
    assert status == 2 and said in err and "Traceback" not in err
    assert out == "" or json.loads(out)["error"]["message"] in err


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    status, _, err = here("mcp")
    assert status == 2 and 'pip install "mlgym-jax[mcp]"' in err

"""Bad requests: exit status 2, one message that says where, what was found and what to write, and nothing left."""

import importlib
import json
import re
import shutil
import signal

import forks
import pytest
from bad_configs import COMPONENTS, CONFIGS
from bad_requests import COMMAND_LINES, CONFIG, FILES
from conftest import ROOT

from mlgym_jax.command_line import WRONG_REQUEST, guarded

pytestmark = pytest.mark.usefixtures("own_registry")


@pytest.fixture(autouse=True)
def _signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def refused(command, arguments, capsys):
    """Run a command in this process and return the one message of its refusal."""
    status = guarded(importlib.import_module(f"mlgym_jax.{command}")._main, arguments)
    out, err = capsys.readouterr()
    assert (status, out) == (WRONG_REQUEST, ""), err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert "Traceback" not in err and " at 0x" not in err
    return err


@pytest.mark.parametrize("message, arguments, text", [*FILES, *COMMAND_LINES, *CONFIGS, *COMPONENTS])
def test_a_bad_request_is_refused_and_leaves_nothing(message, arguments, text, tmp_path, monkeypatch, capsys):
    (tmp_path / "config.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = [word.replace("{}", str(tmp_path)) for word in arguments if word != "-"]
    if "-" not in arguments and not any(word.startswith("--config=") for word in words):
        words.append(f"--config={tmp_path}/config.py")
    if not any(word.startswith("--event_storage") for word in words):
        words.append(f"--event_storage={tmp_path}/storage")
    assert re.search(message, refused("run", words, capsys))
    assert {path.name for path in tmp_path.iterdir()} <= {"config.py", "storage"}
    assert not (tmp_path / "storage").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A storage with one finished run, `first`."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "config.py").write_text(CONFIG.replace("{edit}", "").replace("{top}", ""), encoding="utf-8")
    words = [f"--config={folder}/config.py", f"--event_storage={folder}/storage", "--run_id=first", "--quiet"]
    assert guarded(importlib.import_module("mlgym_jax.run")._main, words) == 0
    return folder


@pytest.mark.parametrize(
    "command, words, message",
    [
        (
            "run",
            ["--config={}/config.py", "--run_id=first"],
            r"--run_id=first: \S+ is there already; .* --resume=first",
        ),
        ("run", ["--resume=frist"], r"no run 'frist' in '\S+'; did you mean 'first'\? Runs there: first"),
        ("run", ["--resume=first", "--config.seed=3"], r"config\.seed is 3, but the run was started with 0"),
        ("run", ["--resume=first", "--config.num_epochs=0"], r"config\.num_epochs: at least 1 is expected, found 0"),
        ("run", ["--resume=first", "--config=none.py"], r"--config=none\.py: no such file"),
        ("run", ["--resume=first", "--plan=x"], r"--plan=x: 'x' is no plan"),
        ("report", ["{}/storage/second"], r"no run 'second' in '\S+'\. Runs there: first"),
        ("report", ["{}/storage"], r"\S+/storage is no run's folder, but holds runs: first; name one of them"),
        ("report", ["{}"], r"no run '\S+' in "),
        ("report", ["{}/config.py"], r"no run 'config\.py' in '\S+'\. Runs there: none"),
        ("report", [], r"required: run_dir, the run's folder, its id .*; see python -m mlgym_jax\.report --help"),
        ("report", ["{}/storage/first", "--jsn"], r"unknown option --jsn; did you mean '--json'\?"),
        ("report", ["{}/storage/first", "--monitor=val/acc"], r"no such score; did you mean 'val/accuracy'\? Scores: "),
        ("schema", ["--component=csv"], "write it as --component=KIND/NAME, such as dataset/csv"),
        ("export", ["{}/storage/first", "--format=stable"], "choose from .*; did you mean 'stablehlo'"),
        ("report", ["{}/storage/first", "--mode=best"], r"--mode: invalid choice: 'best' \(choose from .*min.*max"),
        ("reproduce", ["{}/storage/first", "--experiment=9"], r"--experiment=9: the run has the experiments 0 to 0"),
        ("reproduce", ["{}/storage/none"], r"no run 'none' in "),
    ],
)
def test_a_bad_request_about_a_run_leaves_it_as_it_is(finished, command, words, message, capsys):
    before = sorted(path.relative_to(finished) for path in finished.rglob("*"))
    words = [word.replace("{}", str(finished)) for word in words]
    if command == "run":
        words.append(f"--event_storage={finished}/storage")
    assert re.search(message, refused(command, words, capsys))
    assert sorted(path.relative_to(finished) for path in finished.rglob("*")) == before


@pytest.mark.parametrize(
    "words, message",
    [
        (["mlgym_jax.run", "--config=configs/gss.py"], r"configs/gss\.py: no such file; did you mean 'gs\.py'\?"),
        (
            ["mlgym_jax.run", "--config=configs/gs.py", "--config.model=mpl"],
            r"config\.model: unknown model 'mpl'; did you",
        ),
        (["mlgym_jax.report", "{}"], r"no run '\S+' in "),
        (
            ["mlgym_jax.run", "--config=configs/gs.py", "--confg.seed=1"],
            r"--confg\.seed; did you mean '--config\.seed'",
        ),
        (["mlgym_jax.run", "--config=configs/gs.py", "--pln=auto"], r"unknown option --pln; did you mean '--plan'\?"),
    ],
)
def test_the_commands_themselves_answer_so(words, message, tmp_path):
    words = [word.replace("{}", str(tmp_path)) for word in words]
    if words[0] == "mlgym_jax.run":
        words.append(f"--event_storage={tmp_path}/storage")
    done = forks.run("engine", *words[1:], module=words[0], cwd=ROOT, timeout=120)
    assert (done.returncode, done.stdout) == (WRONG_REQUEST, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert re.search(message, done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "platform, message",
    [
        ("cuda", r"^error: JAX_PLATFORMS=cuda: no CUDA device; devices here: cpu\."),
        ("tpu", r"^error: JAX_PLATFORMS=tpu: no TPU device \(.*\); devices here: cpu\."),
        ("gpuu", r"^error: JAX_PLATFORMS=gpuu: no gpuu device \(.* not in the list of known backends.*\)"),
    ],
)
def test_a_platform_that_is_not_here(platform, message, tmp_path):
    words, env = ("--config=configs/gs.py", f"--event_storage={tmp_path}/storage"), {"JAX_PLATFORMS": platform}
    done = forks.run("engine", *words, module="mlgym_jax.run", cwd=ROOT, env=env, timeout=120)
    assert done.returncode == 2 and re.search(message, done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "storage").exists()


def test_a_log_whose_values_are_of_other_types_is_reported(finished, tmp_path, capsys):
    run_dir = shutil.copytree(finished / "storage/first", tmp_path / "first")
    with open(run_dir / "event_storage.log", "a", encoding="utf-8") as log:
        for told in ({"status": 7}, {"status": "DONE", "error": 3}):
            payload = {"experiment_id": 0, "job_type": "CALC", **told}
            log.write(json.dumps({"event_type": "job_status", "creation_ts": 1, "payload": payload}) + "\n")
    assert guarded(importlib.import_module("mlgym_jax.report")._main, [str(run_dir)]) == 0
    assert "experiment 0 failed: 3" in capsys.readouterr().out

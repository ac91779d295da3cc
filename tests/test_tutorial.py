"""docs/tutorial.md: its commands, as they stand, with the package from a wheel in an environment of its own."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request

import pytest
from conftest import ROOT

TEXT = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)```", TEXT, re.S)
# The package itself is left out of what the environment shares with this one: it comes from the wheel.
OWN = re.compile(r"(_*editable_*.*)?mlgym[_-]jax", re.I)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder, an environment in which pip finds the wheel and nothing else, and what both are called."""
    home = tmp_path_factory.mktemp("tutorial")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        home / "wheels",
    ]
    subprocess.run([*build, _sources(home / "sources")], check=True, timeout=300)
    subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True, timeout=300)
    shared = home / "shared"
    shared.mkdir()
    for place in dict.fromkeys(
        path for path in sys.path if pathlib.Path(path).name in ("site-packages", "dist-packages")
    ):
        for entry in pathlib.Path(place).iterdir():
            if not OWN.match(entry.name) and entry.suffix != ".pth" and not (shared / entry.name).exists():
                (shared / entry.name).symlink_to(entry)
    purelib = pathlib.Path(sysconfig.get_path("purelib", vars={"base": str(home / "venv")}))
    (purelib / "shared.pth").write_text(f"{shared}\n")
    (home / "work").mkdir()
    return home


def _sources(target):
    """Copy what a wheel is built of, with the page as it is built here; nothing is written among the sources."""
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", ".venv*", ".git", "event_storage", "build")
    shutil.copytree(ROOT, target, ignore=ignored)
    return target


def run(folder, command, **settings):
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("JAX_NUMPY", "PYTHON", "COLUMNS"))
    }
    env = {**kept, "PATH": f"{folder / 'venv/bin'}{os.pathsep}{kept['PATH']}", "PIP_NO_INDEX": "1"}
    env |= {"PIP_FIND_LINKS": str(folder / "wheels"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.Popen(
        ["bash", "-euc", command],
        cwd=folder / "work",
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **settings,
    )


def output(folder, command):
    process = run(folder, command)
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, f"{command}\n{said}"
    return said


def answers_and_ends(folder, board):
    """Start a board as the page says, on a port of its own, see its page, and end it by Ctrl-C."""
    process = run(folder, f"exec {board.strip()} --port=0")
    with process, contextlib.ExitStack() as ending:
        ending.callback(os.killpg, process.pid, signal.SIGINT)
        address = next(found.group() for line in process.stdout if (found := re.search(r"http://127.0.0.1:\d+", line)))
        with urllib.request.urlopen(f"{address}/grid_searches", timeout=60) as answer:
            assert b'"wines"' in answer.read()
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert b"<title>" in answer.read()
    assert process.returncode == 0


def test_ten_commands_lead_to_a_model_that_is_chosen_tested_and_exported(folder):
    assert len(COMMANDS) == 10
    install, table, dry_run, train, report, board, evaluate, estimate, predict, export = COMMANDS
    study, use = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    output(folder, install)
    assert str(folder / "venv") in output(folder, "python -c 'import mlgym_jax; print(mlgym_jax.__file__)'")
    output(folder, table)
    (folder / "work/study.py").write_text(study)
    assert "9 experiments" in output(folder, dry_run)
    output(folder, train)
    rows = [line.strip("| ").split(" | ") for line in output(folder, report).splitlines()[2:]]
    assert [row[1] for row in rows] == ["0.01"] * 3 + ["0.001"]
    answers_and_ends(folder, board)
    assert output(folder, evaluate).count("as recorded") == 3
    found = re.search(r"test/accuracy (\S+) ± \S+ over 5 folds", output(folder, estimate))
    assert found and float(found.group(1)) > 0.9
    assert len(re.findall(r"^\d+ +(?:Rossi|Bianchi|Verdi) ", output(folder, predict), re.M)) == 3
    output(folder, export)
    (folder / "work/model/use.py").write_text(use)
    shutil.rmtree(folder / "work/event_storage")  # what was exported needs nothing of the run
    assert (
        output(folder, "cd model && python -c 'import sys; sys.modules[\"mlgym_jax\"] = None; import use'") == "Rossi\n"
    )

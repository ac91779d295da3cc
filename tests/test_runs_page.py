"""docs/runs.md: its snippets run, on a folder of runs; its limits are those of the code."""

import re
import shlex

import pytest
from boards import study_events, write_run
from conftest import ROOT
from study_files import small

import mlgym_jax as mg
from mlgym_jax.command_line import guarded
from mlgym_jax.events import annotations, run_summary
from mlgym_jax.runs import _main

PAGE = (ROOT / "docs/runs.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mg.run(mg.load_config(str(small(tmp_path))), run_id="digits")
    later = [{**event, "creation_ts": event["creation_ts"] + 4_000_000_000_000} for event in study_events("other")]
    write_run(tmp_path / "event_storage", later, "other")  # the latest
    return tmp_path


def test_the_snippets_run(folder, capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(block, "docs/runs.md", "exec"), names)
    assert names["best"].note() == "the one for the paper" and names["best"].tags == ["paper", "baseline"]
    assert capsys.readouterr().out.splitlines()[-1].endswith("True")
    commands = re.findall(r"^python -m mlgym_jax\.runs ?(.*?)(?: *#.*)?$", PAGE, re.M)
    assert len(commands) > 15
    for command in commands:
        assert guarded(_main, shlex.split(command)) == 0, capsys.readouterr().err
    assert {run.run_id for run in mg.load_runs()} == {"digits", "other"}


def test_the_fields_and_events_of_the_page_are_those_that_there_are():
    for name in (*run_summary.EMPTY, *annotations.CHANGES):
        assert f"`{name}`" in PAGE, name
    assert f"{annotations.MAX_NOTE_BYTES // 1024} KiB" in PAGE and f"at most {annotations.MAX_TAGS}" in PAGE

"""docs/sinks.md: its commands run, in their order, as far as TensorBoard is concerned."""

import importlib
import re
import shlex

import pytest
from conftest import ROOT
from study_files import small

from mlgym_jax.command_line import guarded
from mlgym_jax.sinks.sink import TARGETS

PAGE = (ROOT / "docs/sinks.md").read_text(encoding="utf-8")
COMMANDS = [
    (module, shlex.split(words, comments=True))
    for module, words in re.findall(r"^python -m mlgym_jax\.(\w+) (.*)$", PAGE, re.M)
]


@pytest.fixture
def somewhere(tmp_path, monkeypatch):
    """A folder with what the page's commands name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    small(tmp_path / "configs").rename(tmp_path / "configs" / "gs.py")
    (tmp_path / "lightning_logs" / "version_0").mkdir(parents=True)
    (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").write_text("epoch,step,val_loss\n0,9,0.5\n")
    return tmp_path


def test_the_commands_run(somewhere, capsys):
    assert len(COMMANDS) == 6
    for module, words in COMMANDS:
        run = next((somewhere / "event_storage").glob("*"), None)
        words = [str(run) if word == "RUN_ID" else word.replace(",mlflow", "") for word in words]
        if "old_runs/" in words:
            (somewhere / "logs" / "tensorboard" / run.name).rename(somewhere / "old_runs")
        command = importlib.import_module(f"mlgym_jax.{module}")
        assert guarded(command._main, [*words, "--quiet"] if module == "run" else words) == 0, capsys.readouterr().err
    assert "val/loss" in capsys.readouterr().out


def test_every_sink_is_on_the_page():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.M) == [*TARGETS]

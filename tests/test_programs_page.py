"""docs/programs.md and AGENTS.md say what is there: snippets run, commands have their options, paths exist."""

import json
import re

import pytest
from conftest import ROOT

import mlgym_jax as mg
from mlgym_jax import __main__ as listing

PAGE = (ROOT / "docs/programs.md").read_text(encoding="utf-8")
AGENTS = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
SHARED = (ROOT / "mlgym_jax/command_line.py").read_text(encoding="utf-8")
TEXTS = pytest.mark.parametrize("text", [PAGE, AGENTS], ids=["programs", "agents"])


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def test_the_snippet_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    overrides = {"num_epochs": 1, "seed": 0, "optimizer.learning_rate": 0.1}
    mg.run(mg.load_config(ROOT / "configs/gs.py", overrides), run_id="digits")
    [snippet] = blocks(PAGE, "python")
    exec(compile(snippet, "docs/programs.md", "exec"), {})
    assert snippet.rpartition("# ")[2].strip() in capsys.readouterr().out


@TEXTS
def test_commands_are_there_and_have_their_options(text):
    found = re.findall(r"python -m (mlgym_jax|board_server)\.?(\w*) ?([^#\n]*)", "\n".join(blocks(text, "sh")))
    assert len(found) > 2
    for package, name, words in found:
        file = ROOT / package / f"{name or '__main__'}.py"
        source = file.read_text(encoding="utf-8") + (SHARED if package == "mlgym_jax" else "")
        for option in re.findall(r"(--\w+)", words):
            assert f'"{option}"' in source or option == "--help", (file, option)


@TEXTS
def test_json_is_json(text):
    for block in blocks(text, "json"):
        json.loads(block)


def test_paths_that_agents_are_told_of_exist():
    prose = re.sub(r"```.*?```", "", AGENTS, flags=re.S)
    paths = {path for path in re.findall(r"[\w./]+", prose) if re.search(r"/|\.(py|md|toml)$", path)}
    assert len(paths) > 25
    for path in paths:
        assert (ROOT / path.strip(".")).exists(), path
    for path in re.findall(r"(?:tests|configs)/\w+\.py", "\n".join(blocks(AGENTS, "sh"))):
        assert (ROOT / path).is_file(), path


def test_targets_that_agents_are_told_of_are_made():
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    told = set(re.findall(r"make ([a-z-]+)\b", "\n".join(blocks(AGENTS, "sh"))))
    assert told and told <= made


def test_agents_know_every_room():
    rooms = {path.parent.name for path in (ROOT / "mlgym_jax").glob("*/__init__.py")}
    assert {room for room in rooms if f"mlgym_jax/{room}/" not in AGENTS} == set()


def test_every_tool_is_in_the_table():
    from mlgym_jax.reading.board_tools import tools

    listed = re.findall(r"^\| `(\w+)` \|", PAGE.partition("| tool |")[2], re.M)
    assert listed == [tool.__name__ for tool in tools(None)]


def test_every_command_has_a_schema_and_the_listing_knows_it():
    defined = json.loads((ROOT / "docs/answers.schema.json").read_text(encoding="utf-8"))["$defs"]
    for name in set(listing._COMMANDS) - {"mcp", "schema"}:
        assert name in defined or f"{name}_line" in defined, name

"""Names, ids and numbers that the engine and the board must spell alike are spelled in one file."""

import ast
import math
import sys

import pytest
from conftest import ROOT
from study_files import here, small

from mlgym_jax.events import layout

SOURCES = [
    path
    for room in ("mlgym_jax", "board_server")
    for path in (ROOT / room).rglob("*.py")
    if "page" not in path.parts and path.name != "layout.py"
]
NAMES = {layout.LOG, *layout.RUN_FILES, *layout.EXPERIMENT_FILES, layout.PUBLISHED_MARK, "lr_scheduler", "Infinity"}


def literals(path):
    """Yield the texts of a file that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_spelled_in_one_place(path):
    assert not NAMES & set(literals(path))


def test_the_events_need_no_more_than_their_codec():
    """The board and what runs beside a training read them: the standard library and msgspec must be enough."""
    for path in (ROOT / "mlgym_jax" / "events").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            foreign = {name.split(".")[0] for name in names} - {"mlgym_jax", "msgspec"}
            assert foreign <= sys.stdlib_module_names, path


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("2026-11-23--17-59-10", True),
        ("a", True),
        ("a.b_c-D", True),
        ("-", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        (".", False),
        ("..", False),
        (".hidden", False),
        ("a b", False),
        ("a/b", False),
        ("a\n", False),
        ("é", False),
        ("٣", False),
    ],
)
def test_what_may_name_a_run(text, allowed):
    assert layout.is_id(text) is allowed


def test_a_hidden_run_is_not_begun_and_one_that_is_there_is_read(tmp_path):
    words = f"--config={small(tmp_path)}", f"--event_storage={tmp_path}", "--config.num_epochs=1", "--quiet"
    status, out, err = here("run", *words, "--run_id=.hidden")
    assert (status, out) == (2, "")
    assert err == (
        "error: --run_id=.hidden: allowed are 1 to 128 of the characters A-Z a-z 0-9 . _ -, not beginning with a dot\n"
    )
    assert not (tmp_path / ".hidden").exists()
    assert here("run", *words, "--run_id=seen")[0] == 0
    (tmp_path / "seen").rename(tmp_path / ".hidden")
    assert here("report", str(tmp_path / ".hidden"), "--json")[0] == 0
    assert here("run", f"--event_storage={tmp_path}", "--resume=.hidden", "--config.num_epochs=2", "--quiet")[0] == 0


@pytest.mark.parametrize(("number", "text"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")])
def test_numbers_that_json_does_not_have_are_words(number, text):
    assert layout.spell_number(number) == text
    assert repr(layout.decode_number(text)) == repr(number)


@pytest.mark.parametrize("value", [0.5, -0.0, 3, True, None, "adam", "nan", [math.nan]])
def test_all_else_stays_as_it_is(value):
    assert layout.spell_number(value) is value and layout.decode_number(value) is value


@pytest.mark.parametrize(("name", "index"), [("group_0", 0), ("group_12", 12), ("group_", None), ("received", None)])
def test_groups_by_their_folders(name, index):
    assert layout.group_index(name) == index
    assert index is None or layout.group_name(index) == name

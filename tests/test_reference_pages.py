"""docs/reference/ is what the code says, commands of all pages have options that there are, no page is forgotten."""

import importlib
import importlib.util
import re
import shlex

import pytest
from conftest import ROOT

import mlgym_jax

_spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_a_page_is_what_the_code_says(name):
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == reference.page(name), "type `make docs`"


def test_every_public_name_is_on_the_page_of_the_api():
    text = (DOCS / "reference/api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\.\. auto(?:function|class|exception|data):: (\w+)$", text, re.M)
    assert sorted(shown) == sorted({*mlgym_jax.__all__} - {"__version__"})


def test_every_variable_of_the_code_is_on_the_page_of_the_environment():
    sources = [*(ROOT / "mlgym_jax").rglob("*.py"), *(ROOT / "board_server").glob("*.py")]
    found = {name for path in sources for name in re.findall(r"\bMLGYM_[A-Z_]+\b", path.read_text(encoding="utf-8"))}
    assert found == set(reference.VARIABLES)


def commands(path):
    """Return the module and the words of each command of this project in a page's blocks for a shell."""
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.S):
        for line in block.splitlines():
            if re.search(r"python -m (mlgym_jax\.|board_server)", line):
                words = shlex.split(line, comments=True)
                words = words[words.index("-m") + 1 :]
                ends = (at for at, word in enumerate(words) if word in ("|", "&", "&&", ";", ">") or word.endswith(";"))
                yield words[0], words[1 : next(ends, None)]


@pytest.mark.parametrize("path", [path for path in PAGES if any(commands(path))], ids=lambda path: path.stem)
def test_a_command_of_the_docs_has_options_that_there_are(path):
    for module, words in commands(path):
        parsers = reference.parsers_of(importlib.import_module(module if "." in module else f"{module}.__main__"))
        known = {option for parser in parsers for action in parser._actions for option in action.option_strings}
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert not {name for name in options - known if not name.startswith(("--config.", "--dataset."))}, words


def test_the_site_leads_to_every_page():
    nav = (DOCS / "index.md").read_text(encoding="utf-8")
    named = {
        line for block in re.findall(r"```\{toctree\}\n(.*?)```", nav, re.S) for line in block.split("\n\n")[1].split()
    }
    assert named == {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")} - {"index"}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_a_page_outside_of_the_site_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert link.startswith("https://") or (ROOT / link).exists(), link

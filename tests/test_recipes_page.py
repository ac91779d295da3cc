"""The snippets of docs/recipes.md are configs that resolve; the names of its table are registered."""

import re

import pytest
from conftest import ROOT
from ml_collections import ConfigDict

from mlgym_jax import component, grid
from mlgym_jax.components.registry import registrations
from mlgym_jax.components.tree import resolved
from mlgym_jax.config.words import plain

TEXT = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.split("(")[0].strip()[:30])
def test_a_snippet_resolves(snippet):
    names = {"component": component, "grid": grid, "config": ConfigDict(type_safe=False)}
    exec(compile(snippet, "docs/recipes.md", "exec"), names)
    sections = plain(names["config"])
    if "critic" in names:
        sections = {"training_step": {"component": "alternating", "players": (plain(names["critic"]),)}}
    assert sections
    tree = resolved(sections)
    assert all(node.entry.is_built_in for section in tree.values() for node in (section, *section.inside))


def test_the_names_of_the_table_are_registered():
    known = {entry.name for entry in registrations()}
    named = set(re.findall(r'component\("([\w.]+)"', TEXT))
    assert len(named) >= 30 and named <= known


def test_links_lead_somewhere():
    links = re.findall(r"\]\(\.\./([^)]+)\)", TEXT)
    assert len(links) == 2 and all((ROOT / link).is_file() for link in links)

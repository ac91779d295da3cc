"""What the package says of itself: what it needs, which Pythons were tried, that it is typed and how one may use it."""

import importlib.metadata
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

with open(ROOT / "pyproject.toml", "rb") as file:
    PROJECT = tomllib.load(file)["project"]
NEEDED = [Requirement(words) for words in PROJECT["dependencies"]]


@pytest.mark.parametrize("need", NEEDED, ids=lambda need: need.name)
def test_a_dependency_is_bounded_and_what_is_tested_lies_in_its_bounds(need):
    assert {part.operator for part in need.specifier} == {">=", "<"}
    assert importlib.metadata.version(need.name) in need.specifier


def test_every_python_that_is_named_is_tested_by_make_and_the_other_way_round():
    named = {words.rsplit(" ", 1)[-1] for words in PROJECT["classifiers"] if words.startswith("Programming Language")}
    made = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("PYTHONS"))
    assert {*made.split(":=")[1].split()} == named - {"3"} == {"3.11", "3.12", "3.13"}


def test_an_interpreter_is_found_by_its_version_or_said_to_be_absent():
    def find(version):
        return subprocess.run([ROOT / ".ci/python", version], capture_output=True, text=True)

    own = "{}.{}".format(*sys.version_info)
    found = find(own)
    if found.returncode == 0:  # this one may have been started by a path alone
        shown = subprocess.check_output([found.stdout.strip(), "--version"], text=True)
        assert shown.startswith(f"Python {own}.")
    assert find("3.99").returncode == 1


def test_make_says_what_each_target_does():
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ": " in line[:20]}
    targets = {name for name in targets if name.replace("-", "").isalpha() and name.islower()}
    said = subprocess.check_output(["make", "help"], text=True, cwd=ROOT)
    assert {line.split()[1] for line in said.splitlines() if line.startswith("  make ")} == targets
    assert targets >= {"run", "test", "test-all", "check", "docs"}


@pytest.mark.parametrize("name", ["mlgym_jax/py.typed", *PROJECT["license-files"]])
def test_what_a_wheel_carries_besides_code_is_there(name):
    assert (ROOT / name).is_file()


def test_the_map_for_contributors_names_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "mlgym_jax").glob("*/__init__.py")}
    assert not {name for name in rooms if f"`{name}/`" not in text}

"""The shape of the code base: which way imports point, what an import costs, docs that say what is there."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "mlgym_jax"

# Each stage may import from its own and from those before it.
STAGES = [
    ["errors"],
    ["events", "registry"],
    ["config", "config_file", "parameters", "core"],
    ["models", "data", "search"],
    ["components", "command_line"],
    ["tracing"],
    ["study_checks"],
    ["job"],
    ["study", "execution", "checkpoint", "run_folder", "publishing"],
    ["results", "recorder", "warm_start", "model_card", "energy"],
    ["group_checkpoints", "tuning", "report"],
    ["training"],
    ["experiment", "terminal"],
    ["run", "reproduce", "export", "publish"],
]
STAGE = {name: number for number, names in enumerate(STAGES) for name in names}


def imports(path):
    """Yield the modules of this package that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mlgym_jax":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("mlgym_jax."))


@pytest.mark.parametrize(
    "path", [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"], ids=lambda p: str(p.name)
)
def test_imports_point_one_way(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    # The Python API stands on everything; only these few load a later stage, lazily, by their nature.
    allowed = {"results": {"study", "checkpoint"}}.get(part, set())
    later = {name for name in imports(path) if STAGE[name] > STAGE[part]} - allowed
    assert not later, f"{path.name} ({part}) imports {later}"


def test_every_part_has_its_stage():
    parts = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in PACKAGE.rglob("*.py")} - {"__init__"}
    assert parts == set(STAGE)


@pytest.mark.parametrize("module", ["orbax"])
def test_orbax_is_imported_by_the_store_alone(module):
    found = [p for p in PACKAGE.rglob("*.py") if re.search(rf"^\s*(import|from) {module}", p.read_text(), re.M)]
    assert found == [PACKAGE / "checkpoint/store.py"]


@pytest.mark.parametrize("module", ["events", "publishing", "publish"])
def test_what_runs_beside_a_training_needs_neither_jax_nor_numpy(module):
    code = f"import mlgym_jax.{module}, sys; print(*{{'jax', 'numpy', 'flax'}} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == ""


@pytest.mark.parametrize("path", sorted((ROOT / "board_server").glob("*.py")), ids=lambda p: p.name)
def test_the_board_knows_events_alone(path):
    assert set(imports(path)) <= {"events", "errors"}


def test_importing_the_package_does_not_import_jax():
    code = "import mlgym_jax, sys; mlgym_jax.component, mlgym_jax.register; print('jax' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == "False"


def test_files_stay_short():
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "board_server").rglob("*.py")]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text().splitlines())) > 350}
    assert not long


def test_the_component_page_is_what_the_registry_holds():
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists():
    import mlgym_jax

    for name in mlgym_jax.__all__:
        assert getattr(mlgym_jax, name) is not None

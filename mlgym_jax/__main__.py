"""`python -m mlgym_jax` lists the commands of the project."""

from __future__ import annotations

import ast
import pathlib
import sys

_COMMANDS = (
    "run",
    "find_learning_rate",
    "report",
    "reproduce",
    "evaluate",
    "export",
    "publish",
    "export_logs",
    "import_logs",
    "runs",
)


def _summary(file: pathlib.Path) -> str:
    """Return the first line of a module's docstring, without importing the module."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def main() -> None:
    """Print each command with what it does."""
    folder = pathlib.Path(__file__).parent
    print("Run a study from one config file, and ask what it found:\n")
    for name in _COMMANDS:
        print(f"  python -m mlgym_jax.{name:<18} {_summary(folder / f'{name}.py')}")
    print(f"  python -m {'board_server':<28} Watch, compare and choose on a web page: http://127.0.0.1:8080")
    print("\nTo begin: python -m mlgym_jax.run --config=configs/gs.py. Each command says more with --help.")
    sys.exit(0)


if __name__ == "__main__":
    main()

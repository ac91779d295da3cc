"""`python -m mlgym_jax` lists the commands of the project; with --json as a document."""

from __future__ import annotations

import ast
import pathlib
import sys

from mlgym_jax.command_line import DONE, WRONG_REQUEST, answer, answers_in_json, guarded, leave
from mlgym_jax.errors import listed, nearest

_COMMANDS = (
    "run",
    "find_learning_rate",
    "watch",
    "report",
    "reproduce",
    "evaluate",
    "export",
    "publish",
    "export_logs",
    "import_logs",
    "runs",
    "schema",
    "mcp",
)
_BOARD = "Watch, compare and choose on a web page: http://127.0.0.1:8080"


def _summary(file: pathlib.Path) -> str:
    """Return the first line of a module's docstring, without importing the module."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def _main(arguments: list[str]) -> int:
    folder = pathlib.Path(__file__).parent
    commands = {f"mlgym_jax.{name}": _summary(folder / f"{name}.py") for name in _COMMANDS} | {"board_server": _BOARD}
    unknown = [word for word in arguments if word not in ("--json", "-h", "--help")]
    if unknown:
        answer(_error(unknown[0]), indent=None)
        print(f"error: {_error(unknown[0])['error']['message']}", file=sys.stderr)
        return WRONG_REQUEST
    if answers_in_json():
        answer({"commands": [{"command": f"python -m {name}", "summary": said} for name, said in commands.items()]})
        return DONE
    print("Run a study from one config file, and ask what it found:\n")
    for name, said in commands.items():
        print(f"  python -m {name:<28} {said}")
    print("\nTo begin: python -m mlgym_jax.run --config=configs/gs.py. Each command says more with --help.")
    return DONE


def main() -> None:
    """Print each command with what it does."""
    leave(guarded(_main))


def _error(word: str) -> dict[str, dict[str, object]]:
    """Say that a word is no option, and which command was probably meant."""
    meant = nearest(word, _COMMANDS)
    known = f"; write python -m mlgym_jax.{word}." if word in _COMMANDS else meant
    message = f"unknown argument {word!r}{known} Commands: {listed(_COMMANDS, 20)}"
    return {"error": {"message": message, "found": word, "allowed": ["--json", "--help"]}}


if __name__ == "__main__":
    main()

"""Ask pyright whether every type of the public API is known: the names of `mlgym_jax.__all__` and all that they have.

    python .ci/public_types.py

What a public name takes and returns counts, too: pyright calls a function's type unknown where one of those is.
"""

from __future__ import annotations

import inspect
import json
import os
import pathlib
import subprocess
import sys

import mlgym_jax

FOLDER = pathlib.Path(sys.executable).parent  # of the virtual environment, which --verifytypes finds by the PATH alone


def public_names() -> set[str]:
    """Return the full names of the public API, where they are exported and where they are defined.

    Of a module they are those of its functions.
    """
    names = set()
    for name in mlgym_jax.__all__:
        if name.startswith("_"):
            continue
        value = getattr(mlgym_jax, name)
        if inspect.ismodule(value):
            functions = inspect.getmembers(value, inspect.isfunction)
            own = (function for _, function in functions if function.__module__ == value.__name__)
            names |= {f"{value.__name__}.{one.__name__}" for one in own if not one.__name__.startswith("_")}
        else:
            names |= {f"mlgym_jax.{name}", f"{mlgym_jax._PUBLIC[name]}.{name}"}
    return names


def main() -> int:
    """Print what is unknown, and how much is known; return the exit status."""
    done = subprocess.run(
        [FOLDER / "pyright", "--verifytypes", "mlgym_jax", "--ignoreexternal", "--outputjson"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": os.pathsep.join([str(FOLDER), os.environ.get("PATH", "")])},
    )
    report = json.loads(done.stdout)["typeCompleteness"]
    public = public_names()
    symbols = [
        symbol
        for symbol in report["symbols"]
        if symbol["isExported"]
        and (symbol["name"] in public or any(symbol["name"].startswith(f"{name}.") for name in public))
    ]
    unknown = [symbol for symbol in symbols if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]]
    for symbol in unknown:
        for said in symbol["diagnostics"]:
            print(f"{symbol['name']}: {said['message']}")
    missing = public - {symbol["name"] for symbol in symbols}
    if missing:
        print(f"pyright does not know {', '.join(sorted(missing))}")
    print(f"types of the public API: {len(symbols) - len(unknown)} of {len(symbols)} known")
    return 1 if unknown or missing else 0


if __name__ == "__main__":
    sys.exit(main())

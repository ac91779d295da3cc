"""Write the JSON Schema of configs, or of one component, for editors and programs that write configs.

python -m mlgym_jax.schema [--component=optimizer/adam] [--config=configs/custom.py] [--out=mlgym_jax.schema.json]
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from mlgym_jax.command_line import DONE, Parser, answer, guarded, leave
from mlgym_jax.errors import DiskError, MlgymError, nearest


def _example(name: str) -> str:
    """Return the component of this name with its kind; of a name that is none, any."""
    from mlgym_jax.components.registry import registrations

    return next((f"{one.kind}/{one.name}" for one in registrations() if one.name == name), "optimizer/adam")


def _main(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m mlgym_jax.schema",
        description="Write the JSON Schema (draft 2020-12) of a config in its plain form, which a run keeps as "
        "config.json: fields, sections, all registered components with their parameters.",
        epilog="Exit status: 0 done, 2 the request was wrong.",
    )
    parser.add_argument("--component", metavar="KIND/NAME", help="of this one alone, such as optimizer/adam")
    parser.add_argument(
        "--config", metavar="FILE", help="a config file of your own, which is executed: what it registers is in it, too"
    )
    parser.add_argument("--out", metavar="FILE", help="the file to write; by default it is printed")
    options = parser.parse_args(arguments)
    kind, slash, name = (options.component or "/").partition("/")
    if not slash or (options.component and not (kind and name)):
        raise MlgymError(
            f"--component={options.component}: write it as --component=KIND/NAME, such as {_example(options.component)}"
        )
    if options.out is not None and not options.out:
        raise MlgymError("--out: a file is missing; write --out=mlgym_jax.schema.json")
    if options.config is not None:
        from mlgym_jax.config.file import load_config

        load_config(options.config)
    from mlgym_jax.components.json_schema import config_schema

    schema = _of_component(kind, name) if options.component else config_schema()
    if options.out is None:
        if options.json:
            answer(schema)
        else:
            json.dump(schema, sys.stdout, indent=2)
            print()
        return DONE
    _write(schema, options.out)
    number = sum("." in name and not name.startswith("inside.") for name in schema["$defs"])
    print(f"{options.out}: {number} components")
    answer({"out": options.out, "num_components": number})
    return DONE


def _of_component(kind: str, name: str) -> dict[str, Any]:
    from mlgym_jax.components.json_schema import component_schema
    from mlgym_jax.components.registry import kinds, registrations
    from mlgym_jax.errors import likely, listed

    if kind not in kinds():
        raise MlgymError(
            f"--component={kind}/{name}: unknown kind{nearest(kind, kinds())} Kinds: {listed(kinds(), 30)}"
        )
    names = [one.name for one in registrations(kind)]
    if name not in names:
        raise MlgymError(
            f"--component={kind}/{name}: unknown {kind}{nearest(name, names)} Registered: {likely(name, names)}"
        )
    return component_schema(kind, name)


def _write(schema: dict[str, Any], path: str) -> None:
    """Write a file whole or not at all.

    Raises:
        MlgymError: it cannot be written there. DiskError: there is no room.
    """
    from mlgym_jax.events.files import write_whole

    try:
        write_whole(path, json.dumps(schema, indent=1).encode() + b"\n")
    except DiskError:
        raise
    except OSError as error:
        raise MlgymError(f"--out={path}: cannot be written: {error.strerror}") from error


def main() -> None:
    """Entry point of the console script."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing is computed: no accelerator is taken from a training
    leave(guarded(_main, output="the schema"))


if __name__ == "__main__":
    main()

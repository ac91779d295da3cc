"""Make runs of other trackers' logs, TensorBoard's event files or CSV tables, that report, results and board read.

python -m mlgym_jax.import_logs PATH… [--format=tensorboard|csv] [--event_storage=DIR]
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from mlgym_jax.command_line import DONE, Parser, answer, guarded, leave
from mlgym_jax.errors import MlgymError, nearest
from mlgym_jax.events import layout
from mlgym_jax.imports.columns import leave_out_more
from mlgym_jax.imports.run_of import already_there, fingerprint_of, write_run
from mlgym_jax.sinks.sink import require

_FORMATS = {"tensorboard": "tensorboard_logs", "csv": "csv_logs"}
_SHOWN = 10  # of what was left out


def _main(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m mlgym_jax.import_logs",
        description="Make a run of each path. TensorBoard: each folder with event files below it is an experiment. "
        "CSV: each table with a column epoch or step is one, as Lightning's CSVLogger writes them. What was imported "
        "before, and has not changed, is not imported again.",
        epilog="Exit status: 0 all are there, 2 the request was wrong.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a folder of logs, or a table")
    parser.add_argument("--format", choices=tuple(_FORMATS), help="by default what is found")
    parser.add_argument("--event_storage", metavar="DIR", default=layout.STORAGE, help="where runs are recorded")
    parser.add_argument("--name", help="the run's name; by default the folder's")
    parser.add_argument("--run_id", metavar="ID", help="the run's id; by default the UTC time of the first point")
    options = parser.parse_args(arguments)
    for name in ("run_id", "name"):
        if getattr(options, name) is not None and len(options.paths) > 1:
            raise MlgymError(f"--{name} is of one run, and {len(options.paths)} paths are given; name one of them")
    if not options.event_storage:
        raise MlgymError("--event_storage: a folder is missing; write --event_storage=DIR or leave the option out")
    formats = [options.format or _format_of(path) for path in options.paths]  # all, before any is written
    told = [_import(path, form, options) for path, form in zip(options.paths, formats, strict=True)]
    answer({"imports": told})
    return DONE


def _import(path: str, form: str, options) -> dict[str, Any]:
    if form == "tensorboard":
        require("tensorboard", "--format=tensorboard")
    source = os.path.abspath(path)
    experiments = list(importlib.import_module(f"mlgym_jax.imports.{_FORMATS[form]}").read(source))
    for one in experiments:
        leave_out_more(one)
    left_out = [line for one in experiments for line in one.left_out]
    for line in left_out[:_SHOWN]:
        print(f"left out: {line}", file=sys.stderr)
    if len(left_out) > _SHOWN:
        print(f"left out: … ({len(left_out)} in all)", file=sys.stderr)
    experiments = [one for one in experiments if any(len(column.steps) for column in one.scores.values())]
    before = already_there(options.event_storage, fingerprint_of(experiments)) if experiments else None
    if before is not None:
        print(f"run: {before} (imported before)")
        return {"path": path, "run_dir": str(before), "is_new": False}
    name = options.name or os.path.basename(source) or form
    run, is_new = write_run(
        options.event_storage, experiments, source=source, form=form, name=name, run_id=options.run_id
    )
    if not is_new:
        print(f"run: {run} (imported before)")
        return {"path": path, "run_dir": str(run), "is_new": False}
    points = sum(len(column.steps) for one in experiments for column in one.scores.values())
    print(f"run: {run} (experiments: {len(experiments):,}, points: {points:,})")
    return {"path": path, "run_dir": str(run), "is_new": True}


def _format_of(path: str) -> str:
    """Return the format of what is there.

    Raises:
        MlgymError: nothing is, or nothing that is known.
    """
    if not os.path.lexists(path):
        beside = os.path.dirname(path) or "."
        names = os.listdir(beside) if os.access(beside, os.R_OK) else ()
        raise MlgymError(
            f"{path}: there is no such file or folder{nearest(os.path.basename(path), names)} Name a folder of "
            "TensorBoard's event files or of .csv tables, or one table: python -m mlgym_jax.import_logs lightning_logs"
        )
    if os.path.isfile(path):
        if path.lower().endswith(".csv"):
            return "csv"
        if "tfevents" in os.path.basename(path):
            raise MlgymError(f"{path}: name the folder that this file is in: {os.path.dirname(path) or '.'}")
        raise MlgymError(f"{path}: a folder of logs or a .csv file is expected")
    found = {form for _, _, files in os.walk(path) for form, is_here in _SIGNS.items() if any(map(is_here, files))}
    if len(found) != 1:
        some = "event files and tables; say which by --format=tensorboard or --format=csv" if found else "neither"
        raise MlgymError(f"{path}: TensorBoard's event files (*tfevents*) or .csv tables are expected, found {some}")
    return found.pop()


_SIGNS = {"tensorboard": lambda name: "tfevents" in name, "csv": lambda name: name.lower().endswith(".csv")}


def main() -> None:
    """Entry point of the console script."""
    leave(guarded(_main))


if __name__ == "__main__":
    main()

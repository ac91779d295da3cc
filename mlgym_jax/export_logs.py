"""Write runs to TensorBoard, W&B (offline), MLflow or Aim, finished or still being written.

python -m mlgym_jax.export_logs RUN… --to=tensorboard|wandb|mlflow|aim [--out=DIR] [--follow]
"""

from __future__ import annotations

import os
import sys
from typing import Any

from mlgym_jax.command_line import DONE, FAILED, Parser, answer, guarded, leave
from mlgym_jax.errors import MlgymError, listed
from mlgym_jax.events import is_being_written, layout
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.sinks.export import Export, opened
from mlgym_jax.sinks.sink import OUT, TARGETS, wanted


def _main(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m mlgym_jax.export_logs",
        repeatable=("--to",),
        description="Write what runs have recorded to other trackers: each experiment with its hyperparameters, all "
        "scores at their own times, and how it ended. What is there already is not written again.",
        epilog="Exit status: 0 all is written, 1 a tracker refused, 2 the request was wrong.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, its id in event_storage, or latest")
    parser.add_argument("--to", action="append", metavar="NAMES", help=f"{listed(TARGETS)}; or several, with commas")
    parser.add_argument("--out", metavar="DIR", default=OUT, help=f"where to write; {OUT} by default")
    parser.add_argument("--follow", action="store_true", help="go on for as long as a run is being written")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    options = parser.parse_args(arguments)
    names = wanted(options.to, "--to")
    if not names:
        raise MlgymError("--to is missing; write --to=tensorboard")
    if not options.out or (os.path.lexists(options.out) and not os.path.isdir(options.out)):
        raise MlgymError(f"--out={options.out}: it is no folder; name one, such as --out={OUT}")
    told = [one for run in options.runs for one in _export(run_folder.require(run), names, options)]
    answer({"exports": told})
    return FAILED if any(one["problem"] is not None for one in told) else DONE


def _export(run_dir: str, names: tuple[str, ...], options) -> list[dict[str, Any]]:
    """Write one run, and tell what came of it at each tracker."""

    def tell(line: str) -> None:
        print(f"error: {line}", file=sys.stderr, flush=True)

    with opened(names, run_dir, options.out, tell) as outlets:
        export = Export(run_dir, outlets)
        if options.follow:
            export.follow()
        else:
            export.catch_up(is_over=not is_being_written(os.path.join(run_dir, layout.LOG)))
    for outlet in outlets:
        if outlet.failure is None and not options.quiet:
            found = f"{len(export.view.experiments):,} experiments, {outlet.epochs:,} new epochs"
            print(f"{os.path.basename(run_dir)} to {outlet.name}: {found}: {outlet.place}", flush=True)
    return [
        {
            "run_id": os.path.basename(run_dir),
            "to": outlet.name,
            "place": outlet.place,
            "new_epochs": outlet.epochs,
            "problem": None if outlet.failure is None else str(outlet.failure),
        }
        for outlet in outlets
    ]


def main() -> None:
    """Entry point of the console script."""
    leave(guarded(_main))


if __name__ == "__main__":
    main()

"""Report on a run, finished or not: a table for people, JSON for programs.

python -m mlgym_jax.report RUN_DIR [--monitor=val/accuracy --mode=max] [--json]
"""

from __future__ import annotations

import json
import sys

from mlgym_jax.command_line import DONE, Parser, guarded, leave
from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.events import default_mode, default_monitor
from mlgym_jax.reading.results import load_run
from mlgym_jax.reading.summary import summary
from mlgym_jax.reading.table import print_table


def _main(arguments: list[str]) -> int:
    parser = Parser(prog="python -m mlgym_jax.report", description="Report on a run, finished or not.")
    parser.add_argument("run_dir", help="the run's folder, its id in event_storage, or latest")
    parser.add_argument("--monitor", help="the score to rank by, such as val/accuracy")
    parser.add_argument("--mode", choices=("min", "max"), help="which way is better; min for losses and errors")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    result = load_run(options.run_dir)
    monitor, mode = default_monitor(result.scores, result.view.config)
    if options.monitor is not None:
        if result.scores and options.monitor not in result.scores:
            raise MlgymError(
                f"--monitor={options.monitor}: no such score{nearest(options.monitor, result.scores)} "
                f"Scores: {listed(result.scores, 40)}"
            )
        monitor, mode = options.monitor, default_mode(options.monitor, result.view.config)
    mode = options.mode or mode
    if options.json:
        is_utf8 = (sys.stdout.encoding or "utf-8").lower().startswith("utf")  # elsewhere `±` would be shown as `+-`
        json.dump(summary(result, monitor, mode), sys.stdout, indent=2, ensure_ascii=not is_utf8)
        print()
    else:
        print_table(result, monitor, mode)
    return DONE


def main() -> None:
    """Entry point of the console script."""
    leave(guarded(_main))


if __name__ == "__main__":
    main()

"""Watch a run in the terminal, live: its verdict, curves and experiments; over SSH, too, and without a server.

python -m mlgym_jax.watch RUN_DIR [--monitor=val/accuracy] [--url=http://HOST:PORT]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from mlgym_jax.command_line import DONE, Parser, answer, guarded, leave
from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.publishing import Boards
from mlgym_jax.reading.followed import Followed, FollowedLog, FollowedOnBoard, caught_up
from mlgym_jax.reading.watched import columns_of, heading, plain_lines, ranked_by, verdict_lines
from mlgym_jax.run_folder import folder as run_folder


def _main(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m mlgym_jax.watch",
        description="Watch a run in the terminal, also while it is written. Where stdout is no terminal, print what is "
        "known by now and end.",
        epilog="Keys: s sorts by the next column, r reverses, / filters, m shows the next score, Enter opens an "
        "experiment, Escape leaves it, q quits. Exit status: 0 done, 2 the request was wrong.",
    )
    parser.add_argument("run_dir", help="the run's folder, its id in event_storage, or latest; with --url its id")
    parser.add_argument("--monitor", help="the score to rank by, such as val/accuracy")
    parser.add_argument("--url", metavar="URL", help="follow the run on a board, by its address, not by its files")
    parser.add_argument(
        "--board_token_file",
        metavar="FILE",
        help="a file that holds the board's token; by default the environment variable MLGYM_JAX_BOARD_TOKEN does",
    )
    parser.add_argument("--once", action="store_true", help="print what is known by now and end, on a terminal, too")
    options = parser.parse_args(arguments)
    with contextlib.closing(_source(options.run_dir, options.url, options.board_token_file)) as source:
        return _watch(source, options)


def _watch(source: Followed, options: argparse.Namespace) -> int:
    is_screen = sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    if options.json or options.once or not is_screen:
        caught_up(source)
        _check_monitor(source, options.monitor)
        if options.json:
            answer(_document(source, options.monitor))
        else:
            _print(source, options.monitor)
        return DONE
    try:
        from mlgym_jax.reading.board_in_terminal import RunBoard
    except ImportError as error:
        raise MlgymError(
            f"the board in a terminal is drawn by the package Textual, which is not installed ({error}); write "
            "pip install 'mlgym-jax[watch]'. Without it, --once prints what is known by now"
        ) from None
    source.take(source.fetch())  # what is not there is said here, not on a screen
    RunBoard(source, options.monitor).run()
    return DONE


def _source(run: str, url: str | None, token_file: str | None) -> Followed:
    if url is None:
        if token_file is not None:
            raise MlgymError("--board_token_file is given, but no --url=URL")
        run_dir = run_folder.require(run)
        is_path = os.path.isdir(run)
        return FollowedLog(run_dir, run if is_path else os.path.basename(run_dir))
    try:
        addresses = Boards.at(url, token_file=token_file).addresses
    except MlgymError as error:
        raise MlgymError(str(error).replace("--board=", "--url=").replace("--board:", "--url:")) from None
    run_folder.check_id(run)
    return FollowedOnBoard(addresses[0], run)


def _check_monitor(source: Followed, monitor: str | None) -> None:
    scores = source.view.scores
    if monitor is not None and scores and monitor not in scores:
        raise MlgymError(f"--monitor={monitor}: no such score{nearest(monitor, scores)} Scores: {listed(scores, 40)}")


def _print(source: Followed, monitor: str | None) -> None:
    from rich.console import Console

    from mlgym_jax.reading.table import piped_width, table

    view = source.view
    console = Console(width=None if sys.stdout.isatty() else piped_width(), highlight=False, markup=False)
    for line in plain_lines(view, source.name, source.is_lost, monitor):
        if isinstance(line, str) or console.encoding.startswith("utf"):  # others have no dots for a chart
            console.print(line)
    console.print(table(view, *ranked_by(view, monitor), limit=20))
    if len(view.candidates) > 20:
        console.print(f"(20 of {len(view.candidates):,} experiments)")


def _document(source: Followed, monitor: str | None) -> dict[str, object]:
    view = source.view
    by, mode = ranked_by(view, monitor)
    columns = columns_of(view, monitor)
    rows = zip(*(column.shown for column in columns), strict=True)
    return {
        "run_id": view.run_id,
        "status": "LOST" if source.is_lost else view.status,
        "heading": heading(view, source.is_lost),
        "verdict": verdict_lines(view, source.name, source.is_lost, monitor),
        "monitor": by,
        "mode": mode,
        "experiments": [dict(zip((column.name for column in columns), row, strict=True)) for row in rows],
    }


def main() -> None:
    """Entry point of the console script."""
    leave(guarded(_main))


if __name__ == "__main__":
    main()

"""Send a run to a board, finished or still being written: what the board lacks, and no more.

python -m mlgym_jax.publish RUN_DIR --board=URL [--follow]
"""

from __future__ import annotations

import os
import time

from mlgym_jax.command_line import DONE, FAILED, INTERRUPTED, Parser, answer, guarded, leave
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout
from mlgym_jax.publishing import Boards
from mlgym_jax.publishing.board import BoardPublisher
from mlgym_jax.publishing.following import FollowedRun
from mlgym_jax.publishing.publication import tell
from mlgym_jax.run_folder import folder as run_folder

_PROGRESS_SECONDS = 2.0


def _main(arguments: list[str]) -> int:
    parser = Parser(
        repeatable=("--board",),
        prog="python -m mlgym_jax.publish",
        description="Send a run to a board: its log, configs, model cards and kept checkpoints. What the board has "
        "already is not sent again. A run that is still being written is followed to its end.",
        epilog="Exit status: 0 the board has everything, 1 something is unsent, 2 the request was wrong.",
    )
    parser.add_argument("run_dir", help="the run's folder, its id in event_storage, or latest")
    parser.add_argument("--board", metavar="URL", action="append", help="a board; may be repeated")
    parser.add_argument(
        "--board_token_file",
        metavar="FILE",
        help="a file that holds the boards' token; by default the environment variable MLGYM_JAX_BOARD_TOKEN does",
    )
    parser.add_argument(
        "--follow", action="store_true", help="wait for a run that nobody writes now to go on, until it is finished"
    )
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS", help="give up when nothing moves for so long; 10 by default"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors and the summary")
    options = parser.parse_args(arguments)
    if not options.board:
        raise MlgymError("--board=URL is missing; write it as --board=http://HOST:PORT")
    if options.wait is not None and not 0 <= options.wait <= 86_400:
        raise MlgymError(f"--wait={options.wait}: seconds from 0 to 86400 are expected")
    boards = Boards.at(options.board, token_file=options.board_token_file, quiet=options.quiet)
    run_dir = run_folder.require(options.run_dir)
    named = options.run_dir if os.path.isdir(options.run_dir) else run_dir  # the latest one may be another one later
    run_id, log_path = os.path.basename(run_dir), os.path.join(run_dir, layout.LOG)
    run_folder.check_id(run_id)
    source = FollowedRun(run_dir, log_path, wait_for_end=options.follow)
    publishers = [BoardPublisher(it, run_dir, run_id, log_path, source, tell) for it in boards.addresses]
    for publisher in publishers:
        publisher.start()
        if source.is_over():
            publisher.end()
    wait_seconds = boards.wait_seconds if options.wait is None else options.wait
    try:
        _watch(publishers, source, wait_seconds, quiet=options.quiet)
        status = DONE
    except KeyboardInterrupt:
        status = INTERRUPTED
    told = []
    for publisher in publishers:
        publisher.stop()
        unsent = publisher.unsent()
        events, files, parts = publisher.events.acknowledged, publisher.files.sent, publisher.checkpoints.sent
        found = f"{publisher.address.page(run_id)}: it has {events:,} events"
        found += "" if publisher.is_followed else f"; sent {files:,} files and {parts:,} parts of checkpoints"
        if not unsent and not publisher.gave_up:
            print(f"{found}; nothing is left to send")
        else:
            status = status or FAILED
            why = f" ({publisher.problem})" if publisher.problem else ""
            tell(f"error: {found}; not sent: {', '.join(unsent) or 'what was refused'}{why}")
            if not publisher.gave_up:
                tell(f"Send it later with:\n  {boards.command(named, publisher.address)}")
        told.append(
            {
                "board": publisher.address.url,
                "page": publisher.address.page(run_id),
                "events": events,
                "files_sent": files,
                "parts_of_checkpoints_sent": parts,
                "complete": not unsent and not publisher.gave_up,
                "unsent": unsent,
                "problem": publisher.problem or None,
            }
        )
        publisher.close()
    answer({"run_id": run_id, "boards": told})
    return status


def _watch(publishers: list[BoardPublisher], source: FollowedRun, wait_seconds: float, *, quiet: bool) -> None:
    """Wait until everything is sent, or nothing has moved for a while that could."""
    told_at = time.monotonic()
    began = told_at
    while not all(publisher.is_done() for publisher in publishers):
        time.sleep(0.02)
        now = time.monotonic()
        if source.is_over():
            moved_at = [max(began, source.over_at, it.changed_at) for it in publishers if not it.is_done()]
            if moved_at and now - max(moved_at) > wait_seconds:
                return
        if not quiet and now - told_at > _PROGRESS_SECONDS:
            told_at = now
            for publisher in publishers:
                if not publisher.is_done() and publisher.reached:
                    rest = f", {publisher.checkpoints.missing:,} parts of checkpoints to go"
                    tell(
                        f"board {publisher.address.url}: {publisher.events.acknowledged:,} events, "
                        f"{publisher.files.sent:,} files{rest if publisher.checkpoints.missing else ''}"
                    )


def main() -> None:
    """Entry point of the console script."""
    leave(guarded(_main))


if __name__ == "__main__":
    main()

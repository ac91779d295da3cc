"""List, compare and tidy up the runs of a folder: notes, tags, archive, delete and restore, lineage, news.

python -m mlgym_jax.runs [list] [--event_storage=DIR] [--sort=best --tag=TAG --status=DONE --text=WORDS --all --json]
python -m mlgym_jax.runs note RUN TEXT | tag RUN… +good -bad | archive|unarchive|delete|restore RUN…
python -m mlgym_jax.runs lineage RUN | compare RUN RUN… | watch [RUN] [--since=2h] | purge [--older_than=30]
python -m mlgym_jax.runs watch --on=finished,failed,lost [--webhook=URL --command=LINE]
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from mlgym_jax.command_line import DONE, FAILED, Parser, answer, guarded, leave
from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.events import layout
from mlgym_jax.events.annotations import (
    MAX_NOTE_BYTES,
    Archived,
    Change,
    Deleted,
    NoteSet,
    Restored,
    TagAdded,
    TagRemoved,
    Unarchived,
)
from mlgym_jax.managing.listing import SORTS, STATUSES, ListedRun, checked_storage, load_runs
from mlgym_jax.managing.words import brief, cells, heads, plain, show, table

_POLL_SECONDS = 0.5


def _main(arguments: list[str]) -> int:
    name = arguments[0] if arguments and not arguments[0].startswith("-") else "list"
    if name not in _COMMANDS:
        raise MlgymError(f"no command {name!r}{nearest(name, _COMMANDS)} Commands: {', '.join(_COMMANDS)}")
    return _COMMANDS[name](arguments[1:] if arguments[:1] == [name] else arguments)


def _parser(name: str, description: str, *, run: str | None = None, many: bool = False, **settings: Any) -> Parser:
    parser = Parser(prog=f"python -m mlgym_jax.runs {name}".rstrip(), description=description, **settings)
    if run is not None:
        parser.add_argument(run, nargs="+" if many else None, help="a run's folder, its id, or latest")
    parser.add_argument("--event_storage", metavar="DIR", help="the folder of runs; event_storage by default")
    return parser


def _found(options: Any, run: str) -> str:
    """Return the folder of a run that is named by its folder, by its id, or as the latest."""
    from mlgym_jax.run_folder import folder as run_folder

    return run_folder.require(run) if options.event_storage is None else run_folder.find(options.event_storage, run)


def _storage(options: Any, *, may_come: bool = False) -> str:
    folder = layout.STORAGE if options.event_storage is None else options.event_storage
    return folder if may_come else checked_storage(folder)


def _count(name: str, text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,17}", text):
        raise MlgymError(f"--{name}={text}: a whole number is expected, 1 or more; write --{name}=10")
    return int(text)


# --- reading ---------------------------------------------------------------------------------------------------------


def _list(arguments: list[str]) -> int:
    others = f"Other commands: {', '.join(name for name in _COMMANDS if name != 'list')}; each says more with --help."
    parser = _parser("list", "List the runs of a folder, the latest first.", repeatable=("--tag",), epilog=others)
    parser.add_argument("--sort", default="-started", metavar="NAME", help=f"{', '.join(SORTS)}; -NAME for the reverse")
    parser.add_argument("--tag", action="append", default=[], help="only runs with this tag; may be repeated")
    parser.add_argument("--status", help=", ".join(STATUSES))
    parser.add_argument("--text", help="words that all occur in the id, name, note, owner, status or tags")
    parser.add_argument("--all", action="store_true", help="also archived and deleted runs")
    parser.add_argument("--archived", action="store_true", help="only archived runs")
    parser.add_argument("--deleted", action="store_true", help="only deleted runs, which may be restored")
    parser.add_argument("--limit", metavar="N", help="at most N runs")
    options = parser.parse_args(arguments)
    storage = _storage(options)
    runs = load_runs(
        storage,
        tag=options.tag,
        status=options.status,
        text=options.text,
        archived=True if options.archived else None if options.all or options.deleted else False,
        deleted=True if options.deleted else None if options.all else False,
        sort=options.sort,
        limit=None if options.limit is None else _count("limit", options.limit),
    )
    if options.json:
        answer([run.as_json() for run in runs])
    elif runs:
        names = heads(runs)
        show(table(names, map(cells, runs)))
    else:
        show(f"no such runs in {plain(storage)}")
    for line in runs.unreadable:
        print(f"left out: {brief(line, 300)}", file=sys.stderr)
    return DONE


def _lineage(arguments: list[str]) -> int:
    from mlgym_jax.managing.lineage import lineage
    from mlgym_jax.managing.told import show_lineage

    options = _parser("lineage", "Say what a run comes from, and what came of it.", run="run").parse_args(arguments)
    found = lineage(_found(options, options.run))
    answer(found) if options.json else show_lineage(found)
    return DONE


def _compare(arguments: list[str]) -> int:
    from mlgym_jax.managing.comparison import compare
    from mlgym_jax.managing.told import show_comparison

    parser = _parser("compare", "Say in what runs differ, and whether their scores do.", run="runs", many=True)
    parser.add_argument("--monitor", help="the score to select each run's best candidate by, such as val/accuracy")
    options = parser.parse_args(arguments)
    if len(options.runs) < 2:
        raise MlgymError("compare: two runs are expected, or more; write python -m mlgym_jax.runs compare RUN RUN")
    found = compare([_found(options, run) for run in options.runs], options.monitor)
    answer(found) if options.json else show_comparison(found)
    return DONE


def _watch(arguments: list[str]) -> int:
    from mlgym_jax.managing.telling import need_conditions, tell_alerts
    from mlgym_jax.managing.told import event_line
    from mlgym_jax.managing.watching import Watch

    parser = _parser("watch", "Print new events of all runs of a folder, or alerts, as they come, until Ctrl-C.")
    parser.add_argument("runs", nargs="*", help="only these runs, by their ids")
    parser.add_argument("--since", metavar="WHEN", help="a cursor, a time, 2h, or of one run the id of an event")
    parser.add_argument("--once", action="store_true", help="print what there is, and end")
    parser.add_argument("--on", metavar="WHAT", help="alerts: finished,failed,diverged,lost,'better:val/accuracy>0.97'")
    parser.add_argument("--webhook", metavar="URL", help="POST alerts there; or the variable MLGYM_JAX_ALERT_WEBHOOK")
    parser.add_argument("--command", metavar="LINE", help="run this for each alert; its environment says what is told")
    parser.add_argument("--state", metavar="FILE", help="what was told is kept here; in the cache folder by default")
    parser.add_argument("--end_with_stdin", action="store_true", help="wait for the folder, end with stdin")
    options = parser.parse_args(arguments)
    folders = [_found(options, run) for run in options.runs]
    storages = {os.path.dirname(folder) for folder in folders}
    storages = storages or {_storage(options, may_come=options.end_with_stdin)}
    if len(storages) > 1:
        raise MlgymError(f"watch: these runs are in several folders ({listed(sorted(storages))}); watch each by itself")
    runs = [os.path.basename(folder) for folder in folders]
    if options.on is not None:

        def write(one: Any) -> None:
            answer(one, indent=None) if options.json else print(one["text"], flush=True)

        tell_alerts(options, storages.pop(), runs, write)
        return DONE
    need_conditions(options)
    watch = Watch(storages.pop(), runs, since=options.since, now_ms=time.time_ns() // 1_000_000)
    while True:
        some = False
        for one in watch.new():
            some = True
            answer(one, indent=None) if options.json else print(event_line(one))
        if options.json and (some or options.once):
            answer({"cursor": watch.cursor}, indent=None)
        elif options.once:
            show(f"go on by --since={watch.cursor}")
        sys.stdout.flush()
        if options.once:
            return DONE
        time.sleep(_POLL_SECONDS)


# --- saying ----------------------------------------------------------------------------------------------------------


def _saying(name: str, description: str, run: str, *, many: bool) -> Parser:
    parser = _parser(name, description, run=run, many=many)
    parser.add_argument("--experiment", metavar="ID", help="of this experiment, not of the whole run")
    parser.add_argument("--by", metavar="NAME", help="who says it; you by default")
    return parser


def _say(options: Any, runs: list[str], make: Callable[[int | None], list[Change]]) -> list[ListedRun]:
    if options.experiment is not None and not re.fullmatch(r"[0-9]{1,9}", options.experiment):
        raise MlgymError(f"--experiment={options.experiment}: it is the number of an experiment; write --experiment=0")
    at = None if options.experiment is None else int(options.experiment)
    found = [ListedRun(_found(options, run)) for run in runs]  # all of them, before the first is changed
    for run in found:
        run.say(*make(at), by=options.by)
        if run.is_received:
            print(f"{run.run_id} came from another machine: what is said here is not sent there", file=sys.stderr)
    return found


def _note(arguments: list[str]) -> int:
    parser = _saying("note", "Print the note of a run, or write it; '-' reads it from stdin.", "run", many=False)
    parser.add_argument("text", nargs="?", help="the note; '' for none")
    options = parser.parse_args(arguments)
    text = sys.stdin.read(MAX_NOTE_BYTES + 1).removesuffix("\n") if options.text == "-" else options.text
    [run] = _say(options, [options.run], lambda at: [] if text is None else [NoteSet(text, at)])
    at = None if options.experiment is None else int(options.experiment)
    note = run.note(experiment_id=at)
    if options.json:
        answer({"run_id": run.run_id, "experiment_id": at, "note": note})
    elif text is None:
        print("\n".join(map(plain, note.expandtabs().split("\n"))))
    else:
        print(plain(f"{run.run_id}: note: {note.splitlines()[0] if note else 'none'}"))
    return DONE


def _tag(arguments: list[str]) -> int:
    signed = [word for word in arguments if re.match(r"\+|-[^-]", word)]
    parser = _saying("tag", "Add tags to runs (+good) and take them away (-bad).", "runs", many=True)
    parser.usage = "python -m mlgym_jax.runs tag RUN… [+TAG…] [-TAG…] [--experiment=ID] [--by=NAME]"
    if "-h" in signed:
        signed = []
    options = parser.parse_args([word for word in arguments if word not in signed])

    def changes(at: int | None) -> list[Change]:
        return [TagAdded(word[1:], at) if word[0] == "+" else TagRemoved(word[1:], at) for word in signed]

    try:
        runs = _say(options, options.runs, changes)
    except MlgymError as error:
        hint = "" if signed else ". A tag is written +paper to add it, -paper to take it away"
        raise MlgymError(f"{error}{hint}") from None
    _tell(options, runs, lambda run: f"tags: {' '.join(run.tags) or 'none'}")
    return DONE


def _tell(options: Any, runs: list[ListedRun], words: Callable[[ListedRun], str]) -> None:
    if options.json:
        answer([run.as_json() for run in runs])
    else:
        for run in runs:
            print(plain(f"{run.run_id}: {words(run)}"))


def _marking(name: str, change: Any, description: str, done: str) -> Callable[[list[str]], int]:
    def command(arguments: list[str]) -> int:
        options = _saying(name, description, "runs", many=True).parse_args(arguments)
        runs = _say(options, options.runs, lambda at: [change(at)])
        at = "" if options.experiment is None else f"experiment {options.experiment} is "
        _tell(options, runs, lambda run: at + done.format(run=run.run_dir))
        return DONE

    return command


def _purge(arguments: list[str]) -> int:
    from mlgym_jax.managing.purge import removable, remove, remove_leftovers

    parser = _parser("purge", "Remove from the disk, for ever, runs that were deleted long enough ago.")
    parser.add_argument("--older_than", default="30", metavar="DAYS", help="deleted at least so many days ago; 30")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", options.older_than):
        raise MlgymError(f"--older_than={options.older_than}: it is a number of days, such as 30 or 0.5")
    storage = _storage(options)
    now_ms = time.time_ns() // 1_000_000
    found, stay = removable(storage, older_than_days=float(options.older_than), now_ms=now_ms)
    for line in stay:
        print(line, file=sys.stderr)
    for one in found:
        print(f"{one.run_dir}  {one.bytes / 1e6:.1f} MB", file=sys.stderr)
    removed: list[str] = []
    if found and not options.yes and not _agreed(len(found), sum(one.bytes for one in found)):
        print("nothing was removed", file=sys.stderr)
        return DONE
    errors = []
    for one in found:
        try:
            remove(one)
            removed.append(one.run_dir)
        except MlgymError as error:
            errors.append(str(error))
    remove_leftovers(storage)
    for line in errors:
        print(line, file=sys.stderr)
    if options.json:
        answer({"removed": removed, "errors": errors})
    else:
        print(f"removed: {len(removed)} of {len(found)} runs")
    return FAILED if errors else DONE


def _agreed(number: int, size: int) -> bool:
    if not sys.stdin.isatty():
        raise MlgymError("purge: nobody is there to ask; say --yes to remove these runs for ever")
    what = f"Remove {number} run{'s' * (number != 1)}, {size / 1e6:.1f} MB, for ever? [y/N] "
    try:
        return input(what).strip().lower() in ("y", "yes")
    except EOFError:
        return False


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "list": _list,
    "note": _note,
    "tag": _tag,
    "archive": _marking("archive", Archived, "Put runs out of the way; list --all shows them.", "archived"),
    "unarchive": _marking("unarchive", Unarchived, "Undo archive.", "not archived"),
    "delete": _marking(
        "delete",
        Deleted,
        "Hide runs everywhere. Nothing is removed: restore undoes it, purge removes what was deleted long ago.",
        "deleted; undo it by python -m mlgym_jax.runs restore {run}",
    ),
    "restore": _marking("restore", Restored, "Undo delete.", "restored"),
    "purge": _purge,
    "lineage": _lineage,
    "compare": _compare,
    "watch": _watch,
}


def main() -> None:
    """Entry point of the console script."""
    leave(guarded(_main, output="the list"))


if __name__ == "__main__":
    main()

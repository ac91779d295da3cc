"""Runs as words and tables for people; what comes from logs is shown as text, without what would steer a terminal."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Return a text of one line that steers no terminal: control characters are spelled out, as `\\x1b`."""
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def brief(text: str, limit: int = 60) -> str:
    """Return the beginning of a text's first line."""
    line = plain(text.strip().partition("\n")[0])
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def duration(seconds: float | None) -> str:
    """Write a time as people say it: `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    for size, name, less, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // less
            return f"{whole // size} {name}" + (f" {rest} {small}" if rest else "")
    raise AssertionError


def moment(ms: int | None) -> str:
    """Write unix milliseconds as a local time."""
    try:
        return "-" if ms is None else f"{datetime.datetime.fromtimestamp(ms / 1000):%Y-%m-%d %H:%M:%S}"
    except (TypeError, ValueError, OverflowError, OSError):  # as a file says that somebody has changed
        return str(ms)


def number(value: float | None) -> str:
    """Write a score in six significant digits."""
    return "-" if value is None else f"{value:.6g}"


_ALWAYS = ("id", "status", "best")


def cells(run: Any) -> dict[str, str]:
    """Return what a table shows of a `ListedRun`; empty where there is nothing to show."""
    best = "-" if run.best_score is None else f"{number(run.best_score)} {run.monitor}"
    state = " (deleted)" if run.deleted else " (archived)" if run.archived else ""
    origin = [f"{run.num_launches} launches"] if (run.num_launches or 0) > 1 else []
    origin += [f"{run.num_refits} refits"] if run.num_refits else []
    origin += [f"from {source.rpartition('/')[2]}" for source in run.warm_starts]
    return {
        "id": plain(run.run_id),
        "name": brief(run.name or "", 40),
        "status": run.status + state,
        "best": plain(best),
        "done": "-" if run.progress is None else f"{100 * run.progress:.0f} %",
        "time": duration(run.seconds),
        "failed": str(run.num_failed) if run.num_failed else "",
        "owner": brief(run.owner or "", 20),
        "tags": " ".join(map(plain, run.tags)),
        "note": brief(run.as_json()["note"]),
        "origin": ", ".join(map(plain, origin)),
    }


def heads(runs: Iterable[Any]) -> list[str]:
    """Return which columns a table of runs needs: those that say something of one of them."""
    found = [cells(run) for run in runs]
    return [name for name in (found[0] if found else _ALWAYS) if name in _ALWAYS or any(row[name] for row in found)]


def table(names: Sequence[str], rows: Iterable[Mapping[str, str] | Sequence[str]]) -> Any:
    """Return a table for the terminal; nothing in its cells is markup."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        right = name in ("done", "time", "failed", "epochs")
        grid.add_column(Text(name), justify="right" if right else "left", overflow="fold", no_wrap=name == "id")
    for row in rows:
        shown = [row[name] for name in names] if isinstance(row, Mapping) else row
        grid.add_row(*map(Text, shown))
    return grid


def show(thing: Any) -> None:
    """Print a table or a line, in a pipe as wide as `$COLUMNS`, or 160."""
    import os
    import sys

    from rich.console import Console

    wanted = os.environ.get("COLUMNS", "")
    width = None if sys.stdout.isatty() else max(40, int(wanted)) if wanted.isdecimal() else 160
    Console(width=width, highlight=False, markup=False, emoji=False).print(thing)

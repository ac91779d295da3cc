"""A run as text for people: the table of its experiments, what was selected, what was refitted."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym_jax.config.spelling import spelled
from mlgym_jax.errors import listed
from mlgym_jax.reading.rows import Column, chosen, report_columns
from mlgym_jax.reading.speed import speed_in_words


def print_table(
    result: Any,
    monitor: str | None,
    mode: str,
    limit: int | None = None,
    columns: Sequence[str] | None = None,
) -> None:
    """Print the verdict on a run, its experiments, best first, and what was found out beside them; see `table`."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else piped_width(), highlight=False, markup=False)
    grid = table(result.view, monitor, mode, limit, with_test=True, columns=columns, width=console.width)
    for line in verdict_lines(result.verdict(monitor, mode)):
        console.print(line, soft_wrap=True)  # whole, so that a command in it can be copied
    console.print(grid)
    for line in failures(result):
        console.print(line)
    selection = result.selection(monitor, mode)
    if selection is not None:
        console.print(_selected(*selection))
    for item in result.refit:
        console.print(_refitted(item))
    if "refit" in (result.view.config or {}) and not result.refit and result.status in ("DONE", "FAILED"):
        console.print("refit: none, as no candidate has a finite score on every fold")
    if result.view.evaluations:
        console.print(_evaluations(result.view.evaluations))
    if speed := speed_in_words(result.view.speeds):
        console.print(speed)
    for line in damage(result):
        console.print(line)


def verdict_lines(verdict: Mapping[str, Any]) -> list[str]:
    """Return the lines that stand above a table: the headline, then what no line below the table says again."""
    told = {about: text for about, text in verdict["sentences"].items() if about not in ("estimate", "failures")}
    return [verdict["headline"], *(f"  {text}" for text in told.values())]


def failures(result: Any) -> list[str]:
    """Return a line for each experiment that failed."""
    failed = [item for item in [*result.experiments, *result.refit] if item.error]
    return [
        f"experiment {item.experiment_id} failed: {str(item.error).splitlines()[0]}" for item in failed if item.error
    ]


def damage(result: Any) -> list[str]:
    """Return what the log lost, in a line, or nothing."""
    lost = listed(result.damaged_lines)
    return [f"unreadable lines of the log were left out: {lost}"] if result.damaged_lines else []


def _evaluations(found: Sequence[Mapping[str, Any]]) -> Any:
    """Return a table of what was evaluated after training, in the order of the log."""
    from rich.table import Table
    from rich.text import Text

    scores = list(dict.fromkeys(name.partition("/")[2] for one in found for name in one["scores"]))[:6]
    grid = Table(title="evaluated after training", title_justify="left")
    for name in ("id", "epoch", "data", "split", "examples", *scores):
        grid.add_column(name, justify="left" if name in ("data", "split") else "right", overflow="fold")
    for one in found:
        values = {name.partition("/")[2]: score for name, score in one["scores"].items()}
        data = "its own" if one["dataset"] is None else spelled(one["dataset"])
        row = [str(one["experiment_id"]), str(one["epoch"]), data, one["split"], f"{one['num_examples']:,}"]
        row += [f"{float(values[name]):.4f}" if name in values else "-" for name in scores]
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def piped_width() -> int:
    """Return the columns of a table that goes into a pipe or a file: `$COLUMNS` of them, or 120."""
    wanted = os.environ.get("COLUMNS", "")
    return max(40, int(wanted)) if wanted.isdecimal() else 120


def _refitted(item: Any) -> str:
    seed = f", seed {item.hyperparameters['seed']}" if "seed" in item.hyperparameters else ""
    planned = item.planned_epochs
    scores = ", ".join(f"{name} {score:.4f}" for name, score in item.last.items() if _telling(name))
    chosen = _words({name: value for name, value in item.hyperparameters.items() if name != "seed"})
    by = (item.selected_by or {}).get("monitor")
    return (
        f"refit on all training data: experiment {item.experiment_id}{seed}, {chosen}, selected by {by}: "
        f"{item.status}, {item.num_epochs} of {planned} epochs" + (f"; {scores}" if scores else "")
    )


def _telling(name: str) -> bool:
    return name == "train/loss" or not name.startswith("train/")


def _selected(kind: str, found: dict[str, Any] | None) -> str:
    name = kind.replace("_", " ")
    if found is None:
        return f"{name}: not every fold has a score yet"
    spread = "" if found["std"] is None else f" ± {found['std']:.4f}"
    score = found["monitor"] if kind == "cross_validation" else "test/" + found["monitor"].removeprefix("val/")
    chosen = found["selected"] if isinstance(found["selected"], list) else [found["selected"]]
    words = [_words(item) for item in chosen]
    picked = " | ".join(words) if len(set(words)) > 1 else words[0]
    return f"{name}: {score} {found['mean']:.4f}{spread} over {len(found['scores'])} folds; selected: {picked}"


def table(
    view: Any,
    monitor: str | None,
    mode: str,
    limit: int | None = None,
    *,
    with_test: bool = False,
    columns: Sequence[str] | None = None,
    width: int | None = None,
) -> Any:
    """Return a rich table of a run's experiments, best first, those without a score last.

    Args:
        with_test: show what the split "test" says of each experiment's best epoch, of its last one without a monitor;
            while a run goes on, nobody should choose by it.
        columns: the names of those that are shown, in their order.
        width: how many characters there are; scores that do not fit beside the rest are then named below the table.

    Raises:
        MlgymError: a name that is no column's.
    """
    from rich.table import Table
    from rich.text import Text

    found = chosen(report_columns(view, monitor, mode, limit, with_test=with_test), "people", columns)
    title = f"{view.run_id} {view.name or ''} {view.status}"
    found, left = _fitting(found, width, monitor) if width and columns is None else (found, [])
    whole = [one.name for one in found]
    names = _short(found) if width and columns is None and _width(found, whole) > width else whole
    caption = f"not shown: {listed([one.name for one in left], 6)}; --columns=… names what is" if left else None
    grid = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for column, name in zip(found, names, strict=True):
        grid.add_column(
            name,
            no_wrap=not column.is_swept and not column.is_words,
            justify="left" if column.is_words else "right",
            style="bold" if monitor and column.name == f"best {monitor}" else None,
            overflow="fold" if column.is_swept else "ellipsis",
        )
    for row in zip(*(column.shown for column in found), strict=True):
        grid.add_row(*map(Text, row))
    return grid


def _width(found: Sequence[Column], headings: Sequence[str]) -> int:
    """Return how wide a table of columns is."""
    lines = [max(map(len, heading.split("\n"))) for heading in headings]
    return 1 + sum(3 + max([line, *map(len, one.shown)]) for line, one in zip(lines, found, strict=True))


def _short(found: Sequence[Column]) -> list[str]:
    """Return headings of two lines, in which swept names are without their sections where that leaves them apart."""
    ends = [one.name.rpartition(".")[2] if one.is_swept else one.name for one in found]
    names = [end if ends.count(end) == 1 else one.name for end, one in zip(ends, found, strict=True)]
    return [name.replace(" ", "\n", 1) for name in names]


def _fitting(found: Sequence[Column], width: int, monitor: str | None) -> tuple[list[Column], list[Column]]:
    """Return the columns that fit beside each other, and the scores that do not.

    Those of training are left out first, then the last ones; what the monitor's metric is on other splits at the end.
    """
    own = f"/{(monitor or '').partition('/')[2]} "
    kept, left = list(found), []
    scores = [one for one in found if "/" in one.name and not one.is_swept and not one.name.startswith("best ")]
    order = sorted(reversed(scores), key=lambda one: (not one.name.startswith("train/"), own in f"{one.name} "))
    for one in order:
        if _width(kept, _short(kept)) <= width:
            break
        kept.remove(one)
        left.append(one)
    return kept, [one for one in found if one in left]


def _words(hyperparameters: dict[str, Any]) -> str:
    """Write swept values in a line; those that are a part of a component among them stand in that."""
    own = [key for key in hyperparameters if not any(key.startswith(f"{other}.") for other in hyperparameters)]
    return "; ".join(f"{key}={spelled(hyperparameters[key])}" for key in own) or "the only one"

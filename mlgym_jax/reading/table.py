"""A run as text for people: the table of its experiments, what was selected, what was refitted."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym_jax.config.spelling import spelled
from mlgym_jax.errors import listed
from mlgym_jax.reading.rows import chosen, report_columns
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
    grid = table(result.view, monitor, mode, limit, with_test=True, columns=columns)
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
    return [f"experiment {item.experiment_id} failed: {item.error.splitlines()[0]}" for item in failed if item.error]


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
) -> Any:
    """Return a rich table of a run's experiments, best first, those without a score last.

    Args:
        with_test: show what the split "test" says of each experiment's best epoch, of its last one without a monitor;
            while a run goes on, nobody should choose by it.
        columns: the names of those that are shown, in their order.

    Raises:
        MlgymError: a name that is no column's.
    """
    from rich.table import Table
    from rich.text import Text

    found = chosen(report_columns(view, monitor, mode, limit, with_test=with_test), "people", columns)
    grid = Table(title=f"{view.run_id} {view.name or ''} {view.status}", title_justify="left")
    for column in found:
        grid.add_column(
            column.name,
            justify="left" if column.is_words else "right",
            style="bold" if monitor and column.name == f"best {monitor}" else None,
            overflow="fold" if column.is_swept else "ellipsis",
        )
    for row in zip(*(column.shown for column in found), strict=True):
        grid.add_row(*map(Text, row))
    return grid


def _words(hyperparameters: dict[str, Any]) -> str:
    """Write swept values in a line; those that are a part of a component among them stand in that."""
    own = [key for key in hyperparameters if not any(key.startswith(f"{other}.") for other in hyperparameters)]
    return "; ".join(f"{key}={spelled(hyperparameters[key])}" for key in own) or "the only one"

"""What a board in the terminal shows of a run, as text and cells: verdict, chart, table. Pure functions of its view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.text import Text

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import ExperimentView, RunView, default_mode, default_monitor
from mlgym_jax.events.verdict import verdict
from mlgym_jax.reading.braille import canvas
from mlgym_jax.reading.rows import Column, chosen, report_columns
from mlgym_jax.search.ruled import matching

# What is told beneath the headline, the most urgent first; the table and the heading say the rest.
_TOLD = ("resume", "failures", "estimate", "spread", "next", "influence", "learning", "test", "load")
MAX_ROWS = 200  # of a table; more is for the filter
MAX_CURVES = 5
_STYLES = ("cyan", "magenta", "yellow", "green", "blue")
_OPERATORS = ("<", ">", "=", "~", " in ", "not ")


class Table(NamedTuple):
    """The table of experiments.

    Attributes:
        columns: their names, and how each is sorted.
        rows: the cells of each experiment that is shown; ids: whose they are.
        total: how many the filter let through.
    """

    columns: list[str]
    rows: list[list[str]]
    ids: list[int]
    total: int


def ranked_by(view: RunView, monitor: str | None) -> tuple[str | None, str]:
    """Return the score that a run is ranked by, and its mode: `monitor`, if the run has it, else the usual one."""
    if monitor is not None and monitor in view.scores:
        return monitor, default_mode(monitor, view.config)
    return default_monitor(view.scores, view.config)


def heading(view: RunView, is_lost: bool) -> str:
    """Say in a line what the run is, and how far."""
    status = "LOST" if is_lost else view.status
    every = list(view.experiments.values())
    done = sum(one.epochs for one in every)
    planned = sum(one.epochs if one.status in ("DONE", "FAILED") else one.planned or 0 for one in every)
    epochs = f"{done:,} of {planned:,} epochs" if planned else f"{done:,} epochs"
    words = [str(view.run_id or ""), str(view.name or ""), status, f"{len(every):,} experiments", epochs]
    return "  ".join(word for word in words if word)


def verdict_lines(view: RunView, name: str, is_lost: bool, monitor: str | None = None) -> list[str]:
    """Say what came out so far, one sentence a line: the best, the failures, how to go on with a lost run."""
    found = verdict(view, *ranked_by(view, monitor), lost=is_lost, name=name)
    told = found["sentences"]
    return [found["headline"], *(told[about] for about in _TOLD if about in told)]


def columns_of(view: RunView, monitor: str | None) -> list[Column]:
    """Return what a table shows of all experiments, best first; of thousands this takes a while."""
    return chosen(report_columns(view, *ranked_by(view, monitor)), "people")


def experiments_table(
    view: RunView,
    columns: Sequence[Column],
    where: str = "",
    sort: str | None = None,
    *,
    reverse: bool = False,
) -> Table:
    """Return the experiments as a table, best first.

    Args:
        columns: those of `columns_of`.
        where: words that all stand somewhere in a row, or a condition such as `seed = 1 and status != FAILED`.
        sort: the column to sort by, its smallest value first; None for best first.

    Raises:
        MlgymError: the condition cannot be read, or names what the run does not have.
    """
    ids = [int(cell) for cell in columns[0].exact]
    order = list(range(len(ids)))
    if where.strip():
        kept = _kept(where, columns, ids, view)
        order = [row for row in order if ids[row] in kept]
    column = next((one for one in columns if one.name == sort), None)
    if column is not None:
        order.sort(key=lambda row: _place(column.exact[row]))
    if reverse:
        order.reverse()
    shown = order[:MAX_ROWS]
    rows = [[one.shown[row] for one in columns] for row in shown]
    return Table([one.name for one in columns], rows, [ids[row] for row in shown], len(order))


def _kept(where: str, columns: Sequence[Column], ids: Sequence[int], view: RunView) -> set[int]:
    if any(sign in where for sign in _OPERATORS):
        return matching(where, view)
    words = where.lower().split()
    texts = ["\n".join(column.shown[row] for column in columns).lower() for row in range(len(ids))]
    return {ids[row] for row, text in enumerate(texts) if all(word in text for word in words)}


def _place(cell: str) -> tuple[bool, bool, float, str]:
    """Return what a cell is sorted by: numbers by their size, then words; nothing last."""
    try:
        number = float(cell)
    except ValueError:
        return cell == "", True, 0.0, cell
    return math.isnan(number), False, 0.0 if math.isnan(number) else number, ""


def chart(
    found: Sequence[ExperimentView], name: str | None, *, width: int, height: int, first: int | None = None
) -> Text:
    """Draw a score's curves over the epochs, the first experiment's over the others.

    Args:
        found: the experiments; the first few are drawn.
        width, height: in characters, axes and legend included.
        first: the experiment that is drawn over all others.
    """
    found = [one for one in found if name in one.history]
    found = sorted(found, key=lambda one: one.experiment_id != first)[:MAX_CURVES]
    curves = [one.history[str(name)] for one in found]
    finite = [value for curve in curves for value in curve if math.isfinite(value)]
    if not finite or width < 20 or height < 3:
        return Text("no curve yet" if not finite else "")
    low, high = min(finite), max(finite)
    edges = [f"{high:.4g}", f"{low:.4g}"]
    margin = max(map(len, edges)) + 1
    length = max(map(len, curves))
    rows, shown = canvas(curves, width=width - margin, height=height - 1, low=low, high=high, length=length)
    text = Text()
    for number, (row, owners) in enumerate(zip(rows, shown, strict=True)):
        edge = edges[0] if number == 0 else edges[1] if number == len(rows) - 1 else ""
        text.append(f"{edge:>{margin - 1}} ", "dim")
        for sign, owner in zip(row, owners, strict=True):
            text.append(sign, None if owner is None else _STYLES[owner])
        text.append("\n")
    text.append(f"{'':>{margin}}{name}, epochs {min(one.epoch_numbers[0] for one in found)}")
    text.append(f"-{max(one.epoch_numbers[-1] for one in found)}: ")
    for number, one in enumerate(found):
        text.append(f"{one.experiment_id} ", _STYLES[number])
    return text


def details(one: ExperimentView) -> str:
    """Say all that is known of one experiment, in lines."""
    status = str(one.status) + (f" ({one.stop_reason})" if one.stop_reason else "")
    lines = [f"experiment {one.experiment_id}: {status}, {one.epochs} of {one.planned or '?'} epochs"]
    if one.fold is not None:
        lines.append(f"fold {one.fold}")
    lines += [f"{name} = {value}" for name, value in one.hyperparameters.items()]
    if one.history:
        lines.append("")
        width = max(map(len, one.history))
        for name in one.history:
            best = one.best(name, default_mode(name, {"metrics": (one.config or {}).get("metrics")}))
            last = f"{one.last[name]:.6g}" if name in one.last else "-"
            lines.append(f"{name:<{width}}  last {last}" + (f"  best {best[1]:.6g} @ {best[0]}" if best else ""))
    if one.error:
        lines += ["", "failed:", *str(one.error).splitlines()]
    if one.stacktrace:
        lines += ["", *str(one.stacktrace).splitlines()]
    return "\n".join(lines)


def checked_filter(view: RunView, where: str) -> str | None:
    """Return what is wrong with a filter, in words; None where nothing is."""
    try:
        experiments_table(view, columns_of(view, None), where)
    except MlgymError as error:
        return str(error)
    return None


def plain_lines(view: RunView, name: str, is_lost: bool, monitor: str | None = None) -> list[Any]:
    """Return a snapshot for where no screen is, for rich to print: heading, verdict, chart."""
    by, _ = ranked_by(view, monitor)
    ids = experiments_table(view, columns_of(view, monitor)).ids
    curves = chart([view.experiments[number] for number in ids], by, width=72, height=9)
    return [heading(view, is_lost), *verdict_lines(view, name, is_lost, monitor), curves]

"""The board in a terminal, drawn by Textual: `python -m mlgym_jax.watch` starts it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Input, Static

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import ExperimentView, RunView
from mlgym_jax.reading.followed import Followed
from mlgym_jax.reading.rows import Column
from mlgym_jax.reading.watched import (
    Table,
    chart,
    checked_filter,
    columns_of,
    details,
    experiments_table,
    heading,
    ranked_by,
    verdict_lines,
)

_LOOK_SECONDS = 0.5
_LOOKS_AT_ONCE = 20  # before the screen is drawn again
_REST = 4  # times as long as drawing took, before it is drawn anew: keys go first
_CHART_ROWS = 9


class RunBoard(App[None]):
    """Verdict, chart and table of one run, live.

    Args:
        source: where its events come from.
        monitor: the score to rank by; None for the usual one.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #heading { height: 1; text-style: bold; }
    #verdict { height: auto; max-height: 8; }
    #chart { height: 10; }
    #table { height: 1fr; }
    #filter { display: none; height: 3; }
    #filter.open { display: block; }
    #problem { height: auto; display: none; color: $error; }
    #problem.open { display: block; }
    .short #chart { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("enter", "open", "Open", priority=False),
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse"),
        Binding("slash", "filter", "Filter"),
        Binding("m", "score", "Score"),
        Binding("escape", "clear_filter", "All", show=False),
    ]

    def __init__(self, source: Followed, monitor: str | None = None):
        super().__init__()
        self.source, self.monitor = source, monitor
        self._where, self._sort, self._reverse = "", None, False
        self._table: Table | None = None  # what the widget holds
        self._known: tuple[str | None, list[Column], list[str]] | None = None  # of a score: columns and verdict

    @property
    def view(self) -> RunView:
        """What is known of the run."""
        return self.source.view

    def compose(self) -> ComposeResult:
        yield Static(id="heading", markup=False)
        yield Static(id="verdict", markup=False)
        yield Static(id="chart")
        yield Static(id="problem", markup=False)
        yield Input(id="filter", placeholder="words of a row, or a condition: optimizer.learning_rate < 0.01")
        yield DataTable(id="table", cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self.run_worker(self._follow(), exclusive=True)

    async def _follow(self) -> None:
        """Take in news for as long as the board is shown, and draw them."""
        is_first = True
        while True:
            has_news, problem, looks = is_first, None, 0
            was_lost, is_first = self.source.is_lost, False
            try:
                while self.source.take(await asyncio.to_thread(self.source.fetch)) and looks < _LOOKS_AT_ONCE:
                    has_news, looks = True, looks + 1
            except MlgymError as error:
                problem = str(error)
            if not self.screen_stack or not self.screen_stack[0].query("#problem"):
                return  # it was closed meanwhile
            self._say(problem)
            began = time.monotonic()
            if has_news or self.source.is_lost != was_lost:
                self._known = None
                self.draw()
            await asyncio.sleep(max(_REST * (time.monotonic() - began), _LOOK_SECONDS * (looks < _LOOKS_AT_ONCE)))

    def _say(self, problem: str | None) -> None:
        shown = self.screen_stack[0].query_one("#problem", Static)
        shown.set_class(problem is not None, "open")
        if problem is not None:
            shown.update(problem)

    def on_resize(self) -> None:
        self.screen.set_class(self.size.height < 20, "short")
        self.draw()

    def draw(self) -> None:
        """Show what is known by now."""
        base = self.screen_stack[0]
        base.query_one("#heading", Static).update(heading(self.view, self.source.is_lost))
        if self._known is None or self._known[0] != self.monitor:
            lines = verdict_lines(self.view, self.source.name, self.source.is_lost, self.monitor)
            self._known = self.monitor, columns_of(self.view, self.monitor), lines
        _, columns, lines = self._known
        base.query_one("#verdict", Static).update("\n".join(lines))
        try:
            found = experiments_table(self.view, columns, self._where, self._sort, reverse=self._reverse)
        except MlgymError:
            return  # a name that the run has not yet, or not any more
        self._fill(base.query_one(DataTable), found)
        self._draw_chart()
        if isinstance(self.screen, _Details):
            self.screen.draw()

    def _draw_chart(self) -> None:
        base = self.screen_stack[0]
        shown = [self.view.experiments[number] for number in (self._table.ids if self._table else ())]
        curves = chart(shown, self.score, width=max(self.size.width, 1), height=_CHART_ROWS, first=self._chosen())
        base.query_one("#chart", Static).update(curves)

    @property
    def score(self) -> str | None:
        """The score that is drawn and ranked by."""
        return ranked_by(self.view, self.monitor)[0]

    def _fill(self, widget: DataTable[Any], found: Table) -> None:
        """Change the cells that are others, or all where other rows or columns are shown."""
        before, chosen = self._table, self._chosen()
        self._table = found
        if before is not None and (before.columns, before.ids) == (found.columns, found.ids):
            for number, (old, new) in enumerate(zip(before.rows, found.rows, strict=True)):
                for column, (one, other) in enumerate(zip(old, new, strict=True)):
                    if one != other:
                        widget.update_cell(str(found.ids[number]), str(column), Text(other), update_width=True)
            return
        widget.clear(columns=True)
        for number, name in enumerate(found.columns):
            widget.add_column(Text(name + self._mark(name)), key=str(number))
        for number, row in zip(found.ids, found.rows, strict=True):
            widget.add_row(*map(Text, row), key=str(number))
        if chosen in found.ids:
            widget.move_cursor(row=found.ids.index(chosen))
        if found.total > len(found.rows):
            self._say(f"{len(found.rows):,} of {found.total:,} experiments are shown; / filters them")

    def _mark(self, name: str) -> str:
        return (" ▼" if self._reverse else " ▲") if name == self._sort else ""

    def _chosen(self) -> int | None:
        """Return the experiment that the cursor is on."""
        widget = self.screen_stack[0].query_one(DataTable)
        if self._table is None or not 0 <= widget.cursor_row < len(self._table.ids):
            return None
        return self._table.ids[widget.cursor_row]

    # -- keys --------------------------------------------------------------------------------------------------------

    def on_data_table_row_highlighted(self) -> None:
        self._draw_chart()

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        chosen = self._chosen()
        if chosen is not None and not isinstance(self.screen, _Details):
            self.push_screen(_Details(self, chosen))

    def action_sort(self) -> None:
        """Sort by the next column, after the last one best first again."""
        names = [None, *(self._table.columns if self._table else ())]
        self._sort = names[(names.index(self._sort) + 1) % len(names)] if self._sort in names else None
        self._redraw()

    def action_reverse(self) -> None:
        self._reverse = not self._reverse
        self._redraw()

    def action_score(self) -> None:
        """Rank by the next score."""
        names = self.view.scores
        if names:
            now = self.score
            self.monitor = names[(names.index(now) + 1) % len(names)] if now in names else names[0]
            self._redraw()

    def _redraw(self) -> None:
        self._table = None  # headings, too
        self.draw()

    def action_filter(self) -> None:
        box = self.screen_stack[0].query_one(Input)
        box.add_class("open")
        box.focus()

    def action_clear_filter(self) -> None:
        box = self.screen_stack[0].query_one(Input)
        box.value = self._where = ""
        self._leave_filter(box)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        problem = checked_filter(self.view, event.value)
        self._say(problem)
        if problem is None:
            self._where = event.value
            self._leave_filter(event.input)

    def _leave_filter(self, box: Input) -> None:
        box.set_class(bool(self._where), "open")
        self._say(None)
        self.screen_stack[0].query_one(DataTable).focus()
        self._redraw()


class _Details(Screen[None]):
    """One experiment: its curve, scores, hyperparameters, what it failed with."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back"),
        Binding("m", "app.score", "Score"),
        Binding("q", "app.quit", "Quit"),
    ]
    CSS = "#curve { height: 10; }"

    def __init__(self, board: RunBoard, experiment_id: int):
        super().__init__()
        self._board, self._experiment_id = board, experiment_id

    def compose(self) -> ComposeResult:
        yield Static(id="curve")
        with VerticalScroll():
            yield Static(id="details", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self.draw()

    def draw(self) -> None:
        """Show what is known by now."""
        one: ExperimentView | None = self._board.view.experiments.get(self._experiment_id)
        if one is not None and self.query("#details"):  # a screen is shown before it has its parts
            width = max(self._board.size.width, 1)
            self.query_one("#curve", Static).update(chart([one], self._board.score, width=width, height=_CHART_ROWS))
            self.query_one("#details", Static).update(details(one))

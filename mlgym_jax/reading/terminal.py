"""Show a run in the terminal while it goes: bars and a leaderboard, or plain lines where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mlgym_jax.events import LiveView, RunView, default_monitor
from mlgym_jax.events.epoch_results import Appended
from mlgym_jax.reading.notebook import resume_command, short_path
from mlgym_jax.reading.progress import epochs_done, epochs_planned, leader
from mlgym_jax.reading.results import RunResult
from mlgym_jax.reading.table import print_table, table

_PLAIN_INTERVAL_SECONDS = 5.0
_LEADERS = 5
_MAX_ERROR = 2000  # characters; the log has all of it


def _whole(error: str) -> str:
    return error if len(error) <= _MAX_ERROR else f"{error[:_MAX_ERROR]}…"


class Terminal:
    """A sink of the event log that draws; `with` it, so that the screen is left in order.

    Args:
        run_dir: of a run that Python trains, its folder: where it ends is told, and how to go on if it was cut short.

    Attributes:
        live: what it draws, to be kept up to date with the log that it is a sink of.
    """

    def __init__(
        self,
        *,
        quiet: bool,
        console: Console | None = None,
        live: LiveView | None = None,
        run_dir: str | None = None,
    ):
        self._quiet = quiet
        self._console = console or Console(stderr=True, highlight=False, markup=False)
        self.live = live or LiveView()
        self._run_dir = run_dir
        self._screen: Live | None = None
        self._told_at = time.monotonic()
        self._examples = 0
        self._first_epoch_at: float | None = None
        self._examples_an_epoch: dict[int, int] = {}
        self._progress = Progress(
            TextColumn("epochs"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._bar = self._progress.add_task("epochs", total=None, speed="")

    @property
    def _view(self) -> RunView:
        return self.live.view

    @property
    def run_id(self) -> str | None:
        """The run that events were seen of."""
        return self._view.run_id

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self.close()
        if self._run_dir is None:
            return
        if error is None:
            self._say(f"{epochs_done(self._view)} epochs, {leader(self._view)}; run: {short_path(self._run_dir)}")
        else:
            self._say(f"nothing that was recorded is lost; go on with {resume_command(self._run_dir, self._view)}")

    def close(self) -> None:
        if self._screen is not None:
            self._screen.stop()
            self._screen = None

    def __call__(self, first_event_id: int, events: Sequence[Mapping[str, Any]]) -> None:
        appended = Appended.of(events)
        for event in appended.others:
            self._note(event["event_type"], event["payload"])
        for results in appended.results:
            self._trained(results.scores)
        if self._quiet or not self._view.experiments:
            return
        if self._console.is_terminal:
            self._draw()
        elif time.monotonic() - self._told_at > _PLAIN_INTERVAL_SECONDS:
            self._told_at = time.monotonic()
            done = epochs_done(self._view)
            self._console.print(f"{done} of {epochs_planned(self._view)} epochs{self._speed()}; {leader(self._view)}")

    def _note(self, kind: str, payload: Mapping[str, Any]) -> None:
        if kind == "evaluation_result":
            self._trained([payload["experiment_id"]])
        elif kind == "group_compiled":
            for number in payload["experiments"]:
                self._examples_an_epoch[number] = payload.get("num_examples") or 0
            if not self._quiet:
                self._say(
                    f"group {payload['group']}: {len(payload['experiments'])} experiments, plan {payload['plan']} "
                    f"({payload['reason']}), compiled in {payload['compile_seconds']:.1f} s"
                )
        elif kind == "checkpoint_skipped":
            where = f"; it is now in {payload['moved_to']}" if "moved_to" in payload else ""
            self._say(
                f"checkpoint {payload['step']} of group {payload['group']} passed over: {payload['error']}{where}"
            )
            if lost := payload.get("lost"):
                rows = ", ".join(f"experiment {number} epoch {epoch}" for number, epoch in lost)
                self._say(f"no checkpoint is left of what was to be kept: {rows}")
        elif kind == "experiment_failed":
            self._say(f"experiment {payload['experiment_id']} failed: {_whole(payload['error'])}")

    def _trained(self, experiments: Iterable[int]) -> None:
        self._first_epoch_at = self._first_epoch_at or time.monotonic()
        self._examples += sum(self._examples_an_epoch.get(number, 0) for number in experiments)

    def _say(self, line: str) -> None:
        (self._screen.console if self._screen else self._console).print(line)

    def _speed(self) -> str:
        if not self._first_epoch_at or not self._examples:
            return ""
        seconds = time.monotonic() - self._first_epoch_at
        return f", {self._examples / seconds:,.0f} examples/s" if seconds > 0.5 else ""

    def _monitor(self) -> tuple[str | None, str]:
        return default_monitor(self._view.scores, self._view.config)

    def _draw(self) -> None:
        if self._screen is None:
            self._screen = Live(
                console=self._console, refresh_per_second=4, get_renderable=self._render, transient=True
            )
            self._screen.start()

    def _render(self) -> Group:
        with self.live.lock:  # rich draws from a thread of its own
            return self._rendered()

    def _rendered(self) -> Group:
        speed = self._speed().removeprefix(", ")
        self._progress.update(
            self._bar, completed=epochs_done(self._view), total=epochs_planned(self._view) or None, speed=speed
        )
        return Group(table(self._view, *self._monitor(), limit=_LEADERS), self._progress)

    def finish(self, result: RunResult) -> None:
        """Print the final leaderboard and where the run is."""
        self.close()
        if self._quiet:
            print(result.run_dir)
            return
        print_table(result, *default_monitor(result.scores, result.view.config), limit=20)
        if len(result.experiments) > 20:
            print(f"(20 of {len(result.experiments)} experiments)")
        print(f"run: {result.run_dir}\nmore: python -m mlgym_jax.report {result.run_dir}", flush=True)
        sys.stdout.flush()

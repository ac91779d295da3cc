"""Show a run in the terminal while it goes: bars and a leaderboard, or plain lines where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mlgym_jax.events import LiveView, RunView, default_monitor
from mlgym_jax.reading.results import RunResult
from mlgym_jax.reading.table import print_table, table

_PLAIN_INTERVAL_SECONDS = 5.0
_LEADERS = 5
_MAX_ERROR = 2000  # characters; the log has all of it


def _whole(error: str) -> str:
    return error if len(error) <= _MAX_ERROR else f"{error[:_MAX_ERROR]}…"


class Terminal:
    """A sink of the event log that draws; `with` it, so that the screen is left in order.

    Attributes:
        live: what it draws, to be kept up to date with the log that it is a sink of.
    """

    def __init__(self, *, quiet: bool, console: Console | None = None):
        self._quiet = quiet
        self._console = console or Console(stderr=True, highlight=False, markup=False)
        self.live = LiveView()
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

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._screen is not None:
            self._screen.stop()
            self._screen = None

    def __call__(self, first_event_id: int, events: Sequence[dict[str, Any]]) -> None:
        for event in events:
            self._note(event["event_type"], event["payload"])
        if self._quiet or not self._view.experiments:
            return
        if self._console.is_terminal:
            self._draw()
        elif time.monotonic() - self._told_at > _PLAIN_INTERVAL_SECONDS:
            self._told_at = time.monotonic()
            done = self._epochs_done()
            self._console.print(f"{done} of {self._epochs_planned()} epochs{self._speed()}; {self._leader()}")

    def _note(self, kind: str, payload: Mapping[str, Any]) -> None:
        if kind == "evaluation_result":
            self._first_epoch_at = self._first_epoch_at or time.monotonic()
            self._examples += self._examples_an_epoch.get(payload["experiment_id"], 0)
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

    def _say(self, line: str) -> None:
        (self._screen.console if self._screen else self._console).print(line)

    def _epochs_done(self) -> int:
        return sum(item.epochs for item in self._view.experiments.values())

    def _epochs_planned(self) -> int:
        """Count the epochs of all experiments; one that has ended early needs no more than it has."""
        return sum(
            item.epochs if item.status in ("DONE", "FAILED") else item.planned or 0
            for item in self._view.experiments.values()
        )

    def _speed(self) -> str:
        if not self._first_epoch_at or not self._examples:
            return ""
        seconds = time.monotonic() - self._first_epoch_at
        return f", {self._examples / seconds:,.0f} examples/s" if seconds > 0.5 else ""

    def _monitor(self) -> tuple[str | None, str]:
        return default_monitor(self._view.scores, self._view.config)

    def _leader(self) -> str:
        monitor, mode = self._monitor()
        found = [(item.best(monitor, mode), item) for item in self._view.candidates] if monitor else []
        scored = [(best[1], item.experiment_id) for best, item in found if best is not None]
        if not scored:
            return "no score yet"
        score, number = (max if mode == "max" else min)(scored)
        return f"best {monitor} {score:.4f} (experiment {number})"

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
            self._bar, completed=self._epochs_done(), total=self._epochs_planned() or None, speed=speed
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

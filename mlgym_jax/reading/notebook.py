"""A run in the cell of a notebook while it goes: one display, brought up to date in place, whose last state is saved.

It needs nothing but IPython's displays: no widgets, no scripts, no colours of its own. Jupyter, VS Code and Colab show
it, and what nbconvert and papermill execute keeps it.
"""

from __future__ import annotations

import html
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlgym_jax.config.html_table import html_line
from mlgym_jax.data import given
from mlgym_jax.events import LiveView, RunView
from mlgym_jax.events.epoch_results import Appended
from mlgym_jax.reading.cells import show
from mlgym_jax.reading.progress import (
    duration,
    epochs_begun,
    epochs_done,
    epochs_planned,
    experiments_in_words,
    leader,
)

_LOG = logging.getLogger(__name__)
_INTERVAL_SECONDS = 0.25
_SHARE = 50  # drawing takes at most one part in so many of the time
_RATED_SECONDS = 0.5  # of training, before anything is said of what is left


def short_path(run_dir: str) -> str:
    """Return a run's folder as seen from the folder that this process is in, if it is beneath that."""
    try:
        short = os.path.relpath(run_dir)
    except (OSError, ValueError):  # another drive, or a working folder that was removed
        return run_dir
    return run_dir if short.startswith("..") else short


def resume_command(run_dir: str, view: RunView) -> str:
    """Return the Python that goes on with a run."""
    data = ", data=…" if given.must_be_given_again(run_dir, view.config or {}) else ""
    return f"mg.resume({short_path(run_dir)!r}{data})"


class NotebookProgress:
    """A sink of a run's log that shows in a cell how far the run is: `with` it around the writing.

    Args:
        live: what it shows, kept up to date with the log that it is a sink of.
        run_dir: the run's folder.
        clock: seconds that only grow.
    """

    def __init__(self, live: LiveView, run_dir: str, clock: Callable[[], float] = time.monotonic):
        self._live, self._run_dir, self._clock = live, run_dir, clock
        self._display_id = f"mlgym_jax-{secrets.token_hex(8)}"
        self._started = clock()
        self._due = -1.0  # the next drawing
        self._rated_from: tuple[float, float] | None = None  # when this launch's first epoch was over, and how far
        self._doing = "starting"
        self._is_shown = self._is_broken = False
        self._thread = threading.get_ident()  # the one whose cell this is

    def __call__(self, first_event_id: int, events: Sequence[Mapping[str, Any]]) -> None:
        for event in Appended.of(events).others:
            if event["event_type"] == "group_compiled":
                self._doing = ""
            elif event["event_type"] == "job_status" and not self._has_trained():
                self._doing = "compiling"
        if self._rated_from is None and self._has_trained(events):
            self._doing, self._rated_from = "", (self._clock(), self._reached())
        if self._clock() >= self._due and threading.get_ident() == self._thread:
            began = self._clock()
            self._draw("")
            now = self._clock()
            self._due = now + max(_INTERVAL_SECONDS, _SHARE * (now - began))

    def __enter__(self) -> NotebookProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Show the last state: what it came to, or how to go on."""
        if error is None:
            seconds = duration(self._clock() - self._started)
            self._draw(f" in {seconds}; run: {short_path(self._run_dir)}")
            return
        why = "" if isinstance(error, KeyboardInterrupt) else f"ended by {type(error).__name__}; "
        again = resume_command(self._run_dir, self._live.view)
        self._draw(f"; {why}nothing that was recorded is lost, go on with {again}")

    def _has_trained(self, events: Sequence[Mapping[str, Any]] = ()) -> bool:
        return self._rated_from is not None or any(event["event_type"] == "evaluation_result" for event in events)

    def _reached(self) -> float:
        return epochs_done(self._live.view) + epochs_begun(self._live.view)

    def _left(self, planned: int) -> str:
        """Say how long the rest takes at the pace since this launch's first epoch; "" where nobody can know."""
        if self._rated_from is None:
            return ""
        began, before = self._rated_from
        seconds, epochs = self._clock() - began, self._reached() - before
        if seconds < _RATED_SECONDS or epochs <= 0 or planned <= 0:
            return ""
        return f"about {duration((planned - self._reached()) * seconds / epochs)} left"

    def _draw(self, ending: str) -> None:
        if self._is_broken:
            return
        with self._live.lock:
            view, done, planned = self._live.view, epochs_done(self._live.view), epochs_planned(self._live.view)
            name = f"{view.run_id or os.path.basename(self._run_dir)} {view.name or ''}".strip()
            words = [f"{name}: {view.status}" if ending else name]
            words.append(f"epoch {done:,} of {planned:,}" if planned else f"epoch {done:,}")
            words += [experiments_in_words(view.candidates), leader(view)]
            if not ending:
                words += [self._doing, duration(self._clock() - self._started), self._left(planned)]
            reached = min(1.0, self._reached() / planned) if planned else None
        text = ", ".join(word for word in words if word) + ending
        try:
            self._show({"text/plain": text, "text/html": _in_html(text, None if ending else reached)})
        except Exception as error:  # a page that cannot be told anything is no reason to end a training
            self._is_broken = True
            _LOG.warning("progress is shown no more: %s: %s", type(error).__name__, error)

    def _show(self, bundle: Mapping[str, str]) -> None:
        show(bundle, self._display_id, update=self._is_shown)
        self._is_shown = True


def _in_html(text: str, reached: float | None) -> str:
    """Return a line with a bar before it while a run goes on; `reached` is from 0 to 1."""
    if reached is None:
        return html_line(text)
    return f'<p><progress value="{reached:.4f}" max="1"></progress> {html.escape(text)}</p>'

"""Being the one writer of a run: its log, what that says by now, where it is published, and who watches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mlgym_jax.checkpoint.left_behind import in_place
from mlgym_jax.errors import MlgymError, described
from mlgym_jax.events import EventLog, LiveView, layout
from mlgym_jax.events.files import remove_unfinished
from mlgym_jax.publishing import Boards, Publication
from mlgym_jax.reading.cells import in_notebook, is_interactive
from mlgym_jax.reading.notebook import NotebookProgress
from mlgym_jax.sinks.beside import LogsBeside

Sink = Callable[[int, Sequence[Mapping[str, Any]]], None]


class Written(NamedTuple):
    """A run that this process is the one writer of: its log, what that says by now, and where it is published."""

    log: EventLog
    live: LiveView
    publication: Publication


class Watching(NamedTuple):
    """Who watches a run being written: what is kept up to date with its log, its sinks, and whether to show progress.

    `progress` None shows it in notebooks and where somebody types into Python, unless the caller watches by a `live`.
    """

    live: LiveView | None = None
    sinks: tuple[Sink, ...] = ()
    progress: bool | None = False

    @classmethod
    def by(cls, live: LiveView | None, sinks: Iterable[Sink], progress: Any) -> Watching:
        """Return who watches, as `mg.run` is told.

        Raises:
            MlgymError: `progress` is no bool.
        """
        if progress is not None and not isinstance(progress, bool):
            raise MlgymError(f"progress: True, False or None is expected, found {described(progress)}")
        return cls(live, tuple(sinks), live is None and is_interactive() if progress is None else progress)


@contextlib.contextmanager
def writing(
    run_dir: str,
    watching: Watching = Watching(),  # noqa: B008 (immutable, and empty)
    boards: Boards = Boards(),  # noqa: B008 (frozen, and empty)
    beside: LogsBeside | None = None,
) -> Iterator[Written]:
    """Be the one writer of a run, whose log is read here, once."""
    live = watching.live or LiveView()
    path = os.path.join(run_dir, layout.LOG)
    with (
        beside or LogsBeside(None) as followers,
        Publication(run_dir, boards) as publication,
        _progress(run_dir, live, watching.progress) as shown,
        EventLog.open(path, sinks=[*shown, *watching.sinks, publication], follower=live.take) as log,
        in_place(log),
    ):
        remove_unfinished(run_dir)
        live.load(path)
        followers.begin(run_dir)
        yield Written(log, live, publication)


@contextlib.contextmanager
def _progress(run_dir: str, live: LiveView, wanted: bool | None) -> Iterator[list[Sink]]:
    """Yield what shows progress: a display in a notebook, else what the command line shows."""
    if not wanted:
        yield []
    elif in_notebook():
        with NotebookProgress(live, run_dir) as display:
            yield [display]
    else:
        from mlgym_jax.reading.terminal import Terminal

        with Terminal(quiet=False, live=live, run_dir=run_dir) as terminal:
            yield [terminal]

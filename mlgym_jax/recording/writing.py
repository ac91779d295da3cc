"""Being the one writer of a run: its log is open and locked, read once, and published while it grows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mlgym_jax.checkpoint.left_behind import in_place
from mlgym_jax.events import EventLog, LiveView, layout
from mlgym_jax.publishing import Boards, Publication
from mlgym_jax.sinks.beside import LogsBeside

Sink = Callable[[int, Sequence[Mapping[str, Any]]], None]


class Written(NamedTuple):
    """A run that this process is the one writer of: its log, what that says by now, and where it is published."""

    log: EventLog
    live: LiveView
    publication: Publication


@contextlib.contextmanager
def writing(
    run_dir: str,
    live: LiveView | None = None,
    sinks: Iterable[Sink] = (),
    boards: Boards = Boards(),  # noqa: B008 (frozen, and empty)
    beside: LogsBeside | None = None,
) -> Iterator[Written]:
    """Be the one writer of a run, whose log is read here, once."""
    live = live or LiveView()
    path = os.path.join(run_dir, layout.LOG)
    with (
        beside or LogsBeside(None) as followers,
        Publication(run_dir, boards) as publication,
        EventLog.open(path, sinks=[*sinks, publication], follower=live.take) as log,
        in_place(log),
    ):
        live.load(path)
        followers.begin(run_dir)
        yield Written(log, live, publication)

"""All runs of a folder with what a list shows of them, from Python: `mg.load_runs("event_storage")`.

Synopsis:

    runs = mg.load_runs("event_storage", tag="baseline", sort="best")
    runs[0].best_score, runs[0].monitor, runs[0].tags
    runs[0].note("the one for the paper")
    runs[0].tag("paper")
    result = runs[0].load()
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from mlgym_jax.config.html_table import html_line, html_table
from mlgym_jax.errors import MlgymError, listed, nearest, path_of
from mlgym_jax.events import layout, run_summary
from mlgym_jax.events.annotation_log import annotate, read_annotations
from mlgym_jax.events.annotations import (
    Annotated,
    Archived,
    Change,
    Deleted,
    NoteSet,
    Restored,
    TagAdded,
    TagRemoved,
    Unarchived,
)
from mlgym_jax.managing.words import brief, cells, heads
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.run_folder.trust import user

if TYPE_CHECKING:
    from mlgym_jax.reading.results import RunResult

STATUSES = ("INIT", "RUNNING", "DONE", "FAILED", "INTERRUPTED", "LOST")


class ListedRun:
    """One run of a list: what its log said when it was listed, and what people say of it.

    Attributes:
        run_id, run_dir: the run and its folder.
        name, status, started_ms, num_experiments, monitor, mode, best_score, best_experiment_id, best_epoch, progress,
            num_done, num_failed, seconds, sparkline, owner, num_launches, num_refits, warm_starts: see
            `events.run_summary.summarise`; a status LOST says that nobody writes it, though it did not end.
        tags, archived, deleted: what people say; `note()` is the note.
    """

    def __init__(self, run_dir: str):
        self.run_dir: str = os.path.abspath(run_dir)
        self.run_id: str = os.path.basename(self.run_dir)
        self._summary = run_summary.load(self.run_dir)
        self._said: Annotated = read_annotations(self.run_dir).run
        if self._summary["status"] == "RUNNING" and run_folder.is_left(self.run_dir):
            self._summary = {**self._summary, "status": "LOST"}

    def __getattr__(self, name: str) -> Any:
        if name in run_summary.EMPTY:
            return self._summary[name]
        raise AttributeError(f"a listed run has no {name!r}{nearest(name, (*run_summary.EMPTY, *_OF_PEOPLE))}")

    @property
    def tags(self) -> list[str]:
        """Return its tags, in the order in which they were added."""
        return [*self._said.tags]

    @property
    def archived(self) -> bool:
        return self._said.archived

    @property
    def deleted(self) -> bool:
        return self._said.deleted

    @property
    def is_received(self) -> bool:
        """Whether it was published to this folder's board by another machine."""
        return os.path.lexists(os.path.join(self.run_dir, layout.PUBLISHED_MARK))

    @property
    def deleted_ms(self) -> int | None:
        return self._said.deleted_ms

    def note(self, text: str | None = None, *, experiment_id: int | None = None, by: str | None = None) -> str:
        """Return the note of the run, or of an experiment; with a text, that is the note from now on.

        Args:
            by: who says it; the user by default, here and below.

        Raises:
            MlgymError: it cannot be kept, or not written; so below.
        """
        if text is not None:
            self.say(NoteSet(text, experiment_id), by=by)
        found = read_annotations(self.run_dir)
        one = found.run if experiment_id is None else found.experiments.get(experiment_id, Annotated())
        return one.note

    def tag(self, *tags: str, experiment_id: int | None = None, by: str | None = None) -> None:
        """Add tags."""
        self.say(*(TagAdded(tag, experiment_id) for tag in tags), by=by)

    def untag(self, *tags: str, experiment_id: int | None = None, by: str | None = None) -> None:
        """Take tags away."""
        self.say(*(TagRemoved(tag, experiment_id) for tag in tags), by=by)

    def archive(self, *, experiment_id: int | None = None, by: str | None = None) -> None:
        """Put it out of the way: it is listed no more unless one asks."""
        self.say(Archived(experiment_id), by=by)

    def unarchive(self, *, experiment_id: int | None = None, by: str | None = None) -> None:
        """Undo `archive`."""
        self.say(Unarchived(experiment_id), by=by)

    def delete(self, *, experiment_id: int | None = None, by: str | None = None) -> None:
        """Hide it everywhere; its files stay until `python -m mlgym_jax.runs purge`."""
        self.say(Deleted(experiment_id), by=by)

    def restore(self, *, experiment_id: int | None = None, by: str | None = None) -> None:
        """Undo `delete`."""
        self.say(Restored(experiment_id), by=by)

    def say(self, *changes: Change, by: str | None = None) -> None:
        """Record changes, all or none."""
        asked = {change.experiment_id for change in changes if change.experiment_id is not None}
        if asked:
            self._check_experiments(asked)
        now_ms = time.time_ns() // 1_000_000
        self._said = annotate(self.run_dir, changes, by=by or user(), now_ms=now_ms).run

    def _check_experiments(self, asked: set[int]) -> None:
        from mlgym_jax.events import project_log

        known = project_log(os.path.join(self.run_dir, layout.LOG))[0].experiments
        for unknown in sorted(asked - known.keys()):
            raise MlgymError(f"no experiment {unknown} in run {self.run_id!r}; it has {listed(known, 20)}")

    def load(self) -> RunResult:
        """Return all of it, as `mg.load_run` does."""
        from mlgym_jax.reading.results import load_run

        return load_run(self.run_dir)

    def as_json(self) -> dict[str, Any]:
        """Return all that the list knows, numbers with all their digits, the whole note."""
        said = {name: value for name, value in self._said.as_json().items() if name != "deleted_ms"}
        return {"run_id": self.run_id, "run_dir": self.run_dir, **self._summary, **said}

    def __repr__(self) -> str:
        return f"<ListedRun {self.run_id} {brief(self.name or '', 40)} {self.status}>"


class RunList(Sequence[ListedRun]):
    """Runs in order; a notebook shows them as a table."""

    def __init__(self, runs: Iterable[ListedRun], unreadable: Sequence[str] = ()):
        self._runs: list[ListedRun] = list(runs)
        self.unreadable: list[str] = list(unreadable)

    @overload
    def __getitem__(self, index: int) -> ListedRun: ...
    @overload
    def __getitem__(self, index: slice) -> RunList: ...
    def __getitem__(self, index: int | slice) -> ListedRun | RunList:
        """Return the run at a place, or those of a slice."""
        if isinstance(index, slice):
            return RunList(self._runs[index], self.unreadable)
        return self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[ListedRun]:
        return iter(self._runs)

    def __repr__(self) -> str:
        return f"<RunList of {len(self)}: {listed((run.run_id for run in self), 5)}>"

    def _repr_html_(self) -> str:
        if not self._runs:
            return html_line("no runs")
        shown = heads(self._runs)
        return html_table("", shown, ([cells(run)[name] for name in shown] for run in self._runs))


def load_runs(
    event_storage: str | os.PathLike[str] = layout.STORAGE,
    *,
    tag: str | Sequence[str] = (),
    status: str | None = None,
    text: str | None = None,
    archived: bool | None = False,
    deleted: bool | None = False,
    sort: str = "-started",
    limit: int | None = None,
) -> RunList:
    """List the runs of a folder. What a log said is kept beside the runs, so that it is read again only when it grew.

    Args:
        event_storage: the folder of runs.
        tag: only runs that have this tag, or all of these.
        status: INIT, RUNNING, DONE, FAILED, INTERRUPTED or LOST.
        text: words that all occur in the id, name, note, owner, status or tags.
        archived, deleted: whether archived, deleted runs are listed; None for both kinds.
        sort: one of `SORTS`, with a `-` before it the other way round; runs that have no such value come last.
        limit: at most so many.

    Raises:
        MlgymError: there is no such folder, or no such sort or status.
    """
    storage = checked_storage(event_storage)
    found, unreadable = [], []
    names = run_folder.runs_in(storage)
    run_summary.forget_all_but(storage, set(names))
    for name in names:
        try:
            found.append(ListedRun(os.path.join(storage, name)))
        except MlgymError as error:  # one that vanishes meanwhile, or that this user may not read
            unreadable.append(str(error))
    tags = {tag} if isinstance(tag, str) else set(tag)
    wanted = _checked_status(status)
    words = (text or "").casefold().split()
    chosen = [
        run
        for run in found
        if archived in (None, run.archived)
        and deleted in (None, run.deleted)
        and tags <= set(run.tags)
        and wanted in (None, run.status)
        and _has(run, words)
    ]
    return RunList(_sorted(chosen, sort)[:limit], unreadable)


def checked_storage(event_storage: str | os.PathLike[str]) -> str:
    """Return the path of a folder of runs.

    Raises:
        MlgymError: there is no such folder.
    """
    storage = path_of(event_storage, "a folder of runs")
    if not os.path.isdir(storage):
        raise MlgymError(f"{storage}: there is no such folder of runs; name one by --event_storage=DIR")
    return storage


def _has(run: ListedRun, words: Sequence[str]) -> bool:
    if not words:
        return True
    said = (run.run_id, run.name, run.as_json()["note"], run.owner, run.status, *run.tags)
    shown = "\n".join(value for value in said if value).casefold()
    return all(word in shown for word in words)


def _checked_status(status: str | None) -> str | None:
    if status is None or status.upper() in STATUSES:
        return status and status.upper()
    raise MlgymError(f"status={status}: no such status{nearest(status.upper(), STATUSES)} Allowed: {listed(STATUSES)}")


def _best(run: ListedRun) -> float | None:
    score = run.best_score
    return score if score is None or run.mode == "min" else -score


SORTS: dict[str, Callable[[ListedRun], Any]] = {
    "started": lambda run: run.started_ms,
    "best": _best,  # the best first, which are the smallest of a loss
    "progress": lambda run: run.progress,
    "seconds": lambda run: run.seconds,
    "failed": lambda run: run.num_failed,
    "name": lambda run: run.name,
    "id": lambda run: run.run_id,
    "owner": lambda run: run.owner,
    "status": lambda run: run.status,
}


def _sorted(runs: list[ListedRun], sort: str) -> list[ListedRun]:
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise MlgymError(f"sort={sort}: no such order{nearest(name, SORTS)} Allowed: {listed(SORTS)}, and -{name[:20]}")
    key = SORTS[name]
    known = sorted((run for run in runs if key(run) is not None), key=lambda run: run.run_id, reverse=True)
    known.sort(key=key, reverse=sort.startswith("-"))
    return known + [run for run in runs if key(run) is None]


_OF_PEOPLE = ("run_id", "run_dir", "tags", "note", "archived", "deleted")

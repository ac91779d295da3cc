"""Scores of an experiment as columns, and the rows that an event log has of them.

A log of a million points is three arrays a score; its events are made one at a time.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

MAX_SCORES = 1_000  # of one experiment, as in `events/views.py`
_LARGEST = 2**53  # of the integers that every reader of JSON keeps

_SPLITS = {
    **{name: "train" for name in ("train", "training")},
    **{name: "val" for name in ("val", "valid", "validation", "eval", "evaluation", "dev")},
    **{name: "test" for name in ("test", "testing")},
}
NO_SPLIT = "logged"  # of scores whose names say none
EPOCH = "epoch"  # the score that says which epoch a step belongs to
STEP = "step"  # the score that says how many training steps were done by then, as `sinks` write it
_COUNTS = (EPOCH, STEP)


@dataclass
class Column:
    """One score: `steps`, `values` and `times_ms` of its points, in the order in which they were written."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    times_ms: array[int] = field(default_factory=lambda: array("q"))

    def add(self, step: int, value: float, time_ms: int) -> None:
        self.steps.append(step)
        self.values.append(value)
        self.times_ms.append(time_ms)

    def extend(self, other: Column) -> None:
        self.steps.extend(other.steps)
        self.values.extend(other.values)
        self.times_ms.extend(other.times_ms)


@dataclass
class Imported:
    """An experiment as another tracker has it.

    Attributes:
        name: where it is, below what was given.
        scores: by the tracker's own names. One that is called `epoch` says which epoch its steps belong to, one that is
            called `step` how many training steps were done.
        left_out: what was not taken, in words.
    """

    name: str
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Column] = field(default_factory=dict)
    failed: bool = False
    left_out: list[str] = field(default_factory=list)


def leave_out_more(experiment: Imported) -> None:
    """Keep as many scores as a run may have, the first ones, and say which others there were."""
    more = [name for name in experiment.scores if name not in _COUNTS][MAX_SCORES:]
    for name in more:
        del experiment.scores[name]
    if more:
        some = f"{more[0]!r} and {len(more) - 1:,} more" if len(more) > 1 else repr(more[0])
        what = f"an experiment has at most {MAX_SCORES:,} scores, and {some} come after those"
        experiment.left_out.append(f"{experiment.name}: {what}")


class Row(NamedTuple):
    """All scores of one epoch."""

    epoch: int
    step: int
    time_ms: int
    scores: dict[str, float]


def rows(experiment: Imported) -> Iterator[Row]:
    """Yield an experiment's rows in order; of a step that was written twice, the later point counts.

    A row is an epoch if each step has one, by a score `epoch`, and no score has two points in any; else it is a step.
    """
    columns = {name: _sorted(column) for name, column in experiment.scores.items() if name not in _COUNTS}
    columns = {name: column for name, column in columns.items() if len(column[0])}
    if not columns:
        return
    names = score_names(columns)
    epochs = _epochs(columns, experiment.scores.get(EPOCH))
    steps = np.concatenate([column[0] for column in columns.values()])
    values = np.concatenate([column[1] for column in columns.values()])
    times = np.concatenate([column[2] for column in columns.values()])
    which = np.repeat(np.arange(len(columns)), [len(column[0]) for column in columns.values()])
    keys = steps if epochs is None else np.concatenate(epochs)
    order = np.lexsort((which, keys))
    spelled = [names[name] for name in columns]
    counted = _sorted(experiment.scores.get(STEP, Column()))
    done = {step: int(count) for step, count in zip(*map(list, counted[:2]), strict=True) if is_exact(count)}
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order[0]] - 1))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        part = order[start:end]
        found = {spelled[one]: value for one, value in zip(which[part].tolist(), values[part].tolist(), strict=True)}
        step = int(steps[part].max())
        yield Row(int(keys[part[0]]), done.get(step, step), int(times[part].max()), found)


def score_names(tags: Iterable[str]) -> dict[str, str]:
    """Return `split/name` for each of a tracker's names, each another one.

    >>> score_names(["train_loss", "val_loss", "Loss/valid", "lr-Adam", "acc", "val_acc"])
    {'train_loss': 'train/loss', 'val_loss': 'val/loss', 'Loss/valid': 'val/Loss', 'lr-Adam': 'logged/lr-Adam', \
'acc': 'train/acc', 'val_acc': 'val/acc'}
    """
    tags = list(tags)
    found: dict[str, str] = {}
    for tag in tags:
        name = _with_split(tag)
        if name is None:  # Keras and others write `loss` beside `val_loss`
            name = f"train/{tag}" if f"val_{tag}" in tags else f"{NO_SPLIT}/{tag}"
        if name in found.values():
            name = f"{NO_SPLIT}/{tag}"
        found[tag] = name
    return found


def split_of(word: str) -> str | None:
    """Return the split that a word means; None for any other word."""
    return _SPLITS.get(word.lower())


def _with_split(tag: str) -> str | None:
    words = [word for word in tag.split("/") if word.strip()]
    if len(words) > 1:
        first, last = split_of(words[0]), split_of(words[-1])
        if first is None and last is not None:
            return "/".join([last, *words[:-1]])
        return "/".join([first or words[0], *words[1:]])
    match = re.fullmatch(r"([A-Za-z]+)[_ .-](.+)", tag)
    split = split_of(match[1]) if match else None
    return f"{split}/{match[2]}" if match and split else None


def by_number(name: str) -> list[tuple[int, str]]:
    """Return what names are sorted by so that `version_2` comes before `version_10`."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", name)]


def is_exact(step: float) -> bool:
    """Tell whether a number may be a step: a whole one, that every reader of JSON keeps."""
    return step == step and abs(step) <= _LARGEST and step == int(step)


def _sorted(column: Column) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return steps, values and times by step, of each step the point that was written last."""
    steps = np.frombuffer(column.steps, np.int64) if column.steps else np.zeros(0, np.int64)
    values = np.frombuffer(column.values, np.float64) if column.values else np.zeros(0)
    times = np.frombuffer(column.times_ms, np.int64) if column.times_ms else np.zeros(0, np.int64)
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    last = order[np.append(ordered[1:] != ordered[:-1], True)] if len(order) else order
    return steps[last], values[last], times[last]


def _epochs(columns: dict[str, tuple[np.ndarray, ...]], epoch: Column | None) -> list[np.ndarray] | None:
    """Return the epoch of each point, where there is one for all, and a score has at most one point in any."""
    if epoch is None:
        return None
    steps, numbers, _ = _sorted(epoch)
    found = []
    for column in columns.values():
        places = np.searchsorted(steps, column[0])
        if not len(steps) or (places >= len(steps)).any() or (steps[places] != column[0]).any():
            return None
        own = numbers[places]
        if not all(map(is_exact, own.tolist())) or (np.diff(own) <= 0).any():
            return None
        found.append(own.astype(np.int64))
    return found

"""Train a group: a generator of epoch reports, whose consumer causes the effects."""

from __future__ import annotations

import dataclasses
import math
import time
import traceback
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mlgym_jax.errors import described, in_words
from mlgym_jax.events.layout import History
from mlgym_jax.execution.batched import GroupRunner
from mlgym_jax.execution.copying import RowCopies, begin_copies
from mlgym_jax.execution.found import Found
from mlgym_jax.execution.memory import is_out_of_memory
from mlgym_jax.execution.snapshot import Snapshot, is_remote
from mlgym_jax.execution.stretches import Middle, Reached

# (histories of all rows, epoch) -> the rows that others leave behind there, and why.
Stopped = Callable[[Sequence[History], int], Mapping[int, str]]
# (epoch, rows that trained) -> those whose state after it will be wanted.
Kept = Callable[[int, Sequence[int]], Sequence[int]]
# So much later than it is known may a report go out, because the next epoch is dispatched before: in seconds, or as a
# share of the epoch. A program is dispatched in no time, its many steps, or one with callbacks on a CPU, are not.
_LATE_SECONDS = 0.002
_LATE_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Why an experiment trains no further: `error` where it failed, else the early stopping's reason."""

    reason: str
    error: str | None = None
    stacktrace: str | None = None


@dataclasses.dataclass(frozen=True)
class EpochReport:
    """What one epoch of a group brought.

    Attributes:
        scores: row -> {"train/loss": …}, for the rows that trained.
        ended: row -> why it trains no further.
        snapshot: the states after this epoch; of a runner that overwrites them, until the next report is asked for.
        compacted: the rows still training, if the group is laid out anew after this epoch.
        seconds: wall time that the epoch took, from its dispatch, or the end of the one before, to its scores.
        replanned: seconds that compiling took, if memory ran out and the group goes on in smaller chunks.
        found: what is still on the devices; `execution.found.read_records` reads it.
        copies: the rows that are on their way to the host already, if somebody asked for some.
    """

    epoch: int
    scores: Mapping[int, dict[str, float]]
    ended: Mapping[int, Verdict]
    snapshot: Snapshot
    compacted: list[int] | None
    seconds: float
    replanned: float | None = None
    found: Found = dataclasses.field(default_factory=list, repr=False)
    copies: RowCopies | None = dataclasses.field(default=None, repr=False)


def judge(history: Sequence[Mapping[str, float]], early_stopping: Callable[[Any], bool] | None) -> Verdict | None:
    """Decide from its scores alone whether an experiment goes on (None)."""
    if not history:
        return None
    loss = history[-1].get("train/loss", 0.0)
    if not math.isfinite(loss):
        return Verdict("diverged", f"diverged: train/loss is {loss} after epoch {len(history)}")
    try:
        answer = None if early_stopping is None else early_stopping(history)
        stops = bool(answer)
    except Exception as error:
        message = f"early_stopping raised {in_words(error)}"
        return Verdict("error", message, traceback.format_exc())
    if not (answer is None or isinstance(answer, bool) or str(getattr(answer, "dtype", "")) == "bool"):
        return Verdict("error", f"early_stopping returned {described(answer)}; True, which stops, or False is expected")
    return Verdict("early stopping") if stops else None


def fit(
    runner: GroupRunner,
    histories: Sequence[list[dict[str, float]]],
    *,
    num_epochs: int,
    first_epoch: int,
    early_stopping: Callable[[Any], bool] | None,
    stopped: Stopped | None = None,
    kept: Kept | None = None,
    intervals: Mapping[str, int] | None = None,
    middle: Middle | None = None,
    rests: Collection[int] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[EpochReport | Reached, None, None]:
    """Train every row of a started runner on from `first_epoch` to `num_epochs`; histories grow in place.

    `stopped` judges all rows together, as a search does that drops the worst; it is not asked after the last epoch.
    `kept` says of which rows the state after an epoch will be wanted: from an accelerator they are copied meanwhile.
    `intervals` names the scores that exist only every so many epochs; the others are left out of those epochs' reports.
    `rests` are epochs after which nothing is dispatched before their report was consumed.
    A report is handed out as soon as its epoch is over. Where dispatching takes no time, and states are not
    overwritten, the next epoch is dispatched before that, so that effects cost the devices none. Of an epoch in
    stretches, each is told; the first one begins in its `middle`, if that is given.
    """
    done = first_epoch - 1
    left = stopped(histories, done) if stopped is not None and 0 < done < num_epochs else {}
    ended_at = [
        len(h) if len(h) < done or row in left or judge(h, early_stopping) else num_epochs
        for row, h in enumerate(histories)
    ]
    for epoch in range(1, done + 1):  # the layout depends on who had stopped, and numbers may depend on the layout
        if (rows := runner.worth_laying_out(np.array([epoch < end for end in ended_at]))) is not None:
            runner.lay_out(rows)
    active = np.array([done < end for end in ended_at], bool)
    if not active.any() or done >= num_epochs:
        return
    pending = yield from _dispatched(runner, active, first_epoch, clock, middle)
    for epoch in range(first_epoch, num_epochs + 1):
        found, values, replanned = _finished(runner, pending, active, epoch)
        seconds = clock() - pending.began - pending.paused
        scores, ended, told = {}, {}, values.tolist()
        left_out = [name for name in runner.names if epoch % (intervals or {}).get(name, 1)]
        for row in np.flatnonzero(active).tolist():
            scores[row] = dict(zip(runner.names, told[row], strict=True))
            for name in left_out:
                del scores[row][name]
            histories[row].append(scores[row])
            verdict = judge(histories[row], early_stopping)
            if verdict is not None:
                ended[row] = verdict
                active[row] = False
        if stopped is not None and epoch < num_epochs:
            for row, reason in stopped(histories, epoch).items():
                if active[row]:
                    ended[row] = Verdict(reason)
                    active[row] = False
        going_on = bool(active.any()) and epoch < num_epochs
        rows = runner.worth_laying_out(active) if going_on and ended else None
        compacted = None if rows is None else np.flatnonzero(active).tolist()
        snapshot = runner.snapshot()
        wanted = kept(epoch, [*scores]) if kept is not None and is_remote(snapshot.blocks) else ()
        copies = begin_copies(snapshot, wanted)
        report = EpochReport(epoch, scores, ended, snapshot, compacted, seconds, replanned, found, copies)
        at_once = pending.dispatched - pending.began <= max(_LATE_SECONDS, _LATE_SHARE * seconds)
        ahead = going_on and rows is None and at_once and not runner.overwrites and epoch not in rests
        if ahead:
            pending = yield from _dispatched(runner, active, epoch + 1, clock)
        yield report
        if not going_on:
            return
        if rows is not None:
            runner.lay_out(rows)
        if not ahead:
            pending = yield from _dispatched(runner, active, epoch + 1, clock)


class _Pending(NamedTuple):
    """An epoch under way: when its dispatch began and ended, and how long whoever heard of its stretches took.

    `found` is what `read_scores` takes, None if memory ran out, which is the `error` then.
    """

    began: float
    dispatched: float
    paused: float
    found: Any
    error: jax.errors.JaxRuntimeError | None


def _dispatched(
    runner: GroupRunner, active: np.ndarray, epoch: int, clock: Callable[[], float], middle: Middle | None = None
) -> Generator[Reached, None, _Pending]:
    began, paused, found, refused = clock(), 0.0, None, None
    stretches = runner.stretches(active, epoch, middle)
    while True:
        try:
            reached = next(stretches)
        except StopIteration as end:
            found = end.value
            break
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            refused = error
            break  # `_finished` sees to it
        told = clock()
        yield reached
        paused += clock() - told
    return _Pending(began, clock(), paused, found, refused)


def _finished(
    runner: GroupRunner, pending: _Pending, active: np.ndarray, epoch: int
) -> tuple[Found, np.ndarray, float | None]:
    """Wait for an epoch; where memory runs out, train it again with fewer experiments at once, down to one a device."""
    found, error, replanned = pending.found, pending.error, None
    while True:
        if error is None or not runner.snapshot().is_gone:  # else there is nothing to try it again with
            try:
                found = runner.epoch(active, epoch) if found is None else found
                return found, runner.read_scores(found), replanned
            except jax.errors.JaxRuntimeError as refused:
                error = refused
        seconds = runner.halve() if is_out_of_memory(error) else None
        if seconds is None:
            raise error
        found, error, replanned = None, None, (replanned or 0.0) + seconds

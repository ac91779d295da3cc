"""Evaluation results the fast way into a view: from typed lines, or whole epochs of them; they are most of a log."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

import msgspec

from mlgym_jax.events.codec import Event, decode
from mlgym_jax.events.epoch_results import EpochResults
from mlgym_jax.events.log import read_lines
from mlgym_jax.events.projection import LARGEST, apply, take_in
from mlgym_jax.events.schema import EvaluationResult
from mlgym_jax.events.views import RunView

_START = b'{"event_type":"evaluation_result",'


class _Result(msgspec.Struct, tag_field="event_type", tag="evaluation_result", gc=False, forbid_unknown_fields=True):
    """An `evaluation_result` as this version writes it; any other form is read without types."""

    creation_ts: int
    payload: EvaluationResult


_DECODER = msgspec.json.Decoder(_Result)


def project_log(path: str | os.PathLike[str]) -> tuple[RunView, list[int]]:
    """Return what a log on disk says about its run, and the numbers of its damaged lines.

    Raises:
        MlgymError: there is no such log.
    """
    view = RunView()
    return view, apply_lines(view, (line for _, line in read_lines(path)))


def apply_lines(view: RunView, lines: Iterable[bytes]) -> list[int]:
    """Bring `view` up to date with more lines of a log, as `apply` does with their events; count the damaged ones.

    Returns:
        Which of the lines are damaged.

    Most lines are results of experiments that train, with the scores of the epoch before: those are taken in here,
    faster than through `take_in`, where all others go.
    """
    # Written out as it is, since each call is a tenth of what a line takes; it is `_append_epoch` of the views.
    read, experiments, nan = _DECODER.decode, view.experiments, math.nan
    damaged: list[int] = []
    last_epoch, last_ms = 0, 0
    for number, line in enumerate(lines):
        if line.startswith(_START):
            try:
                event = read(line)
                payload = event.payload
                experiment = experiments[payload.experiment_id]
                history, numbers = experiment.history, experiment.epoch_numbers
                scores = {f"{one.split}/{one.metric}": float(one.score) for one in payload.metric_scores}
                for one in payload.loss_scores:
                    scores[f"{one.split}/{one.loss}"] = float(one.score)
                seconds, epoch, now_ms = payload.seconds, payload.epoch, event.creation_ts
                seconds = nan if seconds is None else float(seconds)
                # What many experiments have in common is one object, not one for each.
                if epoch == last_epoch:
                    epoch = last_epoch
                if now_ms == last_ms:
                    now_ms = last_ms
                last_epoch, last_ms = epoch, now_ms
                if (
                    experiment.status == view.status == "RUNNING"
                    and view.run_id is not None
                    and numbers[-1] < epoch <= LARGEST
                    and abs(now_ms) <= LARGEST
                    and experiment.stop_epoch is None
                    and not experiment._logged
                    and history.keys() == scores.keys()
                ):
                    for name, score in scores.items():
                        history[name].append(score)
                    numbers.append(epoch)
                    experiment.epoch_seconds.append(seconds)
                    experiment.epoch_steps.append(payload.step or None)
                    experiment.evaluated_ms.append(now_ms)
                    continue
            except (ValueError, LookupError):
                pass  # not as it usually is: `take_in` knows what to do
        try:
            event = decode(line)
        except ValueError:
            view.num_malformed += 1
            damaged.append(number)
            continue
        take_in(view, event)
    view.put_in_order()
    return damaged


def is_plain_result(line: bytes) -> bool:
    """Tell whether a line is an `evaluation_result` as this version writes it, whole and of a time that can be.

    False says nothing: such a line is looked at by `decode`, which takes twice as long for what is most of a log.
    """
    if not line.startswith(_START):
        return False
    try:
        return abs(_DECODER.decode(line).creation_ts) <= LARGEST
    except ValueError:
        return False


def apply_results(view: RunView, results: EpochResults) -> None:
    """Bring `view` up to date with an epoch's results, as `apply` does with their events."""
    usual, epoch = view.status == "RUNNING" and view.run_id is not None, results.epoch
    others: list[Event] | None = None
    for number, ((experiment_id, scores), step) in enumerate(zip(results.scores.items(), results.steps, strict=True)):
        experiment = view.experiments.get(experiment_id)
        if usual and experiment and experiment._append_epoch(epoch, scores, results.seconds, results.now_ms, step):
            continue
        others = others or results.events()
        apply(view, others[number])

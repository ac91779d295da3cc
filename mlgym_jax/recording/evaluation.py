"""Evaluate a kept checkpoint once more, on a split of the run's own data or on other data, and record what came."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.config.html_table import html_line, html_table
from mlgym_jax.config.words import plain
from mlgym_jax.core.state import TrainState, raw_key
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import EventLog, is_being_written, layout, project_log, schema
from mlgym_jax.events.views import RunView
from mlgym_jax.execution.compile_cache import use_compile_cache
from mlgym_jax.execution.interruption import interruptible
from mlgym_jax.execution.mesh import use_devices
from mlgym_jax.execution.plan import AUTO
from mlgym_jax.reading.examined import Examined
from mlgym_jax.reading.results import ExperimentResult, RunResult, load_run
from mlgym_jax.recording.model_card import write_cards
from mlgym_jax.recording.plans import plan_for, plans_before
from mlgym_jax.recording.ready import num_devices_before
from mlgym_jax.recording.records import drawn
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.run_folder.trust import refuse_foreign
from mlgym_jax.study.evaluation import SPLIT, evaluating
from mlgym_jax.study.job import Job
from mlgym_jax.study.other_data import other_table
from mlgym_jax.study.runners import make_runner


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        split, dataset: of what: a split of the run's own data (None), or of the data set that this section describes.
        scores: `test/loss` and the like; recorded: those that the log holds of that split after that epoch, of the
            run's own data.
        num_examples, fingerprint: how much data, and the SHA-256 of it.
        curves: what was asked for, as the event `evaluation_curves` says it; errors: the worst examples.
    """

    experiment_id: int
    epoch: int
    split: str
    dataset: Mapping[str, Any] | None
    num_examples: int
    fingerprint: str
    scores: dict[str, float]
    recorded: dict[str, float]
    curves: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    errors: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def _repr_html_(self) -> str:
        data = "other data" if self.dataset is not None else "the run's own data"
        words = f"experiment {self.experiment_id} after epoch {self.epoch}, on {self.split} of {data}"
        rows = [(name, f"{value:.4f}", _cell(self.recorded.get(name))) for name, value in self.scores.items()]
        counted = html_line(f"{words}: {self.num_examples} examples")
        return counted + html_table("", ("score", "value", "recorded while training"), rows)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


Section = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


@interruptible
def evaluate(
    run_dir: str | os.PathLike[str],
    experiment: int | str = "best",
    *,
    epoch: int | None = None,
    monitor: str | None = None,
    mode: str | None = None,
    dataset: Mapping[str, Any] | Section | None = None,
    split: str | None = None,
    trust: bool = False,
    data: Any = None,
    curves: Sequence[str] = (),
    errors: int = 0,
    clock: Callable[[], float] = time.time,
) -> Evaluation:
    """Compute the scores of a kept checkpoint as the engine does, and append an event `model_evaluated` to the run.

    On a split of the run's own data the scores are those that training recorded, to the bit where the devices are the
    same. The run's log is locked meanwhile, so that a training cannot begin to go on.

    Args:
        experiment: an id, or "best": the one with the best `monitor`.
        epoch: a kept one; by default the best one by `monitor`, or the newest where that was not kept.
        monitor, mode: as for `RunResult.best`; by default what `report` ranks by.
        dataset: a section such as component("csv", …), or a function from the run's own section to one; by default the
            run's own data.
        split: by default "test"; of other data the only one that there is.
        trust: execute the code of somebody else's run.
        data: what the run was given as `data=`, where it has not kept it.
        curves: what is computed and recorded besides, of `confusion`, `roc`, `precision_recall` and `calibration`.
        errors: how many of the examples of the greatest loss are returned; they are not recorded.

    Raises:
        MlgymError: no such run, experiment, checkpoint or split, a run that is being trained, or one of another
            machine.
        ConfigError: data that does not fit the model.
    """
    folder = run_folder.require(run_dir)
    path = os.path.join(folder, layout.LOG)
    if is_being_written(path):
        raise MlgymError(f"{folder}: the run is being trained now; evaluate it when that has ended")
    record = run_folder.read_record(folder)
    if not trust:
        refuse_foreign(folder, record)
    if marks := [n for n in (layout.PUBLISHED_MARK, layout.RECEIVED_MARK) if os.path.lexists(os.path.join(folder, n))]:
        raise MlgymError(
            f"{folder}: this is a board's copy of a run of another machine ({marks[0]}), whose log is not written "
            "here; evaluate it where it was trained"
        )
    devices = use_devices(None, like=num_devices_before(folder))
    use_compile_cache()
    with EventLog.open(path) as log:
        result = load_run(folder, trust=trust, data=data)
        chosen = _chosen(result, experiment, monitor, mode)
        epoch = chosen._epoch(epoch)
        trained = result._trained
        job = trained.job_of(chosen.experiment_id)
        section = dataset(_own_section(chosen)) if callable(dataset) else dataset
        section = None if section is None else plain(section)
        table, name, knowing = None, split or "test", job
        if section is not None:
            knowing, table, name = other_table(job, section, split)
        state = trained.state_of(chosen.experiment_id, epoch, job, must_fit=True)
        small = evaluating(knowing, name, table)
        examined = Examined(small, chosen.experiment_id, state, SPLIT)
        found = _scores(small, chosen.experiment_id, state, _rows(result.view, job, epoch), result.view, devices)
        scores = {f"{name}/{score.removeprefix(f'{SPLIT}/')}": value for score, value in found.items()}
        fold = int(small.fold_of_row[job.group.ids.index(chosen.experiment_id)])
        evaluation = Evaluation(
            experiment_id=chosen.experiment_id,
            epoch=epoch,
            split=name,
            dataset=section,
            num_examples=small.folds.sizes[SPLIT][fold],
            fingerprint=small.table.fingerprint,
            scores=scores,
            # What a split is not evaluated on in training is measured while its steps change the model.
            recorded=_recorded(chosen, epoch, name) if section is None and name in job.shape.eval_batches else {},
            curves=[
                {"metric": what, "split": name, **line} for what in curves for line in _drawn(examined.record(what))
            ],
            errors=examined.worst(errors) if errors else [],
        )
        now_ms = int(clock() * 1000)
        events = [_event(result.run_id, evaluation, now_ms)]
        if evaluation.curves:
            told = {"experiment_id": chosen.experiment_id, "epoch": epoch, "step": None, "curves": evaluation.curves}
            of_other = {} if section is None else {"dataset": section}
            events.append(schema.evaluation_curves(result.run_id, **told, **of_other, now_ms=now_ms))
        log.append(events)
        if os.path.isfile(os.path.join(folder, str(chosen.experiment_id), layout.MODEL_CARD)):
            again = RunResult(folder, *project_log(path), trust=trust)
            write_cards(again, trained.study_of(chosen.experiment_id), record, log, only=chosen.experiment_id)
    return evaluation


def _drawn(found: Any) -> list[dict[str, Any]]:
    records = found if isinstance(found, dict) else {None: found}
    return [
        {**line, **({} if name is None else {"label": name})} for name, one in records.items() for line in drawn(one)
    ]


def _chosen(result: RunResult, experiment: int | str, monitor: str | None, mode: str | None) -> ExperimentResult:
    from mlgym_jax.events import default_monitor

    ranked, ranked_mode = default_monitor(result.scores, result.view.config)
    by = monitor or ranked
    if experiment == "best":
        if by is None:
            raise MlgymError(f"{result.run_dir}: no scores were recorded, so none is the best; name an experiment's id")
        return result.best(by, mode or (ranked_mode if by == ranked else None))
    if isinstance(experiment, bool) or not isinstance(experiment, int):
        raise MlgymError(f"experiment: an id or 'best' is expected, found {experiment!r}")
    one = result.experiment(experiment)
    if monitor is not None and monitor not in result.scores:
        result.best(monitor, mode)  # which says what there is
    best = one.best_score(by, mode or (ranked_mode if by == ranked else None)) if by else None
    if best is None or (monitor is None and best[0] not in one.checkpoints):
        return one
    return ExperimentResult(result, result.view.experiments[experiment], best_epoch=best[0], chosen_by=by)


def _own_section(chosen: ExperimentResult) -> Mapping[str, Any]:
    return (chosen.config or {}).get("dataset") or {}


def _rows(view: RunView, job: Job, epoch: int) -> list[int]:
    """Return the rows that the group had when it evaluated that epoch."""
    ids = list(job.group.ids)
    shrunk = [c for c in view.compactions if c.get("group") == job.group.index and c.get("epoch", math.inf) < epoch]
    return [ids.index(number) for number in shrunk[-1]["rows"] if number in ids] if shrunk else [*range(len(ids))]


def _scores(
    job: Job, experiment_id: int, state: TrainState, rows: Sequence[int], view: RunView, devices: Sequence[jax.Device]
) -> dict[str, float]:
    """Run an epoch of no steps by the plan that the group trained by, every row in this state; read one row's scores.

    Who is beside whom decides the last bits, whatever their values are.
    """
    row, number = job.group.ids.index(experiment_id), len(job.group.ids)
    plan = plan_for(job, AUTO, plans_before(view).get(job.group.index), devices, job.group.config["strict"])
    host = jax.device_get(raw_key(state))
    stacked = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * number), host)
    active = np.zeros(number, bool)
    active[row] = True
    with contextlib.closing(make_runner(job, plan, devices)) as runner:
        runner.start(stacked, rows if row in rows else None)
        due = math.lcm(*job.intervals.values())  # an epoch that every metric is computed in
        found = runner.read_scores(runner.epoch(active, due))[row]
    return {name: float(score) for name, score in zip(job.names, found, strict=True)}


def _recorded(chosen: ExperimentResult, epoch: int, split: str) -> dict[str, float]:
    scores = chosen._view.scores_of(epoch)
    return {name: score for name, score in scores.items() if name.startswith(f"{split}/")}


def _event(run_id: str, found: Evaluation, now_ms: int) -> dict[str, Any]:
    return schema.model_evaluated(
        run_id,
        experiment_id=found.experiment_id,
        epoch=found.epoch,
        split=found.split,
        dataset=found.dataset,
        num_examples=found.num_examples,
        fingerprint=found.fingerprint,
        scores={name: layout.spell_number(score) for name, score in found.scores.items()},
        now_ms=now_ms,
    )

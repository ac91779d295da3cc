"""Write experiments of another tracker down as a run: the events that all readers of runs know, and who wrote them."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from mlgym_jax.config.words import config_hash
from mlgym_jax.errors import DiskError, MlgymError
from mlgym_jax.events import EventLog, layout, schema
from mlgym_jax.events.claim import claimed, never_began
from mlgym_jax.events.layout import spell_number
from mlgym_jax.events.scores import evaluation_result
from mlgym_jax.imports.columns import Imported, rows
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.run_folder.trust import MADE_BY, user

_EVENTS = 1_000  # appended at once


def write_run(
    event_storage: str, experiments: Sequence[Imported], *, source: str, form: str, name: str, run_id: str | None = None
) -> tuple[str, bool]:
    """Write a run of experiments; return its folder, and whether it is new: another process may have just made it.

    Its id is the UTC time of their first point, and its folder has its name once it is whole; what an import that was
    killed has left is taken over.

    Raises:
        MlgymError: the id is taken, there is no point, or another process is at it. DiskError: the disk refuses.
    """
    times = [time for one in experiments for column in one.scores.values() for time in (column.times_ms or (None,))[:1]]
    began_ms = min((time for time in times if time is not None), default=None)
    if began_ms is None:
        raise MlgymError(f"{source}: no scores were found")
    began = datetime.datetime.fromtimestamp(began_ms / 1000, datetime.UTC)
    while True:
        folder = run_folder.create(event_storage, run_id, began, take_empty=True)
        try:
            with claimed(folder):
                before = already_there(event_storage, fingerprint_of(experiments))
                if before is None and never_began(folder):
                    _fill(folder, experiments, {"format": form, "source": source}, name, began_ms)
                    return folder, True
                if before is not None:
                    if not os.listdir(folder):
                        os.rmdir(folder)
                    return before, False
        except BlockingIOError as error:
            raise MlgymError(
                f"{folder}: another process is making this run; give the command again when it is done"
            ) from error


def _fill(folder: str, experiments: Sequence[Imported], origin: dict[str, str], name: str, began_ms: int) -> None:
    hidden = os.path.join(os.path.dirname(folder), f".{os.path.basename(folder)}.importing")
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        for name_left in os.listdir(folder):  # by the beginning of a run that had this id
            os.remove(os.path.join(folder, name_left))
        os.mkdir(hidden)
        config = {"name": name, "imported": origin}
        fingerprint = fingerprint_of(experiments)
        record = {"launches": [], MADE_BY: user(), "imported": {**origin, "fingerprint": fingerprint}}
        run_folder.write_record(hidden, record)
        run_folder.write_json(os.path.join(hidden, layout.CONFIG), config)
        with EventLog.open(os.path.join(hidden, layout.LOG)) as log:
            _write_events(log, os.path.basename(folder), experiments, config, began_ms)
        os.replace(hidden, folder)  # an empty folder gives way
    except BaseException as error:
        shutil.rmtree(hidden, ignore_errors=True)
        os.rmdir(folder)
        if isinstance(error, OSError) and not isinstance(error, MlgymError):
            raise DiskError(f"{folder}: cannot be written: {error.strerror}") from error
        raise


def _write_events(
    log: EventLog, run_id: str, experiments: Sequence[Imported], config: dict[str, Any], began_ms: int
) -> None:
    log.append(
        [
            schema.run_started(
                run_id,
                name=config["name"],
                config_hash=config_hash(config),
                num_experiments=len(experiments),
                num_groups=0,
                resumed=False,
                imported=config["imported"],
                now_ms=began_ms,
            ),
            schema.job_scheduled(run_id, job_id=run_id, config=config, now_ms=began_ms),
        ]
    )
    ends = [_write_experiment(log, run_id, number, one, config) for number, one in enumerate(experiments)]
    failed, ended_ms = sum(one.failed for one in experiments), max([began_ms, *ends])
    log.append(
        [
            schema.run_finished(
                run_id,
                status="FAILED" if failed else "DONE",
                num_failed=failed,
                seconds=(ended_ms - began_ms) / 1000,
                now_ms=ended_ms,
            )
        ]
    )


def _write_experiment(log: EventLog, run_id: str, number: int, one: Imported, config: dict[str, Any]) -> int:
    """Write one experiment and return the time of its last point, in unix milliseconds."""
    points = [column.times_ms for column in one.scores.values() if column.times_ms]
    began_ms, ended_ms = min(map(min, points), default=0), max(map(max, points), default=0)
    job = {"experiment_id": number, "job_id": f"{run_id}-{number}", "starting_time": began_ms}
    given = {key: spell_number(value) for key, value in one.hyperparameters.items()}
    events: list[Any] = [
        schema.experiment_config(
            run_id,
            experiment_id=number,
            job_id=job["job_id"],
            config={**config, "name": one.name, "hyperparameters": given},
            hyperparameters={"experiment": one.name, **given},
            now_ms=began_ms,
        ),
        schema.job_status(run_id, **job, status="RUNNING", now_ms=began_ms),
    ]
    for row in rows(one):
        events.append(
            evaluation_result(
                run_id,
                experiment_id=number,
                epoch=row.epoch,
                step=row.step,
                scores=row.scores,
                seconds=None,
                now_ms=row.time_ms,
            )
        )
        if len(events) >= _EVENTS:
            log.append(events)
            events = []
    error = "failed, as its own log says" if one.failed else None
    events.append(
        schema.job_status(run_id, **job, status="DONE", finishing_time=ended_ms, error=error, now_ms=ended_ms)
    )
    log.append(events)
    return ended_ms


def already_there(event_storage: str, fingerprint: str) -> str | None:
    """Return the folder of the run that the same logs were made into before; None where there is none."""
    for run in run_folder.runs_in(event_storage):
        folder = os.path.join(event_storage, run)
        try:
            with open(os.path.join(folder, layout.RECORD), encoding="utf-8") as file:
                origin = json.load(file).get("imported") or {}
            if origin.get("fingerprint") == fingerprint:
                return folder
        except (OSError, ValueError, AttributeError):
            continue
    return None


def fingerprint_of(experiments: Iterable[Imported]) -> str:
    """Return the SHA-256 of all that is imported, as hex."""
    found = hashlib.sha256()
    for one in experiments:
        found.update(repr((one.name, one.failed, sorted(one.hyperparameters.items(), key=str))).encode())
        for name, column in sorted(one.scores.items()):
            found.update(repr(name).encode())
            for numbers in (column.steps, column.values, column.times_ms):
                found.update(numbers.tobytes())
    return found.hexdigest()

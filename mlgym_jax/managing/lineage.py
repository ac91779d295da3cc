"""Where a run comes from, and what came of it: launches, warm starts, teachers, recorded configs, refits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout, project_log
from mlgym_jax.run_folder import folder as run_folder


def lineage(run_dir: str) -> dict[str, Any]:
    """Return what the log and `run.json` of a run, and those of its neighbours, say of its origin.

    Returns:
        {"run_id",
        "launches": [{"started_ms", "command", "status"}], the first one and each resumption,
        "from": [{"how": "warm_start" | "teacher" | "config", "source", "run_id", …}], `run_id` None where the source is
            no run of the same folder,
        "refits": [{"experiment_id", "monitor", "experiments"}], trained once more of which experiments,
        "to": [{"how", "run_id"}], runs of the same folder that come from this one}

    Raises:
        MlgymError: its log cannot be read.
    """
    view, _ = project_log(os.path.join(run_dir, layout.LOG))
    record = record_of(run_dir)
    launches = [
        {"started_ms": one.get("started_ms"), "command": one.get("command"), "status": one.get("status")}
        for one in launches_of(record)
    ]
    refits = []
    for one in view.experiments.values():
        if one.refit is not None:
            by = {name: one.refit.get(name) for name in ("monitor", "experiments")}
            refits.append({"experiment_id": one.experiment_id, **by})
    storage, run_id = os.path.split(os.path.abspath(run_dir))
    found = _origins(run_dir, record, view.warm_starts)
    to = []
    for name in run_folder.runs_in(storage):
        if name != run_id:
            other = os.path.join(storage, name)
            origins = _origins(other, record_of(other))
            to += [{"how": one["how"], "run_id": name} for one in origins if one["run_id"] == run_id]
    return {
        "run_id": run_id,
        "launches": launches or [{"started_ms": ms, "command": None, "status": None} for ms in view.launches],
        "from": found,
        "refits": refits,
        "to": to,
    }


def _origins(run_dir: str, record: Mapping[str, Any], warm_starts: Any = None) -> list[dict[str, Any]]:
    """Return what a run was made from, by its record, its config, and the warm starts of its log, if that was read."""
    storage = os.path.dirname(os.path.abspath(run_dir))
    base = record.get("working_directory")
    if warm_starts is None:
        warm_starts = [{"source": source} for source in _configured_sources(run_dir)]
    found: list[dict[str, Any]] = []
    for one in warm_starts:
        source = str(one.get("source"))
        entry = {"how": "warm_start", "source": source, "run_id": _run_of(source, storage, base)}
        if "experiments" in one:
            entry |= {"experiments": list(one["experiments"])}
        found.append(entry)
    teachers = record.get("teachers")
    for one in teachers.values() if isinstance(teachers, Mapping) else ():
        if isinstance(one, Mapping):
            source = str(one.get("run_dir"))
            which = {name: one.get(name) for name in ("experiment_id", "epoch")}
            found.append({"how": "teacher", "source": source, "run_id": _run_of(source, storage, base), **which})
    config = record.get("config_file")
    if isinstance(config, str) and (from_run := _run_of(config, storage, base)) is not None:
        found.append({"how": "config", "source": config, "run_id": from_run})
    return [one for one in found if one["run_id"] != os.path.basename(os.path.abspath(run_dir))]


def _configured_sources(run_dir: str) -> list[str]:
    """Return the sources of the warm starts that a run's config asks for, swept ones, too; no log is read for it."""
    try:
        config = run_folder.read_json(os.path.join(run_dir, layout.CONFIG))
    except MlgymError:
        return []
    found: list[str] = []

    def visit(value: Any) -> None:
        if isinstance(value, Mapping):
            for name in ("run_dir", "path"):
                if isinstance(value.get(name), str):
                    found.append(value[name])
            for item in value.values():
                visit(item)
        elif isinstance(value, list):
            for item in value:
                visit(item)

    visit(config.get("warm_start") if isinstance(config, Mapping) else None)
    return list(dict.fromkeys(found))


def _run_of(source: str, storage: str, base: Any) -> str | None:
    """Return which run of a folder a path leads into, taken from where the run was started; an id stands for itself."""
    storage = os.path.realpath(storage)
    if os.path.isfile(os.path.join(storage, source, layout.LOG)) and layout.is_id(source):
        return source
    path = os.path.realpath(os.path.join(base if isinstance(base, str) else os.getcwd(), source))
    parts = os.path.relpath(path, storage).split(os.sep)
    is_run = layout.is_id(parts[0]) and os.path.isfile(os.path.join(storage, parts[0], layout.LOG))
    return parts[0] if is_run else None


def launches_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a `run.json` says of each launch."""
    found = record.get("launches")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def record_of(run_dir: str) -> Mapping[str, Any]:
    """Return a run's `run.json`; nothing, where there is none, or none that can be read."""
    try:
        found = run_folder.read_json(os.path.join(run_dir, layout.RECORD))
    except MlgymError:
        return {}
    return found if isinstance(found, Mapping) else {}

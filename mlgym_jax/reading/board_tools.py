"""What programs, such as agents, ask a board about runs: each function one question, answered in plain data.

`python -m mlgym_jax.mcp` offers them as tools. Their docstrings and types are what a model reads. All only read.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlgym_jax.errors import MlgymError, listed
from mlgym_jax.reading.board_client import BoardClient, NotThere

_MOST = 200  # rows of an answer
_MOST_SCORES = 20_000  # values of an answer
_RUN_FACTS = ("grid_search_id", "name", "status", "started_ms", "num_experiments", "published")
_LONGEST_TRACE = 8_000  # characters


def tools(board: BoardClient, event_storage: str | None = None) -> list[Callable[..., Any]]:
    """Return the questions, as functions of what a caller names.

    Args:
        event_storage: the folder of the runs, where that is on this machine: commands and Python lines name it.
    """

    def list_runs(search: str = "", limit: int = 20) -> dict[str, Any]:
        """List the runs of the board, newest first: id, name, status (RUNNING, DONE, FAILED, LOST, …), experiments.

        Args:
            search: a part of the id or the name; empty for all.
            limit: at most so many runs.
        """
        found = board.get("grid_searches")
        wanted = [run for run in found if search.lower() in f"{run['grid_search_id']} {run.get('name') or ''}".lower()]
        shown = [{name: run.get(name) for name in _RUN_FACTS} for run in wanted[: _checked(limit)]]
        return {"num_runs": len(wanted), "runs": shown}

    def verdict(run: str) -> dict[str, Any]:
        """Say in sentences and numbers what a run has come to: its best, how sure that is, what matters, what failed.

        Args:
            run: its id.
        """
        try:
            return board.get("grid_searches", run, "verdict")
        except NotThere:  # no such run, which the next request says, or an older board
            return _standing(board, run)

    def experiments(run: str, monitor: str | None = None, limit: int = 20) -> dict[str, Any]:
        """List a run's experiments, best first: hyperparameters, status, epochs, best and last scores, errors.

        Args:
            run: its id.
            monitor: the score to rank by, such as val/accuracy; by default the run's own.
            limit: at most so many experiments.
        """
        about = board.get("grid_searches", run)
        name, mode = _monitor(about, monitor)
        rows = _ranked(board.get("grid_searches", run, "experiments", config=0), name, mode)
        shown = [_row(row, name, mode) for row in rows[: _checked(limit)]]
        return {"monitor": name, "mode": mode, "num_experiments": len(rows), "experiments": shown}

    def scores(run: str, names: Sequence[str] = (), experiments: str = "", points: int = 100) -> dict[str, Any]:
        """Return curves: for each experiment and score the epochs and the values, thinned so that extremes stay.

        Args:
            run: its id.
            names: scores such as val/loss, or patterns such as val/*; none for all.
            experiments: ids such as 0,3,5-9; empty for all.
            points: at most about so many values a curve.
        """
        query = {"names": list(names) or None, "experiments": experiments or None, "points": _checked(points, 10_000)}
        found = board.get("grid_searches", run, "scores", **query)
        total = sum(len(one.get("scores", ())) for one in found.get("series", ()))
        if total > _MOST_SCORES:
            raise MlgymError(f"{total:,} values are too many for an answer; name fewer scores, experiments or points")
        return found

    def compare(runs: Sequence[str]) -> dict[str, Any]:
        """Compare runs: where each stands, its best experiment, and the fields of their configs that differ.

        Args:
            runs: two ids or more.
        """
        if not 2 <= len(runs) <= 20:
            raise MlgymError(f"runs: 2 to 20 ids are expected, found {len(runs)}")
        found = {run: _standing(board, run) for run in runs}
        configs = {run: _flat(board.get("grid_searches", run).get("config") or {}) for run in runs}
        paths = sorted({path for config in configs.values() for path in config})
        differ = {
            path: {run: config.get(path) for run, config in configs.items()}
            for path in paths
            if len({repr(config.get(path)) for config in configs.values()}) > 1
        }
        return {"runs": found, "configs_differ_in": differ}

    def failures(run: str, limit: int = 5) -> dict[str, Any]:
        """Say which experiments failed and why, with their stack traces.

        Args:
            run: its id.
            limit: at most so many experiments.
        """
        rows = board.get("grid_searches", run, "experiments", config=0)
        failed = [row for row in rows if row["status"] == "FAILED"]
        names = ("experiment_id", "hyperparameters", "epochs", "error")
        shown = [
            {**{name: row[name] for name in names}, "stacktrace": _cut(row["stacktrace"])}
            for row in failed[: _checked(limit)]
        ]
        return {"num_failed": len(failed), "num_experiments": len(rows), "failures": shown}

    def config(run: str, experiment_id: int | None = None) -> dict[str, Any]:
        """Return the resolved config of a run, sweeps included, or of one of its experiments.

        Args:
            run: its id.
            experiment_id: which experiment; the whole run's by default.
        """
        if experiment_id is None:
            return board.get("grid_searches", run).get("config") or {}
        rows = board.get("grid_searches", run, "experiments", experiments=experiment_id)
        if not rows:
            raise MlgymError(f"{run} has no experiment {experiment_id}")
        return rows[0].get("experiment_config") or {}

    def resume_command(run: str) -> dict[str, Any]:
        """Return the command that goes on with a run that is lost, interrupted or failed; it is not executed here.

        Args:
            run: its id.
        """
        status = board.get("grid_searches", run)["status"]
        words = ["python", "-m", "mlgym_jax.run", f"--resume={run}"]
        words += [f"--event_storage={event_storage}"] if event_storage else []
        why = None
        if status == "RUNNING":
            why = "it is being written; nothing is to be resumed"
        elif status == "DONE":
            why = "it is done; only with more epochs, --config.num_epochs=N, is there something to do"
        return {"status": status, "command": shlex.join(words), "note": why}

    def checkpoints(run: str, experiment_id: int | None = None) -> dict[str, Any]:
        """List the kept checkpoints of a run, and how to load the model of each in Python.

        Args:
            run: its id.
            experiment_id: of which experiment; of all by default.
        """
        words = ["checkpoint_list", run, *([] if experiment_id is None else [experiment_id])]
        found = board.get(*words)
        shown = [
            {
                "experiment_id": one["experiment_id"],
                "epoch": one["epoch"],
                "resources": one["checkpoints"],
                "python": _line(run, one["experiment_id"], one["epoch"], event_storage),
                "download": board.address.url
                + board.address.path("checkpoints", run, one["experiment_id"], one["epoch"], "model").removeprefix(
                    board.address.path()
                ),
            }
            for one in found[:_MOST]
        ]
        return {"num_checkpoints": len(found), "checkpoints": shown}

    return [list_runs, verdict, experiments, scores, compare, failures, config, resume_command, checkpoints]


def _checked(number: int, most: int = _MOST) -> int:
    if not 1 <= number <= most:
        raise MlgymError(f"a number from 1 to {most:,} is expected, found {number}")
    return number


def _monitor(about: Mapping[str, Any], monitor: str | None) -> tuple[str | None, str]:
    from mlgym_jax.events import default_mode

    if monitor is None:
        return about["monitor"], about["mode"]
    if monitor not in about["scores"]:
        raise MlgymError(f"monitor: no score {monitor!r}. Scores: {listed(about['scores'], 40)}")
    return monitor, default_mode(monitor, about["config"])


def _ranked(rows: Sequence[dict[str, Any]], monitor: str | None, mode: str) -> list[dict[str, Any]]:
    """Return experiments best first, refits and those without a score last."""
    sign = -1 if mode == "max" else 1

    def rank(row: Mapping[str, Any]) -> tuple[bool, float, int]:
        best = _best(row, monitor, mode)
        ranks = best is not None and not row["refit"]
        return not ranks, sign * best[1] if ranks and best else math.inf, row["experiment_id"]

    return sorted(rows, key=rank)


def _best(row: Mapping[str, Any], monitor: str | None, mode: str) -> list[Any] | None:
    return (row["best"].get(monitor) or {}).get(mode) if monitor else None


def _row(row: Mapping[str, Any], monitor: str | None, mode: str) -> dict[str, Any]:
    best = _best(row, monitor, mode)
    names = ("experiment_id", "hyperparameters", "fold", "status", "stop_reason", "epochs", "last", "error")
    told = None if best is None else {"epoch": best[0], "score": best[1]}
    return {**{name: row[name] for name in names}, "is_refit": row["refit"] is not None, "best": told}


def _standing(board: BoardClient, run: str) -> dict[str, Any]:
    about = board.get("grid_searches", run)
    name, mode = _monitor(about, None)
    rows = board.get("grid_searches", run, "experiments", config=0)
    ranked = [row for row in _ranked(rows, name, mode) if _best(row, name, mode) and not row["refit"]]
    facts = {fact: about.get(fact) for fact in ("name", "status", "started_ms", "finished_ms")}
    best = _row(ranked[0], name, mode) if ranked else None
    failed = sum(row["status"] == "FAILED" for row in rows)
    counts = {"num_experiments": len(rows), "num_failed": failed}
    return {**facts, **counts, "monitor": name, "mode": mode, "best": best}


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {
            key: item for name, part in value.items() for key, item in _flat(part, f"{path}.{name}".strip(".")).items()
        }
    return {path: value}


def _cut(trace: str | None) -> str | None:
    """Keep the end of a long trace: what was raised, and where."""
    return trace if trace is None or len(trace) <= _LONGEST_TRACE else f"…{trace[-_LONGEST_TRACE:]}"


def _line(run: str, experiment_id: int, epoch: int, event_storage: str | None) -> str:
    where = os.path.join(event_storage, run) if event_storage else run
    return f"mlgym_jax.load_run({where!r}).experiment({experiment_id}).restore({epoch})"

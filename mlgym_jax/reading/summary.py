"""A run as the plain data that `report --json` prints."""

from __future__ import annotations

from typing import Any

from mlgym_jax.events.layout import spell_number
from mlgym_jax.reading.results import ExperimentResult, RunResult


def summary(result: RunResult, monitor: str | None, mode: str) -> dict[str, Any]:
    """Return what `report --json` prints; these keys are pinned.

    `verdict` is that of `RunResult.verdict`; `refit` is there where the config asks for one: [] until all folds have
    trained; `evaluations` where something was evaluated after training.
    """

    def entry(item: ExperimentResult) -> dict[str, Any]:
        return {
            "experiment_id": item.experiment_id,
            "hyperparameters": item.hyperparameters,
            "fold": item.fold,
            "status": item.status,
            "epochs": item.num_epochs,
            "last": {name: spell_number(score) for name, score in item.last.items()},
        }

    experiments = []
    for item in result.experiments:
        best = item.best_score(monitor, mode) if monitor else None
        told = {"monitor": monitor, "mode": mode, "epoch": best[0], "score": best[1]} if best else None
        experiments.append({**entry(item), "best": told})
    found: dict[str, Any] = {"run_id": result.run_id, "num_experiments": len(experiments), "experiments": experiments}
    found["verdict"] = result.verdict(monitor, mode)
    selection = result.selection(monitor, mode)
    if selection is not None:
        found[selection[0]] = selection[1]
    if "refit" in (result.view.config or {}):
        found["refit"] = [{**entry(item), "selected_by": dict(item.selected_by or {})} for item in result.refit]
    if evaluations := result.view.evaluations:
        found["evaluations"] = [
            {name: value for name, value in one.items() if name != "grid_search_id"} for one in evaluations
        ]
    return found

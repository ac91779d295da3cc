"""How far a run is, as numbers and words of what its log says: what the terminal and a notebook's display show."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mlgym_jax.events import RunView, default_monitor
from mlgym_jax.events.views import ExperimentView


def epochs_done(view: RunView) -> int:
    """Count the epochs that all experiments have been evaluated after."""
    return sum(item.epochs for item in view.experiments.values())


def epochs_planned(view: RunView) -> int:
    """Count the epochs of all experiments; one that has ended early needs no more than it has."""
    return sum(
        item.epochs if item.status in ("DONE", "FAILED") else item.planned or 0 for item in view.experiments.values()
    )


def epochs_begun(view: RunView) -> float:
    """Return how much of epochs that are not over yet has been trained, in epochs."""
    return sum(map(_begun, view.experiments.values()))


def leader(view: RunView) -> str:
    """Say which score is the best so far, by what the run is ranked by."""
    monitor, mode = default_monitor(view.scores, view.config)
    found = [(item.best(monitor, mode), item) for item in view.candidates] if monitor else []
    scored = [(best[1], item.experiment_id) for best, item in found if best is not None]
    if not scored:
        return "no score yet"
    score, number = (max if mode == "max" else min)(scored)
    return f"best {monitor} {score:.4f} (experiment {number})"


def experiments_in_words(views: Iterable[ExperimentView]) -> str:
    """Say how many experiments there are, and how many of them have ended how."""
    states = [item.status for item in views]
    words = f"{len(states)} experiment{'s' * (len(states) != 1)}"
    ended = {"done": states.count("DONE"), "failed": states.count("FAILED")}
    counted = ", ".join(f"{number} {name}" for name, number in ended.items() if number)
    return f"{words} ({counted})" if counted else words


def duration(seconds: float) -> str:
    """Write seconds as people say them: `4.2 s`, `3 min 20 s`, `5 h 12 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _begun(item: ExperimentView) -> float:
    said = item.progress or {}
    in_training = said.get("current_split") == "train" and said.get("status") == "TRAINING"
    if item.status in ("DONE", "FAILED") or said.get("current_epoch") != item.epochs + 1 or not in_training:
        return 0.0
    return min(1.0, said.get("current_batch", 0) / max(1, said.get("num_batches") or 1))

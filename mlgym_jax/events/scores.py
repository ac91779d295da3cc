"""An epoch's scores, flat as the engine has them, and as an `evaluation_result` event says them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mlgym_jax.errors import MlgymError
from mlgym_jax.events.codec import Event
from mlgym_jax.events.schema import EvaluationResult


def evaluation_result(
    grid_search_id: str,
    *,
    experiment_id: int,
    epoch: int,
    scores: Mapping[str, float],
    seconds: float | None,
    step: int | msgspec.UnsetType = msgspec.UNSET,
    now_ms: int,
) -> Event:
    """Build the event of all scores of one epoch.

    Args:
        scores: flat, `{"train/loss": 0.3, "val/accuracy": 0.9, "val/recall_at_k/1": 0.8}`: the part before the first
            `/` is the split; what follows is a loss if it is `loss` or starts with `loss/`, and a metric otherwise.

    Raises:
        MlgymError: a name without a split.
    """
    numbers = {key: float(score) for key, score in scores.items()}
    told = {"experiment_id": experiment_id, "epoch": epoch, "seconds": seconds, "step": step}
    return payload_of(grid_search_id, numbers, **told).at(now_ms)


def payload_of(grid_search_id: str, scores: Mapping[str, Any], **told: Any) -> EvaluationResult:
    """Return what an `evaluation_result` says, the scores as they are.

    Raises:
        MlgymError: a name without a split.
    """
    metric_scores: list[Any] = []
    loss_scores: list[Any] = []
    for key, score in scores.items():
        split, slash, name = key.partition("/")
        if not slash:
            raise MlgymError(f"score {key!r} names no split; write it as 'split/name', for example 'val/{key}'.")
        if is_loss(name):
            loss_scores.append({"loss": name, "split": split, "score": score})
        else:
            metric_scores.append({"metric": name, "split": split, "score": score})
    return EvaluationResult(grid_search_id, metric_scores=metric_scores, loss_scores=loss_scores, **told)


def is_loss(name: str) -> bool:
    """Tell whether a score, named without its split, is a loss."""
    return name == "loss" or name.startswith("loss/")


def scores_of(payload: Mapping[str, Any]) -> dict[str, float]:
    """Return an `evaluation_result` payload's scores as the flat mapping that `evaluation_result` took (metrics first).

    Raises:
        ValueError, TypeError, KeyError: the payload is not one of an evaluation_result.
    """
    scores: dict[str, float] = {}
    for kind in ("metric", "loss"):
        for entry in list.copy(payload[f"{kind}_scores"]):  # takes a list and nothing else, as join takes texts
            scores["/".join((entry["split"], entry[kind]))] = float(entry["score"])  # reads "NaN" and "Infinity", too
    return scores

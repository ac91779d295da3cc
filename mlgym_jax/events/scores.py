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
    metric_scores, loss_scores = [], []
    for key, score in scores.items():
        split, slash, name = key.partition("/")
        if not slash:
            raise MlgymError(f"score {key!r} names no split; write it as 'split/name', for example 'val/{key}'.")
        if name == "loss" or name.startswith("loss/"):
            loss_scores.append({"loss": name, "split": split, "score": float(score)})
        else:
            metric_scores.append({"metric": name, "split": split, "score": float(score)})
    return EvaluationResult(
        grid_search_id,
        experiment_id=experiment_id,
        epoch=epoch,
        metric_scores=metric_scores,
        loss_scores=loss_scores,
        seconds=seconds,
        step=step,
    ).at(now_ms)


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

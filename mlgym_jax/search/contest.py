"""Who competes with whom in a search that drops the worst."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mlgym_jax.config.words import canonical_json
from mlgym_jax.events.layout import History as History


class Contender(NamedTuple):
    """How an experiment competes: experiments of one contest and candidate stay or stop together.

    Attributes:
        contest: the outer fold of nested cross validation, whose selection may not see another's scores; else 0.
        candidate: its hyperparameters without the seed; folds and seeds of one candidate are averaged.
    """

    contest: int
    candidate: str


def candidate_of(hyperparameters: Mapping[str, Any]) -> str:
    """Name the hyperparameters of an assignment without the seed."""
    return canonical_json({name: value for name, value in hyperparameters.items() if name != "seed"})

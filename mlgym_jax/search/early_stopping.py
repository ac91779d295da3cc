"""When an experiment stops: pure functions of its history, one mapping of scores an epoch.

Synopsis:

    >>> from mlgym_jax.search.early_stopping import threshold
    >>> stop = threshold(monitor="val/accuracy", mode="max", value=0.9)
    >>> stop([{"val/accuracy": 0.8}]), stop([{"val/accuracy": 0.8}, {"val/accuracy": 0.91}])
    (False, True)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError

History = Sequence[Mapping[str, float]]
Mode = Literal["min", "max"]


@dataclasses.dataclass(frozen=True)
class Policy:
    """A decision over a history that names the score it reads, so that the engine can check that it will exist."""

    monitor: str
    decide: Callable[[Sequence[float]], bool]

    def __call__(self, history: History) -> bool:
        # An epoch in which the score was not due counts for nothing.
        return self.decide([epoch[self.monitor] for epoch in history if self.monitor in epoch])


def _worst(scores: Sequence[float], mode: Mode) -> list[float]:
    """Return the scores so that larger is better, NaN and infinities the worst of all."""
    return [(score if mode == "max" else -score) if math.isfinite(score) else -math.inf for score in scores]


@register("early_stopping", "no_improvement")
def no_improvement(*, monitor: str, mode: Mode, window_epochs: int, min_relative: float = 0.0) -> Policy:
    """Stop when the last `window_epochs` epochs brought no improvement on the best before them.

    With b the best score before the window and w the best within it, an improvement is w - b > min_relative * |b| for
    mode `max`, b - w > min_relative * |b| for `min`. Scores that are not finite count as worst. This is mlgym's
    last-k-epochs relative improvement.

    Raises:
        ConfigError: a window below 1 epoch or a negative `min_relative`.
    """
    if window_epochs < 1:
        raise ConfigError("early_stopping.window_epochs", f"at least 1 is expected, found {window_epochs}")
    if min_relative < 0:
        raise ConfigError("early_stopping.min_relative", f"at least 0 is expected, found {min_relative}")

    def decide(scores: Sequence[float]) -> bool:
        if len(scores) <= window_epochs:
            return False
        good = _worst(scores, mode)
        before, within = max(good[:-window_epochs]), max(good[-window_epochs:])
        if not math.isfinite(before):
            return not math.isfinite(within)
        return not within - before > min_relative * abs(before)

    return Policy(monitor, decide)


@register("early_stopping", "threshold")
def threshold(*, monitor: str, mode: Mode, value: float) -> Policy:
    """Stop once the score has reached `value`: at least it for mode `max`, at most it for `min`."""

    def decide(scores: Sequence[float]) -> bool:
        return bool(scores) and (scores[-1] >= value if mode == "max" else scores[-1] <= value)

    return Policy(monitor, decide)


@register("early_stopping", "nan")
def nan(*, monitor: str = "train/loss") -> Policy:
    """Stop once the score is not finite. A train/loss that is not finite ends an experiment as failed in any case."""
    return Policy(monitor, lambda scores: bool(scores) and not math.isfinite(scores[-1]))

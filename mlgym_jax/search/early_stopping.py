"""When an experiment stops: pure functions of its history, one mapping of scores an epoch.

Synopsis:

    >>> from mlgym_jax.search.early_stopping import threshold
    >>> stop = threshold(monitor="val/accuracy", mode="max", value=0.9)
    >>> stop([{"val/accuracy": 0.8}]), stop([{"val/accuracy": 0.8}, {"val/accuracy": 0.91}])
    (False, True)
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Literal

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.events.layout import History
from mlgym_jax.search.histories import folded

Mode = Literal["min", "max"]


@dataclasses.dataclass(frozen=True)
class LastScore:
    """A decision over the newest score; epochs in which it was not due count for nothing.

    Attributes:
        monitor: the score, so that the engine can check that it will exist.
    """

    monitor: str
    stops: Callable[[float], bool]

    def __call__(self, history: History) -> bool:
        newest = next((scores[self.monitor] for scores in reversed(history) if self.monitor in scores), None)
        return newest is not None and self.stops(newest)


@dataclasses.dataclass
class _Window:
    """The best score before the window, and the scores within it; larger is better, not finite the worst of all."""

    before: float | None = None
    within: collections.deque[float] = dataclasses.field(default_factory=collections.deque)


@dataclasses.dataclass(frozen=True)
class NoImprovement:
    """The policy `no_improvement`; epochs in which its score was not due count for nothing."""

    monitor: str
    mode: Mode
    window_epochs: int
    min_relative: float

    def __call__(self, history: History) -> bool:
        window = folded(history, self, _Window, self._with)
        if window.before is None:
            return False
        within = max(window.within)
        if not math.isfinite(window.before):
            return not math.isfinite(within)
        return not within - window.before > self.min_relative * abs(window.before)

    def _with(self, window: _Window, _epoch: int, scores: Mapping[str, float]) -> _Window:
        if self.monitor not in scores:
            return window
        score = scores[self.monitor]
        good = (score if self.mode == "max" else -score) if math.isfinite(score) else -math.inf
        window.within.append(good)
        if len(window.within) > self.window_epochs:
            leaving = window.within.popleft()
            window.before = leaving if window.before is None else max(window.before, leaving)
        return window


@register("early_stopping", "no_improvement")
def no_improvement(*, monitor: str, mode: Mode, window_epochs: int, min_relative: float = 0.0) -> NoImprovement:
    """Stop when the last `window_epochs` epochs brought no improvement on the best before them.

    With b the best score before the window and w the best within it, an improvement is w - b > min_relative * |b| for
    mode `max`, b - w > min_relative * |b| for `min`. Scores that are not finite count as worst. This is mlgym's
    last-k-epochs relative improvement. Counted are the epochs that have the score: of a metric with every_num_epochs=5
    a window of 3 holds the scores of 15 epochs.

    Raises:
        ConfigError: a window below 1 epoch or a negative `min_relative`.
    """
    if window_epochs < 1:
        raise ConfigError("early_stopping.window_epochs", f"at least 1 is expected, found {window_epochs}")
    if min_relative < 0:
        raise ConfigError("early_stopping.min_relative", f"at least 0 is expected, found {min_relative}")

    return NoImprovement(monitor, mode, window_epochs, min_relative)


@register("early_stopping", "threshold")
def threshold(*, monitor: str, mode: Mode, value: float) -> LastScore:
    """Stop once the score has reached `value`: at least it for mode `max`, at most it for `min`."""
    return LastScore(monitor, lambda score: score >= value if mode == "max" else score <= value)


@register("early_stopping", "nan")
def nan(*, monitor: str = "train/loss") -> LastScore:
    """Stop once the score is not finite. A train/loss that is not finite ends an experiment as failed in any case."""
    return LastScore(monitor, lambda score: not math.isfinite(score))

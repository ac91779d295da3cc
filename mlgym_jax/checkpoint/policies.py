"""Which epochs to keep: pure functions of a history; the newest epoch is always kept besides.

Synopsis:

    >>> from mlgym_jax.checkpoint.policies import best
    >>> keep = best(monitor="val/loss", mode="min", num_keep=2)
    >>> sorted(keep([{"val/loss": 0.5}, {"val/loss": 0.7}, {"val/loss": 0.4}]))
    [1, 3]
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Literal

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.events.layout import History
from mlgym_jax.search.histories import folded


@dataclasses.dataclass(frozen=True)
class BestEpochs:
    """The strategy `best`; it names the score it reads, so that the engine can check that it will exist."""

    monitor: str
    mode: Literal["min", "max"]
    num_keep: int

    def __call__(self, history: History) -> set[int]:
        return {epoch for _, epoch in folded(history, self, list, self._with)}

    def _with(self, best: list[tuple[float, int]], epoch: int, scores: Mapping[str, float]) -> list[tuple[float, int]]:
        """Keep the best, (score so that smaller is better, epoch), with one more epoch."""
        score = scores.get(self.monitor, math.nan)
        if math.isfinite(score):
            bisect.insort(best, (-score if self.mode == "max" else score, epoch))
            del best[self.num_keep :]
        return best


@register("checkpointing", "last")
def last() -> Callable[[History], set[int]]:
    """Keep the newest epoch alone."""
    return lambda history: set()


@register("checkpointing", "every_k")
def every_k(*, k: int) -> Callable[[History], set[int]]:
    """Keep the epochs k, 2k, 3k…

    Raises:
        ConfigError: k below 1.
    """
    if k < 1:
        raise ConfigError("checkpointing.k", f"at least 1 is expected, found {k}")
    return lambda history: set(range(k, len(history) + 1, k))


@register("checkpointing", "all")
def keep_all() -> Callable[[History], set[int]]:
    """Keep every epoch."""
    return lambda history: set(range(1, len(history) + 1))


@register("checkpointing", "best")
def best(*, monitor: str, mode: Literal["min", "max"], num_keep: int = 1) -> BestEpochs:
    """Keep the `num_keep` best epochs by a score; of equal ones the earlier, of those that are not finite none.

    Raises:
        ConfigError: `num_keep` below 1.
    """
    if num_keep < 1:
        raise ConfigError("checkpointing.num_keep", f"at least 1 is expected, found {num_keep}")
    return BestEpochs(monitor, mode, num_keep)

"""Histories that grow by one mapping of scores an epoch, and what is computed of them epoch by epoch.

Synopsis:

    >>> from mlgym_jax.search.histories import Epochs, folded
    >>> history = Epochs([{"val/loss": 0.5}, {"val/loss": 0.4}])
    >>> folded(history, "sum", float, lambda total, epoch, scores: total + scores["val/loss"])
    0.9
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

State = TypeVar("State")


class Epochs(list[dict[str, float]]):
    """A history to which epochs are appended and nothing else is done, so that it can keep what was computed of it."""

    def __init__(self, epochs: Iterable[dict[str, float]] = ()):
        super().__init__(epochs)
        self.known: dict[Hashable, tuple[int, Any]] = {}


def folded(
    history: Sequence[Mapping[str, float]],
    owner: Hashable,
    start: Callable[[], State],
    step: Callable[[State, int, Mapping[str, float]], State],
) -> State:
    """Return `step(… step(start(), 1, first epoch) …, n, last epoch)`: of `Epochs`, the new ones alone are looked at.

    Args:
        owner: under which an `Epochs` keeps the state, one for each pair of `start` and `step`.
        step: (state, the epoch's number from 1, its scores) -> state; it may change the state in place.
    """
    known = history.known if isinstance(history, Epochs) else {}
    done, state = known.get(owner) or (0, start())
    for epoch in range(done, len(history)):
        state = step(state, epoch + 1, history[epoch])
    known[owner] = len(history), state
    return state

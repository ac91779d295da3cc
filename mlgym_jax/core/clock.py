"""How the calls of an optimizer's parts are counted in training steps, which accumulation makes fewer."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class Clock:
    """What a gradient transformation can know of the time while it updates.

    Attributes:
        calls: how often it has been called before, int32[]; None outside of a training step.
        steps_of: number of its calls -> number of training steps that were done when it had been called so often.
        in_epochs: whether a schedule is being asked for a number of epochs, which has fractions.
    """

    calls: Any = None
    steps_of: Callable[[Any], Any] = lambda count: count
    in_epochs: bool = False


_CLOCK: contextvars.ContextVar[Clock] = contextvars.ContextVar("clock", default=Clock())  # noqa: B039, it is frozen


def clock() -> Clock:
    """Return the clock of what is being traced."""
    return _CLOCK.get()


@contextlib.contextmanager
def ticking(new: Clock) -> Iterator[None]:
    """Let `new` be the clock of what is traced inside."""
    token = _CLOCK.set(new)
    try:
        yield
    finally:
        _CLOCK.reset(token)

"""Python's garbage collector while a run starts: imports and traces make a million objects, and nearly all stay.

By default it looks through all of them again whenever there are a quarter more, which took an eighth of a small run's
processor time.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_SELDOM = 100_000  # new objects between two looks through the young ones


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for garbage less often while this is entered; if there is much at the end, it counts as old, looked at or not.

    What a program itself has set is kept: a collector that is off stays off, a longer interval stays as long, and what
    is frozen stays so.
    """
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], _SELDOM) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        much = gc.get_count()[0] > before[0]  # else no look is due; and to count what is frozen takes a walk along it
        if much and not gc.get_freeze_count():  # else it is the program's own, who would find it undone
            gc.freeze()
            gc.unfreeze()

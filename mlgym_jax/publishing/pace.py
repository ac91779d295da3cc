"""How patient a publisher is: its pauses and limits, in seconds."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Pace:
    """The pauses and limits of one publisher, in seconds.

    Attributes:
        first_delay: before a board is tried again; each further delay is twice as long.
        longest_delay: no delay is longer.
        longest_ending_delay: nor than this, once somebody waits for the end.
        complaint: a board that is away is complained of once in this time.
        files: between two looks at the files beside the log.
        checkpoints: between two looks at the checkpoints; a process is started to read them, so not often.
        answer: how long the board may take to answer a frame of events.
    """

    first_delay: float = 0.2
    longest_delay: float = 15.0
    longest_ending_delay: float = 1.0
    complaint: float = 60.0
    files: float = 2.0
    checkpoints: float = 300.0
    answer: float = 30.0

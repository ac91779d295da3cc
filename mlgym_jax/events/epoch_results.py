"""The results of an epoch of many experiments, in one: as events one by one only where somebody asks for them.

A thousand small experiments end an epoch in some milliseconds; to build, write and take in each one's event by itself
would take longer.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import msgspec

from mlgym_jax.events.codec import Event, encode
from mlgym_jax.events.layout import spell_number
from mlgym_jax.events.scores import evaluation_result, is_loss, payload_of

_NUMBERS = msgspec.json.Encoder()
# What no line of JSON holds: where a line differs from that of the next experiment.
_INTEGER, _TEXT = b"\0", b"\1"


@dataclasses.dataclass(frozen=True)
class EpochResults:
    """What an epoch brought to some experiments, as many `evaluation_result` events; at least one.

    Attributes:
        scores: experiment_id -> {"train/loss": …}, the same names in the same order for all.
        seconds: each one's share of the epoch's time; steps: the steps that each has trained by now.
    """

    run_id: str
    epoch: int
    scores: Mapping[int, Mapping[str, float]]
    seconds: float
    steps: Sequence[int]
    now_ms: int

    def __len__(self) -> int:
        return len(self.scores)

    def events(self) -> list[Event]:
        """Return the event of each experiment."""
        fields = {"epoch": self.epoch, "seconds": self.seconds, "now_ms": self.now_ms}
        return [
            evaluation_result(self.run_id, experiment_id=number, scores=scores, step=step, **fields)
            for (number, scores), step in zip(self.scores.items(), self.steps, strict=True)
        ]

    def lines(self) -> list[bytes]:
        """Return the line of each event, as `encode` writes it, with its newline."""
        names = [*next(iter(self.scores.values()))]
        hole, integer = msgspec.Raw(_TEXT), msgspec.Raw(_INTEGER)
        told = {"epoch": self.epoch, "seconds": self.seconds, "step": integer}
        event = payload_of(self.run_id, dict.fromkeys(names, hole), experiment_id=integer, **told).at(self.now_ms)
        line = encode(event).replace(b"%", b"%%").replace(_INTEGER, b"%d").replace(_TEXT, b"%b") + b"\n"
        # An event says metrics first.
        order = sorted(names, key=lambda name: is_loss(name.partition("/")[2]))
        values = [scores[name] for scores in self.scores.values() for name in order]
        texts, width = _texts(values), len(order)
        return [
            line % (number, *texts[row * width : (row + 1) * width], step)
            for row, (number, step) in enumerate(zip(self.scores, self.steps, strict=True))
        ]


def _texts(values: list[float]) -> list[bytes]:
    """Return each number as `encode` writes it."""
    data = _NUMBERS.encode(values)
    texts = data[1:-1].split(b",")
    if b"null" in data:
        texts = [
            text if math.isfinite(value) else b'"%b"' % str(spell_number(value)).encode()
            for value, text in zip(values, texts, strict=True)
        ]
    return texts


class Appended(Sequence[Event]):
    """Events that were appended to a log together; those of an epoch's results are built when they are looked at.

    Attributes:
        results, others: the epochs' results, and all else.
    """

    def __init__(self, parts: Iterable[Event | EpochResults]):
        self._parts = [*parts]
        self.results = [part for part in self._parts if isinstance(part, EpochResults)]
        self.others = [part for part in self._parts if not isinstance(part, EpochResults)]

    @classmethod
    def of(cls, events: Sequence[Any]) -> Appended:
        """Return what a log handed to a sink, also where it was put together by hand."""
        return events if isinstance(events, cls) else cls(events)

    def encoded(self) -> tuple[list[bytes | EpochResults], list[bytes]]:
        """Return what a view takes in fastest, lines and results of epochs, and the lines of all.

        Raises:
            TypeError: an event holds something that JSON cannot.
        """
        parts: list[bytes | EpochResults] = []
        lines: list[bytes] = []
        for part in self._parts:
            if isinstance(part, EpochResults):
                lines += part.lines()
                parts.append(part)
            else:
                lines.append(encode(part) + b"\n")
                parts.append(lines[-1])
        return parts, lines

    @functools.cached_property
    def _events(self) -> list[Event]:
        return [
            event for part in self._parts for event in (part.events() if isinstance(part, EpochResults) else (part,))
        ]

    def __len__(self) -> int:
        return len(self.others) + sum(map(len, self.results))

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self._events[index]

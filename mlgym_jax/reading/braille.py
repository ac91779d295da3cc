"""Curves as text: dots of Braille signs, two across and four down in each character.

Synopsis:

    >>> from mlgym_jax.reading.braille import canvas
    >>> for row in canvas([[0.0, 1.0, 2.0, 3.0]], width=2, height=1, low=0.0, high=3.0)[0]:
    ...     print(row)
    ⡠⠊
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row, from above, and column


def canvas(
    curves: Sequence[Sequence[float]], *, width: int, height: int, low: float, high: float, length: int | None = None
) -> tuple[list[str], list[list[int | None]]]:
    """Draw curves, their points at equal distances from left to right.

    Args:
        curves: the values of each; those that are not finite are gaps.
        width, height: in characters.
        low, high: the values at the lower and the upper edge.
        length: how many points the width is for; by default the longest curve's.

    Returns:
        The rows of text, and which curve each character shows, the first of those that meet there; None for a blank.
    """
    across, down = 2 * width, 4 * height
    length = max((len(curve) for curve in curves), default=0) if length is None else length
    signs = [[0] * width for _ in range(height)]
    shown: list[list[int | None]] = [[None] * width for _ in range(height)]

    def dot(x: int, y: int, curve: int) -> None:
        row, column = (down - 1 - y) // 4, x // 2
        signs[row][column] |= _BITS[(down - 1 - y) % 4][x % 2]
        if shown[row][column] is None:
            shown[row][column] = curve

    for number, curve in enumerate(curves):
        before: tuple[int, int] | None = None
        for index, value in enumerate(curve):
            if not math.isfinite(value):
                before = None
                continue
            share = 0.5 if high <= low else (min(max(value, low), high) - low) / (high - low)
            place = round(index * (across - 1) / max(length - 1, 1)), round(share * (down - 1))
            for x, y in _between(before or place, place):
                dot(x, y, number)
            before = place
    return ["".join(chr(0x2800 + sign) if sign else " " for sign in row) for row in signs], shown


def _between(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the dots of a straight line, both ends included."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            round(start[0] + (end[0] - start[0]) * step / steps),
            round(start[1] + (end[1] - start[1]) * step / steps),
        )
        for step in range(steps + 1)
    ]

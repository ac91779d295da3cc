"""Sequences of different lengths as arrays: padded, one a row, or packed, several a row.

Synopsis:

    >>> import numpy as np
    >>> found = packed({"inputs": [np.array([7, 8]), np.array([9]), np.array([5, 6])]}, 4, fill=0)
    >>> found["inputs"].tolist(), found["segments"].tolist(), found["positions"].tolist()
    ([[7, 8, 9, 0], [5, 6, 0, 0]], [[1, 1, 2, 0], [1, 1, 0, 0]], [[0, 1, 0, 0], [0, 1, 0, 0]])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Sequences = Mapping[str, Sequence[np.ndarray]]


def _pieces(sequences: Sequences, length: int) -> list[dict[str, np.ndarray]]:
    """Cut sequences into pieces of at most `length`, none of nothing; the fields of one are equally long."""
    pieces = []
    for parts in zip(*sequences.values(), strict=True):
        for start in range(0, len(parts[0]), length):
            pieces.append({field: part[start : start + length] for field, part in zip(sequences, parts, strict=True)})
    return pieces


def padded(sequences: Sequences, length: int, fill: int) -> dict[str, np.ndarray]:
    """Return each field as int32[n, length], filled up with `fill`; `where` bool[n, length] and `lengths` int32[n].

    Args:
        sequences: field -> sequences of int32[…]; those of one place are equally long, and longer ones than `length`
            are continued in the next row.
    """
    pieces = _pieces(sequences, length)
    found = {field: np.full((len(pieces), length), fill, np.int32) for field in sequences}
    lengths = np.array([len(next(iter(piece.values()))) for piece in pieces], np.int32)
    for row, piece in enumerate(pieces):
        for field, part in piece.items():
            found[field][row, : len(part)] = part
    return {**found, "where": np.arange(length) < lengths[:, None], "lengths": lengths}


def packed(sequences: Sequences, length: int, fill: int) -> dict[str, np.ndarray]:
    """Return the same with as many sequences in a row as follow each other and find room.

    `segments` int32[n, length] numbers the sequences of a row from 1, and is 0 where it is filled up; `positions`
    int32[n, length] counts the places in each from 0; `where` bool[n, length] tells what is not filled up.
    """
    rows: list[list[dict[str, np.ndarray]]] = []
    room = 0
    for piece in _pieces(sequences, length):
        size = len(next(iter(piece.values())))
        if size > room:
            rows.append([])
            room = length
        rows[-1].append(piece)
        room -= size
    found = {field: np.full((len(rows), length), fill, np.int32) for field in sequences}
    segments, positions = np.zeros((2, len(rows), length), np.int32)
    for row, pieces in enumerate(rows):
        start = 0
        for number, piece in enumerate(pieces, 1):
            stop = start + len(next(iter(piece.values())))
            for field, part in piece.items():
                found[field][row, start:stop] = part
            segments[row, start:stop] = number
            positions[row, start:stop] = np.arange(stop - start)
            start = stop
    return {**found, "where": segments > 0, "segments": segments, "positions": positions}

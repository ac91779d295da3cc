"""The order of training where examples are read in blocks, such as the row groups of a file, and not one by one.

Synopsis, of two blocks of three examples each, one of which is read at a time:

    >>> import numpy as np
    >>> order = Order(np.arange(6), 0, Blocks(np.array([0, 3, 6]), most=3))
    >>> rows = order.rows(np.arange(6), (0, 0), 1)
    >>> sorted(rows[:3].tolist()), sorted(rows[3:].tolist())
    ([0, 1, 2], [3, 4, 5])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlgym_jax.data.permutation import permuted

_OF_BLOCKS = 1 << 32  # in the place of a window's number: the key of the order of the blocks themselves


class Blocks(NamedTuple):
    """How examples lie together.

    Attributes:
        starts: int64[blocks + 1], the examples at which blocks begin, and how many there are.
        most: the examples among which are drawn those that follow each other; so many are held in memory.
    """

    starts: np.ndarray
    most: int


def joined(blocks: Sequence[Blocks | None], sizes: Sequence[int]) -> Blocks:
    """Return how the examples of several sources lie that follow each other; one without blocks is a block."""
    starts = [np.append(0, size) if own is None else own.starts for own, size in zip(blocks, sizes, strict=True)]
    begins = np.cumsum([0, *sizes])
    parts = [begin + own[:-1] for begin, own in zip(begins, starts, strict=False)]
    return Blocks(np.append(np.concatenate(parts), begins[-1]), min(own.most for own in blocks if own is not None))


class Order:
    """Random orders of the rows of a training part; each place is computed by itself.

    The blocks come in a random order. Those that follow each other make a window of about `most` examples, and inside
    of a window the order is random. Where one window holds all, it is the order of what is read one by one.

    Attributes:
        in_turn: integers[n], the rows in their own order.
    """

    def __init__(self, rows: np.ndarray, first: int, blocks: Blocks | None):
        """Take integers[n], rows of a table in which the split begins at `first`."""
        self.in_turn = self._rows = rows
        self._starts = None
        if blocks is not None and blocks.starts[-1] > blocks.most:
            self._starts, self._most = blocks.starts, blocks.most
            self._rows = np.sort(rows)
            self._cuts = np.searchsorted(self._rows, blocks.starts + first)

    def __len__(self) -> int:
        return len(self.in_turn)

    def rows(self, places: np.ndarray, key: tuple[int, ...], epoch: int) -> np.ndarray:
        """Return int64[n], the rows that stand at these places of an epoch, integers[n] from 0.

        Args:
            key: what the order is drawn from, such as (seed, fold).
        """
        if self._starts is None:
            return self._rows[permuted(places, len(self._rows), (*key, epoch))].astype(np.int64)
        blocks = permuted(np.arange(len(self._starts) - 1), len(self._starts) - 1, (*key, epoch, _OF_BLOCKS))
        before = np.cumsum(np.diff(self._starts)[blocks]) - np.diff(self._starts)[blocks]
        window_of = before // self._most  # of each block, by all that it holds, so that folds read the same together
        stops = np.cumsum(np.diff(self._cuts)[blocks])
        begins = stops - np.diff(self._cuts)[blocks]
        windows, ends = np.unique(window_of[::-1], return_index=True)
        ends = stops[len(blocks) - 1 - ends]
        number = np.searchsorted(ends, places, "right")
        at = np.empty(len(places), np.int64)
        for window in np.unique(number).tolist():
            inside = number == window
            start = int(ends[window - 1]) if window else 0
            own = (*key, epoch, int(windows[window]))
            at[inside] = start + permuted(places[inside] - start, int(ends[window]) - start, own)
        block = np.searchsorted(stops, at, "right")
        return self._rows[self._cuts[blocks[block]] + at - begins[block]].astype(np.int64)

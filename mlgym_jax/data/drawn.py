"""Draws with replacement by weights, of which each is computed by itself: nothing is kept but sums of weights.

Synopsis:

    >>> import numpy as np
    >>> draws = Draws(np.array([1.0, 0.0, 3.0]))
    >>> np.bincount(draws.positions(np.arange(4000), (0, 0, 1))).tolist()
    [1013, 0, 2987]
"""

from __future__ import annotations

import numpy as np

from mlgym_jax.data.permutation import mixed

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # the step of SplitMix64


class Draws:
    """Positions drawn by weights.

    Args:
        weights: float[n], finite, at least 0, not all 0.
    """

    def __init__(self, weights: np.ndarray):
        self._sums = np.cumsum(weights, dtype=np.float64)
        self._last = int(np.flatnonzero(weights)[-1])

    def positions(self, places: np.ndarray, key: tuple[int, ...]) -> np.ndarray:
        """Return int64[n], the positions that are drawn at these places: those of SplitMix64's numbers of that order.

        Args:
            places: integers[n] from 0; key: what is drawn from, such as (seed, fold, epoch).
        """
        start = np.random.SeedSequence([*key]).generate_state(1, np.uint64)[0]
        bits = mixed(start + (places.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
        points = (bits >> np.uint64(11)) * 2.0**-53 * self._sums[-1]
        return np.minimum(np.searchsorted(self._sums, points, side="right"), self._last)

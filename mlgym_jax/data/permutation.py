"""A permutation of any number of examples of which each place is computed by itself: nothing is sorted, or kept."""

from __future__ import annotations

import numpy as np

_ROUNDS = 6


def permuted(places: np.ndarray, size: int, key: tuple[int, ...]) -> np.ndarray:
    """Return int64[n], which examples of 0 … size - 1 stand at these places of a random order.

    It is a Feistel network over the next power of four, applied again to what falls outside (Black and Rogaway, 2002,
    "Ciphers with arbitrary finite domains"): a pure function, one to one, of a place and the key.

    Args:
        places: integers[n] in 0 … size - 1.
        key: what the order is drawn from, such as (seed, fold, epoch).
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    keys = np.random.SeedSequence([*key, size]).generate_state(_ROUNDS, np.uint64)
    found = np.asarray(places, np.int64).copy()
    if 1 << half <= found.size:  # a round adds what depends on half of the bits alone: looked up, for as many as these
        halves = np.arange(1 << half, dtype=np.uint64)
        rounds = [(mixed(halves ^ one) & low).astype(np.int64).take for one in keys]
    else:
        rounds = [
            lambda right, one=one, **_: (mixed(right.astype(np.uint64) ^ one) & low).view(np.int64) for one in keys
        ]

    def once(values: np.ndarray) -> np.ndarray:
        left, right = values >> half, values & int(low)
        for one in rounds:
            left ^= one(right, mode="clip")
            left, right = right, left
        left <<= half
        left |= right
        return left

    found = once(found)
    outside = np.flatnonzero(found >= size)
    while outside.size:
        again = once(found[outside])
        found[outside] = again
        outside = outside[again >= size]
    return found


def mixed(values: np.ndarray) -> np.ndarray:
    """Return uint64[n], the bits of 64-bit numbers mixed (the finalizer of SplitMix64; Steele, Lea and Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

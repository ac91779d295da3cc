"""Copies of single experiments' states on the host, which wait for a checkpoint to hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mlgym_jax.checkpoint.step_record import Kept


class _Stack(NamedTuple):
    """Rows that were copied together; `state` is a tree of [rows, ...], some of which may be nobody's any more."""

    places: dict[Kept, int]
    state: Any


class Copies:
    """States by (experiment_id, epoch), of one form; immutable, as every change returns another.

    Rows stay side by side as they were copied, because a thousand small experiments have tens of thousands of arrays.
    A stack of which more than half is forgotten is copied anew: at most twice the memory is held that is needed.
    """

    def __init__(self, stacks: Sequence[_Stack] = ()):
        self._stacks = tuple(stacks)

    def __iter__(self) -> Iterator[Kept]:
        return (who for stack in self._stacks for who in stack.places)

    def __len__(self) -> int:
        return sum(len(stack.places) for stack in self._stacks)

    def and_of(self, who: Sequence[Kept], state: Any) -> Copies:
        """Return these and more.

        Args:
            state: a tree of arrays of NumPy, [len(who), ...], which nobody changes.
        """
        return Copies((*self._stacks, _Stack({one: place for place, one in enumerate(who)}, state)))

    def only(self, wanted: Callable[[Kept], bool]) -> Copies:
        """Return those of these that are wanted."""
        stacks = []
        for stack in self._stacks:
            places = {who: place for who, place in stack.places.items() if wanted(who)}
            if 2 * len(places) < len(jax.tree.leaves(stack.state)[0]):
                stack = _Stack(
                    {who: place for place, who in enumerate(places)}, _taken(stack.state, [*places.values()])
                )
            elif len(places) < len(stack.places):
                stack = _Stack(places, stack.state)
            if places:
                stacks.append(stack)
        return Copies(stacks)

    def stacked(self, who: Sequence[Kept]) -> Any:
        """Return these states as one tree of [len(who), ...]; at least one, each of which is held."""
        order = {one: number for number, one in enumerate(who)}
        parts: list[Any] = []
        numbers: list[int] = []
        for stack in self._stacks:
            found = [(order[one], place) for one, place in stack.places.items() if one in order]
            if found:
                numbers += [number for number, _ in found]
                parts.append(_taken(stack.state, [place for _, place in found]))
        assert len(numbers) == len(who), "some are not held"
        at = np.argsort(numbers)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[at], *parts)


def _taken(state: Any, places: Sequence[int]) -> Any:
    at = np.asarray(places, np.intp)
    return jax.tree.map(lambda leaf: leaf[at], state)

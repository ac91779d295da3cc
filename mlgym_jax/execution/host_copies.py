"""States on their way to the host before training overwrites them: what it waits for is as little as can be.

From an accelerator they are copied on the device, which takes no time beside a step, and read from there while training
goes on. On a CPU, where a step would see through the copy, they are copied at once, into memory that the process has
taken before: what the system has to find and zero first takes ten times as long as the copy.

Synopsis:

    >>> room = Room()
    >>> block = jax.numpy.arange(3.0)  # rows 4, 2 and a padding row
    >>> read = begin_copy([Source(np.array([4, 2]), np.array([0, 1]), block)], num_rows=5, room=room)
    >>> read()[[4, 2]].tolist()
    [0.0, 1.0]
"""

from __future__ import annotations

import functools
import itertools
import math
import mmap
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.execution.memory import is_out_of_memory

_ALIGNED = 64  # bytes
_PREPARED = 2**24  # of less, nobody notices what new memory takes


class Source(NamedTuple):
    """Rows of a result, and at which positions of a tree's arrays, on devices or the host, they stand."""

    rows: np.ndarray
    positions: np.ndarray
    tree: Any


class Room:
    """Memory of the host for copies; it is taken again once nobody refers to what was copied there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_prepared, self._taking = False, None
        self._free: list[np.ndarray] = []
        self._taken: list[tuple[np.ndarray, weakref.ref[np.ndarray]]] = []

    def prepare(self, tree: Any, num_rows: int) -> None:
        """Take memory for `num_rows` rows of a tree in a thread, once, so that nobody waits for it if it is much."""
        if self._is_prepared or is_remote(tree):
            return
        self._is_prepared = True
        forms = [((num_rows, *leaf.shape[1:]), np.dtype(leaf.dtype)) for leaf in jax.tree.leaves(tree)]
        size = _places(forms)[-1]
        if size < _PREPARED:
            return

        def take() -> None:
            memory = np.empty(size, np.uint8)
            memory[:: mmap.PAGESIZE] = 0  # each page is there once it was touched
            self._free.append(memory)

        self._taking = threading.Thread(target=take, name="room", daemon=True)
        self._taking.start()

    def arrays(self, forms: Sequence[tuple[tuple[int, ...], np.dtype]]) -> list[np.ndarray]:
        """Return arrays of these shapes and dtypes, which hold anything."""
        places = _places(forms)
        whole = self._memory(max(1, places[-1]))
        parts = [whole[place : place + _bytes(form)] for place, form in zip(places[:-1], forms, strict=True)]
        return [part.view(dtype).reshape(shape) for part, (shape, dtype) in zip(parts, forms, strict=True)]

    def _memory(self, size: int) -> np.ndarray:
        with self._lock:
            if self._taking is not None:
                self._taking.join()
                self._taking = None
            free = self._free + [memory for memory, seen in self._taken if seen() is None]
            self._taken = [(memory, seen) for memory, seen in self._taken if seen() is not None]
            fitting = next((number for number, memory in enumerate(free) if memory.nbytes == size), None)
            memory = np.empty(size, np.uint8) if fitting is None else free.pop(fitting)
            self._free = free
            seen = np.frombuffer(memory.data, np.uint8)  # the base of all views of it, and of views of these
            self._taken.append((memory, weakref.ref(seen)))
            return seen


def begin_copy(sources: Sequence[Source], num_rows: int, room: Room) -> Callable[[], Any]:
    """Copy rows of trees of one form, later ones over earlier ones.

    Returns:
        What waits for the copies, and returns the tree on the host, [num_rows, …]; rows of no source hold anything.
        Nothing that overwrites the arrays from now on is seen in it.
    """
    if any(is_remote(source.tree) for source in sources):
        try:
            copies = [source._replace(tree=_on_device(source.tree)) for source in sources]
            return lambda: gathered(copies, num_rows, Room())
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
        copies = [source._replace(tree=jax.tree.map(np.asarray, source.tree)) for source in sources]
        return lambda: gathered(copies, num_rows, Room())
    copied = gathered(sources, num_rows, room)
    return lambda: copied


def is_remote(tree: Any) -> bool:
    """Tell whether arrays must be copied before the host can read them."""
    leaves = jax.tree.leaves(tree)[:1]
    return any(device.platform != "cpu" for leaf in leaves if isinstance(leaf, jax.Array) for device in leaf.devices())


def gathered(sources: Sequence[Source], num_rows: int, room: Room) -> Any:
    """Return rows of trees on the host, [num_rows, …], by shards: the whole is never put together on a device."""
    copies: list[np.ndarray] = []
    structure = None
    for rows, positions, tree in sources:
        leaves, structure = jax.tree.flatten(tree)
        within = functools.lru_cache(functools.partial(_within, rows, positions))
        copies = copies or room.arrays([((num_rows, *leaf.shape[1:]), np.dtype(leaf.dtype)) for leaf in leaves])
        for copy, leaf in zip(copies, leaves, strict=True):
            if isinstance(leaf, np.ndarray) or len(leaf.sharding.device_set) == 1:
                there, at_there = within(0, leaf.shape[0])
                copy[there] = np.asarray(leaf)[at_there]
                continue
            for piece, (held, *inside) in _pieces(leaf.sharding, leaf.shape):
                there, at_there = within(held.start or 0, leaf.shape[0] if held.stop is None else held.stop)
                copy[(there, *inside)] = np.asarray(leaf.addressable_data(piece))[at_there]
    return jax.tree.unflatten(structure, copies)


def _bytes(form: tuple[tuple[int, ...], np.dtype]) -> int:
    return math.prod(form[0]) * form[1].itemsize


def _places(forms: Sequence[tuple[tuple[int, ...], np.dtype]]) -> list[int]:
    """Return where arrays begin that stand behind each other, and where the last one ends."""
    return [*itertools.accumulate((size + -size % _ALIGNED for size in map(_bytes, forms)), initial=0)]


def _on_device(tree: Any) -> Any:
    """Copy arrays where they are, and begin to bring the copies to the host."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = {number: leaf for number, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)}
    copied = _copied(tuple(leaf.sharding for leaf in arrays.values()))
    copies = dict(zip(arrays, jax.block_until_ready(copied([*arrays.values()])), strict=True))
    for copy in copies.values():
        copy.copy_to_host_async()
    return jax.tree.unflatten(structure, [copies.get(number, leaf) for number, leaf in enumerate(leaves)])


@functools.lru_cache(maxsize=8)
def _copied(places: tuple[jax.sharding.Sharding, ...]) -> Callable[[list[jax.Array]], list[jax.Array]]:
    return jax.jit(lambda leaves: [jnp.copy(leaf) for leaf in leaves], out_shardings=list(places))


@functools.lru_cache(maxsize=4096)
def _pieces(sharding: jax.sharding.Sharding, shape: tuple[int, ...]) -> tuple[tuple[int, tuple[slice, ...]], ...]:
    """Return the pieces of an array on these devices, (number, what of the array it is), of equal ones the first.

    What an array itself tells of its shards is made anew for each of them, and a state has dozens an epoch.
    """
    found: dict[str, tuple[int, tuple[slice, ...]]] = {}
    for number, index in enumerate(sharding.addressable_devices_indices_map(shape).values()):
        found.setdefault(str(index), (number, index or ()))
    return tuple(found.values())


def _within(rows: np.ndarray, positions: np.ndarray, start: int, stop: int) -> tuple[Any, Any]:
    """Return which of the rows at `positions` of a block a piece from `start` to `stop` holds, and where in it."""
    there = (start <= positions) & (positions < stop)
    return _span(rows[there]), _span(positions[there] - start)


def _span(numbers: np.ndarray) -> Any:
    """Return a slice where the numbers follow each other: NumPy copies by one straight away."""
    if len(numbers) and (numbers == np.arange(numbers[0], numbers[0] + len(numbers))).all():
        return slice(int(numbers[0]), int(numbers[0]) + len(numbers))
    return numbers

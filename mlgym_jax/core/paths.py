"""The paths of parameters, `Dense_0/kernel`, and the regular expressions that choose among them.

A box that a module puts around a parameter, as `nn.with_logical_partitioning` does, is no part of its path.
"""

from __future__ import annotations

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import optax
from flax.core.meta import AxisMetadata

from mlgym_jax.core.trees import path_name
from mlgym_jax.errors import closest, likely


class Path(NamedTuple):
    """The path of a leaf, and the same with the names of boxes, which older patterns may hold."""

    name: str
    with_boxes: str

    def matches(self, expression: re.Pattern[str]) -> bool:
        """Tell whether a regular expression is found in it."""
        return any(expression.search(text) is not None for text in {*self})


def map_paths(function: Callable[[Path, Any], Any], tree: Any) -> Any:
    """Return the tree of `function(path, leaf)`."""

    def of_one(path: Any, found: Any) -> Any:
        if not isinstance(found, AxisMetadata):
            return function(Path(path_name(path), path_name(path)), found)
        several = len(jax.tree.leaves(found)) > 1

        def inside(rest: Any, leaf: Any) -> Any:
            whole = path_name((*path, *rest))
            return function(Path(whole if several else path_name(path), whole), leaf)

        return jax.tree_util.tree_map_with_path(inside, found)

    return jax.tree_util.tree_map_with_path(of_one, tree, is_leaf=_is_a(AxisMetadata))


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by their paths."""
    found: dict[str, Any] = {}
    map_paths(lambda path, leaf: found.setdefault(path.name, leaf), tree)
    return found


class Unmatched(NamedTuple):
    """A pattern that is found in no path.

    Attributes:
        parameter: what it was given as, such as `mask`.
        words: what is wrong with it.
    """

    parameter: str
    pattern: str
    words: str


_NOTED: contextvars.ContextVar[list[Unmatched] | None] = contextvars.ContextVar("unmatched", default=None)


@contextlib.contextmanager
def noting_unmatched() -> Iterator[list[Unmatched]]:
    """Gather the patterns that are asked for inside, and are found in no path."""
    noted: list[Unmatched] = []
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


def note_pattern(owner: str, parameter: str, pattern: str, params: Any) -> None:
    """Note a pattern of an optimizer that is found in no path, not even of a parameter that another part of it has."""
    noted = _NOTED.get()
    if noted is None:
        return
    names, with_boxes = (
        [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params, is_leaf=_is_a(*kinds))]
        for kinds in ((optax.MaskedNode, AxisMetadata), (optax.MaskedNode,))
    )
    if names and not any(re.search(pattern, name) for name in (*names, *with_boxes)):
        words = f"{owner}: {parameter}={pattern!r} {nowhere(pattern, names)}"
        noted.append(Unmatched(parameter, pattern, words))


def _is_a(*kinds: type) -> Callable[[Any], bool]:
    return lambda found: isinstance(found, kinds)


def nowhere(pattern: str, names: Iterable[str]) -> str:
    """Say that a pattern is found in none of the paths, and what it may have been meant to be."""
    names = [*names]
    parts = {part for name in names for part in name.split("/")}

    def nearer(word: re.Match[str]) -> str:
        known = any(word[0] in name for name in names)
        return word[0] if known else closest(word[0], parts) or word[0]

    meant = re.sub(r"\w{2,}", nearer, pattern)
    found = meant != pattern and any(re.search(meant, name) for name in names)
    hint = f"; did you mean {meant!r}?" if found else "."
    return f"is found in no parameter's path{hint} Parameters: {likely(pattern, names, 20)}"

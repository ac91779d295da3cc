"""What a block of a Flax module is, whose inside is computed again for the gradient, and how one is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mlgym_jax.errors import ConfigError, listed, with_article

Path = tuple[Any, ...]


def blocks_among(modules: Mapping[Path, type], name: str) -> set[Path]:
    """Return the paths of the blocks among the modules inside of one: they have modules themselves, and are several.

    Args:
        modules: path -> class of each module inside, those without a `__call__` left out.
        name: the class of the module that they are in.

    Raises:
        ConfigError: at `remat`, none are blocks.
    """
    composite = {path: kind for path, kind in modules.items() if any(_inside(other, path) for other in modules)}
    kinds = [*composite.values()]
    several = {path for path, kind in composite.items() if kinds.count(kind) > 1}
    outer = {path for path in several if not any(_inside(path, other) for other in several)}
    if not outer:
        found = listed(sorted({kind.__name__ for kind in modules.values()})) or "none"
        raise ConfigError(
            "remat",
            f"no blocks are found in the model {name}: modules that have layers of their own and are there more than "
            f"once. Modules inside of it: {found}. Write config.remat = component('dots'), or make its repeated part a "
            "module of its own",
        )
    return outer


def _inside(path: Path, other: Path) -> bool:
    return len(path) > len(other) and path[: len(other)] == other


def apart(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Return the arrays of a tree, and what puts others in their places: what is no array stays known in a trace."""
    leaves, structure = jax.tree.flatten(tree)
    places = [number for number, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)]

    def together(arrays: list[Any]) -> Any:
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        return jax.tree.unflatten(structure, filled)

    return [leaves[place] for place in places], together


def refuse_modules(kind: type, given: Any, modules: Any) -> None:
    """Refuse a call of a block with what has variables of its own: what it changes in these would be lost.

    Raises:
        ConfigError: at `remat`.
    """
    for item in jax.tree.leaves(given, is_leaf=lambda item: isinstance(item, modules)):
        if isinstance(item, modules):
            raise ConfigError(
                "remat",
                f"a block, {kind.__name__}, is called with {with_article(type(item).__name__)}, which has variables of "
                "its own; hand it to its constructor, or write config.remat = component('dots')",
            )

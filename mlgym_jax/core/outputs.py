"""What a model returns, read by paths: a tree of arrays, whose parts have the names that JAX gives them.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.core.outputs import paths, pick
    >>> outputs = (jnp.zeros((2, 10)), {"head": {"features": jnp.ones((2, 64))}})
    >>> paths(outputs), pick(outputs, "1.head.features").shape
    (['0', '1.head.features'], (2, 64))

Parts of dicts have their keys as names, those of tuples and lists their numbers, those of dataclasses and named tuples
their fields' names. Losses, metrics and post-processors take such a path as `output`. The whole of what has no names of
its own, such as one array, is `outputs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mlgym_jax.errors import ConfigError, MlgymError, closest, described, in_words, likely, listed, with_article

WHOLE = "outputs"


class SeveralOutputs(MlgymError):
    """What reads one array was given several."""


def parts(outputs: Any) -> dict[str, Any]:
    """Return what outputs consist of, by name; {} for one array."""
    found = jax.tree_util.tree_flatten_with_path(outputs, is_leaf=lambda node: node is not outputs)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): part for path, part in found if path}


def paths(outputs: Any) -> list[str]:
    """Return the paths of all arrays; [] for one array alone."""
    return [path for path, _ in _leaves(outputs) if path]


def _leaves(outputs: Any, before: str = "") -> list[tuple[str, Any]]:
    found = parts(outputs)
    if not found:
        return [(before, outputs)] if jax.tree.leaves(outputs) else []  # None and {} hold nothing
    return [leaf for name, part in found.items() for leaf in _leaves(part, f"{before}.{name}" if before else name)]


def by_name(outputs: Any) -> dict[str, Any]:
    """Return the outputs as the names that post-processors stand beside: a dict's own, else `outputs`."""
    return dict(outputs) if isinstance(outputs, Mapping) else {WHOLE: outputs}


def holds(outputs: Any, path: str) -> bool:
    """Tell whether there is an output of that path."""
    return any(_walked(root, path) is not None for root in _roots(outputs))


def pick(outputs: Any, path: str | None) -> Any:
    """Return one of several outputs; all of them if no path is given.

    Raises:
        MlgymError: there is none of that path; those that there are, and the nearest.
    """
    if path is None:
        return outputs
    for root in _roots(outputs):
        found = _walked(root, path)
        if found is not None:
            return found
    known = paths(outputs)
    if not known and path == "0":  # where training has several, and evaluation the first of them alone
        return outputs
    if not known:
        raise MlgymError(f"no output {path!r}: the model has one output without a name; leave output= out")
    within = next((name for name in known if f".{name}.".endswith(f".{path}.")), None)
    near = within or closest(path, known)
    hint = f"; did you mean {near!r}?" if near else "."
    raise MlgymError(f"no output {path!r}{hint} Outputs: {likely(path, known)}")


def _roots(outputs: Any) -> list[Any]:
    """Return where paths begin: `outputs` may be left out of those into what has no names of its own."""
    named = by_name(outputs)
    return [named, named[WHOLE]] if WHOLE in named else [named]


def _walked(outputs: Any, path: str) -> Any:
    """Return the part at a path, None where there is none; a name may hold points itself."""
    found = parts(outputs)
    if isinstance(outputs, tuple):  # a named one has numbers, too
        found = {**dict(zip(map(str, range(len(outputs))), outputs, strict=True)), **found}
    words = path.split(".")
    for number in range(len(words), 0, -1):
        part = found.get(".".join(words[:number]))
        if part is not None:
            rest = ".".join(words[number:])
            inside = _walked(part, rest) if rest else part
            if inside is not None:
                return inside
    return None


def one_array(outputs: Any) -> Any:
    """Return outputs that are one array.

    Raises:
        SeveralOutputs: there are several.
    """
    if parts(outputs):
        raise SeveralOutputs("there are several outputs")
    return outputs


def say_which(outputs: Any, path: str | None, error: Exception) -> MlgymError:
    """Return the error of what reads one output and was given several, those at `path` or all of the model's."""
    known = paths(outputs)
    inside = [f"{path}.{name}" for name in known] if path else known
    found = f"output={path!r} stands for several outputs" if path else "the model has several outputs"
    reason = "" if isinstance(error, SeveralOutputs) else f" ({in_words(error)})"
    return MlgymError(
        f"{found}, this reads one; say which, component('…', output='{inside[0]}'). Outputs: {listed(inside)}{reason}"
    )


def checked(outputs: Any) -> Any:
    """Return what a model returned, a tree of arrays.

    Raises:
        ConfigError: at `model`, something else, with its path.
    """
    leaves = _leaves(outputs)
    if not leaves:
        raise ConfigError("model", f"it returns {described(outputs)}, no outputs; does its __call__ end with `return`?")
    for path, leaf in leaves:
        if isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
            continue
        where = f" at {path!r}" if path else ""
        kind = type(leaf).__name__
        fix = "return arrays, and tuples, dicts or dataclasses of them"
        if dataclasses.is_dataclass(leaf):
            fix = f"JAX does not know the dataclass; write @flax.struct.dataclass above class {kind}"
        raise ConfigError("model", f"it returns {with_article(kind)}{where}; {fix}")
    return outputs


def described_tree(outputs: Any) -> Any:
    """Return a tree of shapes as plain data: dicts and lists of texts such as `float32[batch, 10]`."""
    found = parts(outputs)
    if found:
        plain = {name: described_tree(part) for name, part in found.items()}
        return [*plain.values()] if type(outputs) in (tuple, list) else plain
    if not hasattr(outputs, "dtype"):
        return None
    shape = ["batch", *map(str, outputs.shape[1:])] if outputs.shape else []
    return f"{outputs.dtype.name}[{', '.join(shape)}]"

"""Swept values as people read them: components by their names, and what differs inside of them in columns of its own.

Synopsis:

    >>> from mlgym_jax.config.spelling import columns, spelled
    >>> adam = {"component": "adam", "learning_rate": 0.1}
    >>> spelled(adam)
    'adam(learning_rate=0.1)'
    >>> columns([{"optimizer": adam}, {"optimizer": {**adam, "learning_rate": 0.2}}])
    [{'optimizer': 'adam', 'optimizer.learning_rate': 0.1}, {'optimizer': 'adam', 'optimizer.learning_rate': 0.2}]
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from mlgym_jax.config.words import is_component


def spelled(value: Any, *, exact: bool = False) -> str:
    """Write a value of a config in a line: `adam(learning_rate=0.1)`, `(8, 8)`, `{kernels=adamw, biases=sgd}`.

    Args:
        exact: write all digits of a number, not six.
    """
    if is_component(value):
        inside = _named({key: item for key, item in value.items() if key != "component"}, exact)
        return f"{value['component']}({inside})" if inside else str(value["component"])
    if isinstance(value, Mapping):
        return f"{{{_named(value, exact)}}}"
    if isinstance(value, tuple | list):
        inside = ", ".join(spelled(item, exact=exact) for item in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return f"{value:g}" if isinstance(value, float) and not exact else str(value)


def _named(values: Mapping[str, Any], exact: bool) -> str:
    return ", ".join(f"{key}={spelled(item, exact=exact)}" for key, item in values.items())


def columns(hyperparameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Hashable]]:
    """Return the swept values of several experiments as cells of a table, each of a value that can be hashed.

    A component is its name. What differs inside of components of one name stands beside it, by its dotted path; it is
    left out of experiments that have it not.
    """
    cells: list[dict[str, Hashable]] = [{} for _ in hyperparameters]
    for path in dict.fromkeys(path for values in hyperparameters for path in values):
        given = [(cell, values[path]) for cell, values in zip(cells, hyperparameters, strict=True) if path in values]
        inside = [dict(_inside(value, path)) for _, value in given]
        shown = _differing([_outline(value) for _, value in given], inside)
        for (cell, value), leaves in zip(given, inside, strict=True):
            cell[path] = _outline(value)
            for name in shown:
                if name in leaves:
                    cell.setdefault(name, leaves[name])
    names = list(dict.fromkeys(name for cell in cells for name in cell))
    return [{name: cell[name] for name in names if name in cell} for cell in cells]


def _differing(outlines: Sequence[Hashable], inside: Sequence[Mapping[str, Hashable]]) -> list[str]:
    """Name what differs among those of one outline."""
    found: dict[str, None] = {}
    for outline in dict.fromkeys(outlines):
        alike = [leaves for own, leaves in zip(outlines, inside, strict=True) if own == outline]
        for name in dict.fromkeys(name for leaves in alike for name in leaves):
            if len({(name in leaves, type(leaves.get(name)), leaves.get(name)) for leaves in alike}) > 1:
                found[name] = None
    return list(found)


def _outline(value: Any) -> Hashable:
    """Return a value with the name of each component in its place."""
    if is_component(value):
        name = value["component"]
        inside = {key: _outline(item) for key, item in value.items() if key != "component" and _holds_components(item)}
        return f"{name}({_named(inside, exact=True)})" if inside else str(name)
    if isinstance(value, Mapping):
        return f"{{{_named({key: _outline(item) for key, item in value.items()}, exact=True)}}}"
    return tuple(map(_outline, value)) if isinstance(value, tuple | list) else value


def _holds_components(value: Any) -> bool:
    if isinstance(value, Mapping):
        return is_component(value) or any(map(_holds_components, value.values()))
    return isinstance(value, tuple | list) and any(map(_holds_components, value))


def _inside(value: Any, path: str) -> Iterator[tuple[str, Hashable]]:
    """Iterate over what components hold besides other components: (dotted path, a value that can be hashed)."""
    if isinstance(value, Mapping):
        items = [(key, item) for key, item in value.items() if key != "component" or not is_component(value)]
    elif isinstance(value, tuple | list) and _holds_components(value):
        items = [(str(number), item) for number, item in enumerate(value)]
    else:
        return
    for key, item in items:
        if _holds_components(item):
            yield from _inside(item, f"{path}.{key}")
        elif is_component(value):
            yield f"{path}.{key}", _outline(item)

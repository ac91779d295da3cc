"""Inputs that are several arrays: as fields of a table, `inputs.image`, and as the tree that a model is called with.

Synopsis:

    >>> import numpy as np
    >>> from mlgym_jax.core.inputs import flat, nested
    >>> fields = flat({"inputs": {"image": np.zeros((4, 8)), "text": np.ones((4, 5))}, "targets": np.arange(4)})
    >>> sorted(fields), sorted(nested(fields)["inputs"])
    (['inputs.image', 'inputs.text', 'targets'], ['image', 'text'])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlgym_jax.errors import ConfigError

INPUTS = "inputs"


def is_input(field: str) -> bool:
    """Tell whether a field of a table is the inputs, or one of them."""
    return field == INPUTS or field.startswith(f"{INPUTS}.")


def flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a user gives as one field an array: of dicts, and inputs that are tuples or lists of arrays, each.

    Raises:
        ConfigError: at `dataset`, names that hold points, or a dict of nothing.
    """
    others = (value for field, value in fields.items() if field != INPUTS and not isinstance(value, Mapping))
    number = next((len(value) for value in others if hasattr(value, "__len__") and getattr(value, "ndim", 1)), None)
    found: dict[str, Any] = {}
    for field, value in fields.items():
        _spread(found, field, value, number)
    return found


def _spread(found: dict[str, Any], field: str, value: Any, number: int | None) -> None:
    parts = _parts(value, number) if is_input(field) else value if isinstance(value, Mapping) else None
    if parts is None:
        found[field] = value
        return
    if not parts:
        raise ConfigError("dataset", f"the field {field!r} is a dict of nothing; give it arrays by name")
    for name, part in parts.items():
        if not isinstance(name, str) or not name or "." in name:
            raise ConfigError("dataset", f"the field {field!r} holds {name!r}; names are strings without points")
        _spread(found, f"{field}.{name}", part, number)


def _parts(value: Any, number: int | None) -> Mapping[Any, Any] | None:
    """Return inputs that are several by their names; None for one array, which may be a sequence of its rows."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, tuple | list) or not value:
        return None
    if isinstance(value, tuple) and any(isinstance(part, Mapping) for part in value):
        return _numbered(value)
    if not all(getattr(part, "ndim", 0) for part in value):
        return None
    lengths = {len(part) for part in value}
    rows = len(value) == number and len({part.shape for part in value}) == 1
    if not rows and (lengths == {number} or (number is None and isinstance(value, tuple) and len(lengths) == 1)):
        return _numbered(value)
    return None


def _numbered(parts: Any) -> dict[str, Any]:
    return {str(place): part for place, part in enumerate(parts)}


def fields_of(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch with its inputs as fields: what `nested` undoes."""
    found = {field: value for field, value in batch.items() if field != INPUTS}

    def spread(field: str, value: Any) -> None:
        if isinstance(value, Mapping | tuple):
            for name, part in (value if isinstance(value, Mapping) else _numbered(value)).items():
                spread(f"{field}.{name}", part)
        else:
            found[field] = value

    spread(INPUTS, batch[INPUTS])
    return found


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with the inputs in one: an array, or dicts and tuples of arrays."""
    if INPUTS in fields or not any(map(is_input, fields)):
        return dict(fields)
    tree: dict[str, Any] = {}
    for field, value in fields.items():
        if is_input(field):
            *way, last = field.split(".")[1:]
            inside = tree
            for name in way:
                inside = inside.setdefault(name, {})
            inside[last] = value
    rest = {field: value for field, value in fields.items() if not is_input(field)}
    return {INPUTS: _with_tuples(tree), **rest}


def _with_tuples(tree: Any) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    found = {name: _with_tuples(value) for name, value in tree.items()}
    if {*found} == {str(place) for place in range(len(found))}:
        return tuple(found[str(place)] for place in range(len(found)))
    return found

"""What JSON Schema (draft 2020-12) says of the values of a component's parameters, and docstrings of parameters.

Synopsis:

    >>> from mlgym_jax.components.json_types import schema_of_type
    >>> schema_of_type(tuple[int, ...] | None)["anyOf"][1]
    {'type': 'null'}
"""

from __future__ import annotations

import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

Schema = dict[str, Any]

_PLAIN: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    None: {"type": "null"},
    type(None): {"type": "null"},
}
_MAPPINGS = (dict, Mapping, collections.abc.Mapping)
_SEQUENCES = (list, collections.abc.Sequence)
SWEEP: Schema = {"$ref": "#/$defs/sweep"}
# A definition for an instance that has such a key; `required` alone is true of everything but objects.
IS_SWEEP: Schema = {"type": "object", "required": ["sweep"]}
IS_COMPONENT: Schema = {"type": "object", "required": ["component"]}


def swept(schema: Schema) -> Schema:
    """Return the schema of a value, or of a sweep of such values."""
    if not schema:
        return {}
    values = {"items": {"if": IS_SWEEP, "then": SWEEP, "else": schema}}
    return {"if": IS_SWEEP, "then": {"allOf": [SWEEP, {"properties": {"values": values}}]}, "else": schema}


def schema_of_type(annotation: Any, value: Schema | None = None) -> Schema:
    """Return the schema of what a parameter of this type may be in a config, without sweeps of the whole.

    Args:
        annotation: a type, `None` or, where nothing is known, `inspect.Parameter.empty`.
        value: the schema of values of which nothing is known; by default of anything.
    """
    value = {} if value is None else value
    if isinstance(annotation, collections.abc.Hashable) and annotation in _PLAIN:
        return dict(_PLAIN[annotation])
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        parts = [schema_of_type(part, value) for part in arguments]
        return value if value in parts else {"anyOf": parts}
    if origin is tuple and arguments:
        if ... in arguments:
            return {"type": "array", "items": swept(schema_of_type(arguments[0], value))}
        number, items = len(arguments), [swept(schema_of_type(part, value)) for part in arguments]
        return {"type": "array", "prefixItems": items, "minItems": number, "maxItems": number}
    if origin in _SEQUENCES and arguments:
        return {"type": "array", "items": swept(schema_of_type(arguments[0], value))}
    if annotation in (tuple, list):
        return {"type": "array", "items": value}
    if origin in _MAPPINGS and arguments:
        return {"type": "object", "additionalProperties": swept(schema_of_type(arguments[1], value))}
    if isinstance(annotation, collections.abc.Hashable) and annotation in _MAPPINGS:
        return {"type": "object", "additionalProperties": value}
    return value


def documented_parameters(factory: Any) -> dict[str, str]:
    """Return what the section `Args:` of a docstring says of each parameter, each in a line."""
    text = inspect.getdoc(factory) or ""
    section = re.search(r"^(?:Args|Arguments|Parameters|Attributes):\n((?:[ \t].*\n?|\n)+)", text, re.M)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc("\n" + section[1]).splitlines() if section else ():
        begins = re.match(r"((?:\*{0,2}\w+)(?:, \*{0,2}\w+)*)(?: \([^)]*\))?: ?(.*)", line)
        if begins:
            names = re.findall(r"\w+", begins[1])
            found.update(dict.fromkeys(names, begins[2].strip()))
        else:
            for name in names:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def as_default(value: Any) -> Schema:
    """Return {"default": value} of a default that JSON can hold; of any other nothing."""

    def plain(item: Any) -> bool:
        if isinstance(item, tuple | list):
            return all(map(plain, item))
        if isinstance(item, Mapping):
            return all(isinstance(name, str) and plain(part) for name, part in item.items())
        is_number = isinstance(item, int | float) and abs(item) < float("inf")
        return item is None or isinstance(item, bool | str) or is_number

    return {"default": value} if value is not inspect.Parameter.empty and plain(value) else {}

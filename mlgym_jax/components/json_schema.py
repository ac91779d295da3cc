"""A JSON Schema (draft 2020-12) of configs, made from the registry: for editors, and for programs that write configs.

It is of the plain form, which `config.json` of a run holds: {"component": name, …} for a component, {"sweep": …} for a
sweep. What it accepts may still be refused by the engine, which knows sizes and which components fit together; what it
refuses the engine refuses, too.

Synopsis:

    >>> from mlgym_jax.components.json_schema import config_schema
    >>> config_schema()["properties"]["optimizer"]["then"]["allOf"][0]
    {'$ref': '#/$defs/sweep'}
"""

from __future__ import annotations

import collections
import re
import typing
from typing import Any

from mlgym_jax.components.factories import annotations_of
from mlgym_jax.components.json_types import (
    IS_COMPONENT,
    IS_SWEEP,
    SWEEP,
    Schema,
    as_default,
    documented_parameters,
    schema_of_type,
    swept,
)
from mlgym_jax.components.registry import Registration, built_in_kinds, kinds, lookup, registrations
from mlgym_jax.config.ranges import RANGES
from mlgym_jax.config.words import FIELDS, OF_COMPONENTS, SECTIONS

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SEED = {"minimum": 0, "maximum": 2**32 - 1}
_BOUNDS = {
    "seed": _SEED,
    "split_seed": _SEED,
    **{name: {"minimum": 1, "maximum": 2**31 - 1} for name in ("num_epochs", "num_steps", "evaluate_every_steps")},
    "checkpoint_interval_seconds": {"minimum": 0},
}
_LENGTH = ("num_epochs", "num_steps", "evaluate_every_steps")
_SCHEDULED = ("optimizer", "schedule")  # whose numbers may be functions of the step


def config_schema() -> Schema:
    """Return the schema of a config: its fields, its sections, and every component that is registered in this process.

    Components of the user's own are in it when the config that registers them was loaded before.
    """
    properties: Schema = {"$schema": {"type": "string"}}
    for name, (kind, default, meaning) in FIELDS.items():
        schema = schema_of_type(tuple[str, ...] if kind is tuple else kind) | _BOUNDS.get(name, {})
        if name in _LENGTH:
            schema = {"anyOf": [schema, {"type": "null"}]}
        said = {"description": meaning} | ({} if default is None else {"default": default})
        properties[name] = said | swept(schema)
    for name, required in SECTIONS.items():
        if (kind := name if name in kinds() else name.removesuffix("s")) in kinds():
            schema = swept(_section(name, kind, required=required))
            properties[name] = {"description": f"a component of kind {kind}"} | schema
    return {
        "$schema": DRAFT,
        "title": "mlgym_jax config",
        "type": "object",
        "properties": properties,
        "additionalProperties": {"$ref": "#/$defs/own"},
        "required": [name for name, required in SECTIONS.items() if required],
        "anyOf": [{"required": [name]} for name in _LENGTH[:2]],
        "$defs": _definitions(),
    }


def component_schema(kind: str, name: str) -> Schema:
    """Return the schema of one component's section, with what it refers to.

    Raises:
        ConfigError: there is no such kind or component.
    """
    lookup(kind, name)
    whole, wanted, found = _definitions(), [_defined(kind, name)], {}
    while wanted:
        name_of_definition = wanted.pop()
        if name_of_definition not in found:
            found[name_of_definition] = whole[name_of_definition]
            wanted += _references(whole[name_of_definition])
    return {"$schema": DRAFT, "title": f"{kind} {name}", "$ref": f"#/$defs/{_defined(kind, name)}", "$defs": found}


def _references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"].removeprefix("#/$defs/")] if isinstance(schema.get("$ref"), str) else []
        return own + [name for part in schema.values() for name in _references(part)]
    return [name for part in schema for name in _references(part)] if isinstance(schema, list) else []


def _section(name: str, kind: str, *, required: bool) -> Schema:
    schema: Schema = {"$ref": f"#/$defs/{kind}"}
    if name in OF_COMPONENTS:
        schema = {"type": "object", "not": IS_COMPONENT, "additionalProperties": swept(_or_none(schema))}
        schema["propertyNames"] = {"pattern": "^[^/.]+$"}
    return schema if required else _or_none(schema)


def _or_none(schema: Schema) -> Schema:
    return {"if": {"type": "null"}, "else": schema}


def _defined(kind: str, name: str) -> str:
    """Return the name of a component's definition: it stands in references, so without signs that mean something."""
    return re.sub(r"[^\w.-]", "-", f"{kind}.{name}")


def _definitions() -> dict[str, Schema]:
    found: dict[str, Schema] = {"sweep": _sweep_schema()}
    by_name: dict[str, list[str]] = collections.defaultdict(list)
    for kind in kinds():
        entries = [lookup(kind, one.name) for one in registrations(kind)]
        for entry in entries:
            found[_defined(kind, entry.name)] = _component(entry)
            by_name[entry.name].append(kind)
        choices = [([one.name, f"{kind}/{one.name}"], _defined(kind, one.name)) for one in entries]
        found[kind] = _one_of(choices, {name: [name] for one in entries for name in (one.name, f"{kind}/{one.name}")})
        found[f"inside.{kind}"] = _value(kind, [name for names, _ in choices for name in names])
    each = [
        ([f"{kind}/{name}", *([name] if len(having) == 1 else [])], _defined(kind, name))
        for name, having in by_name.items()
        for kind in having
    ]
    names = {text for name, having in by_name.items() for text in (name, *(f"{kind}/{name}" for kind in having))}
    found["component"] = _one_of(each, names)
    own = swept({"$ref": "#/$defs/component"})
    found["own"] = {
        "description": "a section of your own: a component, or components by names",
        "if": {"anyOf": [IS_COMPONENT, IS_SWEEP, {"type": "null"}]},
        "then": {"if": {"type": "null"}, "else": own},
        "else": {"type": "object", "additionalProperties": {"if": {"type": "null"}, "else": own}},
    }
    return found


def _one_of(choices: list[tuple[list[str], str]], names: typing.Iterable[str]) -> Schema:
    """Return the schema of a section that names one of several components."""
    given = [{"if": _named(texts), "then": {"$ref": f"#/$defs/{definition}"}} for texts, definition in choices]
    name = {"if": IS_SWEEP, "then": SWEEP, "else": {"enum": sorted(names)}}
    return {"type": "object", "required": ["component"], "properties": {"component": name}, "allOf": given}


def _named(names: list[str]) -> Schema:
    return {"required": ["component"], "properties": {"component": {"enum": names}}}


def _value(kind: str, names: list[str]) -> Schema:
    """Return the schema of whatever stands inside of a component of a kind, of which names are looked up first."""
    again = {"$ref": f"#/$defs/inside.{kind}"}
    nested = {"if": _named(names), "then": {"$ref": f"#/$defs/{kind}"}, "else": {"$ref": "#/$defs/component"}}
    inside = {"items": again, "additionalProperties": again}
    return {"if": IS_SWEEP, "then": SWEEP | {"properties": {"values": {"items": again}}}} | {
        "else": {"if": IS_COMPONENT, "then": nested, "else": inside}
    }


def _component(entry: Registration) -> Schema:
    """Return the schema of one component's section."""
    hints, said = annotations_of(entry.factory), documented_parameters(entry.factory)
    properties: Schema = {
        "component": {"description": f"{entry.kind} {entry.name}: {entry.summary()}"},
        "needs": {"type": "object", "propertyNames": {"enum": list(entry.needs)}, "additionalProperties": _TEXT},
    }
    for name, parameter in entry.parameters.items():
        about = {"description": said[name]} if said.get(name) else {}
        schema = _parameter(entry, name, hints.get(name, parameter.empty))
        properties[name] = about | as_default(parameter.default) | schema
    required = [name for name, one in entry.parameters.items() if one.default is one.empty]
    return {
        "type": "object",
        "description": entry.summary(),
        "properties": properties,
        "required": ["component", *required],
        "additionalProperties": bool(entry.takes_any),
    }


_TEXT: Schema = {"type": "string"}


def _parameter(entry: Registration, name: str, annotation: Any) -> Schema:
    if name in entry.as_written:
        return {}
    anything = {"$ref": f"#/$defs/inside.{entry.kind}"}
    kind = next((word for word in (name, name[:-1], name[:-2]) if word in built_in_kinds()), None)
    schema = schema_of_type(annotation, anything)
    if entry.is_built_in and kind is not None and _refers(schema, anything):
        one = {"$ref": f"#/$defs/{kind}"}
        return one if kind == name else anything
    if schema == anything:
        return anything
    if {int, float} & {annotation, *typing.get_args(annotation)} and (
        entry.kind in _SCHEDULED or not entry.is_built_in
    ):
        nested = {"$ref": "#/$defs/schedule"} if entry.is_built_in else anything
        schema = {"if": IS_COMPONENT, "then": nested, "else": schema}
    return swept(schema)


def _refers(schema: Schema, anything: Schema) -> bool:
    return anything["$ref"].removeprefix("#/$defs/") in _references(schema)


def _sweep_schema() -> Schema:
    ranges = {
        "properties": {"sweep": {"enum": sorted(RANGES)}, "low": {"type": "number"}, "high": {"type": "number"}},
        "required": ["sweep", "low", "high"],
        "additionalProperties": False,
    }
    listed = {
        "properties": {"sweep": {"const": "absolute"}, "values": {"type": "array", "minItems": 1}},
        "required": ["sweep", "values"],
        "additionalProperties": False,
    }
    return {
        "description": "several values: grid(…), or a range that a search draws from",
        "type": "object",
        "properties": {"sweep": {"enum": ["absolute", *sorted(RANGES)]}},
        "if": {"properties": {"sweep": {"const": "absolute"}}},
        "then": listed,
        "else": ranges,
    }

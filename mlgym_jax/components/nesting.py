"""Which components may stand inside of others, by the parameters that they are given as."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from mlgym_jax.components.factories import annotations_of
from mlgym_jax.components.parameters import in_words
from mlgym_jax.components.registry import Registration, built_in_kinds
from mlgym_jax.errors import ConfigError, described

# Whose numbers may be functions of the step.
_OF_STEPS = ("optimizer", "schedule")


def check_nested(entry: Registration, parameter: str, value: Any, path: str) -> None:
    """Refuse a component where plain data is taken, and plain data, or one of another kind, where a component is.

    A parameter of a built-in component that is named by a kind, such as `dataset`, `datasets` or `loss`, takes
    components of that kind; one whose type is plain data takes none but schedules, where numbers may follow one.

    Args:
        value: what is given, its components resolved, perhaps swept.

    Raises:
        ConfigError: at `path`, or at the place inside of it.
    """
    if parameter in entry.as_written:
        return
    annotation = annotations_of(entry.factory).get(parameter)
    if annotation is not None and _is_plain_type(annotation):
        numeric = {int, float} & {annotation, *typing.get_args(annotation)}
        scheduled = bool(numeric) and (entry.kind in _OF_STEPS or not entry.is_built_in)
        for where, item in _components(value, path):
            if item.kind not in built_in_kinds() or (scheduled and item.kind == "schedule"):
                continue
            raise ConfigError(
                where,
                f"wrong type: found a component, {item.kind} {item.name!r}; {entry.kind} {entry.name!r} takes "
                f"{in_words(annotation)}{' or a schedule' * (scheduled and entry.kind in _OF_STEPS)} as {parameter}",
            )
        return
    kind = next((name for name in (parameter, parameter[:-1], parameter[:-2]) if name in built_in_kinds()), None)
    if entry.is_built_in and kind is not None:
        _check_kind(entry, parameter, kind, value, path, several=parameter != kind)


def _check_kind(entry: Registration, parameter: str, kind: str, value: Any, path: str, *, several: bool) -> None:
    for item, where in _choices(value, path):
        nested = getattr(item, "entry", None)
        if nested is None and several and isinstance(item, tuple | Mapping):
            inside = item.items() if isinstance(item, Mapping) else enumerate(item)
            for key, part in inside:
                _check_kind(entry, parameter, kind, part, f"{where}.{key}", several=False)
            continue
        if nested is not None and several:
            raise ConfigError(where, f"several components are expected, found one; write {_example(entry, parameter)}")
        default = entry.parameters[parameter].default if parameter in entry.parameters else ...
        if item is None and default is None:
            continue
        if nested is None or (nested.kind != kind and nested.kind in built_in_kinds()):
            found = described(item) if nested is None else f"{nested.kind} {nested.name!r}"
            example = _example(entry, parameter) if several else "component('…', …)"
            raise ConfigError(where, f"a component of kind {kind!r} is expected, found {found}; write {example}")


def _example(entry: Registration, parameter: str) -> str:
    by_names = annotations_of(entry.factory).get(parameter) is dict
    return f"{parameter}=" + ("dict(name=component('…', …), …)" if by_names else "(component('…', …), …)")


def _choices(value: Any, path: str) -> Iterator[tuple[Any, str]]:
    """Iterate over what a value, perhaps a sweep of others, may be."""
    if isinstance(value, Mapping) and "sweep" in value and isinstance(value.get("values"), tuple):
        for item in value["values"]:
            yield from _choices(item, path)
    elif not (isinstance(value, Mapping) and "sweep" in value):
        yield value, path


def _components(value: Any, path: str) -> Iterator[tuple[str, Registration]]:
    """Iterate over the outermost components in a value: where each stands, and what it is."""
    for item, where in _choices(value, path):
        if hasattr(item, "entry"):
            yield where, item.entry
        elif isinstance(item, Mapping | tuple):
            for key, part in item.items() if isinstance(item, Mapping) else enumerate(item):
                yield from _components(part, f"{where}.{key}")


def _is_plain_type(annotation: Any) -> bool:
    if annotation in (int, float, str, bool, None, type(None), ...):
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return True
    of_others = origin in (typing.Union, types.UnionType, tuple)
    return of_others and bool(arguments) and all(map(_is_plain_type, arguments))

"""The checks on a component's parameters: names, types, values, before anything is built."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from mlgym_jax.components.factories import annotations_of
from mlgym_jax.components.registry import Registration, registrations
from mlgym_jax.config.others_words import meant
from mlgym_jax.errors import ConfigError, closest, described, kind_of, listed, nearest

_LARGEST_FLOAT, _LEAST_FLOAT = int(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)


def check_parameters(
    entry: Registration, given: Mapping[str, Any], path: str, only: str | None = None
) -> dict[str, Any]:
    """Check names and plain types of a component's parameters; return them, converted where that loses nothing.

    Values that are not plain data (components, sweeps, traced arrays) pass unchecked; `only` checks one value alone.
    """
    annotations = annotations_of(entry.factory)
    if only is not None:
        return {only: _checked(given[only], annotations.get(only), entry, only, f"{path}.{only}")}
    if not entry.takes_any:
        for name in given:
            if name not in entry.parameters:
                raise ConfigError(
                    f"{path}.{name}",
                    f"unknown parameter of {entry.kind} {entry.name!r}{_meant(entry, name)} "
                    f"Parameters: {listed(entry.parameters, 20)}",
                )
    for name, parameter in entry.parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise ConfigError(
                f"{path}.{name}",
                f"missing; {entry.kind} {entry.name!r} requires it: component({entry.name!r}, {name}="
                f"{' or '.join(map(repr, _words_of(annotations.get(name)))) or '…'})",
            )
    return {
        name: _checked(value, annotations.get(name), entry, name, f"{path}.{name}") for name, value in given.items()
    }


def _words_of(annotation: Any) -> tuple[Any, ...]:
    """Return the words that a parameter may be, none where it may be something else."""
    return typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()


def _meant(entry: Registration, name: str) -> str:
    """Return `; did you mean 'learning_rate'?`, or which other component of the kind has it: `; 'adamw' has one.`"""
    found = meant("parameter", name, entry.parameters)
    if found != "." or not entry.is_built_in:
        return found
    having = closest(entry.name, [one.name for one in registrations(entry.kind) if name in one.parameters], cutoff=0.0)
    return f"; {having!r} has one." if having else found


# Kinds whose numbers are those of compiled programs.
_OF_32_BITS = ("augmentation", "averaging", "loss", "metric", "model", "optimizer", "post_processor", "schedule")


def beyond_float32(value: float) -> str | None:
    """Say why programs, whose numbers have 32 bits, cannot compute with a number; infinity and NaN they can."""
    if math.isinf(value) or math.isnan(value) or value == 0:
        return None
    if abs(value) > _LARGEST_FLOAT:
        return f"allowed are -{_LARGEST_FLOAT:.6g} to {_LARGEST_FLOAT:.6g}: the numbers of programs have 32 bits"
    if abs(value) < _LEAST_FLOAT:
        return f"which programs, whose numbers have 32 bits, take for 0; write 0.0, or at least {_LEAST_FLOAT:.6g}"
    return None


def _check_bits(value: Any, annotation: Any, path: str) -> None:
    """Refuse a number that 32 bits do not hold, also inside of tuples; an integer where floats are taken is one."""
    if isinstance(value, tuple | list):
        for number, item in enumerate(value):
            _check_bits(item, annotation, f"{path}.{number}")
    if isinstance(value, float) and (reason := beyond_float32(value)):
        raise ConfigError(path, f"found {value}, {reason}")
    if not isinstance(value, int) or isinstance(value, bool):
        return
    options = (annotation, *typing.get_args(annotation))
    becomes_float = float in options and int not in options
    limit = _LARGEST_FLOAT if becomes_float else 2**31 - 1
    if not -limit - (not becomes_float) <= value <= limit:
        allowed = f"-{limit:.6g} to {limit:.6g}" if becomes_float else f"-{limit + 1} to {limit}"
        raise ConfigError(
            path, f"found {described(value, 40)}, allowed are {allowed}: the numbers of programs have 32 bits"
        )


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, Mapping):  # what a component builds, or a sweep chooses, is not known yet
        return not {"component", "sweep"} & {*value} and all(_is_plain(item) for item in value.values())
    return value is None or isinstance(value, bool | int | float | str)


def _checked(value: Any, annotation: Any, entry: Registration, name: str, path: str) -> Any:
    if entry.is_built_in and entry.kind in _OF_32_BITS:
        _check_bits(value, annotation, path)
    if annotation is None:
        return value
    if not _is_plain(value):
        _check_built(value, annotation, entry, path)
        return value
    try:
        converted = msgspec.convert(value, annotation)
        return tuple(converted) if isinstance(converted, list) else converted  # the plain form has no lists
    except msgspec.ValidationError as error:
        choices = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()
        hint = nearest(value, choices) if choices and isinstance(value, str) else "."
        if isinstance(value, str) and annotation == tuple[str, ...]:
            hint = f"; of one write ({value!r},)"
        where = str(error).rpartition(" - at `$")[2].strip("`") if " - at `$" in str(error) else ""
        raise ConfigError(
            path + where.replace("[", ".").replace("]", ""),
            f"wrong {'value' if choices else 'type'}: found {described(value)}, {entry.kind} {entry.name!r} takes "
            f"{in_words(annotation)} as {name}{hint}",
        ) from None
    except TypeError:  # an annotation that is no plain type, such as optax.ScalarOrSchedule
        default = entry.parameters[name].default if name in entry.parameters else None
        numeric = isinstance(default, int | float) and not isinstance(default, bool)
        if isinstance(value, str) and (numeric or "Schedule" in str(annotation)):
            raise ConfigError(
                path, f"wrong type: found {value!r}, {entry.kind} {entry.name!r} takes a number as {name}."
            ) from None
        return value


def _check_built(value: Any, annotation: Any, entry: Registration, path: str) -> None:
    """Refuse a nested component that built something else than a number or a function of the step (a schedule)."""
    numeric = annotation in (int, float) or {int, float} & {*typing.get_args(annotation)}
    if numeric and not (
        callable(value) or hasattr(value, "dtype") or isinstance(value, Mapping) or type(value) in (tuple, list)
    ):
        raise ConfigError(
            path,
            f"wrong type: {entry.kind} {entry.name!r} takes a number or a schedule, the component built "
            f"{described(value)}",
        )


def in_words(annotation: Any) -> str:
    """Write a type as a user would: `an integer or None`."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Any:
        return "any value"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is tuple and arguments:
        plurals = {int: "integers", float: "numbers", str: "strings", Any: "values"}
        if ... in arguments:
            return f"a tuple of {plurals.get(arguments[0]) or in_words(arguments[0])}"
        return f"({', '.join(map(in_words, arguments))})"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(in_words, arguments))
    if isinstance(annotation, type) and origin is None:
        return kind_of(annotation)
    return str(annotation).replace("typing.", "")

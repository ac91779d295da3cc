"""A config as plain data: dicts, tuples, strings, numbers, True, False and None, which JSON can record.

Synopsis:

    >>> from mlgym_jax.config.plain_data import plain
    >>> plain({"features": [8, 4], "rate": 0.1})
    {'features': (8, 4), 'rate': 0.1}
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import ConfigDict
from ml_collections.config_dict import RequiredValueError

from mlgym_jax.config.traversal import Path, dotted
from mlgym_jax.errors import ConfigError, described, with_article

_DEEPEST = 64  # as values stand in each other; whatever walks through a config calls itself for each


def is_sweep(value: Any) -> bool:
    """Tell whether a value is a sweep marker."""
    return isinstance(value, Mapping | ConfigDict) and "sweep" in value


def plain(value: Any, path: Path = (), depth: int = 0) -> Any:
    """Turn a config into plain data (dicts, tuples, str, bool, int, float, None).

    Args:
        path, depth: where the value stands, and in how many others.

    Raises:
        ConfigError: a value that cannot be recorded, such as a function or an array, with its path.
    """
    if depth > _DEEPEST:
        raise ConfigError(
            dotted(path[:4]), f"values stand in each other more than {_DEEPEST} deep there; register a component"
        )
    if isinstance(value, ConfigDict | Mapping):
        items = value.items(preserve_field_references=True) if isinstance(value, ConfigDict) else value.items()
        if is_sweep(value):  # what is wrong with a value of a sweep is said of the field that is swept
            return {str(key): _plain_values(item, path, depth + 1) for key, item in items}
        return {str(key): plain(item, (*path, str(key)), depth + 1) for key, item in items}
    if isinstance(value, list | tuple):
        return tuple(plain(item, (*path, str(index)), depth + 1) for index, item in enumerate(value))
    if isinstance(value, ml_collections.FieldReference):
        try:
            return plain(value.get(), path, depth)
        except RequiredValueError:
            name = dotted(path)
            raise ConfigError(
                name, f"a value is required and none is given; write config.{name} = …, or type --config.{name}=VALUE"
            ) from None
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        return plain(value.item(), path)  # NumPy's and JAX's scalars
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        try:
            number = float(value)
        except OverflowError:
            raise ConfigError(
                dotted(path), f"found {described(value, 40)}, a number below 1.8e308 is expected"
            ) from None
        if math.isfinite(number):
            return number
        raise ConfigError(dotted(path), f"{number} cannot be recorded in JSON; leave it out or use a finite number")
    if hasattr(value, "tolist"):
        raise ConfigError(dotted(path), "an array cannot be recorded in a config; write a list, array.tolist()")
    raise ConfigError(
        dotted(path),
        f"found {described(value, 60)}; {with_article(type(value).__name__)} cannot be recorded in a config, so the "
        "run could not be repeated from it. Name it (a string, a number, a component) or register a component that "
        "makes it",
    )


def _plain_values(value: Any, path: Path, depth: int) -> Any:
    several = isinstance(value, list | tuple)
    return tuple(plain(item, path, depth) for item in value) if several else plain(value, path, depth)


def _text(value: str, path: Path) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(dotted(path), f"found {value!r}, which is no text that UTF-8 can write") from None
    return str(value)

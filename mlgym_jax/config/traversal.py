"""Paths in plain data: written, walked, and what stands at one replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]


def dotted(path: Path) -> str:
    """Write a path as users do: `optimizer.learning_rate`."""
    return ".".join(path)


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Iterate depth first over (path, value) of everything inside plain data, itself first."""
    yield path, value
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from walk(value[key], (*path, key))
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from walk(item, (*path, str(index)))


def replaced(value: Any, path: Path, new: Any) -> Any:
    """Return plain data with the value at `path` replaced; nothing is changed in place."""
    if not path:
        return new
    head, *rest = path
    if isinstance(value, Mapping):
        return {**value, head: replaced(value[head], tuple(rest), new)}
    return tuple(replaced(item, tuple(rest), new) if str(i) == head else item for i, item in enumerate(value))

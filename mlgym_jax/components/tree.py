"""The resolved tree of a config: each component as a node that knows what its name stands for.

A resolved config is the plain one with a `Node` in the place of each component, also inside of sweeps. A node is a
mapping that says what the section said, and equals it, so that it can be walked, compared and written like plain data.
Another value is put into the tree by `placed`, which resolves and checks it; what is resolved stays as it is.

Synopsis:

    >>> from mlgym_jax.components.tree import owner_of, placed, resolved
    >>> config = resolved({"optimizer": {"component": "adam", "learning_rate": 0.1}})
    >>> config["optimizer"].entry.kind, owner_of(config, ("optimizer", "learning_rate")).name
    ('optimizer', 'adam')
    >>> placed(config, ("optimizer",), {"component": "sgd", "learning_rate": 1.0})["optimizer"].entry.name
    'sgd'
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlgym_jax.components.nesting import check_nested
from mlgym_jax.components.parameters import check_parameters
from mlgym_jax.components.registry import Registration, built_in_kinds, find_kind, kinds, lookup
from mlgym_jax.config.words import OF_COMPONENTS, SECTIONS, Path, dotted, is_component, is_sweep
from mlgym_jax.errors import ConfigError, described, listed, nearest

_RESERVED = ("component", "needs")


@dataclasses.dataclass(frozen=True, eq=False)
class Node(Mapping[str, Any]):
    """One component of a config: where it stands, what builds it, and its section, whose components are nodes, too."""

    path: Path
    entry: Registration
    section: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.section[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.section)

    def __len__(self) -> int:
        return len(self.section)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Node) and (self.entry is not other.entry or self.path != other.path):
            return False
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def parameters(self) -> dict[str, Any]:
        return {key: value for key, value in self.section.items() if key not in _RESERVED}

    @property
    def needs(self) -> Mapping[str, str]:
        """Keyword -> the section that is built first and passed by it."""
        return {**self.entry.needs, **self.section.get("needs", {})}

    @functools.cached_property
    def inside(self) -> tuple[Node, ...]:
        """The nodes among its parameters, at any depth."""
        return tuple(_nodes_in(self.parameters))


def _nodes_in(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
        yield from value.inside
    elif isinstance(value, Mapping | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _nodes_in(item)


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve every component of a plain config, sweeps and all, and check its names and parameters.

    Raises:
        ConfigError: an unknown component or parameter, a missing one, a wrong type, with its path; of several in other
            sections, or entries of one, all, a line each.
    """
    return _each_resolved(config, ())


def _each_resolved(parts: Mapping[str, Any], path: Path) -> dict[str, Any]:
    found, wrong = {}, []
    for name, value in parts.items():
        try:
            found[name] = _resolved(value, (*path, name))
        except ConfigError as error:
            wrong.append(error)
    if wrong:
        wrong[0].args = ("\n".join(map(str, wrong)),)
        raise wrong[0]
    return found


def unresolved(value: Any) -> Any:
    """Return the plain data of a resolved value."""
    if isinstance(value, Mapping):
        return {key: unresolved(item) for key, item in value.items()}
    return tuple(unresolved(item) for item in value) if isinstance(value, tuple) else value


def placed(value: Any, path: Sequence[str], new: Any, at: Path = ()) -> Any:
    """Return a resolved value, which stands at `at`, with the one at `path` inside of it replaced and resolved.

    Raises:
        ConfigError: as `resolved`, of the new value and of the parameter that it is, or is a part of.
    """
    return _placed(value, tuple(path), new, at)


def _placed(value: Any, path: Path, new: Any, at: Path, parent_kind: str | None = None) -> Any:
    if not path:
        return _resolved(new, at, parent_kind)
    head, rest = path[0], path[1:]
    if isinstance(value, tuple):
        items = enumerate(value)
        return tuple(
            _placed(item, rest, new, (*at, head), parent_kind) if str(number) == head else item
            for number, item in items
        )
    if isinstance(value, Node) and head not in _RESERVED:
        item = _placed(value.get(head), rest, new, (*at, head), value.entry.kind)
        only = head if head in value else None  # a name that was not there may be none of its parameters
        check_parameters(value.entry, {**value.parameters, head: item}, dotted(at), only)
        check_nested(value.entry, head, item, dotted((*at, head)))
        return dataclasses.replace(value, section={**value.section, head: item})
    changed = {**value, head: _placed(value.get(head), rest, new, (*at, head), parent_kind)}
    return _resolved(unresolved(changed), at, parent_kind) if is_component(changed) else changed


def owner_of(config: Mapping[str, Any], path: Sequence[str]) -> Registration | None:
    """Return the registered factory whose parameter stands at `path`; None where that is not a component's own."""
    *holders, parameter = path
    holder: Any = config
    for key in holders:
        holder = holder[int(key)] if isinstance(holder, tuple) else holder[key]
    return holder.entry if isinstance(holder, Node) and parameter not in _RESERVED else None


def _resolved(value: Any, path: Path, parent_kind: str | None = None) -> Any:
    if isinstance(value, Node):
        return value
    if is_sweep(value):  # each of its values may stand there
        if not isinstance(value.get("values"), tuple):
            return value
        return {**value, "values": tuple(_resolved(item, path, parent_kind) for item in value["values"])}
    if is_component(value):
        return value if is_sweep(value["component"]) else _node(value, path, parent_kind)
    if isinstance(value, Mapping):
        if parent_kind is None:
            return _each_resolved(value, path)
        return {key: _resolved(item, (*path, key), parent_kind) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_resolved(item, (*path, str(number)), parent_kind) for number, item in enumerate(value))
    return value


def _node(section: Mapping[str, Any], path: Path, parent_kind: str | None) -> Node:
    where, name = dotted(path), section["component"]
    if not isinstance(name, str):
        raise ConfigError(f"{where}.component", f"a registered name is expected, found {name!r}")
    # What stands inside of another component goes by its parameter's name, what stands in a section by the section's.
    nested = parent_kind is not None
    key = next((part for part in reversed(path) if not part.isdigit()), "") if nested else path[0]
    if path == (key,) and key in SECTIONS and "/" not in name and key not in kinds():
        raise ConfigError(
            where,
            f"there is no component of kind {key!r} in this version. Leave config.{key} out, or register one with "
            f"@register({key!r}, {name!r}).",
        )
    kind, short = find_kind(name, key, where, parent_kind)
    entry = lookup(kind, short, where)
    wanted = key.removesuffix("s") if key in OF_COMPONENTS else key
    if not nested and key in SECTIONS and kind != wanted and kind in built_in_kinds():
        inside = f"; a schedule goes into one: component('sgd', learning_rate=component({short!r}, …))"
        hint = inside if (kind, wanted) == ("schedule", "optimizer") else ""
        raise ConfigError(where, f"a component of kind {wanted!r} is expected, found {kind} {short!r}{hint}")
    _check_rewired(entry, section.get("needs", {}), where)
    inside = {
        parameter: item
        if parameter in (*_RESERVED, *entry.as_written)
        else _resolved(item, (*path, parameter), entry.kind)
        for parameter, item in section.items()
    }
    node = Node(path, entry, inside)
    check_parameters(entry, node.parameters, where)
    for parameter, item in node.parameters.items():
        check_nested(entry, parameter, item, f"{where}.{parameter}")
    return node


def _check_rewired(entry: Registration, rewired: Any, where: str) -> None:
    if not isinstance(rewired, Mapping) or not all(isinstance(item, str) for item in rewired.values()):
        raise ConfigError(f"{where}.needs", f"write needs=dict(need='section'), found {described(rewired)}")
    for need in rewired:
        if need not in entry.needs:
            raise ConfigError(
                f"{where}.needs.{need}",
                f"{entry.kind} {entry.name!r} has no such need{nearest(need, entry.needs)} "
                f"Needs: {listed(entry.needs)}",
            )

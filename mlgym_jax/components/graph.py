"""The dependency graph of one experiment's config, and building it: every section once, needs first, shared.

Synopsis:

    components = mg.build(mg.load_config("configs/gs.py"))
    components["model"], components["metrics"]["accuracy"], components.hyperparams
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlgym_jax.components.parameters import check_parameters
from mlgym_jax.components.registry import Registration, find_kind, kinds, lookup
from mlgym_jax.config.words import SECTIONS, Path, dotted, is_component
from mlgym_jax.errors import ConfigError, MlgymError, closest, described, listed, nearest

_RESERVED = ("component", "needs")
# What must come out of a section: attributes that it has (none: it is called), and how a user writes it.
_RETURNS = {
    "dataset": (("splits",), "mg.Dataset(splits={'train': {'inputs': …, 'targets': …}}, num_classes=…)"),
    "validation": ((), "a callable (dataset, seed) -> {'train': indices, 'val': indices}"),
    "loader": (("batch_size", "num_steps"), "what component('in_memory') builds"),
    "loss": ((), "a callable (outputs, batch) -> float[batch]"),
    "optimizer": (("init", "update"), "an optax.GradientTransformation"),
    "early_stopping": ((), "a callable (history) -> bool"),
    "checkpointing": ((), "a callable (history) -> set of epochs"),
    "refit": (("num_epochs", "monitor", "mode"), "what component('selected') builds"),
}
# A section that stands for itself where a component needs it and the config does not have it.
_STEPS = "steps_per_epoch"


@dataclasses.dataclass(frozen=True)
class Node:
    """One component of a config: what builds it, its own section, and the sections that it needs.

    Attributes:
        inside: the sections that components among its parameters need.
    """

    path: Path
    entry: Registration
    section: Mapping[str, Any]
    needs: Mapping[str, str]
    inside: tuple[str, ...] = ()

    @property
    def parameters(self) -> dict[str, Any]:
        return {key: value for key, value in self.section.items() if key not in _RESERVED}


def graph(config: Mapping[str, Any]) -> dict[str, Node]:
    """Return the checked nodes of a config without sweeps, by dotted path, needs before what needs them.

    Raises:
        ConfigError: an unknown component or parameter, a wrong type, a missing need or a cycle, with its path.
    """
    nodes: dict[str, Node] = {}
    required: list[tuple[Node, str]] = []
    derived = False
    for name, value in config.items():
        nodes.update(_section_nodes(name, value))
    for path, node in nodes.items():
        inside = list(_nested_nodes(node.parameters, node))
        nodes[path] = dataclasses.replace(node, inside=tuple(n for other in inside for n in other.needs.values()))
        if _STEPS in (*node.needs.values(), *nodes[path].inside):
            derived = derived or _STEPS not in nodes
        required += [(node, dotted(node.path)) for node in (node, *inside)]
    if derived:
        nodes[_STEPS] = node_at({"component": "of_data"}, (_STEPS,), _STEPS)
    for node, path in required:
        for need, section in node.needs.items():
            _check_need(path, need, section, nodes, node)
    _check_spelling(nodes)
    return {path: nodes[path] for path in _ordered(nodes)}


def _section_nodes(name: str, value: Any) -> dict[str, Node]:
    if is_component(value):
        return {name: node_at(value, (name,), name)}
    items = value.items() if isinstance(value, Mapping) else ()
    return {f"{name}.{key}": node_at(item, (name, key), name) for key, item in items if item is not None}


def check_section(name: str, value: Any) -> None:
    """Check the names and parameters of one section without sweeps, by themselves.

    Raises:
        ConfigError: as `graph`, but for the needs.
    """
    for node in _section_nodes(name, value).values():
        list(_nested_nodes(node.parameters, node))


def node_at(section: Mapping[str, Any], path: Path, section_name: str, parent_kind: str | None = None) -> Node:
    """Resolve one component section to its registered factory; names and parameters are checked."""
    where = dotted(path)
    name = section["component"]
    if not isinstance(name, str):
        raise ConfigError(f"{where}.component", f"a registered name is expected, found {name!r}")
    if path == (section_name,) and section_name in SECTIONS and "/" not in name and section_name not in kinds():
        raise ConfigError(
            where,
            f"there is no component of kind {section_name!r} in this version. Leave "
            f"config.{section_name} out, or register one with @register({section_name!r}, {name!r}).",
        )
    kind, short = find_kind(name, section_name, where, parent_kind)
    entry = lookup(kind, short, where)
    rewired = section.get("needs", {})
    if not isinstance(rewired, Mapping) or not all(isinstance(item, str) for item in rewired.values()):
        raise ConfigError(f"{where}.needs", f"write needs=dict(need='section'), found {described(rewired)}")
    for need in rewired:
        if need not in entry.needs:
            raise ConfigError(
                f"{where}.needs.{need}",
                f"{kind} {short!r} has no such need{nearest(need, entry.needs)} Needs: {listed(entry.needs)}",
            )
    node = Node(path, entry, section, {**entry.needs, **rewired})
    check_parameters(entry, node.parameters, where)
    return node


def _nested(value: Any, path: Path, parent: Node) -> Node:
    key = next((part for part in reversed(path) if not part.isdigit()), "")
    return node_at(value, path, key, parent.entry.kind)


def _nested_nodes(value: Any, parent: Node, path: Path | None = None) -> Iterator[Node]:
    """Iterate over the checked nodes of the components inside a component's parameters."""
    path = parent.path if path is None else path
    if is_component(value):
        parent = _nested(value, path, parent)
        yield parent
        value = parent.parameters
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, tuple) else ()
    for key, item in items:
        yield from _nested_nodes(item, parent, (*path, str(key)))


def _sections(nodes: Mapping[str, Node]) -> set[str]:
    return {*nodes, *(path.split(".")[0] for path in nodes)}


def _providers(section: str, nodes: Mapping[str, Node]) -> list[str]:
    """List the nodes that a needed section stands for: itself, or all of a section of components."""
    return [path for path in nodes if path == section or path.startswith(section + ".")]


def _all_providers(node: Node, nodes: Mapping[str, Node]) -> list[str]:
    return [path for section in (*node.needs.values(), *node.inside) for path in _providers(section, nodes)]


def _check_need(path: str, need: str, section: str, nodes: Mapping[str, Node], node: Node) -> None:
    if _providers(section, nodes) or _optional(node.entry, need):
        return
    raise ConfigError(
        path,
        f"{node.entry.kind} {node.entry.name!r} needs the section {section!r}, which is missing"
        f"{nearest(section, _sections(nodes))} Write config.{section} = component(…), or rewire it with "
        f"needs=dict({need}='…'). Sections: {listed(sorted(_sections(nodes)))}",
    )


def _optional(entry: Registration, need: str) -> bool:
    parameter = inspect.signature(entry.factory).parameters.get(need)
    return parameter is not None and parameter.default is not parameter.empty


def _check_spelling(nodes: Mapping[str, Node]) -> None:
    """Refuse a section that nothing reads and whose name is nearly one that the engine reads."""
    needed = {section for node in nodes.values() for section in (*node.needs.values(), *node.inside)}
    for section in {node.path[0] for node in nodes.values()} - {*SECTIONS, _STEPS} - needed:
        known = closest(section, SECTIONS, cutoff=0.8)
        own_kind = section in kinds() and f"{section}s" not in SECTIONS
        if known and not own_kind and not re.fullmatch(rf"\w+_{known}|{known}(_\w+|\d+)", section):
            raise ConfigError(
                section, f"no component needs this section, so it would do nothing; did you mean {known!r}?"
            )


def _ordered(nodes: Mapping[str, Node]) -> list[str]:
    order: list[str] = []

    def visit(path: str, trail: tuple[str, ...]) -> None:
        if path in trail:
            circle = " -> ".join((*trail[trail.index(path) :], path))
            raise ConfigError(path, f"needs form a cycle: {circle}; rewire one of them with needs=dict(…)")
        if path not in order:
            for section in (*nodes[path].needs.values(), *nodes[path].inside):
                for provider in _providers(section, nodes):
                    visit(provider, (*trail, path))
            order.append(path)

    for path in nodes:
        visit(path, ())
    return order


class Components(Mapping[str, Any]):
    """What a config's sections built, by section name; sections of components are dicts.

    Attributes:
        config: the plain config, without sweeps.
        hyperparams: the dynamic swept values by dotted path; `bind` rebuilds what depends on them.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        nodes: Mapping[str, Node],
        built: Mapping[str, Any],
        hyperparams: Mapping[str, Any],
    ):
        self.config = config
        self.hyperparams = dict(hyperparams)
        self._nodes = nodes
        self._built = built

    def __getitem__(self, section: str) -> Any:
        if section in self._built:
            return self._built[section]
        inside = {path.split(".", 1)[1]: item for path, item in self._built.items() if path.startswith(section + ".")}
        if not inside:
            raise KeyError(section)
        return inside

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(path.split(".")[0] for path in self._built))

    def __len__(self) -> int:
        return len(set(self))

    def opened(self, hyperparams: Mapping[str, Any]) -> Components:
        """Return the same components with other values left open as hyperparameters; nothing is rebuilt."""
        return Components(self.config, self._nodes, self._built, hyperparams)

    def bind(self, hyperparams: Mapping[str, Any]) -> Components:
        """Return components with the given values (traced arrays, too) in place; rebuild only what depends on them."""
        changed: set[str] = set()
        built = dict(self._built)
        for path, node in self._nodes.items():
            own = any(name == path or name.startswith(path + ".") for name in hyperparams)
            if own or any(p in changed for p in _all_providers(node, self._nodes)):
                changed.add(path)
                built[path] = _build_node(node, built, self._nodes, hyperparams)
        return Components(self.config, self._nodes, built, {**self.hyperparams, **hyperparams})


def build_components(
    config: Mapping[str, Any], hyperparams: Mapping[str, Any] | None = None, reuse: Components | None = None
) -> Components:
    """Build every component of a plain config without sweeps.

    Args:
        hyperparams: values by dotted path that stand in for those of the config.
        reuse: components built before; sections that are equal, with equal needs, are taken from them.

    Raises:
        ConfigError: with the path of the section that is wrong or whose factory raised.
    """
    nodes = graph(config)
    built: dict[str, Any] = {}
    reused: set[str] = set()
    for path, node in nodes.items():
        before = reuse._nodes.get(path) if reuse is not None else None
        providers = _all_providers(node, nodes)
        if reuse is not None and before == node and all(p in reused for p in providers):
            built[path] = reuse._built[path]
            reused.add(path)
            continue
        built[path] = _build_node(node, built, nodes, hyperparams or {})
        _check_built(path, built[path], node)
    return Components(config, nodes, built, hyperparams or {})


def _check_built(path: str, value: Any, node: Node) -> None:
    """Check that a section of the engine's holds what the engine can use."""
    attributes, wanted = _RETURNS.get(path, ((), ""))
    if wanted and not (all(hasattr(value, name) for name in attributes) if attributes else callable(value)):
        hint = ""
        if node.entry.kind == "schedule":
            hint = f"; a schedule goes into one: component('sgd', learning_rate=component({node.entry.name!r}, …))"
        raise ConfigError(
            path, f"{wanted} is expected, {node.entry.kind} {node.entry.name!r} returned {described(value)}{hint}"
        )


def _build_node(node: Node, built: Mapping[str, Any], nodes: Mapping[str, Node], hyper: Mapping[str, Any]) -> Any:
    where = dotted(node.path)
    parameters = {}
    for key, value in node.parameters.items():
        parameters[key] = _build_value(value, (*node.path, key), node, built, nodes, hyper)
    for path, value in hyper.items():
        holder, _, key = path.rpartition(".")
        if holder == where:
            parameters[key] = value
    parameters = check_parameters(node.entry, parameters, where)
    for need, section in node.needs.items():
        providers = _providers(section, nodes)
        if providers == [section]:
            parameters[need] = built[section]
        elif providers:
            parameters[need] = {path.split(".", 1)[1]: built[path] for path in providers}
    try:
        return node.entry.factory(**parameters)
    except ConfigError as error:
        raise error.moved(node.entry.kind, where) from error.__cause__
    except Exception as error:
        said = str(error) if isinstance(error, MlgymError) else f"{type(error).__name__}: {error}"
        raise ConfigError(where, f"{node.entry.kind} {node.entry.name!r} could not be built: {said}") from error


def _build_value(
    value: Any, path: Path, parent: Node, built: Mapping[str, Any], nodes: Mapping[str, Node], hyper: Mapping[str, Any]
) -> Any:
    if is_component(value):
        return _build_node(_nested(value, path, parent), built, nodes, hyper)
    if isinstance(value, Mapping):
        return {k: _build_value(v, (*path, k), parent, built, nodes, hyper) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_build_value(v, (*path, str(i)), parent, built, nodes, hyper) for i, v in enumerate(value))
    return value

"""The dependency graph of one experiment's config, and building it: every section once, needs first, shared.

Synopsis:

    components = mg.build(mg.load_config("configs/gs.py"))
    components["model"], components["metrics"]["accuracy"], components.hyperparams
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlgym_jax.components.parameters import check_parameters
from mlgym_jax.components.registry import Registration, adapted, kinds
from mlgym_jax.components.tree import Node, resolved
from mlgym_jax.config.html_table import html_table
from mlgym_jax.config.spelling import spelled
from mlgym_jax.config.words import SECTIONS, dotted
from mlgym_jax.errors import ConfigError, closest, described, in_words, listed, nearest

# What must come out of a section: attributes that it has (none: it is called), and how a user writes it.
_RETURNS = {
    "dataset": (("splits",), "mg.Dataset(splits={'train': {'inputs': …, 'targets': …}}, num_classes=…)"),
    "validation": ((), "a callable (dataset, seed) -> {'train': indices, 'val': indices}"),
    "loader": (("batch_size", "num_steps"), "what component('in_memory') builds"),
    "loss": ((), "a callable (outputs, batch) -> float[batch]"),
    "optimizer": (("init", "update"), "an optax.GradientTransformation"),
    "encoding": (("fit", "apply"), "an object with fit(arrays) and apply(fitted, batch)"),
    "sampler": ((), "a callable (arrays) -> float[n]"),
    "averaging": (("init", "update"), "an optax.GradientTransformation"),
    "precision": ((), "a callable (mlgym_jax.Model) -> mlgym_jax.Model"),
    "remat": ((), "a callable (model, adapt) -> mlgym_jax.Model"),
    "augmentation": ((), "a callable (key, batch) -> batch"),
    "training_step": ((), "a callable (state, batch, key, parts) -> (state, metrics)"),
    "early_stopping": ((), "a callable (history) -> bool"),
    "checkpointing": ((), "a callable (history) -> set of epochs"),
    "search": (
        ("propose", "stopped", "check", "monitor", "is_adaptive"),
        "a callable (study) -> assignments, or a mlgym_jax.search.strategy.Strategy",
    ),
    "parallel": (("mode", "rules"), "what component('fsdp') builds"),
    "refit": (("num_epochs", "monitor", "mode"), "what component('selected') builds"),
}
# A section that stands for itself where a component needs it and the config does not have it.
_STEPS = "steps_per_epoch"


def graph(config: Mapping[str, Any]) -> dict[str, Node]:
    """Return the nodes of a config without sweeps, plain or resolved, by dotted path, needs before what needs them.

    Raises:
        ConfigError: as `resolved`; a missing need or a cycle, with its path.
    """
    nodes: dict[str, Node] = {}
    for name, value in resolved(config).items():
        if isinstance(value, Node):
            nodes[name] = value
        elif isinstance(value, Mapping):
            nodes.update({f"{name}.{key}": item for key, item in value.items() if isinstance(item, Node)})
    if _STEPS not in nodes and any(_STEPS in _needed(node) for node in nodes.values()):
        nodes |= resolved({_STEPS: {"component": "of_data"}})
    for node in nodes.values():
        for holder in (node, *node.inside):
            for need, section in holder.needs.items():
                _check_need(need, section, nodes, holder)
    _check_spelling(nodes)
    return {path: nodes[path] for path in _ordered(nodes)}


def _needed(node: Node) -> tuple[str, ...]:
    """Name the sections that a node and those inside of it need."""
    return tuple(section for holder in (node, *node.inside) for section in holder.needs.values())


def _sections(nodes: Mapping[str, Node]) -> set[str]:
    return {*nodes, *(path.split(".")[0] for path in nodes)}


def _providers(section: str, nodes: Mapping[str, Node]) -> list[str]:
    """List the nodes that a needed section stands for: itself, or all of a section of components."""
    return [path for path in nodes if path == section or path.startswith(section + ".")]


def _all_providers(node: Node, nodes: Mapping[str, Node]) -> list[str]:
    return [path for section in _needed(node) for path in _providers(section, nodes)]


def _check_need(need: str, section: str, nodes: Mapping[str, Node], node: Node) -> None:
    if _providers(section, nodes) or _optional(node.entry, need):
        return
    raise ConfigError(
        dotted(node.path),
        f"{node.entry.kind} {node.entry.name!r} needs the section {section!r}, which is missing"
        f"{nearest(section, _sections(nodes))} Write config.{section} = component(…), or rewire it with "
        f"needs=dict({need}='…'). Sections: {listed(sorted(_sections(nodes)))}",
    )


def _optional(entry: Registration, need: str) -> bool:
    parameter = inspect.signature(entry.factory).parameters.get(need)
    return parameter is not None and parameter.default is not parameter.empty


def _check_spelling(nodes: Mapping[str, Node]) -> None:
    """Refuse a section that nothing reads and whose name is nearly one that the engine reads."""
    needed = {section for node in nodes.values() for section in _needed(node)}
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
            for provider in _all_providers(nodes[path], nodes):
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
        choices: of those that a study gives several values, these.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        nodes: Mapping[str, Node],
        built: Mapping[str, Any],
        hyperparams: Mapping[str, Any],
        choices: Mapping[str, Sequence[Any]] | None = None,
    ):
        self.config = config
        self.choices: dict[str, Sequence[Any]] = dict(choices or {})
        self.hyperparams: dict[str, Any] = dict(hyperparams)
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

    def __repr__(self) -> str:
        sections = {path: node for path, node in self._nodes.items() if "." not in path}
        return f"Components({', '.join(f'{path}={node.entry.name}' for path, node in sections.items())})"

    def _repr_html_(self) -> str:
        rows = []
        for path, node in self._nodes.items():
            given = ", ".join(f"{key}={spelled(value)}" for key, value in node.parameters.items())
            own = [name for name in self.hyperparams if name.startswith(path + ".")]
            values = {name[len(path) + 1 :]: self.choices.get(name, [self.hyperparams[name]]) for name in own}
            swept = "; ".join(f"{name}: {', '.join(map(spelled, found))}" for name, found in values.items())
            rows.append((path, node.entry.name, given, swept))
        return html_table("", ("section", "component", "parameters", "swept"), rows)

    def opened(self, hyperparams: Mapping[str, Any], choices: Mapping[str, Sequence[Any]] | None = None) -> Components:
        """Return the same components with other values left open as hyperparameters; nothing is rebuilt."""
        return Components(self.config, self._nodes, self._built, hyperparams, choices)

    @property
    def counts_steps(self) -> bool:
        """Whether something needs the number of steps an epoch, as it is counted from the data."""
        node = self._nodes.get(_STEPS)
        return node is not None and (node.entry.kind, node.entry.name) == (_STEPS, "of_data")

    def bind(self, hyperparams: Mapping[str, Any], steps_per_epoch: Any = None) -> Components:
        """Return components with the given values (traced arrays, too) in place; rebuild only what depends on them.

        Args:
            steps_per_epoch: what stands in the place of the steps an epoch that were counted; None leaves them.
        """
        changed: set[str] = set()
        built = dict(self._built)
        for path, node in self._nodes.items():
            if path == _STEPS and steps_per_epoch is not None:
                changed.add(path)
                built[path] = steps_per_epoch
                continue
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


def build_alone(node: Node) -> Any:
    """Build a component that needs no section, such as a search.

    Raises:
        ConfigError: with its path.
    """
    built = _build_node(node, {}, {}, {})
    _check_built(dotted(node.path), built, node)
    return built


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
    parameters = {key: _build_value(value, built, nodes, hyper) for key, value in node.parameters.items()}
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
        return adapted(node.entry.kind, node.entry.factory(**parameters))
    except ConfigError as error:
        raise error.moved(node.entry.kind, where) from error.__cause__
    except Exception as error:
        said = f"{node.entry.kind} {node.entry.name!r} could not be built: {in_words(error)}"
        raise ConfigError(where, said) from error


def _build_value(value: Any, built: Mapping[str, Any], nodes: Mapping[str, Node], hyper: Mapping[str, Any]) -> Any:
    if isinstance(value, Node):
        return _build_node(value, built, nodes, hyper)
    if isinstance(value, Mapping):
        return {key: _build_value(item, built, nodes, hyper) for key, item in value.items()}
    return tuple(_build_value(item, built, nodes, hyper) for item in value) if isinstance(value, tuple) else value

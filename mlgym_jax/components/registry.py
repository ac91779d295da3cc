"""Named component factories: `@register(kind, name, needs=, dynamic=)`.

Synopsis:

    >>> from mlgym_jax.components.registry import register, lookup
    >>> @register("greeting", "hello")
    ... def hello(*, name: str = "world"):
    ...     return f"hello {name}"
    >>> lookup("greeting", "hello").factory(name="you")
    'hello you'
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import os
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlgym_jax.components.built_in import MODULES
from mlgym_jax.components.factories import CELLS, annotations_of, module_class_factory, origin_of, signature_of
from mlgym_jax.config.others_words import meant
from mlgym_jax.errors import ConfigError, MlgymError, described, likely, listed, nearest

_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep
_registry: dict[str, dict[str, Registration]] = {}
_builtins_loaded = False
# kind -> what adds the parameters that all components of the kind share, and which of these are dynamic.
_shared: dict[str, tuple[Callable[..., Any], frozenset[str]]] = {}
# kind -> what brings the things that factories of the kind return into one form.
_adapters: dict[str, Callable[[Any], Any]] = {}


@dataclasses.dataclass(frozen=True, eq=False)
class Registration:
    """One registered factory.

    Attributes:
        needs: keyword parameter -> config section that is built first and passed by that keyword.
        dynamic: names of parameters that one compiled program can sweep; None stands for every numeric one.
        as_written: names of parameters that take parts of a config as they are, components among them unbuilt.
    """

    kind: str
    name: str
    factory: Callable[..., Any]
    needs: Mapping[str, str]
    dynamic: frozenset[str] | None
    parameters: Mapping[str, inspect.Parameter]
    takes_any: bool
    origin: str
    as_written: frozenset[str] = frozenset()

    @property
    def is_built_in(self) -> bool:
        return self.origin.startswith(_PACKAGE)

    def is_dynamic(self, parameter: str) -> bool:
        return self.dynamic is None or parameter in self.dynamic

    def wants_integer(self, parameter: str) -> bool:
        """Tell whether `parameter` counts something, so that a swept value must stay an integer."""
        found = self.parameters.get(parameter)
        if found is None:
            return False
        if parameter in getattr(self.factory, "counts", ()):
            return True
        annotation = annotations_of(self.factory).get(parameter)
        numeric = {annotation, *typing.get_args(annotation)} & {int, float} if annotation is not None else set()
        if numeric:
            return float not in numeric
        return isinstance(found.default, int) and not isinstance(found.default, bool)

    def summary(self) -> str:
        """Return the first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").split("\n")[0]


def register(
    kind: str,
    name: str | None = None,
    *,
    needs: tuple[str, ...] | Mapping[str, str] = (),
    dynamic: tuple[str, ...] | bool = (),
    as_written: tuple[str, ...] = (),
) -> Callable[[Any], Any]:
    """Register a factory (a function, or a Flax Module class) as component `name` of `kind`.

    Args:
        kind: `model`, `loss`, `metric`, `dataset`, … or a kind of your own.
        name: the name used in a config; by default the function's.
        needs: sections of the config that are built first and passed by keyword.
        dynamic: parameters that may be swept inside one compiled program (they arrive as traced arrays); True for
            all numeric ones.
        as_written: parameters that take a part of a config as it is written, components in it unbuilt.

    Raises:
        MlgymError: the name is taken by a component that another file registered, or a need or a dynamic parameter is
            no parameter of the factory.
    """
    if not isinstance(kind, str):
        raise MlgymError("@register needs a kind: write @register('model', 'my_name'), 'loss', 'metric', …")

    def decorate(factory: Any) -> Any:
        label = name or factory.__name__
        if "/" in kind + label or not (kind and label):
            raise MlgymError(f"@register({kind!r}, {label!r}): kind and name are not empty and hold no '/'")
        if not factory.__module__.startswith("mlgym_jax."):
            _load_builtins()  # so that who takes the name of a built-in component is told, and not the built-in one
        module_class = inspect.isclass(factory)
        signature = signature_of(factory)
        own_needs = dict(needs) if isinstance(needs, Mapping) else {need: need for need in needs}
        parameters = {
            key: parameter
            for key, parameter in signature.parameters.items()
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            and not (module_class and key in ("parent", "name", "rngs"))
        }
        takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        own_dynamic = () if dynamic is True else tuple(dynamic or ())
        for word, declared in (("needs", own_needs), ("dynamic", own_dynamic)):
            for key in declared:
                if key not in parameters and not takes_any:
                    fix = f"def {factory.__name__}({key}, *, …)" if word == "needs" else f"{key}=…"
                    raise MlgymError(
                        f"@register({kind!r}, {label!r}, {word}=…): {key!r} is no parameter of {factory.__name__}"
                        f"{nearest(key, parameters)} Write `{fix}` there. Parameters: {listed(parameters)}"
                    )
        entry = Registration(
            kind=kind,
            name=label,
            factory=module_class_factory(factory) if module_class else factory,
            needs=own_needs,
            dynamic=None if dynamic is True else frozenset(own_dynamic),
            parameters={key: value for key, value in parameters.items() if key not in own_needs},
            takes_any=takes_any,
            origin=origin_of(factory),
            as_written=frozenset(as_written),
        )
        known = _registry.setdefault(kind, {}).get(label)
        if known is not None and known.origin != entry.origin:
            taken_by = "mlgym_jax itself" if known.is_built_in else known.origin
            raise MlgymError(
                f"@register({kind!r}, {label!r}): the name is taken by {taken_by}; "
                "choose another name, "
                f"such as {'my_' + label!r}"
            )
        _registry[kind][label] = entry
        return factory

    return decorate


def shared_parameters(kind: str, *, dynamic: tuple[str, ...] = ()) -> Callable[[Any], Any]:
    """Give every component of `kind` further parameters: those of the decorated `(built, *, …) -> built`.

    A component that has a parameter of such a name itself keeps its own.
    """

    def decorate(extend: Any) -> Any:
        _shared[kind] = (extend, frozenset(dynamic))
        return extend

    return decorate


def adapts(kind: str) -> Callable[[Any], Any]:
    """Let the decorated `(built) -> built` bring whatever factories of `kind` return into one form."""

    def decorate(adapter: Any) -> Any:
        _adapters[kind] = adapter
        return adapter

    return decorate


def adapted(kind: str, built: Any) -> Any:
    """Return what a factory of `kind` built in the form that the engine uses."""
    return _adapters[kind](built) if kind in _adapters else built


@functools.cache
def _extended(entry: Registration, extend: Callable[..., Any], dynamic: frozenset[str]) -> Registration:
    _, *keywords = inspect.signature(extend).parameters.values()
    added = {item.name: item for item in keywords if item.name not in {*entry.parameters, *entry.needs}}

    @functools.wraps(entry.factory)
    def factory(**given: Any) -> Any:
        shared = {name: given.pop(name) for name in added if name in given}
        built = entry.factory(**given)
        return extend(built, **shared) if shared else built

    hints = annotations_of(extend)
    factory.__annotations__ = {
        **annotations_of(entry.factory),
        **{name: hints[name] for name in added if name in hints},
    }
    return dataclasses.replace(
        entry,
        factory=factory,
        dynamic=None if entry.dynamic is None else entry.dynamic | (dynamic & set(added)),
        parameters={**entry.parameters, **added},
    )


def _load_builtins() -> None:
    global _builtins_loaded
    if not _builtins_loaded:
        _builtins_loaded = True
        for module in MODULES:
            importlib.import_module(module)


def kinds() -> list[str]:
    """List the registered kinds."""
    _load_builtins()
    return sorted(_registry)


def built_in_kinds() -> set[str]:
    """Return the kinds that there are without a user's own."""
    return {kind for kind in kinds() if any(entry.is_built_in for entry in _registry[kind].values())}


def registrations(kind: str | None = None) -> Iterator[Registration]:
    """Iterate over what is registered, by kind and name."""
    _load_builtins()
    for a_kind in [kind] if kind else sorted(_registry):
        for name in sorted(_registry.get(a_kind, {})):
            yield _registry[a_kind][name]


@contextlib.contextmanager
def as_cells_have_it() -> Iterator[None]:
    """Let a notebook's cells be what registered last, whatever of a run's recorded cells is registered meanwhile."""
    own = [entry for names in _registry.values() for entry in names.values() if entry.origin == CELLS]
    try:
        yield
    finally:
        for entry in own:
            _registry[entry.kind][entry.name] = entry


def shared(kind: str) -> dict[str, inspect.Parameter]:
    """Return the parameters that every component of a kind takes besides its own."""
    _load_builtins()
    if kind not in _shared:
        return {}
    _, *keywords = inspect.signature(_shared[kind][0]).parameters.values()
    return {item.name: item for item in keywords}


def lookup(kind: str, name: str, path: str = "") -> Registration:
    """Return the factory `name` of `kind`; a ConfigError at `path` names the nearest match."""
    _load_builtins()
    if kind not in _registry:
        raise ConfigError(
            path, f"unknown kind {kind!r}{nearest(kind, _registry)} Kinds: {listed(sorted(_registry), 30)}"
        )
    if name not in _registry[kind]:
        others = [other for other in sorted(_registry) if name in _registry[other]]
        if others:
            fix = f"; write component('…', learning_rate=component({name!r}, …))" if others == ["schedule"] else ""
            fix = fix or f"{meant(kind, name, _registry[kind])} Registered: {likely(name, _registry[kind])}"
            raise ConfigError(path, f"a component of kind {kind!r} is expected; {name!r} is of kind {others[0]!r}{fix}")
        raise ConfigError(
            path,
            f"unknown {kind} {described(name)}{meant(kind, name, _registry[kind])} Registered: "
            f"{likely(name, _registry[kind])}. {_what_to_write(kind, name)}",
        )
    entry = _registry[kind][name]
    return _extended(entry, *_shared[kind]) if kind in _shared else entry


def _what_to_write(kind: str, name: str) -> str:
    """Return advice for a name that is not registered, which may be a call, or the word for nothing."""
    called = name.partition("(")[0].strip()
    if "(" in name and called in _registry[kind]:
        return f"Write component({called!r}, …) with its parameters."
    if name.lower() in ("none", "null"):
        return "To leave it out write None."
    return f"Register your own with @register({kind!r}, {described(name or '…', 40)})."


def find_kind(name: str, section: str, path: str, parent_kind: str | None = None) -> tuple[str, str]:
    """Resolve a component's (kind, name): said outright, by its section, by its parent, or by its name alone."""
    _load_builtins()
    if "/" in name:
        kind, _, short = name.partition("/")
        return kind, short
    singular = section[:-1] if section.endswith("s") and section not in _registry else section
    if singular in _registry:
        return singular, name
    if parent_kind and name in _registry[parent_kind]:
        return parent_kind, name
    having = [kind for kind, names in _registry.items() if name in names]
    if len(having) == 1:
        return having[0], name
    if having:
        spelled = " or ".join(f"component({kind + '/' + name!r}, …)" for kind in sorted(having))
        raise ConfigError(path, f"{name!r} is registered for several kinds; write {spelled}")
    every = {known for names in _registry.values() for known in names}
    raise ConfigError(
        path,
        f"unknown component {described(name)}{nearest(name, every)} {section!r} is no kind"
        f"{nearest(section, _registry)} Kinds: {listed(sorted(_registry), 30)}. "
        f"Say the kind outright: component('kind/{name}', …)",
    )

"""Named component factories: `@register(kind, name, needs=, dynamic=)` and the checks on their parameters.

Synopsis:

    >>> from mlgym_jax.registry import register, lookup
    >>> @register("greeting", "hello")
    ... def hello(*, name: str = "world"):
    ...     return f"hello {name}"
    >>> lookup("greeting", "hello").factory(name="you")
    'hello you'
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from mlgym_jax.errors import ConfigError, MlgymError, listed, nearest

# Modules that register what is built in; imported at the first look-up so that `import mlgym_jax` stays light.
_BUILTIN_MODULES = (
    "mlgym_jax.checkpoint.policies",
    "mlgym_jax.core.averaging",
    "mlgym_jax.core.composite_losses",
    "mlgym_jax.core.early_stopping",
    "mlgym_jax.core.losses",
    "mlgym_jax.core.metrics",
    "mlgym_jax.core.optimizers",
    "mlgym_jax.core.post_processors",
    "mlgym_jax.core.schedules",
    "mlgym_jax.data.datasets",
    "mlgym_jax.data.loaders",
    "mlgym_jax.data.steps_per_epoch",
    "mlgym_jax.data.validation",
    "mlgym_jax.models",
)
_registry: dict[str, dict[str, Registration]] = {}
_builtins_loaded = False
# kind -> what adds the parameters that all components of the kind share, and which of these are dynamic.
_shared: dict[str, tuple[Callable[..., Any], frozenset[str]]] = {}


@dataclasses.dataclass(frozen=True, eq=False)
class Registration:
    """One registered factory.

    Attributes:
        needs: keyword parameter -> config section that is built first and passed by that keyword.
        dynamic: names of parameters that one compiled program can sweep; None stands for every numeric one.
    """

    kind: str
    name: str
    factory: Callable[..., Any]
    needs: Mapping[str, str]
    dynamic: frozenset[str] | None
    parameters: Mapping[str, inspect.Parameter]
    takes_any: bool
    origin: str

    def is_dynamic(self, parameter: str) -> bool:
        return self.dynamic is None or parameter in self.dynamic

    def wants_integer(self, parameter: str) -> bool:
        """Tell whether `parameter` counts something, so that a swept value must stay an integer."""
        found = self.parameters.get(parameter)
        if found is None:
            return False
        default_is_int = isinstance(found.default, int) and not isinstance(found.default, bool)
        return found.annotation in (int, "int", "jnp.int", "int | None") or default_is_int

    def summary(self) -> str:
        """Return the first line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").split("\n")[0]


def register(
    kind: str,
    name: str | None = None,
    *,
    needs: tuple[str, ...] | Mapping[str, str] = (),
    dynamic: tuple[str, ...] | bool = (),
) -> Callable[[Any], Any]:
    """Register a factory (a function, or a Flax Module class) as component `name` of `kind`.

    Args:
        kind: `model`, `loss`, `metric`, `dataset`, … or a kind of your own.
        name: the name used in a config; by default the function's.
        needs: sections of the config that are built first and passed by keyword.
        dynamic: parameters that may be swept inside one compiled program (they arrive as traced arrays); True for
            all numeric ones.

    Raises:
        MlgymError: the name is taken by a component that another file registered, or a need is no parameter.
    """

    def decorate(factory: Any) -> Any:
        label = name or factory.__name__
        module_class = inspect.isclass(factory)
        signature = inspect.signature(factory)
        own_needs = dict(needs) if isinstance(needs, Mapping) else {need: need for need in needs}
        parameters = {
            key: parameter
            for key, parameter in signature.parameters.items()
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            and not (module_class and key in ("parent", "name", "rngs"))
        }
        takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        for need in own_needs:
            if need not in parameters and not takes_any:
                raise MlgymError(
                    f"@register({kind!r}, {label!r}, needs=…): {need!r} is no parameter of {factory.__name__}; "
                    f"write `def {factory.__name__}({need}, *, …)`"
                )
        entry = Registration(
            kind=kind,
            name=label,
            factory=_module_class_factory(factory) if module_class else factory,
            needs=own_needs,
            dynamic=None if dynamic is True else frozenset(dynamic or ()),
            parameters={key: value for key, value in parameters.items() if key not in own_needs},
            takes_any=takes_any,
            origin=_origin(factory),
        )
        known = _registry.setdefault(kind, {}).get(label)
        if known is not None and known.origin != entry.origin:
            raise MlgymError(
                f"@register({kind!r}, {label!r}): the name is taken by {known.origin}; choose another name, "
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


@functools.cache
def _extended(entry: Registration, extend: Callable[..., Any], dynamic: frozenset[str]) -> Registration:
    _, *keywords = inspect.signature(extend).parameters.values()
    added = {item.name: item for item in keywords if item.name not in {*entry.parameters, *entry.needs}}

    @functools.wraps(entry.factory)
    def factory(**given: Any) -> Any:
        shared = {name: given.pop(name) for name in added if name in given}
        built = entry.factory(**given)
        return extend(built, **shared) if shared else built

    hints = _annotations(extend)
    factory.__annotations__ = {**_annotations(entry.factory), **{name: hints[name] for name in added if name in hints}}
    return dataclasses.replace(
        entry,
        factory=factory,
        dynamic=None if entry.dynamic is None else entry.dynamic | (dynamic & set(added)),
        parameters={**entry.parameters, **added},
    )


def _origin(factory: Any) -> str:
    """Name the file that a factory comes from: a file read again may replace its own components."""
    try:
        return inspect.getsourcefile(factory) or factory.__module__
    except TypeError:
        return getattr(factory, "__module__", "unknown")


def _module_class_factory(module_class: type) -> Callable[..., Any]:
    """Make a factory of a Flax Module class: Linen classes are called, NNX ones wait for their rngs."""

    def build(**parameters: Any) -> Any:
        if "rngs" in inspect.signature(module_class).parameters:
            return lambda rngs: module_class(**parameters, rngs=rngs)
        return module_class(**parameters)

    build.__doc__ = module_class.__doc__
    build.__name__ = module_class.__name__
    return build


def _load_builtins() -> None:
    global _builtins_loaded
    if not _builtins_loaded:
        _builtins_loaded = True
        for module in _BUILTIN_MODULES:
            importlib.import_module(module)


def kinds() -> list[str]:
    """List the registered kinds."""
    _load_builtins()
    return sorted(_registry)


def registrations(kind: str | None = None) -> Iterator[Registration]:
    """Iterate over what is registered, by kind and name."""
    _load_builtins()
    for a_kind in [kind] if kind else sorted(_registry):
        for name in sorted(_registry.get(a_kind, {})):
            yield _registry[a_kind][name]


def lookup(kind: str, name: str, path: str = "") -> Registration:
    """Return the factory `name` of `kind`; a ConfigError at `path` names the nearest match."""
    _load_builtins()
    if kind not in _registry:
        raise ConfigError(path, f"unknown kind {kind!r}{nearest(kind, _registry)} Kinds: {listed(sorted(_registry))}")
    if name not in _registry[kind]:
        raise ConfigError(
            path,
            f"unknown {kind} {name!r}{nearest(name, _registry[kind])} Registered: "
            f"{listed(sorted(_registry[kind]), 60)}. Register your own with @register({kind!r}, {name!r}).",
        )
    entry = _registry[kind][name]
    return _extended(entry, *_shared[kind]) if kind in _shared else entry


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
        f"unknown component {name!r}{nearest(name, every)} {section!r} is no kind; kinds: {listed(sorted(_registry))}. "
        f"Say the kind outright: component('kind/{name}', …)",
    )


def check_parameters(entry: Registration, given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Check names and plain types of a component's parameters; return them, converted where that loses nothing.

    Values that are not plain data (built components, traced arrays) pass unchecked.
    """
    if not entry.takes_any:
        for name in given:
            if name not in entry.parameters:
                raise ConfigError(
                    f"{path}.{name}",
                    f"unknown parameter of {entry.kind} {entry.name!r}{nearest(name, entry.parameters)} "
                    f"Parameters: {listed(entry.parameters)}",
                )
    for name, parameter in entry.parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise ConfigError(
                f"{path}.{name}",
                f"missing; {entry.kind} {entry.name!r} requires it: component({entry.name!r}, {name}=…)",
            )
    annotations = _annotations(entry.factory)
    return {
        name: _checked(value, annotations.get(name), entry, name, f"{path}.{name}") for name, value in given.items()
    }


@functools.cache
def _annotations(factory: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(factory)
    except Exception:  # hints that only a type checker can resolve say nothing at run time
        return {}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, Mapping):  # a nested component stands for what it will build, so its type is not known yet
        return "component" not in value and all(_is_plain(item) for item in value.values())
    return value is None or isinstance(value, bool | int | float | str)


def _checked(value: Any, annotation: Any, entry: Registration, name: str, path: str) -> Any:
    if annotation is None or not _is_plain(value):
        return value
    try:
        return msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        wanted = getattr(annotation, "__name__", None) if isinstance(annotation, type) else None
        raise ConfigError(
            path,
            f"wrong type or value for {entry.kind} {entry.name!r}: found {value!r}, "
            f"{name} is declared {wanted or str(annotation).replace('typing.', '')} ({error})",
        ) from None
    except TypeError:  # an annotation that is no plain type, such as optax.ScalarOrSchedule
        default = entry.parameters[name].default if name in entry.parameters else None
        numeric = isinstance(default, int | float) and not isinstance(default, bool)
        if isinstance(value, str) and (numeric or "Schedule" in str(annotation)):
            raise ConfigError(
                path, f"wrong type for {entry.kind} {entry.name!r}: found {value!r}, a number is expected"
            ) from None
        return value

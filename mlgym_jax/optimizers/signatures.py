"""Turn optax's public functions into factories of plain data: optax's own names, parameters and defaults."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from mlgym_jax.core.paths import map_paths

# What the signature of a factory shows for a default that is no plain data: optax's own default applies.
OPTAX_DEFAULT = ...

_COUNTS = ("_steps", "_period")


def public_functions(*namespaces: types.ModuleType) -> dict[str, Callable[..., Any]]:
    """Return name -> function (classes left out) of the public functions of optax namespaces."""
    found = {}
    for namespace in namespaces:
        for name in dir(namespace):
            value = getattr(namespace, name)
            module = getattr(getattr(value, "func", value), "__module__", "")
            if callable(value) and module.startswith("optax") and not (name.startswith("_") or inspect.isclass(value)):
                found[name] = value
    return found


def plain_parameters(function: Callable[..., Any], leave_out: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Return a function's named parameters, keyword-only, annotated with plain types where there is one."""
    parameters = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in leave_out or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = parameter.default
        if name.endswith("dtype") or name.startswith("dtype"):
            default = default if default is None else jnp.dtype(default).name
        elif (callable(default) and default is not parameter.empty) or hasattr(default, "update"):
            default = OPTAX_DEFAULT
        parameters[name] = inspect.Parameter(
            name, parameter.KEYWORD_ONLY, default=default, annotation=_plain_type(parameter)
        )
    return parameters


def keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """Make a keyword-only parameter; `...` stands for no annotation, and for no default."""
    empty = inspect.Parameter.empty
    annotation, default = (empty if item is ... else item for item in (annotation, default))
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def make_factory(
    name: str,
    function: Callable[..., Any],
    parameters: Iterable[inspect.Parameter],
    build: Callable[[dict[str, Any]], Any],
    counts: Iterable[str] = (),
) -> Callable[..., Any]:
    """Make the keyword-only factory `name` that hands its parameters, those given, to `build`.

    Its signature, annotations and summary are what the registry checks and the documentation shows; `counts` are the
    parameters whose swept values stay integers where all of them are.
    """
    # Required parameters first, as they are read.
    ordered = sorted(parameters, key=lambda parameter: parameter.default is not parameter.empty)
    signature = inspect.Signature(ordered)

    def factory(**given: Any) -> Any:
        signature.bind(**given)
        return build(given)

    documented = getattr(function, "func", function)
    factory.__name__ = factory.__qualname__ = name
    factory.__doc__ = (inspect.getdoc(documented) or f"Build optax's {name}.").split("\n")[0]
    factory.__signature__ = signature  # type: ignore[attr-defined]
    factory.counts = frozenset(counts)  # type: ignore[attr-defined]
    factory.__annotations__ = {
        parameter.name: parameter.annotation for parameter in ordered if parameter.annotation is not parameter.empty
    }
    return factory


def numbers(factory: Callable[..., Any], leave_out: Collection[str] = ()) -> tuple[str, ...]:
    """Name the numeric parameters of a factory that `make_factory` made."""
    hints = typing.get_type_hints(factory)
    return tuple(
        key
        for key, kind in hints.items()
        if kind in (int, float, int | None, float | None, int | float) and key not in leave_out
    )


def by_optax_rules(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function of optax's under JAX's standard promotion rules, which it is written for.

    Even `optax.adam` multiplies int32 by float, so it raises where a program asks for strict promotion.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return run


def path_mask(expression: re.Pattern[str]) -> Callable[[Any], Any]:
    """Return params -> tree of bool: where the regular expression is found in a parameter's path, `dense/kernel`."""
    return lambda params: map_paths(lambda path, _: path.matches(expression), params)


def _plain_type(parameter: inspect.Parameter) -> Any:
    """Return the type of plain data that a parameter takes from a config; `empty` leaves it unchecked."""
    name, default, annotation = parameter.name, parameter.default, parameter.annotation
    options = typing.get_args(annotation) if _is_union(annotation) else ()
    optional = default is None or type(None) in options
    if name.endswith("dtype") or name.startswith("dtype"):
        return str | None
    if name.endswith("mask"):
        return Annotated[str | bool | None if optional else str | bool, "a regular expression for parameters' paths"]
    if name == "axis":
        return int | tuple[int, ...] | None
    if annotation in (bool, int, str, float) or typing.get_origin(annotation) is typing.Literal:
        return annotation
    if isinstance(default, tuple) and all(isinstance(item, float) for item in default) and len(default) == 2:
        return tuple[float, float]
    if annotation is parameter.empty:
        return type(default) if isinstance(default, int | float) else annotation
    if (int not in options and float not in options) or any(
        typing.get_origin(option) is collections.abc.Mapping for option in options
    ):
        return parameter.empty
    counts = isinstance(default, int) or name.endswith(_COUNTS) or name == "k" or float not in options
    number = int if counts else float
    number = number | None if optional else number
    schedule = any(typing.get_origin(option) is collections.abc.Callable for option in options)
    return Annotated[number, "or a schedule"] if schedule and not counts else number


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)

"""What a factory says of itself: its parameters and their types, and the file that it comes from."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
import typing
from collections.abc import Callable
from typing import Any


def signature_of(factory: Any) -> inspect.Signature:
    """Return the signature of a function, or of a class's `__init__`: NNX's metaclass shows `*args, **kwargs`."""
    if not inspect.isclass(factory):
        return inspect.signature(factory)
    own = inspect.signature(factory.__init__)
    return own.replace(parameters=list(own.parameters.values())[1:])


CELLS = "__main__"  # what a notebook's cells are one file of


def origin_of(factory: Any) -> str:
    """Name the file that a factory comes from: a file read again may replace its own components.

    The cells of a notebook are one such file, `__main__`: one that has been edited has another name. So are those that
    a run recorded, which are executed under that name.
    """
    module = getattr(factory, "__module__", "unknown")
    if getattr(sys.modules.get(module), "__file__", None) == CELLS:
        return CELLS
    try:
        source = inspect.getsourcefile(factory)
    except (TypeError, OSError):  # the latter of a class that was made in no file
        return module
    is_cell = module == "__main__" and not os.path.exists(source or "")
    return module if is_cell or not source else os.path.realpath(source)


def module_class_factory(module_class: type) -> Callable[..., Any]:
    """Make a factory of a Flax Module class: Linen classes are called, NNX ones built by the engine, with its rngs."""

    def build(**parameters: Any) -> Any:
        if "rngs" in signature_of(module_class).parameters:
            return lambda rngs: module_class(**parameters, rngs=rngs)
        if any(base.__module__.startswith("flax.nnx.") and base.__name__ == "Module" for base in module_class.__mro__):
            return lambda rngs: module_class(**parameters)
        return module_class(**parameters)

    build.__doc__ = module_class.__doc__
    build.__name__ = module_class.__name__
    build.__signature__ = signature_of(module_class)  # type: ignore[attr-defined]
    own = annotations_of(module_class)
    build.__annotations__ = own if dataclasses.is_dataclass(module_class) else annotations_of(module_class.__init__)
    return build


@functools.cache
def annotations_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the type hints of a factory's parameters, resolved."""
    try:
        return typing.get_type_hints(factory)
    except Exception:  # hints that only a type checker can resolve say nothing at run time
        return {}

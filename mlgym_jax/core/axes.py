"""Axes of devices that a module names, as in `pmean(x, "batch")`: an experiment's batch is whole on one device."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import jax

from mlgym_jax.core.model import Model

_UNBOUND = re.compile(r"unbound axis name: (\w+)")


def with_axes(model: Model) -> Model:
    """Return a model whose functions may name any axis of devices: each is of size 1."""
    return Model(_with_axes(model.init), _with_axes(model.apply))


def _with_axes(function: Callable[..., Any], names: tuple[str, ...] = ()) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*given: Any) -> Any:
        try:
            return function(*given)
        except NameError as error:
            found = _UNBOUND.search(str(error))
            if found is None or found.group(1) in names:
                raise
            name = found.group(1)
        return _with_axes(_over(function, name), (*names, name))(*given)

    return call


def _over(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*given: Any) -> Any:
        one = jax.vmap(lambda: function(*given), axis_name=name, axis_size=1)()
        return jax.tree.map(lambda leaf: leaf[0], one)

    return call

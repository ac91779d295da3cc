"""The blocks of a Linen module, each under a `jax.checkpoint` of its own, without a change to the module's code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen

from mlgym_jax.core.blocks import Path, apart, blocks_among, refuse_modules
from mlgym_jax.core.model import Model


def linen_with_blocks(name: str, model: Model) -> Model:
    """Return the pure form of a module of that name, which keeps of each of its blocks what goes in alone.

    Raises:
        ConfigError: at `remat`, when traced, a module without blocks.
    """
    pure: Callable[..., Any] = model.apply

    def apply(params: Any, state: Any, inputs: Any, key: jax.Array, train: bool) -> tuple[Any, Any]:
        seen: dict[Path, type] = {}
        with linen.intercept_methods(_noting(seen)):
            jax.eval_shape(lambda *given: pure(*given, train), params, state, inputs, key)
        with linen.intercept_methods(_checkpointing(blocks_among(seen, name))):
            return model.apply(params, state, inputs, key, train)

    return Model(model.init, apply)


def _noting(seen: dict[Path, type]) -> Any:
    def note(next_method: Any, args: Any, kwargs: Any, context: linen.module.InterceptorContext) -> Any:
        if context.method_name == "__call__" and context.module.path:
            seen[context.module.path] = type(context.module)
        return next_method(*args, **kwargs)

    return note


def _checkpointing(blocks: set[Path]) -> Any:
    inside: list[Path] = []  # the block that is being traced: Flax calls the method again in there

    def call(next_method: Any, args: Any, kwargs: Any, context: linen.module.InterceptorContext) -> Any:
        path = context.module.path
        if inside or context.method_name != "__call__" or path not in blocks:
            return next_method(*args, **kwargs)
        method: Any = type(context.module).__call__
        refuse_modules(type(context.module), (args, kwargs), linen.Module)
        arrays, together = apart((args, kwargs))

        @functools.wraps(method)  # Flax reads from its attributes that it keeps the module's state in order itself
        def block(module: Any, *arrays: Any) -> Any:
            args, kwargs = together(list(arrays))
            return method(module, *args, **kwargs)

        inside.append(path)
        try:
            return linen.remat(block)(context.module, *arrays)
        finally:
            inside.pop()

    return call

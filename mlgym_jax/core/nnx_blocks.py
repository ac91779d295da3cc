"""The blocks of an NNX module under checkpoints; see `core.blocks`. Imported where an NNX module is met."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flax import nnx

from mlgym_jax.core.blocks import apart, blocks_among, refuse_modules


def nnx_with_blocks(construct: Callable[[nnx.Rngs], Any]) -> Callable[[nnx.Rngs], Any]:
    """Return a constructor whose module's blocks keep what goes in alone."""

    @functools.wraps(construct)
    def constructed(rngs: nnx.Rngs) -> Any:
        module = construct(rngs)
        if not isinstance(module, nnx.Module):
            return module
        found = {path: inner for path, inner in nnx.iter_modules(module) if path and _is_called(type(inner))}
        for path in blocks_among({path: type(inner) for path, inner in found.items()}, type(module).__name__):
            object.__setattr__(found[path], "__class__", _checkpointed(type(found[path])))
        return module

    return constructed


def _is_called(kind: type) -> bool:
    return any("__call__" in vars(base) for base in kind.__mro__)


@functools.cache
def _checkpointed(kind: Any) -> type:
    """Return a class of modules that differ from those of `kind` in that a call is a checkpoint."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_modules(kind, (args, kwargs), (nnx.Pytree, nnx.Variable))
        arrays, together = apart((args, kwargs))

        @nnx.remat
        def block(module: Any, arrays: list[Any]) -> Any:
            args, kwargs = together(arrays)
            return kind.__call__(module, *args, **kwargs)

        return block(self, arrays)

    names = ("__module__", "__qualname__", "__doc__")
    return type(kind)(kind.__name__, (kind,), {"__call__": call, **{name: getattr(kind, name) for name in names}})

"""Arrays of an NNX module that NNX does not see, as they lie in objects of plain classes: constants of the program."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mlgym_jax.errors import ConfigError, with_article

_DEEPEST = 4


def seen_whole(build: Callable[[jax.Array], nnx.Module]) -> nnx.Module:
    """Return what `build` makes of a key, of shapes alone where NNX sees all of its arrays, else of values.

    A module that is built while a program is traced holds tracers. Those of its variables are replaced by the state's;
    what lies in an object of a plain class would stay, and belong to another trace. There the module is built with
    values, outside of the trace.

    Raises:
        ConfigError: at `model`, such an array depends on the key, so that it is no constant.
    """
    abstract = nnx.eval_shape(build, jax.random.key(0))
    if not [*_hidden(abstract)]:
        return abstract
    with jax.ensure_compile_time_eval():
        module, other = (build(jax.random.key(seed)) for seed in (0, 1))
        for (path, found, holder), (_, again, _) in zip(_hidden(module), _hidden(other), strict=True):
            if found.shape != again.shape or not bool(
                jnp.array_equal(found, again, equal_nan=jnp.issubdtype(found.dtype, jnp.inexact))
            ):
                raise ConfigError(
                    "model",
                    f"its {path} is drawn at random and lies in {with_article(type(holder).__name__)}, where NNX does "
                    "not see it, so that no seed would change it and nothing train it; let that class inherit from "
                    "nnx.Module, and write nnx.Param(…) there if it is trained, nnx.Variable(…) if not",
                )
    return module


def _hidden(module: nnx.Module) -> Iterator[tuple[str, Any, Any]]:
    """Iterate over the arrays but keys in what is no part of NNX's graph: path, array, and what holds it."""
    for path, part in nnx.iter_modules(module):
        for name, value in vars(part).items():
            yield from _within(value, part, ".".join(map(str, (*path, name))), 0)


def _within(value: Any, holder: Any, path: str, depth: int) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(value, jax.Array) and depth and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        yield path, value, holder
    if depth == _DEEPEST or isinstance(value, type | nnx.Module | nnx.Variable | nnx.Rngs | jax.Array | np.ndarray):
        return
    for name, part in _parts(value):
        yield from _within(part, value, f"{path}.{name}", depth + 1)


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return [*value.items()]
    if isinstance(value, list | tuple):
        return [*enumerate(value)]
    if isinstance(value, functools.partial):
        return [*enumerate(value.args), *value.keywords.items()]
    if inspect.isfunction(value):
        return [*inspect.getclosurevars(value).nonlocals.items()] if value.__closure__ else []
    return [*getattr(value, "__dict__", {}).items()]

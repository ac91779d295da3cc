"""Make Flax NNX modules pure functions `init` and `apply`. Imported where one is met: NNX takes a while to import."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util

from mlgym_jax.core.calling import arguments, explaining_form
from mlgym_jax.core.hidden_arrays import seen_whole
from mlgym_jax.core.model import Model, of_other_library
from mlgym_jax.core.modes import FLAGS, note_layer, note_statistics, told, with_flags
from mlgym_jax.errors import ConfigError


def adapt_nnx(construct: Callable[[nnx.Rngs], nnx.Module], tells_all: bool) -> Model:
    """Return the pure form of what `construct` builds; see `core.modules.adapt`."""

    def build(key: jax.Array) -> nnx.Module:
        module = _constructed(construct, key)
        if not isinstance(module, nnx.Module):
            other = of_other_library(module) or f"the callable (rngs) -> nnx.Module returned {type(module).__name__}"
            raise ConfigError("model", other)
        _refuse_bare_arrays(module)
        return module

    def split(module: nnx.Module) -> Any:
        return nnx.split(module, nnx.Param, nnx.RngState, ...)

    def init(key: jax.Array, inputs: Any) -> tuple[Any, Any]:
        _, params, _, rest = split(build(key))
        return _nested(params), _nested(rest)

    def apply(params: Any, state: Any, inputs: Any, key: jax.Array, train: bool) -> tuple[Any, Any]:
        abstract = seen_whole(build)
        graphdef, some_params, some_rngs, some_rest = split(abstract)
        # Streams restart from the step's key: what dropout draws depends on (seed, step) alone.
        rngs, counter = [], 0
        for path, variable in nnx.to_flat_state(some_rngs):
            value = _value(variable)
            if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
                new, counter = jax.random.fold_in(key, counter), counter + 1
                if value.shape:  # stacked layers, of `split_rngs`, `vmap` or `scan`, each with a key of its own
                    new = jax.random.split(new, value.shape)
            else:
                new = jnp.zeros(value.shape, value.dtype)
            rngs.append((path, variable.replace(new)))
        arrays = _filled(some_params, params), nnx.from_flat_state(rngs), _filled(some_rest, state)

        def call(flags: dict[str, Any]) -> tuple[Any, Any]:
            module = nnx.merge(graphdef, *arrays)
            _set_mode(module, train)
            statistics = _nested(nnx.state(module, nnx.BatchStat))
            args, named = arguments(type(module).__call__, inputs, flags, key=key)
            with explaining_form(args):
                outputs = module(*args, **named, **flags)
            if train:
                for _, layer in nnx.iter_modules(module):
                    note_layer(layer)
            note_statistics(statistics, _nested(nnx.state(module, nnx.BatchStat)))
            return outputs, _nested(split(module)[3]) if train or tells_all else state

        return told(call, abstract, train)

    return Model(_placed_by_the_engine(init), _placed_by_the_engine(apply))


def _placed_by_the_engine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let variables be annotated with axes of a mesh, `out_sharding=(None, "model")`, where there is none of these."""

    @functools.wraps(function)
    def unplaced(*args: Any) -> Any:
        with nnx.use_eager_sharding(False):
            return function(*args)

    return unplaced


def _refuse_bare_arrays(module: nnx.Module) -> None:
    """Refuse arrays that are attributes of a module themselves, which NNX knows no kind of.

    Raises:
        ConfigError: at `model`.
    """
    for path, part in nnx.iter_modules(module):
        for name, value in vars(part).items():
            if isinstance(value, jax.Array) and not isinstance(value, nnx.Variable):
                place = ".".join(map(str, (*path, name)))
                raise ConfigError(
                    "model",
                    f"its {place} is an array by itself, of which it is not known whether it is trained; write self."
                    f"{name} = nnx.Param(…) if it is, nnx.Variable(…) if not",
                )


def _constructed(construct: Callable[[Any], Any], key: jax.Array) -> Any:
    """Return what a callable builds of `nnx.Rngs`, or, where its parameter is named so and it fails, of a plain key."""
    try:
        return construct(nnx.Rngs(key))
    except Exception:
        if [*inspect.signature(construct).parameters][:1] not in (["key"], ["rng"], ["prng_key"]):
            raise
        try:
            return construct(key)
        except Exception:
            pass
        raise


def _set_mode(module: nnx.Module, train: bool) -> None:
    """Set the flags among the attributes of an NNX module and of all modules in it, and in configs that they hold."""
    turn: Any = getattr(module, "train" if train else "eval")
    turn() if callable(turn) else getattr(nnx.Module, "train" if train else "eval")(module)
    for _, found in list(nnx.iter_modules(module)):
        for name, value in list(vars(found).items()):
            if name in FLAGS and isinstance(value, bool):
                setattr(found, name, FLAGS[name] == train)
            elif dataclasses.is_dataclass(value) and not isinstance(value, type | nnx.Module):
                new = with_flags(value, train, {})
                if new is not value:
                    setattr(found, name, new)


def _nested(state: nnx.State) -> dict[str, Any]:
    """Turn an NNX state into a nested dict of arrays with string keys."""
    return traverse_util.unflatten_dict(
        {tuple(map(str, path)): _value(leaf) for path, leaf in nnx.to_flat_state(state)}
    )


def _value(leaf: Any) -> Any:
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _filled(state: nnx.State, values: dict[str, Any]) -> nnx.State:
    """Put the arrays of a nested dict into an (abstract) NNX state of the same paths."""
    flat = traverse_util.flatten_dict(values)
    filled = []
    for path, leaf in nnx.to_flat_state(state):
        value = flat[tuple(map(str, path))]
        filled.append((path, leaf.replace(value) if isinstance(leaf, nnx.Variable) else value))
    return nnx.from_flat_state(filled)

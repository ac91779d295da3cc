"""Make Flax Linen modules, Flax NNX modules and pairs of functions alike: pure functions `init` and `apply`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, traverse_util
from flax.core import DenyList
from flax.errors import ModifyScopeVariableError
from jax.core import Tracer

from mlgym_jax.core.calling import arguments, explaining_form
from mlgym_jax.core.model import Model, is_pair, of_other_library, of_pair
from mlgym_jax.core.modes import linen_in_mode, named_flags, note_layer, note_statistics, takes_any, told
from mlgym_jax.errors import ConfigError


def adapt(model: Any, *, tells_all: bool = False) -> Model:
    """Return the pure form of a Linen module, of a callable `(rngs) -> nnx.Module`, or of a pair `(init, apply)`.

    Modules are called as they are written, `(x)`, and told whether they train by every flag of `core.modes.FLAGS`
    (`train`, `deterministic`, `use_running_average`, …) that `__call__` takes, or that is a field of the module, of a
    config among its fields, or of a module among them. Every collection of a Linen module besides `params`, and every
    variable of an NNX module besides parameters and keys, is carried as state, as far as a call in training keeps its
    form: what is created or grows in a call, such as what `sow` collects, is that call's alone.

    Args:
        tells_all: let the state that a call returns hold that, too, in evaluation as well; `sow` then begins anew in
            each call, also where it adds up instead of collecting.

    Raises:
        ConfigError: the model is none of these.
    """
    if isinstance(model, linen.Module):
        return _adapt_linen(model, tells_all)
    nnx = sys.modules.get("flax.nnx")  # who has not imported it has no module of it
    if nnx is not None and isinstance(model, nnx.Module):
        raise ConfigError(
            "model",
            "found an NNX module that is already built; return a callable instead: lambda rngs: MyNet(rngs=rngs)",
        )
    if is_pair(model):
        return of_pair(model, named_flags)
    if isinstance(model, type) and issubclass(model, linen.Module):
        raise ConfigError("model", f"found the class {model.__name__} itself; return a module: {model.__name__}(…)")
    if other := of_other_library(model):
        raise ConfigError("model", other)
    if callable(model):
        construct: Any = model
        from mlgym_jax.core.nnx_modules import adapt_nnx

        return adapt_nnx(construct, tells_all)
    raise ConfigError(
        "model",
        f"found {type(model).__name__}; a model factory returns a Flax Linen module or a callable (rngs) -> "
        "nnx.Module, or a pair of functions (init, apply)",
    )


def _adapt_linen(module: linen.Module, tells_all: bool) -> Model:
    call, in_training, in_evaluation = type(module).__call__, linen_in_mode(module, True), linen_in_mode(module, False)

    def rngs(key: jax.Array) -> dict[str, jax.Array]:
        # Streams with other names fall back on "params" inside Flax.
        return {"params": jax.random.fold_in(key, 0), "dropout": jax.random.fold_in(key, 1)}

    def init(key: jax.Array, inputs: Any) -> tuple[Any, Any]:
        sown: set[tuple[str, ...]] = set()
        with linen.intercept_methods(_traced_dropout), linen.intercept_methods(_noting(sown)):
            variables = dict(told(lambda flags: initialised(module, key, inputs, flags), module, False))
            if in_training is not module or named_flags(call, True) or takes_any(call):
                made = lambda: told(lambda flags: initialised(in_training, key, inputs, flags), in_training, True)  # noqa: E731
                variables = _with_those_of_training(variables, made)
        params, state = variables.pop("params", {}), variables
        if tells_all:
            state = _without(state, sown)
        if not state:
            return params, state
        _, updated = jax.eval_shape(lambda params, state: trained(params, state, inputs, key), params, state)
        return params, _without_sown(state, updated)

    def initialised(used: linen.Module, key: jax.Array, inputs: Any, flags: dict[str, Any]) -> Any:
        args, named = arguments(call, inputs, flags, key=key)
        with explaining_form(args):
            return used.init(rngs(key), *args, **named, **flags)

    def called(params: Any, state: Any, inputs: Any, key: jax.Array, train: bool, **mutable: Any) -> Any:
        used, variables = in_training if train else in_evaluation, {"params": params, **state}

        def applied(flags: dict[str, Any]) -> Any:
            args, named = arguments(call, inputs, flags, key=key)
            return used.apply(variables, *args, rngs=rngs(key), **mutable, **named, **flags)

        with linen.intercept_methods(_traced_dropout):
            return told(applied, used, train)

    def trained(params: Any, state: Any, inputs: Any, key: jax.Array) -> tuple[Any, Any]:
        mutable = DenyList("params") if tells_all else list(state)
        outputs, updated = called(params, state, inputs, key, True, mutable=mutable)
        note_statistics(state.get("batch_stats", {}), updated.get("batch_stats", {}))
        return outputs, updated

    def apply(params: Any, state: Any, inputs: Any, key: jax.Array, train: bool) -> tuple[Any, Any]:
        if train and (state or tells_all):
            outputs, updated = trained(params, state, inputs, key)
            return outputs, {**state, **updated}
        if not tells_all:
            return unchanged(params, state, inputs, key, train), state
        new = DenyList(("params", *state))  # what is there already stays as it is
        try:
            outputs, created = called(params, state, inputs, key, train, mutable=new)
        except ModifyScopeVariableError:
            outputs, created = called(params, state, inputs, key, train, mutable=DenyList("params"))
        return outputs, {**created, **state}

    def unchanged(params: Any, state: Any, inputs: Any, key: jax.Array, train: bool) -> Any:
        try:
            return called(params, state, inputs, key, train)
        except ModifyScopeVariableError:  # it changes variables in whatever mode; evaluation leaves them as they are
            if train:
                raise
            outputs, updated = called(params, state, inputs, key, False, mutable=list(state))
            note_statistics(state.get("batch_stats", {}), updated.get("batch_stats", {}))
            return outputs

    return Model(init, apply)


def _traced_dropout(next_method: Any, args: Any, kwargs: Any, context: linen.module.InterceptorContext) -> Any:
    """Let `nn.Dropout` take a swept rate: its own code asks `rate == 0.0`, which a traced array cannot answer."""
    module = context.module
    note_layer(module)
    if not (isinstance(module, linen.Dropout) and context.method_name == "__call__"):
        return next_method(*args, **kwargs)
    if not isinstance(module.rate, Tracer):
        return next_method(*args, **kwargs)
    inputs = args[0] if args else kwargs["inputs"]
    deterministic = kwargs.get("deterministic", args[1] if len(args) > 1 else None)
    if linen.merge_param("deterministic", module.deterministic, deterministic):
        return inputs
    rng = kwargs.get("rng")
    shape = tuple(1 if axis in module.broadcast_dims else size for axis, size in enumerate(inputs.shape))
    keep = 1.0 - module.rate
    kept = jax.random.bernoulli(module.make_rng(module.rng_collection) if rng is None else rng, keep, shape)
    kept = jnp.broadcast_to(kept, inputs.shape)
    scaled = inputs / jnp.where(keep > 0, keep, 1.0).astype(inputs.dtype)
    return jnp.where(kept, scaled, jnp.zeros_like(inputs))


def _noting(sown: set[tuple[str, ...]]) -> Any:
    """Return what notes into `sown` the paths that modules sow to while their methods run."""

    def note(next_method: Any, args: Any, kwargs: Any, context: linen.module.InterceptorContext) -> Any:
        module = context.module
        if "sow" not in vars(module):
            sow = module.sow

            def noted(col: str, name: str, *given: Any, **further: Any) -> bool:
                sown.add((col, *module.path, name))
                return sow(col, name, *given, **further)

            object.__setattr__(module, "sow", noted)
        return next_method(*args, **kwargs)

    return note


def _with_those_of_training(variables: Any, made: Callable[[], Any]) -> dict[str, Any]:
    """Add the variables that a call in training alone creates, such as the parameters of a head that evaluation skips.

    Args:
        made: initialises in training mode; what it cannot, a step of training says better.
    """
    try:
        abstract = jax.eval_shape(made)
    except Exception:
        return variables
    flat = traverse_util.flatten_dict(variables)
    new = traverse_util.flatten_dict(abstract).keys() - flat.keys()
    if not new:
        return variables
    found = traverse_util.flatten_dict(made())
    return traverse_util.unflatten_dict({**flat, **{path: found[path] for path in found if path in new}})


def _without(state: Any, left_out: set[tuple[str, ...]]) -> dict[str, Any]:
    flat = traverse_util.flatten_dict(state)
    return traverse_util.unflatten_dict({path: value for path, value in flat.items() if path not in left_out})


def _without_sown(state: Any, updated: Any) -> dict[str, Any]:
    """Leave out the tuples that a call appends to, as `sow` does."""
    new = traverse_util.flatten_dict(updated)
    kept = {
        path: value
        for path, value in traverse_util.flatten_dict(state).items()
        if not (isinstance(value, tuple) and path in new and _form(new[path]) != _form(value))
    }
    return traverse_util.unflatten_dict(kept)


def _form(value: Any) -> Any:
    return jax.tree.structure(value), [jnp.shape(leaf) for leaf in jax.tree.leaves(value)]

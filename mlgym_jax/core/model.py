"""What a model is to the engine: a pair of pure functions, of this form or of other libraries'.

Synopsis:

    >>> import jax, jax.numpy as jnp
    >>> from mlgym_jax.core.model import Model
    >>> def init(key, inputs):
    ...     return {"kernel": jax.random.normal(key, (inputs.shape[-1], 3))}, {}
    >>> def apply(params, state, inputs, key, train):
    ...     return inputs @ params["kernel"], state
    >>> Model(init, apply).init(jax.random.key(0), jnp.ones((2, 5)))[0]["kernel"].shape
    (5, 3)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlgym_jax.core.calling import Handed, plain
from mlgym_jax.errors import ConfigError, described

_STATE = ("state", "model_state", "net_state", "batch_stats")
_KEY = ("key", "rng", "rng_key", "prng_key", "random_key")
_SHAPE = ("input_shape", "inputs_shape", "in_shape", "shape")
_TAKEN = (
    "init takes a key and, if it likes, the inputs or their `input_shape`; apply takes the parameters first, then in "
    "any order the inputs and, if it likes, `state`, `rng` or `key`, and `train` or `is_training`. mlgym_jax.Model "
    "takes all of them"
)


class Model(NamedTuple):
    """A model as two pure functions, which a model factory may return as it is.

    Attributes:
        init: (key, inputs) -> (params, state), trees of arrays; a typed PRNG key, and inputs as in a batch.
        apply: (params, state, inputs, key, train) -> (outputs, state); `train` is a bool. What the state has beyond
            the one that `init` made belongs to that call alone: the loss may see it, and nothing carries it on.
    """

    init: Callable[[jax.Array, Any], tuple[Any, Any]]
    apply: Callable[[Any, Any, Any, jax.Array, bool], tuple[Any, Any]]


def carried(state: Any, left: Any) -> Any:
    """Return the state that the next step begins with: what a call left, where it has the form that it had."""
    new = dict(jax.tree_util.tree_leaves_with_path(left))

    def kept(path: Any, old: Any) -> Any:
        found = new.get(path, old)
        return found if jnp.shape(found) == jnp.shape(old) else old

    return jax.tree_util.tree_map_with_path(kept, state)


def is_pair(model: Any) -> bool:
    """Tell whether a model is a pair of functions `init` and `apply`, such as Haiku's and stax's."""
    if isinstance(model, type):
        return False
    if isinstance(model, tuple) and not hasattr(model, "_fields"):
        return len(model) == 2 and all(map(callable, model))
    return callable(getattr(model, "init", None)) and callable(getattr(model, "apply", None))


def of_pair(model: Any, mode: Callable[[Callable[..., Any], bool], Mapping[str, Any]]) -> Model:
    """Return the pure form of a pair of functions, whose parameters say what they take and return:

        init(key, inputs) -> params, or (params, state) where apply takes a state; also init(key)
        init(key, input_shape) -> (output_shape, params)
        apply(params, [state], [key], inputs, [train]) -> outputs, or (outputs, state) where it takes a state

    Haiku's `transform` and `transform_with_state`, with and without `without_apply_rng`, and the layers of
    `jax.example_libraries.stax` are of these forms; stax is given its `rng`, too. Both are called in training mode
    where they take a mode at `init`. Of inputs that are a dict, or a tuple, those that have the names of further
    parameters, or in their order, go there.

    Args:
        mode: (function, train) -> the keywords that tell it whether it trains.

    Raises:
        ConfigError: at `model`, parameters of which it is not known what they stand for; when called, other results.
    """
    if isinstance(model, Model):

        def applied(params: Any, state: Any, inputs: Any, key: jax.Array, train: bool) -> tuple[Any, Any]:
            return _two("apply", "(outputs, state)", model.apply(params, state, plain(inputs), key, train))

        return Model(lambda key, inputs: model.init(key, plain(inputs)), applied)
    init_function, apply_function = model if type(model) is tuple else (model.init, model.apply)
    of_init, of_apply = _Call("init", init_function, mode), _Call("apply", apply_function, mode)
    from_shape, has_state = "shape" in of_init.roles, "state" in of_apply.roles

    def init(key: jax.Array, inputs: Any) -> tuple[Any, Any]:
        shape = jax.tree.map(lambda leaf: leaf.shape, plain(inputs)) if from_shape else None
        found = of_init({"key": key, "inputs": inputs, "shape": shape}, True)
        if from_shape:
            return _two("init", "(output_shape, params)", found)[1], {}
        return _two("init", "(params, state)", found) if has_state else (found, {})

    def apply(params: Any, state: Any, inputs: Any, key: jax.Array, train: bool) -> tuple[Any, Any]:
        further = {"rng": key} if from_shape and "key" not in of_apply.roles else {}
        found = of_apply({"params": params, "state": state, "inputs": inputs, "key": key}, train, further)
        return _two("apply", "(outputs, state)", found) if has_state else (found, state)

    return Model(init, apply)


class _Call:
    """A function whose parameters have roles: what it is given for each of them.

    Attributes:
        roles: role -> the parameter's name.
        others: the names of parameters without a role, which are inputs if there are several.
    """

    def __init__(self, name: str, function: Callable[..., Any], mode: Callable[[Any, bool], Mapping[str, Any]]):
        self._function, self._mode = function, mode
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            raise ConfigError("model", f"the parameters of {name} cannot be read; return a mlgym_jax.Model") from None
        self.roles: dict[str, str] = {}
        self.others: list[str] = []
        self.required: list[str] = []  # those of them that have no default
        self._what = f"of the pair (init, apply), {name}{signature}"
        self._positional: list[str] = []  # roles of what is given without its name
        known = {**dict.fromkeys(_STATE, "state"), **dict.fromkeys(_KEY, "key"), **dict.fromkeys(_SHAPE, "shape")}
        parameters = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        for number, parameter in enumerate(parameters):
            role = {"init": "key", "apply": "params"}[name] if number == 0 else known.get(parameter.name)
            if parameter.name in mode(function, True):
                continue
            if role is None and not {"inputs", "shape"} & {*self.roles}:
                role = "inputs"
            if role is not None and role not in self.roles:
                self.roles[role] = parameter.name
                if len(self._positional) == number and parameter.kind is not parameter.KEYWORD_ONLY:
                    self._positional.append(role)
            else:
                self.others.append(parameter.name)
                if parameter.default is parameter.empty:
                    self.required.append(parameter.name)
        if name == "apply" and "inputs" not in self.roles:
            raise ConfigError("model", f"{self._what} takes no inputs; {_TAKEN}")

    def __call__(self, given: Mapping[str, Any], train: bool, further: Mapping[str, Any] | None = None) -> Any:
        inputs = given.get("inputs")
        given, several = {**given, "inputs": plain(inputs)}, self._several(inputs)
        if several:
            given["inputs"] = several.pop(self.roles["inputs"])
        if unknown := [name for name in self.required if name not in several]:
            raise ConfigError(
                "model",
                f"{self._what} has a parameter {unknown[0]!r} of which it is not known what it stands for; {_TAKEN}",
            )
        named = {name: given[role] for role, name in self.roles.items() if role not in self._positional} | several
        positional = [given[role] for role in self._positional]
        return self._function(*positional, **named, **(further or {}), **self._mode(self._function, train))

    def _several(self, inputs: Any) -> dict[str, Any]:
        """Return inputs by the names of the parameters that take them; {} where one takes them all."""
        names = [self.roles.get("inputs", ""), *self.others]
        if isinstance(inputs, Handed):
            fields = {name: inputs.fields[name] for name in self.required if name in inputs.fields}
            own = self._several(inputs.inputs) or {names[0]: inputs.inputs}
            return {**fields, **own} if {*self.required} <= {*fields, *own} else {}
        if isinstance(inputs, Mapping) and names[0] in inputs and {*inputs} <= {*names}:
            return dict(inputs)
        if isinstance(inputs, tuple) and 1 < len(inputs) <= len(names):
            return dict(zip(names, inputs, strict=False))
        return {}


def _two(name: str, wanted: str, found: Any) -> tuple[Any, Any]:
    if not isinstance(found, tuple | list) or len(found) != 2:
        shape = getattr(found, "shape", None)
        what = described(found) if shape is None else f"an array {list(shape)}"
        raise ConfigError("model", f"its {name} is expected to return {wanted}, found {what}")
    return found[0], found[1]


def of_other_library(model: Any) -> str | None:
    """Return how a module of a library that is not known is made a pair of functions; None for anything else."""
    if isinstance(model, tuple) and len(model) == 2 and of_other_library(model[0]):  # of eqx.nn.make_with_state
        name = type(model[0]).__name__
        return (
            f"found the Equinox module {name} and its state; return a pair (init, apply) of both: model, state = "
            "eqx.nn.make_with_state(Net)(key) inside of init(key, x), which returns eqx.filter(model, "
            "eqx.is_inexact_array), eqx.filter(state, eqx.is_array); and apply(params, state, rng, x, is_training), "
            "which combines them with what the filters leave, calls jax.vmap(eqx.nn.inference_mode(model, not "
            "is_training), in_axes=(0, None, 0), out_axes=(0, None), axis_name='batch')(x, state, "
            "jax.random.split(rng, len(x))) and returns its outputs and eqx.filter(state, eqx.is_array)"
        )
    kind = model if isinstance(model, type) else type(model)
    libraries = {base.__module__.split(".")[0] for base in kind.__mro__}
    name = kind.__name__
    if "equinox" in libraries:
        return (
            f"found the Equinox module {name}, which holds its parameters itself; return a pair (init, apply): "
            "init = lambda key, x: eqx.filter(build(key), eqx.is_inexact_array), "
            "apply = lambda params, x: jax.vmap(eqx.combine(params, static))(x), with "
            "static = eqx.filter(build(jax.random.key(0)), eqx.is_inexact_array, inverse=True)"
        )
    if "haiku" in libraries:
        return f"found the Haiku module {name}; return hk.transform(lambda x: {name}(…)(x)), or transform_with_state"
    if "torch" in libraries:
        return f"found the PyTorch module {name}; models are JAX's: Flax modules, or pairs (init, apply)"
    return None

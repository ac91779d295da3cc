"""What a module is called with: its signature says which of the batch's arrays and keys it takes.

Synopsis:

    >>> import jax, numpy as np
    >>> from mlgym_jax.core.calling import arguments, handed
    >>> def call(self, tokens, lengths, z_rng, train): ...
    >>> batch = {"inputs": np.zeros((4, 8)), "lengths": np.full(4, 8), "targets": np.arange(4)}
    >>> args, named = arguments(call, handed(batch), {"train": True}, key=jax.random.key(0))
    >>> [one.shape for one in args], sorted(named)
    ([(4, 8)], ['lengths', 'z_rng'])
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import inspect
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from mlgym_jax.components.registry import shared_parameters
from mlgym_jax.core.inputs import INPUTS
from mlgym_jax.core.modes import note_overlooked
from mlgym_jax.core.outputs import pick
from mlgym_jax.errors import ConfigError, MlgymError, in_words, listed, nearest

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# Fields of a batch that are the engine's, and what the model is to predict: where a config says so, it is handed it.
_NOT_HANDED = ("inputs", "targets", "mask", "class_counts")
# What losses and metrics count, which need not be what a model is to see: of a masked language model it is not.
_WHERE = "where"
_KEY = re.compile(r"(.*_)?(rng|key|rngs|prng_key)")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Handed:
    """The inputs of a batch, and its further fields, of which a module takes those that it asks for by name."""

    inputs: Any
    fields: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Rewired:
    """A model, and which fields of a batch its arguments are: argument -> field, path inside of the inputs, or None."""

    model: Any
    inputs: Mapping[str, str | None]


@shared_parameters("model")
def _rewiring(model: Any, *, inputs: Mapping[str, str | None] | None = None) -> Any:
    """Add `inputs`, the fields of a batch that the model takes, by the names of its arguments; None is None."""
    return model if inputs is None else Rewired(model, inputs)


def handed(batch: Mapping[str, Any], rewired: Mapping[str, str | None] | None = None) -> Any:
    """Return what a model gets of a batch.

    Args:
        rewired: argument -> field of the batch, path inside of its inputs, or None; then these are all that it gets.

    Raises:
        ConfigError: at `model.inputs`, no such field.
    """
    if rewired is not None:
        return {argument: None if path is None else _found(batch, argument, path) for argument, path in rewired.items()}
    fields = {name: value for name, value in batch.items() if name not in _NOT_HANDED and not name.startswith("_")}
    return Handed(batch[INPUTS], fields) if fields else batch[INPUTS]


def _found(batch: Mapping[str, Any], argument: str, path: str) -> Any:
    inputs, inside = batch[INPUTS], path.removeprefix(f"{INPUTS}.")
    if isinstance(inputs, Mapping | tuple):
        try:
            return pick(inputs, inside)
        except MlgymError:
            pass
    if path in batch:
        return batch[path]
    fields = [name for name in batch if name not in ("mask", "class_counts") and not name.startswith("_")]
    names = [*(inputs if isinstance(inputs, Mapping) else ()), *fields]
    raise ConfigError(
        f"model.inputs.{argument}", f"the data has no field {path!r}{nearest(path, names)} Fields: {listed(names)}"
    )


def plain(inputs: Any) -> Any:
    """Return the inputs alone."""
    return inputs.inputs if isinstance(inputs, Handed) else inputs


def arguments(
    call: Callable[..., Any], inputs: Any, mode: Mapping[str, Any], *, key: jax.Array | None = None
) -> tuple[tuple, dict]:
    """Return what a method is called with besides `self` and its mode.

    A dict of inputs is handed by name, a tuple in order, else the inputs as they are; a dict or tuple is handed whole
    to a module that takes one argument, of another name. What it asks for besides, without a default, is taken from
    the further fields of the batch, or is a key where its name says so: `z_rng`, `noise_key`.

    Args:
        mode: the keywords that tell it whether it trains.
        key: what its keys are derived from, each by its name.

    Raises:
        ConfigError: at `model`, where it takes something else.
    """
    fields, inputs = (inputs.fields, inputs.inputs) if isinstance(inputs, Handed) else ({}, inputs)
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return (inputs,), {}
    taken = [p for p in [*signature.parameters.values()][1:] if p.name not in mode]
    args, named = _of_inputs(taken, inputs, fields)
    named |= _besides(taken, args, named, fields, key)
    filled = _filled(taken, args, named)
    note_overlooked(tuple(p.name for p in taken if p.name in fields and p.name not in (*filled, _WHERE)))
    try:
        signature.bind(None, *args, **named, **mode)
    except TypeError as error:
        raise _unfit(call, taken, (args, named, mode), (inputs, fields), error) from error
    return args, named


@contextlib.contextmanager
def explaining_form(args: tuple) -> Iterator[None]:
    """Say how a module that takes its inputs in a form of its own, such as of a graph, is given it.

    Raises:
        ConfigError: at `model`, in the place of the error that a dict or a tuple is not that form.
    """
    try:
        yield
    except (AttributeError, TypeError) as error:
        if not (args and isinstance(args[0], Mapping | tuple) and re.search(r"'(dict|tuple)' object", str(error))):
            raise
        form = f"a dict of {listed(args[0])}" if isinstance(args[0], Mapping) else f"a tuple of {len(args[0])}"
        names = ", ".join(args[0]) if isinstance(args[0], Mapping) else "first, second, …"
        raise ConfigError(
            "model",
            f"{in_words(error)}. It is handed its inputs as {form}; where it takes them in a form of its own, a module "
            f"around it makes that: class Own(nn.Module): net: nn.Module, with def __call__(self, {names}): return "
            "self.net(…)",
        ) from error


def _of_inputs(taken: list[inspect.Parameter], inputs: Any, fields: Mapping[str, Any]) -> tuple[tuple, dict]:
    kinds = {p.kind for p in taken}
    named = [p.name for p in taken if p.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)]
    positional = [p for p in taken if p.kind in _POSITIONAL]
    through = inspect.Parameter.VAR_POSITIONAL in kinds
    if isinstance(inputs, Mapping):
        by_name = {*inputs} <= {*named} or (not positional and inspect.Parameter.VAR_KEYWORD in kinds)
        if by_name:
            return (), dict(inputs)
    elif isinstance(inputs, tuple) and (len(positional) >= len(inputs) or through):
        return inputs, {}
    asked = [p.name for p in taken if p.name in named and p.default is p.empty]
    own = [name for name in asked if name not in fields and not _KEY.fullmatch(name)]
    # By its name where others come before it, or where it takes nothing but names.
    if own and not through and (not positional or (positional[0].name in fields and INPUTS in own)):
        return (), {INPUTS if INPUTS in own else own[0]: inputs}
    return (inputs,), {}


def _filled(taken: list[inspect.Parameter], args: tuple, named: Mapping[str, Any]) -> set[str]:
    return {*[p.name for p in taken if p.kind in _POSITIONAL][: len(args)], *named}


def _besides(
    taken: list[inspect.Parameter], args: tuple, named: Mapping[str, Any], fields: Mapping[str, Any], key: Any
) -> dict[str, Any]:
    """Return what it asks for without a default and is not among the inputs."""
    filled = _filled(taken, args, named)
    found: dict[str, Any] = {}
    for parameter in taken:
        name = parameter.name
        if name in filled or parameter.default is not parameter.empty:
            continue
        if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            continue
        if name in fields:
            found[name] = fields[name]
        elif _KEY.fullmatch(name) and key is not None:
            found[name] = jax.random.fold_in(key, zlib.crc32(name.encode()))
    return found


def _unfit(
    call: Any, taken: list[inspect.Parameter], called: tuple[tuple, dict, Any], had: tuple[Any, Any], error: Exception
) -> ConfigError:
    (args, named, mode), (inputs, fields) = called, had
    of = getattr(call, "__qualname__", "it").removesuffix(".__call__")
    given = [*["inputs", "…"][: len(args)], *(f"{name}=…" for name in named)]
    said = ", ".join([*given, *(f"{name}={value}" for name, value in mode.items())])
    has = "one array of inputs"
    if isinstance(inputs, Mapping | tuple):
        has = f"the inputs {listed(inputs)}" if isinstance(inputs, Mapping) else f"a tuple of {len(inputs)} inputs"
    further = f", and the fields {listed(fields)}" if fields else ""
    takes = ", ".join(str(p.replace(annotation=p.empty)) for p in taken)
    return ConfigError(
        "model",
        f"{of} takes ({takes}) and is called as {of}({said}): {error}. The dataset has {has}"
        f"{further}; give the others defaults, or the dataset inputs={{'name': array, …}} by the names that the model "
        f"takes, or say which is which, None for what is to be None: component('…', inputs=dict("
        f"{_likely(taken, inputs, fields)}))",
    )


def _likely(taken: list[inspect.Parameter], inputs: Any, fields: Mapping[str, Any]) -> str:
    """Write which fields the arguments without a default probably are."""
    left = [*(inputs if isinstance(inputs, Mapping) else [INPUTS]), *fields, "targets"]
    found: dict[str, str] = {}
    asked = [p.name for p in taken if p.default is p.empty and p.kind in (*_POSITIONAL, p.KEYWORD_ONLY)]
    for alike in (lambda name: [name] if name in left else [], lambda name: difflib.get_close_matches(name, left, 1)):
        for name in asked:
            if name not in found and (near := alike(name)):
                found[name] = near[0]
                left.remove(near[0])
    if not isinstance(inputs, Mapping | tuple) and INPUTS in left and (rest := [n for n in asked if n not in found]):
        found[rest[0]] = INPUTS
    return ", ".join(f"{name}={found.get(name, '…')!r}" for name in asked) or "argument='field'"

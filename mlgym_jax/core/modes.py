"""Tell a module whether it trains, by whichever of the flags that are in use it knows, and note what it makes of it."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jax
from flax import linen

# flag -> what it says in training
FLAGS = {
    "train": True,
    "training": True,
    "is_training": True,
    "is_train": True,
    "enable_dropout": True,
    "deterministic": False,
    "use_running_average": False,
    "inference": False,
}
T = TypeVar("T")


def flags(train: bool) -> dict[str, Any]:
    """Return every flag with what it says in training, or else in evaluation."""
    return {name: value == train for name, value in FLAGS.items()}


def named_flags(call: Callable[..., Any], train: bool) -> dict[str, Any]:
    """Return those flags that a function takes by name."""
    parameters = inspect.signature(call).parameters
    return {name: value for name, value in flags(train).items() if name in parameters}


def takes_any(call: Callable[..., Any]) -> bool:
    """Tell whether a function takes further keywords, whatever their names."""
    return any(one.kind is one.VAR_KEYWORD for one in inspect.signature(call).parameters.values())


def told(run: Callable[[dict[str, Any]], T], module: Any, train: bool) -> T:
    """Return `run(flags)` with those flags that the `__call__` of a module takes by name.

    Through `**kwargs` all of them are handed; what refuses one of them in there is run again without that one.
    """
    call = type(module).__call__
    parameters = inspect.signature(call).parameters
    named = {
        name: value
        for name, value in named_flags(call, train).items()
        if not _by_field(module, name, parameters[name].default)
    }
    offered = flags(train) if takes_any(call) and not any(name in parameters for name in FLAGS) else {}
    while True:
        try:
            return run({**offered, **named})
        except (TypeError, ValueError) as error:
            refused = {name for name in offered if re.search(rf"\b{name}\b", str(error))}
            if not refused:
                raise
            offered = {name: value for name, value in offered.items() if name not in refused}


def _by_field(module: Any, name: str, default: Any) -> bool:
    """Tell whether a flag stands in the module already, which `merge_param` allows in one of the two places alone."""
    fields = [field.name for field in dataclasses.fields(module)] if isinstance(module, linen.Module) else []
    return default is None and name in fields and getattr(module, name, None) is not None


def linen_in_mode(module: linen.Module, train: bool) -> linen.Module:
    """Return a Linen module with the flags among its own fields, and among those of a config there, set.

    Submodules that it was given are told of evaluation alone: one that says it evaluates, such as a frozen
    `BatchNorm(use_running_average=True)`, does so in training, too.
    """
    done: dict[int, Any] = {}
    changed = _differing(_fields(module), train, lambda item: with_flags(item, train, done), given=False)
    return module.clone(**changed) if changed else module


def _fields(value: Any) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(value) if field.init]
    return {name: getattr(value, name, None) for name in names if name not in ("parent", "name")}


def with_flags(value: Any, train: bool, done: dict[int, Any], *, given: bool = False) -> Any:
    """Return what a field holds, with the flags in it set; itself where there are none.

    Args:
        done: what became of modules before, as one that is shared stays one.
        given: whether it belongs to a submodule.
    """
    within = functools.partial(with_flags, train=train, done=done)
    if isinstance(value, linen.Module):
        if id(value) not in done:
            changed = _differing(_fields(value), train, lambda item: within(item, given=True), given=True)
            done[id(value)] = value.clone(**changed) if changed else value
        return done[id(value)]
    if isinstance(value, functools.partial):
        changed = _differing(value.keywords, train, lambda item: within(item, given=True), given=True)
        return functools.partial(value.func, *value.args, **{**value.keywords, **changed}) if changed else value
    if isinstance(value, list | tuple):
        items = [within(item, given=given) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if not isinstance(value, type) and callable(getattr(value, "keys", None)):  # a dict, a ConfigDict
        changed = _differing(dict(value), train, lambda item: within(item, given=given), given=given)
        kind: Any = type(value)
        return kind({**value, **changed}) if changed else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = _differing(_fields(value), train, lambda item: within(item, given=given), given=given)
        return dataclasses.replace(value, **changed) if changed else value
    return value


def _differing(old: Mapping[str, Any], train: bool, within: Callable[[Any], Any], *, given: bool) -> dict[str, Any]:
    changed = {}
    for name, value in old.items():
        if name in FLAGS and isinstance(value, bool):
            new = value if given and train else FLAGS[name] == train
        else:
            new = within(value)
        if new is not value:
            changed[name] = new
    return changed


@dataclasses.dataclass
class Seen:
    """What a model was seen to have, and to do, while it was traced in training.

    Attributes:
        dropout: whether it has layers of dropout, of a rate above 0.
        statistics: whether it has batch statistics.
        updated: whether any of these were another after the call.
        overlooked: arguments with a default that the data have a field of the name of, which it is not handed.
        unmixed: fields of the batch that an augmentation left as they were where it mixed examples -> its name.
        unmoved: those that lie over images, and that it left as they were where it moved these -> its name.
    """

    dropout: bool = False
    statistics: bool = False
    updated: bool = False
    overlooked: tuple[str, ...] = ()
    unmixed: dict[str, str] = dataclasses.field(default_factory=dict)
    unmoved: dict[str, str] = dataclasses.field(default_factory=dict)


_SEEN: contextvars.ContextVar[Seen | None] = contextvars.ContextVar("seen", default=None)


@contextlib.contextmanager
def seeing() -> Iterator[Seen]:
    """Note what is seen of models that are traced in training inside."""
    seen = Seen()
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Note nothing of what is traced inside, such as a teacher, which is no part of the model that trains."""
    token = _SEEN.set(None)
    try:
        yield
    finally:
        _SEEN.reset(token)


def is_seen() -> bool:
    """Tell whether what a step does is noted."""
    return _SEEN.get() is not None


def note_layer(layer: Any) -> None:
    """Note whether a layer is one of dropout."""
    seen = _SEEN.get()
    if seen is None:
        return
    # What stands in it: a module that forwards attributes, as those of `nnx.bridge` do, would be called for others.
    rate, decides = (_held(layer, name) for name in ("rate", "dropout_rate")), _held(layer, "deterministic", missing=())
    found = next((one for one in rate if one is not None), None)
    if found is not None and decides != ():
        seen.dropout |= not isinstance(found, int | float) or found > 0


def _held(layer: Any, name: str, missing: Any = None) -> Any:
    found = inspect.getattr_static(layer, name, missing)
    return missing if inspect.isdatadescriptor(found) else found


def note_overlooked(arguments: tuple[str, ...]) -> None:
    """Note arguments of the model that could have been fields of the batch, and are not."""
    seen = _SEEN.get()
    if seen is not None and arguments:
        seen.overlooked = arguments


def note_unmixed(augmentation: str, fields: Iterable[str]) -> None:
    """Note the fields of a batch that an augmentation leaves as they are where it mixes examples."""
    seen = _SEEN.get()
    if seen is not None:
        seen.unmixed |= dict.fromkeys(fields, augmentation)


def note_unmoved(augmentation: str, fields: Iterable[str]) -> None:
    """Note the fields of a batch that lie over images, such as maps of classes, where an augmentation moves these."""
    seen = _SEEN.get()
    if seen is not None:
        seen.unmoved |= dict.fromkeys(fields, augmentation)


def note_statistics(before: Any, after: Any) -> None:
    """Note what a call in training made of batch statistics, two trees of arrays; those that it leaves are the same."""
    seen = _SEEN.get()
    old, new = jax.tree.leaves(before), jax.tree.leaves(after)
    if seen is not None and old:
        seen.statistics = True
        seen.updated |= len(old) != len(new) or any(a is not b for a, b in zip(old, new, strict=True))

"""Config files: loading one, overriding its fields by dotted path."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import shlex
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import RequiredValueError

from mlgym_jax.config.others_words import meant_field
from mlgym_jax.config.recorded import read_recorded
from mlgym_jax.config.words import (
    FIELDS,
    OF_COMPONENTS,
    SECTIONS,
    component,
    grid,
    is_component,
    is_sweep,
)
from mlgym_jax.errors import ConfigError, MlgymError, described, kind_of, listed, nearest, path_of


def load_config(path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """Load `FILE` or `FILE:ARG` (handed to its `get_config`) and apply overrides by dotted path.

    A file `.json` is a config that a run recorded: `config.json`, or `experiment_config.json` of one experiment.

    Raises:
        MlgymError: the file is not there, raises, or returns no ConfigDict; ConfigError: an override does not fit.
    """
    text = path_of(path, "a config file")
    config = _read_config_file(text)
    for name, value in (overrides or {}).items():
        override(config, name, value)
    object.__setattr__(config, "_source_file", _split_argument(text)[0])
    return config


def as_config(config: Any) -> Any:
    """Return a config, loaded if it is named by its path.

    Raises: as `load_config`.
    """
    return config if hasattr(config, "get") else load_config(config)


def source_file(config: Any) -> str | None:
    """Return the file that a config was loaded from, if it was."""
    try:
        return object.__getattribute__(config, "_source_file")
    except AttributeError:
        return None


def _split_argument(path: str) -> tuple[str, str | None]:
    head, colon, argument = path.partition(".py:")
    return (head + ".py", argument) if colon else (path, None)


def _read_config_file(path: str) -> ConfigDict:
    file, argument = _split_argument(path)
    _check_there(file)
    if file.endswith(".json"):
        return read_recorded(file)
    make_importable(file)
    try:
        get_config = _get_config_of(file)
        given = () if argument is None else (argument,)
        _check_takes(get_config, given)
        config = get_config(*given)
    except MlgymError as error:
        raise MlgymError(f"--config={path}: {_where(error, file)}{error}") from error
    except (Exception, SystemExit) as error:
        raise MlgymError(f"--config={path}: {_where(error, file)}{_said(error)}") from error
    if not isinstance(config, ConfigDict):
        hint = "return ConfigDict(…)" if isinstance(config, Mapping) else "end it with `return config`"
        raise MlgymError(
            f"--config={path}: an ml_collections.ConfigDict is expected, get_config() returned {described(config)}; "
            f"{hint}"
        )
    return config


def _check_there(file: str) -> None:
    if os.path.isfile(file):
        return
    folder = file if os.path.isdir(file) else os.path.dirname(file) or "."
    names: list[str] = []
    with contextlib.suppress(OSError):  # a folder that may not be read has nothing to propose
        names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    if folder == file:
        raise MlgymError(f"--config={file}: a folder; name a file in it. There are: {listed(names)}")
    if example := _example(file):
        into = shlex.quote(os.path.dirname(file))
        raise MlgymError(
            f"--config={file}: no such file. It is an example of this package; to have it here:\n"
            f"  mkdir -p {into} && cp {shlex.quote(example)} {into}"
        )
    hint = f"{nearest(os.path.basename(file), names)} " if names else ". "
    there = f"In {folder} there are: {listed(names)}" if os.path.isdir(folder) else f"There is no folder {folder!r}"
    raise MlgymError(f"--config={file}: no such file{hint}{there}")


def _example(file: str) -> str | None:
    """Return where the package has the example that a path such as `configs/gs.py` means."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folder, name = os.path.split(file)
    for examples in (os.path.join(package, "example_configs"), os.path.join(os.path.dirname(package), "configs")):
        if folder == "configs" and os.path.isfile(os.path.join(examples, name)):
            return os.path.join(examples, name)
    return None


def _get_config_of(file: str) -> Callable[..., Any]:
    """Execute a config file, always anew, as a module of its own and return its `get_config`."""
    path = os.path.abspath(file)
    name = f"mlgym_jax_config_{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
    module = sys.modules[name] = types.ModuleType(name)  # where dataclasses and type hints look for a class's names
    module.__file__ = path
    with open(path, "rb") as source:
        code = compile(source.read(), path, "exec", dont_inherit=True)
    exec(code, module.__dict__)
    found = module.__dict__.get("get_config")
    if found is None:
        functions = [key for key, value in module.__dict__.items() if callable(value)]
        raise MlgymError(f"there is no function get_config(){nearest('get_config', functions)} {_WANTED}")
    if not callable(found):
        raise MlgymError(f"get_config is {described(found)}, not a function. {_WANTED}")
    return found


_WANTED = "Write `def get_config(): …` that returns an ml_collections.ConfigDict."


def _check_takes(get_config: Callable[..., Any], given: tuple[str, ...]) -> None:
    try:
        inspect.signature(get_config).bind(*given)
    except TypeError as error:
        hint = f"it was given {given[0]!r}, from FILE:ARG" if given else "hand it one: --config=FILE:ARG"
        raise MlgymError(f"get_config does not fit: {error}; {hint}") from None


def make_importable(file: str) -> None:
    """Let a config file import the modules beside it."""
    folder = os.path.dirname(os.path.abspath(file))
    if folder not in sys.path:
        sys.path.append(folder)


def _where(error: BaseException, file: str) -> str:
    """Name the last line of the user's file that an exception passed through."""
    path = os.path.abspath(file)
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == path else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: " if line else ""


def _said(error: BaseException) -> str:
    """Put an exception of a config file in one line, with what to do about those that ml_collections is known for."""
    if isinstance(error, SyntaxError):
        code = f": {error.text.strip()}" if error.text and error.text.strip() else ""
        place = "" if error.filename is None else f" ({os.path.basename(error.filename)}, line {error.lineno})"
        return f"{type(error).__name__}: {error.msg}{place}{code}"
    text = " ".join(str(error).split())
    if isinstance(error, TypeError) and text.startswith("Could not override field"):
        text += "; a ConfigDict keeps the type of a field's first value: write the final value at once, or begin with "
        text += "ConfigDict(type_safe=False)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def override(config: ConfigDict, name: str, value: Any) -> None:
    """Set the field at dotted path `name` in place; a swept field takes one value, or several as another grid.

    Raises:
        ConfigError: no such field, or a value of another type than the field's.
    """
    *parents, last = name.split(".")
    if len(parents) == 1 and parents[0] in OF_COMPONENTS and config.get(parents[0]) is None:
        with config.ignore_type(), config.unlocked():
            config[parents[0]] = ConfigDict()  # what a first one may be added to
    holder: Any = config
    for depth, key in enumerate(parents):
        holder = _child(holder, key, ".".join(parents[: depth + 1]), name)
    if isinstance(holder, list | tuple):
        raise ConfigError(name, "an element of a list cannot be overridden by itself; override the whole list")
    if not isinstance(holder, ConfigDict):
        raise ConfigError(name, f"config.{'.'.join(parents)} is {described(holder)} and has no fields")
    if last not in holder:
        known = sorted({*FIELDS, *SECTIONS, *holder} if not parents else holder)
        may_be_new = is_component(holder) or (_is_section_of_components(parents, holder) and value is not None)
        if not may_be_new and (parents or last not in known):
            hint = (nearest if parents else meant_field)(last, known)
            raise ConfigError(name, f"no such field{hint} Fields here: {listed(known, 30)}")
    current: Any = _held(holder, last, name)
    takes_component = _is_section_of_components(parents, holder) or (not parents and last in SECTIONS)
    value = _in_place_of(current, value, name, takes_component=takes_component)
    with holder.ignore_type(), holder.unlocked():
        if last in holder:
            del holder[last]  # a ConfigDict refuses to replace a section by a plain value
        holder[last] = value


def _is_section_of_components(parents: list[str], holder: Any) -> bool:
    plain_dict = len(parents) == 1 and not (is_component(holder) or is_sweep(holder))
    held = [_held(holder, key, "") for key in holder] if isinstance(holder, ConfigDict) else []
    return plain_dict and all(is_component(item) or is_sweep(item) or item is None for item in held)


def _in_place_of(current: Any, value: Any, name: str, *, takes_component: bool) -> Any:
    """Return an override as it is stored in place of the current value, or raise."""
    swept = list(current.get("values", ())) if is_sweep(current) else []
    if isinstance(value, str) and (takes_component or any(is_component(item) for item in (current, *swept))):
        return component(value)
    if is_sweep(current):
        # Several values in place of a grid are another grid; of tuples it takes tuples.
        of_tuples = any(isinstance(item, list | tuple) for item in swept)
        if isinstance(value, list | tuple) and of_tuples == any(isinstance(item, list | tuple) for item in value):
            return grid(*value)
        return value
    if is_component(current) or is_sweep(value) or is_component(value):
        return value
    if isinstance(value, Mapping) and isinstance(current, ConfigDict):
        return ConfigDict(value, allow_dotted_keys=True)
    return _fitting(value, current, name)


def _child(holder: Any, key: str, path: str, name: str) -> Any:
    if isinstance(holder, list | tuple) and key.isdigit() and int(key) < len(holder):
        return holder[int(key)]
    if isinstance(holder, ConfigDict) and key in holder:
        try:
            return holder[key]
        except RequiredValueError:
            raise ConfigError(path, f"a value is required and none is given; set it before {name!r}") from None
    if isinstance(holder, list | tuple):
        raise ConfigError(path, f"no such element, so {name!r} cannot be overridden; there are 0 to {len(holder) - 1}")
    known = sorted(holder) if isinstance(holder, ConfigDict) else []
    raise ConfigError(
        path, f"no such field, so {name!r} cannot be overridden{nearest(key, known)} Fields here: {listed(known, 30)}"
    )


def _fitting(value: Any, current: Any, name: str) -> Any:
    """Return `value` in the type of the field's current value, or raise."""
    if current is None or value is None:
        return value
    if isinstance(current, bool) or isinstance(value, bool):
        fits = isinstance(current, bool) and isinstance(value, bool)
    elif isinstance(current, float) and isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(name, f"found {described(value, 40)}, a number below 1.8e308 is expected") from None
    elif isinstance(current, tuple | list):
        fits = isinstance(value, tuple | list)
    else:
        fits = isinstance(value, type(current))
    if not fits:
        many = isinstance(value, tuple | list)
        hint = f"; to sweep it write grid({', '.join(map(repr, value))})" if many else ""
        raise ConfigError(
            name,
            f"wrong type: found {described(value)}, {kind_of(type(current))} is expected, such as "
            f"{described(current)}{hint}",
        )
    return value


def current_value(config: ConfigDict, name: str) -> Any:
    """Return the value at a dotted path, a field's default where it is not set, or None where there is none."""
    value: Any = config
    for key in name.split("."):
        if isinstance(value, list | tuple) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            value = _held(value, key, name) if isinstance(value, ConfigDict) else None
    return value


def _held(holder: ConfigDict, key: str, name: str) -> Any:
    """Return what is at a key, the field's default where nothing is, None where a value is still required."""
    try:
        return holder.get(key, _default(name))
    except RequiredValueError:
        return None


def _default(name: str) -> Any:
    return FIELDS[name][1] if name in FIELDS else None

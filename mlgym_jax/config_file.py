"""Config files: loading one, overriding its fields by dotted path, reading values from a command line."""

from __future__ import annotations

import ast
import os
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mlgym_jax.config import (
    FIELDS,
    SECTIONS,
    component,
    grid,
    int_uniform,
    is_component,
    is_sweep,
    log_uniform,
    uniform,
)
from mlgym_jax.errors import ConfigError, MlgymError, listed, nearest


def load_config(path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """Load `FILE` or `FILE:ARG` (handed to its `get_config`) and apply overrides by dotted path.

    Raises:
        MlgymError: the file is not there, raises, or returns no ConfigDict; ConfigError: an override does not fit.
    """
    config = _read_config_file(os.fspath(path))
    for name, value in (overrides or {}).items():
        override(config, name, value)
    object.__setattr__(config, "_source_file", _split_argument(os.fspath(path))[0])
    return config


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
    from absl import flags
    from ml_collections import config_flags

    file, _ = _split_argument(path)
    if not os.path.isfile(file):
        folder = os.path.dirname(file) or "."
        siblings = [name for name in os.listdir(folder) if name.endswith(".py")] if os.path.isdir(folder) else []
        hint = nearest(os.path.basename(file), siblings)
        raise MlgymError(f"--config: no file {file!r}{hint or f'; {folder} holds: {listed(sorted(siblings))}'}")
    make_importable(file)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, lock_config=False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)  # ml-collections' own way to load
            values(["mlgym_jax", f"--config={path}"])
            config = values.config
    except MlgymError:
        raise
    except Exception as error:
        raise MlgymError(f"--config={path}: {_where(error, file)}{type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise MlgymError(f"--config={path}: get_config() returned {type(config).__name__}, not a ConfigDict")
    return config


def make_importable(file: str) -> None:
    """Let a config file import the modules beside it."""
    folder = os.path.dirname(os.path.abspath(file))
    if folder not in sys.path:
        sys.path.append(folder)


def _where(error: BaseException, file: str) -> str:
    """Name the last line of the user's file that an exception passed through."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if os.path.abspath(trace.tb_frame.f_code.co_filename) == os.path.abspath(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: " if line else ""


def override(config: ConfigDict, name: str, value: Any) -> None:
    """Set the field at dotted path `name` in place; a swept field takes one value, or several as another grid.

    Raises:
        ConfigError: no such field, or a value of another type than the field's.
    """
    *parents, last = name.split(".")
    holder: Any = config
    for depth, key in enumerate(parents):
        holder = _child(holder, key, ".".join(parents[: depth + 1]), name)
    if isinstance(holder, list | tuple):
        raise ConfigError(name, "an element of a list cannot be overridden by itself; override the whole list")
    if not isinstance(holder, ConfigDict):
        raise ConfigError(name, f"config.{'.'.join(parents)} is {holder!r} and has no fields")
    if last not in holder:
        known = [*FIELDS, *SECTIONS] if not parents else list(holder)
        if not (is_component(holder) or last in FIELDS or (not parents and last in SECTIONS)):
            raise ConfigError(name, f"no such field{nearest(last, known)} Fields here: {listed(sorted(known), 30)}")
    current: Any = holder.get(last)
    if is_sweep(current) and isinstance(value, list | tuple):
        if not any(isinstance(item, list | tuple) for item in current.get("values", ())):
            value = grid(*value)
    elif is_component(current) and isinstance(value, str):
        value = component(value)
    elif not (is_sweep(current) or is_component(current) or is_sweep(value) or is_component(value)):
        value = _fitting(value, current, name)
    with holder.ignore_type(), holder.unlocked():
        if last in holder:
            del holder[last]  # a ConfigDict refuses to replace a section by a plain value
        holder[last] = value


def _child(holder: Any, key: str, path: str, name: str) -> Any:
    if isinstance(holder, list | tuple) and key.isdigit() and int(key) < len(holder):
        return holder[int(key)]
    if isinstance(holder, ConfigDict) and key in holder:
        return holder[key]
    known = list(holder) if isinstance(holder, ConfigDict) else []
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
        return float(value)
    elif isinstance(current, tuple | list):
        fits = isinstance(value, tuple | list)
    else:
        fits = isinstance(value, type(current))
    if not fits:
        raise ConfigError(name, f"wrong type: found {value!r}, a {type(current).__name__} as {current!r} is expected")
    return value


_CALLS = {"grid": grid, "uniform": uniform, "log_uniform": log_uniform, "int_uniform": int_uniform}
_CALLS["component"] = component


def parse_value(text: str, current: Any = None) -> Any:
    """Read a command-line value: a Python literal, `grid(…)` and friends, `component(…)`, otherwise a string."""
    if isinstance(current, str):
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return _evaluated(ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError, TypeError):
        return text


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        keywords = {word.arg: _evaluated(word.value) for word in node.keywords if word.arg}
        return _CALLS[node.func.id](*[_evaluated(argument) for argument in node.args], **keywords)
    return ast.literal_eval(node)


def current_value(config: ConfigDict, name: str) -> Any:
    """Return the value at a dotted path, or None where there is none."""
    value: Any = config
    for key in name.split("."):
        value = value.get(key) if isinstance(value, ConfigDict) else None
    return value

"""Study configs: the words to write them, loading with overrides, the plain frozen form and its hash.

A config is an `ml_collections.ConfigDict`. A component is stored as `{"component": name, **parameters}`, a sweep as
plain data (`{"sweep": "absolute", "values": [...]}` for `grid`). Below this module only the plain form travels:
nested dicts, tuples and numbers, as `plain` returns it.

Synopsis:

    >>> from ml_collections import ConfigDict
    >>> from mlgym_jax.config import component, grid, canonical_json, plain
    >>> config = ConfigDict()
    >>> config.optimizer = component("adam", learning_rate=grid(1e-3, 1e-2))
    >>> canonical_json(plain(config))
    '{"optimizer":{"component":"adam","learning_rate":{"sweep":"absolute","values":[0.001,0.01]}}}'
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import numbers
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections
from ml_collections import ConfigDict

from mlgym_jax.errors import ConfigError, MlgymError, listed, nearest

Path = tuple[str, ...]

# Top-level fields that are no components: name -> (type, default, what it says). None as default: required.
FIELDS: dict[str, tuple[type, Any, str]] = {
    "name": (str, "study", "the study's name"),
    "seed": (int, 0, "the seed of parameters, batch order and dropout; may be swept"),
    "split_seed": (int, 0, "the seed of the validation split, the same for every experiment unless swept"),
    "num_epochs": (int, None, "passes over the training part"),
    "checkpoint_interval_seconds": (float, 30.0, "seconds between checkpoint writes; 0 writes each epoch"),
    "evaluation_splits": (tuple, ("train", "val", "test"), "splits that are evaluated after each epoch, where present"),
}
# Sections that are components; True: required.
SECTIONS: dict[str, bool] = {
    "dataset": True,
    "validation": False,
    "loader": False,
    "model": True,
    "loss": True,
    "optimizer": True,
    "metrics": False,
    "early_stopping": False,
    "checkpointing": False,
    "search": False,
}
DEFAULT_SECTIONS = {
    "validation": {"component": "holdout", "val": 0.2},
    "loader": {"component": "in_memory"},
    "checkpointing": {"component": "last"},
}


def component(name: str, **parameters: Any) -> ConfigDict:
    """Name a registered component and its parameters, for a section of a config."""
    if not isinstance(name, str):
        raise MlgymError(f"component(…): the first argument is a registered name, found {name!r}")
    return ConfigDict({"component": name, **parameters}, allow_dotted_keys=True)


def grid(*values: Any) -> ConfigDict:
    """Sweep over `values`; several grids in a config make their product."""
    return ConfigDict({"sweep": "absolute", "values": list(values)})


def uniform(low: float, high: float) -> ConfigDict:
    """Sample uniformly from [low, high) in a random search."""
    return ConfigDict({"sweep": "uniform", "low": low, "high": high})


def log_uniform(low: float, high: float) -> ConfigDict:
    """Sample with a uniform logarithm from [low, high) in a random search."""
    return ConfigDict({"sweep": "log_uniform", "low": low, "high": high})


def int_uniform(low: int, high: int) -> ConfigDict:
    """Sample integers uniformly from low to high, both included, in a random search."""
    return ConfigDict({"sweep": "int_uniform", "low": low, "high": high})


def is_component(value: Any) -> bool:
    return isinstance(value, Mapping | ConfigDict) and "component" in value


def is_sweep(value: Any) -> bool:
    return isinstance(value, Mapping | ConfigDict) and "sweep" in value


def dotted(path: Path) -> str:
    return ".".join(path)


def plain(value: Any, path: Path = ()) -> Any:
    """Turn a config into plain data (dicts, tuples, str, bool, int, float, None).

    Raises:
        ConfigError: a value that cannot be recorded, such as a function or an array, with its path.
    """
    if isinstance(value, ConfigDict | Mapping):
        return {str(key): plain(item, (*path, str(key))) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(plain(item, (*path, str(index))) for index, item in enumerate(value))
    if isinstance(value, ml_collections.FieldReference):
        return plain(value.get(), path)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        if math.isfinite(number):
            return number
        raise ConfigError(dotted(path), f"{number} cannot be recorded in JSON; leave it out or use a finite number")
    raise ConfigError(
        dotted(path),
        f"a {type(value).__name__} cannot be recorded in a config, so the run could not be repeated from it; "
        "name it (a string, a number, a component) or register a component that makes it",
    )


def canonical_json(config: Mapping[str, Any]) -> str:
    """Serialise a plain config: sorted keys, no spaces; `json.loads` of it gives the config back."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON, as hex."""
    return hashlib.sha256(canonical_json(config).encode()).hexdigest()


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Iterate depth first over (path, value) of everything inside plain data, itself first."""
    yield path, value
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from walk(value[key], (*path, key))
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from walk(item, (*path, str(index)))


def replaced(value: Any, path: Path, new: Any) -> Any:
    """Return plain data with the value at `path` replaced; nothing is changed in place."""
    if not path:
        return new
    head, *rest = path
    if isinstance(value, Mapping):
        return {**value, head: replaced(value[head], tuple(rest), new)}
    return tuple(replaced(item, tuple(rest), new) if str(i) == head else item for i, item in enumerate(value))


def validated(config: Any) -> dict[str, Any]:
    """Return the plain form of a config with defaults filled in, its top level checked.

    Raises:
        ConfigError: an unknown or missing field or section, a wrong type, an empty sweep.
    """
    if not isinstance(config, ConfigDict | Mapping):
        raise MlgymError(f"a config is an ml_collections.ConfigDict, found {type(config).__name__}")
    study = plain(config)
    for name, value in study.items():
        _check_top_level(name, value)
    for name, required in SECTIONS.items():
        if required and name not in study:
            raise ConfigError(name, f"missing; write config.{name} = component(…)")
    for name, default in DEFAULT_SECTIONS.items():
        if study.get(name) is None:
            study[name] = default
    study = {name: value for name, value in study.items() if value is not None}
    for name, (_, default, meaning) in FIELDS.items():
        if name not in study:
            if default is None:
                raise ConfigError(name, f"missing: {meaning}; write config.{name} = …")
            study[name] = default
    for path, value in walk(study):
        if is_sweep(value):
            _check_sweep(value, path)
    return study


def _check_top_level(name: str, value: Any) -> None:
    if name in FIELDS:
        kind, _, meaning = FIELDS[name]
        for candidate in value["values"] if is_sweep(value) and "values" in value else [value]:
            if is_sweep(candidate):
                continue
            fits = isinstance(candidate, (kind, int) if kind is float else kind) and not isinstance(candidate, bool)
            if not fits:
                raise ConfigError(name, f"{meaning}: a {kind.__name__} is expected, found {candidate!r}")
            if kind in (int, float) and name != "seed" and candidate < (1 if name == "num_epochs" else 0):
                raise ConfigError(name, f"{meaning}: found {candidate!r}, which is too small")
            if name == "seed" and not 0 <= candidate < 2**32:
                raise ConfigError(name, f"{meaning}: found {candidate!r}, allowed are 0 to 4294967295")
        return
    if is_component(value) or is_sweep(value) or value is None:
        return
    if isinstance(value, Mapping) and all(is_component(item) or is_sweep(item) for item in value.values()):
        return
    known = [*FIELDS, *SECTIONS]
    if name in SECTIONS:
        example = "dict(accuracy=component('accuracy'))" if name == "metrics" else "component('…')"
        raise ConfigError(name, f"a component is expected, found {value!r}; write config.{name} = {example}")
    raise ConfigError(
        name,
        f"unknown field{nearest(name, known)} Fields: {listed(FIELDS)}; sections: {listed(SECTIONS)}; "
        "a section of your own must be a component",
    )


_RANGES = ("uniform", "log_uniform", "int_uniform")


def _check_sweep(value: Mapping[str, Any], path: Path) -> None:
    kind = value["sweep"]
    if kind == "absolute":
        if not isinstance(value.get("values"), tuple) or not value["values"]:
            raise ConfigError(dotted(path), "empty sweep; write grid(value, …) with at least one value")
        return
    if kind not in _RANGES:
        raise ConfigError(
            dotted(path), f"unknown sweep {kind!r}{nearest(kind, _RANGES)}; use grid, {', '.join(_RANGES)}"
        )
    low, high = value.get("low"), value.get("high")
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high)) or not low < high:
        raise ConfigError(dotted(path), f"{kind}(low, high) needs numbers with low < high, found {low!r}, {high!r}")
    if kind == "log_uniform" and low <= 0:
        raise ConfigError(dotted(path), f"log_uniform(low, high) needs low > 0, found {low!r}")
    if kind == "int_uniform" and not all(isinstance(x, int) for x in (low, high)):
        raise ConfigError(dotted(path), f"int_uniform(low, high) needs integers, found {low!r}, {high!r}")


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
    current = holder.get(last)
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

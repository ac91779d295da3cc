"""Study configs: the words to write them, their validated plain form and its hash.

A config is an `ml_collections.ConfigDict`. A component is stored as `{"component": name, **parameters}`, a sweep as
plain data (`{"sweep": "absolute", "values": [...]}` for `grid`). Below this module only the plain form travels:
nested dicts, tuples and numbers, as `plain` returns it.

Synopsis:

    >>> from ml_collections import ConfigDict
    >>> from mlgym_jax.config.words import component, grid, canonical_json, plain
    >>> config = ConfigDict()
    >>> config.optimizer = component("adam", learning_rate=grid(1e-3, 1e-2))
    >>> canonical_json(plain(config))
    '{"optimizer":{"component":"adam","learning_rate":{"sweep":"absolute","values":[0.001,0.01]}}}'
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from mlgym_jax.config.others_words import meant_field
from mlgym_jax.config.plain_data import is_sweep as is_sweep
from mlgym_jax.config.plain_data import plain as plain
from mlgym_jax.config.ranges import RANGES, check_sweep
from mlgym_jax.config.traversal import Path as Path
from mlgym_jax.config.traversal import dotted as dotted
from mlgym_jax.errors import ConfigError, MlgymError, described, kind_of, listed, nearest

# Top-level fields that are no components: name -> (type, default, what it says). None as default: required.
FIELDS: dict[str, tuple[type, Any, str]] = {
    "name": (str, "study", "the study's name"),
    "seed": (int, 0, "the seed of parameters, batch order and dropout; may be swept"),
    "split_seed": (int, 0, "the seed of the validation split, the same for every experiment unless swept"),
    "num_epochs": (int, None, "passes over the training part"),
    "num_steps": (int, None, "training steps, in place of num_epochs"),
    "evaluate_every_steps": (int, None, "training steps between evaluations; by default those of an epoch"),
    "strict": (bool, False, "an experiment's numbers do not depend on which or how many others run beside it"),
    "checkpoint_interval_seconds": (float, 30.0, "seconds between checkpoint writes; 0 writes each epoch"),
    "evaluation_splits": (tuple, ("train", "val", "test"), "splits that are evaluated after each epoch, where present"),
}
# Of these fields one of the first two is needed, and none is there that was not written.
_LENGTH = ("num_epochs", "num_steps", "evaluate_every_steps")
# More experiments than this are a mistake in the grids rather than a wish: each has a folder and rows in every table.
MAX_EXPERIMENTS = 100_000
# Sections that are components; True: required.
SECTIONS: dict[str, bool] = {
    "dataset": True,
    "validation": False,
    "loader": False,
    "model": True,
    "loss": True,
    "optimizer": True,
    "metrics": False,
    "post_processors": False,
    "encoding": False,
    "sampler": False,
    "augmentation": False,
    "training_step": False,
    "averaging": False,
    "precision": False,
    "remat": False,
    "parallel": False,
    "warm_start": False,
    "early_stopping": False,
    "checkpointing": False,
    "search": False,
    "refit": False,
}
# Sections that hold components by names of the user's own, with an example.
OF_COMPONENTS = {
    "metrics": "accuracy=component('accuracy')",
    "post_processors": "probability=component('softmax')",
}
DEFAULT_SECTIONS = {
    "validation": {"component": "holdout"},  # a part is drawn where the dataset has no split "val" of its own
    "loader": {"component": "in_memory"},
    "checkpointing": {"component": "last"},
}


def component(name: str, /, **parameters: Any) -> ConfigDict:
    """Name a registered component and its parameters, for a section of a config."""
    if not isinstance(name, str):
        raise MlgymError(f"component(…): the first argument is a registered name, found {described(name)}")
    if "component" in parameters:
        raise MlgymError(f"component({name!r}, component=…): no parameter can have this name")
    # Not type safe, so that a config made from another may put a grid in place of a number.
    return ConfigDict({"component": name, **parameters}, allow_dotted_keys=True, type_safe=False)


def grid(*values: Any) -> ConfigDict:
    """Sweep over `values`; several grids in a config make their product."""
    if len(values) > MAX_EXPERIMENTS:
        raise MlgymError(f"grid(…): found {len(values):,} values; a run takes {MAX_EXPERIMENTS:,} experiments at most")
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
    """Tell whether a section names a component."""
    return isinstance(value, Mapping | ConfigDict) and "component" in value


def canonical_json(config: Mapping[str, Any]) -> str:
    """Serialise a plain config, or a resolved one: sorted keys, no spaces; `json.loads` of it gives the plain one."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=dict)


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON, as hex."""
    return hashlib.sha256(canonical_json(config).encode()).hexdigest()


def sweeps(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Iterate over (path, marker) of every sweep in plain data; one among another's values has that one's path."""
    if is_sweep(value):
        yield path, value
        values = value.get("values")
        for item in values if isinstance(values, tuple) else ():
            yield from sweeps(item, path)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from sweeps(value[key], (*path, key))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from sweeps(item, (*path, str(index)))


def validated(config: Any) -> dict[str, Any]:
    """Return the plain form of a config with defaults filled in, its top level checked.

    Raises:
        ConfigError: an unknown or missing field or section, a wrong type, an empty sweep.
    """
    if not isinstance(config, ConfigDict | Mapping):
        raise MlgymError(f"a config is an ml_collections.ConfigDict, found {type(config).__name__}")
    if any(not isinstance(name, str) or not name for name in config):
        raise MlgymError(f"config: its fields have names, found {listed(map(repr, config), 40)}")
    study = plain(config)
    for name, value in study.items():
        check_top_level(name, value)
    if "validation" in study and study["validation"] is None:
        study["validation"] = {"component": "holdout", "val": 0.0}  # said to be none, which is not to say nothing
    for name, required in SECTIONS.items():
        if required and study.get(name) is None:
            like = nearest(name, [other for other in study if other not in SECTIONS and other not in FIELDS])
            hint = f"{like} Write" if like != "." else "; write"
            raise ConfigError(name, f"missing{hint} config.{name} = component(…)")
    for name, default in DEFAULT_SECTIONS.items():
        if study.get(name) is None:
            study[name] = default
    study = {name: value for name, value in study.items() if value is not None}
    _check_length(study)
    for name, (_, default, _) in FIELDS.items():
        if name not in study and name not in _LENGTH:
            study[name] = default
    for path, marker in sweeps(study):
        check_sweep(marker, path)
    return study


def _check_length(study: Mapping[str, Any]) -> None:
    found = [name for name in ("num_epochs", "num_steps") if name in study]
    if not found:
        raise ConfigError(
            "num_epochs",
            f"missing: {FIELDS['num_epochs'][2]}; write config.num_epochs = …, or config.num_steps = … to count steps",
        )
    if len(found) > 1:
        raise ConfigError(
            "num_steps",
            f"found {described(study['num_steps'], 40)} beside num_epochs = {described(study['num_epochs'], 40)}; "
            "one of them says how long to train: set the other one to None, as in --config.num_epochs=None",
        )


def _choices(value: Any) -> list[Any]:
    """List the values that a field may take, those of its sweep and of sweeps inside it, or the ends of its range."""
    if not is_sweep(value):
        return [value]
    if value["sweep"] in RANGES:  # whatever lies between its ends is like them
        return [value.get("low"), value.get("high")]
    values = value.get("values")
    return [choice for item in values for choice in _choices(item)] if isinstance(values, tuple) else []


def check_top_level(name: str, value: Any) -> None:
    """Refuse a top-level field or section, perhaps swept, that is unknown or of a wrong type.

    Raises:
        ConfigError: see there.
    """
    if name == "search" and is_sweep(value):
        raise ConfigError(name, "a search cannot be swept itself; write config.search = component(…)")
    for choice in _choices(value):
        if value is None and (name not in FIELDS or name in _LENGTH):
            continue
        if name in FIELDS:
            _check_field(name, choice)
        elif name in SECTIONS:
            _check_section(name, choice)
        elif not is_component(choice) and choice is not None and not _holds_components(choice):
            raise ConfigError(
                name,
                f"unknown field{meant_field(name, [*FIELDS, *SECTIONS])} Fields: {listed(FIELDS)}; sections: "
                f"{listed(SECTIONS, 20)}; a section of your own must be a component",
            )


def check_chosen(name: str, value: Any) -> None:
    """Refuse what a search chose for a field or section, as if it had been written there.

    Raises:
        ConfigError: see `check_top_level`; or None where something is needed.
    """
    check_top_level(name, value)
    if value is None and name in SECTIONS:
        _check_section(name, value)


def _check_field(name: str, value: Any) -> None:
    kind, _, meaning = FIELDS[name]
    if kind is bool and isinstance(value, bool):
        return
    if not isinstance(value, (kind, int) if kind is float else kind) or isinstance(value, bool):
        raise ConfigError(name, f"{kind_of(kind)} is expected, found {described(value)} ({meaning})")
    if name in ("seed", "split_seed") and not 0 <= value < 2**32:
        raise ConfigError(name, f"found {value!r}, allowed are 0 to 4294967295 ({meaning})")
    least = {**dict.fromkeys(_LENGTH, 1), "checkpoint_interval_seconds": 0}.get(name)
    if least is not None and not least <= value < 2**31:
        bound = f"at least {least}" if value < least else "at most 2147483647"
        raise ConfigError(name, f"{bound} is expected, found {described(value, 40)} ({meaning})")
    if name == "evaluation_splits" and not all(isinstance(item, str) for item in value):
        raise ConfigError(name, f"strings are expected, found {described(value)} ({meaning})")
    if name == "evaluation_splits" and len({*value}) < len(value):
        raise ConfigError(name, f"a split is named twice in {described(value)} ({meaning})")


def _check_section(name: str, value: Any) -> None:
    if name not in OF_COMPONENTS:
        if not is_component(value) and (value is not None or SECTIONS[name] or name in DEFAULT_SECTIONS):
            known = {"refit": "component('selected')", "validation": "component('holdout', val=0.0)"}
            example = known.get(name, "component('…')") if value is None or name == "refit" else "component('…')"
            example = f"component({value!r}, …)" if isinstance(value, str) and value else example
            raise ConfigError(
                name, f"a component is expected, found {described(value)}; write config.{name} = {example}"
            )
        return
    if value is not None and (is_component(value) or not isinstance(value, Mapping) or not _holds_components(value)):
        raise ConfigError(
            name,
            f"components by names of your own are expected, found {described(value)}; "
            f"write config.{name} = dict({OF_COMPONENTS[name]})",
        )
    for key in value or ():
        if "/" in key or "." in key or not key or (name, key) == ("metrics", "loss"):
            why = "is the score of the loss itself" if key == "loss" else "is no name of a score"
            raise ConfigError(f"{name}.{key}", f"{key!r} {why}; choose another name, of letters, digits and _")


def _holds_components(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(is_component(choice) or choice is None for item in value.values() for choice in _choices(item))

"""What `run.json` says of where a run's numbers come from: versions, commit, machine, command."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlgym_jax.run_folder.trust import MADE_BY, user

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml-collections", "tensorflow-datasets", "numpy")
_DECIDING = ("mlgym-jax", "jax", "jaxlib", "flax", "optax", "numpy")  # what a run's numbers depend on
# Settings of JAX that change numbers without a word, and flags of XLA that change none.
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_default_matmul_precision",
    "jax_default_dtype_bits",
    "jax_random_seed_offset",
    "jax_high_dynamic_range_gumbel",
    "jax_softmax_custom_jvp",
    "jax_use_direct_linearize",
    "jax_allow_f16_reductions",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_exec_time_optimization_effort",
    "jax_compiler_enable_remat_pass",
)
_HARMLESS_FLAGS = ("--xla_force_host_platform_device_count", "--xla_dump")

Versions = Mapping[str, str | None]


def describe(*, source: str | None, fingerprints: Mapping[str, str], config_hash: str) -> dict[str, Any]:
    """Return what `run.json` records of a run's making: command, versions, commit, data."""
    return {
        MADE_BY: user(),
        "command": command_line(),
        "working_directory": os.getcwd(),
        "config_file": os.path.abspath(source) if source else None,
        "config_hash": config_hash,
        "data_fingerprint": dict(fingerprints),
        "git": git_commit(os.path.dirname(os.path.abspath(source)) if source else os.getcwd()),
        "versions": versions(),
        "platform": platform.platform(),
        "processor": processor(),
        "memory_bytes": memory_bytes(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "launches": [],
    }


def processor() -> str:
    """Name the processor and count its usable cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {cores} cores"


def memory_bytes() -> int | None:
    """Return the size of the machine's memory, if it says."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def command_line() -> list[str]:
    """Return the words that this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]


@functools.cache
def _version(package: str) -> str | None:
    """Return what is installed: to find out takes a millisecond, and what is loaded stays what it is."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Return the versions of Python, this package and those that its numbers depend on."""
    packages = {package: _version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), "mlgym-jax": _version("mlgym-jax"), **packages}


def launched_versions(record: Mapping[str, Any]) -> list[Versions]:
    """Return the versions of each launch that a `run.json` holds; older ones recorded them once, for the first."""
    launches = record.get("launches") or [{}]
    return [launch.get("versions") or record.get("versions") or {} for launch in launches]


def changed_versions(then: Sequence[Versions], now: Versions, *, deciding: bool = True) -> dict[str, list[str]]:
    """Return what was installed in other versions than now: name -> the versions then, each once, and last the one now.

    Args:
        then: the versions of one launch or more.
        deciding: only those packages that a run's numbers depend on.
    """
    changed = {}
    for name in _DECIDING if deciding else now:
        found = list(dict.fromkeys(str(versions[name]) for versions in then if name in versions))
        if set(found) - {str(now[name])}:
            changed[name] = [*found, str(now[name])]
    return changed


def settings() -> dict[str, Any]:
    """Return the settings of JAX and XLA that a run's numbers depend on, as they are in this process."""
    import jax

    known = jax.config.values
    found = {name: getattr(jax.config, name, known[name]) for name in _SETTINGS if name in known}
    plain = {
        name: value if value is None or isinstance(value, bool | int) else str(value) for name, value in found.items()
    }
    return {**plain, "xla_flags": os.environ.get("XLA_FLAGS", "")}


def launched_settings(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of each launch that a `run.json` holds; older ones recorded the first launch's XLA flags."""
    launches = record.get("launches") or [{}]
    flags = {"xla_flags": record["xla_flags"]} if "xla_flags" in record else {}
    return [launch.get("settings") or ({} if number else flags) for number, launch in enumerate(launches)]


def changed_settings(then: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what was set otherwise than now: name -> the values then, each once, and last the one now."""
    changed = {}
    for name in now:
        value = _compared(name, now[name])
        found = list(dict.fromkeys(_compared(name, launch[name]) for launch in then if name in launch))
        if set(found) - {value}:
            changed[name] = [*found, value]
    return changed


def _compared(name: str, value: Any) -> str:
    if name != "xla_flags":
        return str(value)
    return " ".join(sorted(flag for flag in str(value).split() if not flag.startswith(_HARMLESS_FLAGS))) or "none"


def in_words(changed: Mapping[str, Sequence[str]]) -> list[str]:
    """Say what `changed_versions` or `changed_settings` found, one each: `jax 0.10.2 then, 0.12.0 now`."""
    return [f"{name} {' and '.join(then)} then, {now} now" for name, (*then, now) in changed.items()]


def git_commit(folder: str) -> dict[str, Any] | None:
    """Return {"commit", "dirty"} of the repository that holds `folder`, or None."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, timeout=10)

    try:
        head = git("rev-parse", "HEAD")
        if head.returncode != 0:
            return None
        return {"commit": head.stdout.strip(), "dirty": git("diff", "--quiet", "HEAD").returncode != 0}
    except (OSError, subprocess.TimeoutExpired):
        return None

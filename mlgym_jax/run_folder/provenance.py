"""What `run.json` says of where a run's numbers come from: versions, commit, machine, command."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml-collections", "tensorflow-datasets", "numpy")


def describe(*, source: str | None, fingerprints: Mapping[str, str], config_hash: str) -> dict[str, Any]:
    """Return what `run.json` records of a run's making: command, versions, commit, data."""
    return {
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


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Return the versions of Python, this package and those that its numbers depend on."""
    packages = {package: _version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), "mlgym-jax": _version("mlgym-jax"), **packages}


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

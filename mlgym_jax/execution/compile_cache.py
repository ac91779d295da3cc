"""The persistent compilation cache: a config's second run finds its programs compiled."""

from __future__ import annotations

import hashlib
import os
import pathlib
import platform

import jax

VARIABLE = "MLGYM_JAX_CACHE_DIR"
_MIN_COMPILE_SECONDS = 0.2


def use_compile_cache() -> None:
    """Let JAX keep compiled programs in a folder of the user's cache, unless JAX was told about one already.

    The environment variable `MLGYM_JAX_CACHE_DIR` names another folder; `off` keeps nothing. Programs for different
    processors and versions are kept apart, so that a home folder may be shared by the machines of a cluster.
    """
    home = cache_home()
    if home is None or jax.config.values["jax_compilation_cache_dir"]:
        return
    try:
        where = home / "compiled" / machine()
        where.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a cache that cannot be written is none
    if not os.access(where, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(where))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def cache_home() -> pathlib.Path | None:
    """Return the folder of what may be forgotten: $MLGYM_JAX_CACHE_DIR, else the user's cache folder; None if off."""
    folder = os.environ.get(VARIABLE, "")
    if folder:
        return None if folder == "off" else pathlib.Path(folder)
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "mlgym_jax"


def machine() -> str:
    """Name what compiled code depends on: the processor's features and the version of the compiler."""
    words = [platform.machine(), platform.processor(), jax.__version__]
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            words += next(([line] for line in file if line.startswith(("flags", "Features"))), [])
    except OSError:
        pass
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]

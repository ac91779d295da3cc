"""The persistent compilation cache: a config's second run finds its programs compiled."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import pathlib
import platform
from collections.abc import Iterator

import jax

from mlgym_jax.events.cache import cache_home

_KEPT_FROM = "jax_persistent_cache_min_compile_time_secs"
_MIN_COMPILE_SECONDS = 0.2


def use_compile_cache() -> None:
    """Let JAX keep compiled programs in a folder of the user's cache, unless JAX was told about one already.

    The environment variable `MLGYM_JAX_CACHE_DIR` names another folder; `off` keeps nothing. Programs for different
    processors and versions are kept apart, so that a home folder may be shared by the machines of a cluster.
    """
    where = _folder()
    if where is None:
        return
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a cache that cannot be written is none
    if os.access(where, os.W_OK):
        _use(where)


@contextlib.contextmanager
def reading_compile_cache() -> Iterator[None]:
    """Let what was compiled before be found while this is entered, and nothing be kept."""
    where = _folder()
    if where is not None and where.is_dir():
        _use(where)
    before = jax.config.values[_KEPT_FROM]
    jax.config.update(_KEPT_FROM, math.inf)
    try:
        yield
    finally:
        jax.config.update(_KEPT_FROM, before)


def _folder() -> pathlib.Path | None:
    """Return where compiled programs are kept; None if nowhere, or where JAX was told."""
    home = cache_home()
    if home is None or jax.config.values["jax_compilation_cache_dir"]:
        return None
    return home / "compiled" / machine()


def _use(where: pathlib.Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(where))
    jax.config.update(_KEPT_FROM, _MIN_COMPILE_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def machine() -> str:
    """Name what compiled code depends on: the processor's features and the version of the compiler."""
    words = [platform.machine(), platform.processor(), jax.__version__]
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            words += next(([line] for line in file if line.startswith(("flags", "Features"))), [])
    except OSError:
        pass
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]

"""Where what may be forgotten is kept: compiled programs, chosen plans, what lists show of runs."""

from __future__ import annotations

import os
import pathlib

VARIABLE = "MLGYM_JAX_CACHE_DIR"


def cache_home() -> pathlib.Path | None:
    """Return the folder of what may be forgotten: $MLGYM_JAX_CACHE_DIR, else the user's cache folder; None if off."""
    folder = os.environ.get(VARIABLE, "")
    if folder:
        return None if folder == "off" else pathlib.Path(folder)
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "mlgym_jax"

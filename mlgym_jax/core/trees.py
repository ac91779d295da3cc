"""Names of the leaves of a tree."""

from __future__ import annotations

from typing import Any

import jax


def path_name(path: Any) -> str:
    """Join a tree path with slashes, as in `Dense_0/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")

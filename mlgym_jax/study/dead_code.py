"""Ask a traced program what its outputs depend on, with what only looks used left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.interpreters import partial_eval


def reads(jaxpr: Any, number: int, used_outputs: Sequence[bool]) -> bool:
    """Tell whether any of the outputs that are used is computed of the input of a number."""
    return partial_eval.dce_jaxpr(jaxpr, list(used_outputs))[1][number]

"""What a sweep marker in plain data may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlgym_jax.config.traversal import Path, dotted
from mlgym_jax.errors import ConfigError, described, nearest

_LARGEST = 10**300  # of the ends of a range: a float, whose difference from another one is a float, too
RANGES = ("uniform", "log_uniform", "int_uniform")


def check_sweep(value: Mapping[str, Any], path: Path) -> None:
    """Refuse a sweep marker, as `grid` and its like make them, that is none.

    Raises:
        ConfigError: empty, unknown, or a range without numbers from a lower to a higher one.
    """
    kind = value["sweep"]
    if path[0] == "refit":
        raise ConfigError(dotted(path), "a refit trains what was selected and cannot be swept itself; write one value")
    if any("." in key for key in path):
        raise ConfigError(dotted(path), "a key with a dot cannot lead to a sweep; rename it")
    if kind == "absolute":
        if not isinstance(value.get("values"), tuple) or not value["values"]:
            raise ConfigError(dotted(path), "empty sweep; write grid(value, …) with at least one value")
        return
    if kind not in RANGES:
        raise ConfigError(
            dotted(path), f"unknown sweep {described(kind)}{nearest(kind, RANGES)} Use grid, {', '.join(RANGES)}."
        )
    low: Any = value.get("low")
    high: Any = value.get("high")
    shown = f"found {described(low, 40)}, {described(high, 40)}"
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high)) or not low < high:
        raise ConfigError(dotted(path), f"{kind}(low, high) needs numbers with low < high, {shown}")
    if not (low > -_LARGEST and high < _LARGEST):
        raise ConfigError(dotted(path), f"{kind}(low, high) needs numbers below 1e300, {shown}")
    if kind == "log_uniform" and low <= 0:
        raise ConfigError(dotted(path), f"log_uniform(low, high) needs low > 0, {shown}")
    if kind == "int_uniform" and not all(isinstance(x, int) for x in (low, high)):
        raise ConfigError(dotted(path), f"int_uniform(low, high) needs integers, {shown}")

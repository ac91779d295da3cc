"""Fractions in what schedules count: of epochs they are meant, of steps they are refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from mlgym_jax.core.clock import clock
from mlgym_jax.errors import ConfigError


def step_number(step: Any) -> int | float:
    """Return the number that a boundary is, which JSON writes as text; whole ones as int."""
    number = float(step)
    return int(number) if number.is_integer() else number


def marked(schedule: Callable[..., Any], given: Mapping[str, Any], counts: Collection[str]) -> Callable[..., Any]:
    """Return a schedule that says which of its counts, or of those inside of it, is no whole number, if one is.

    Args:
        counts: the parameters that count steps.
    """
    found = [(key, given[key]) for key in counts if isinstance(given.get(key), float)]
    items: Any
    for key, value in given.items():
        if key in ("boundaries", "boundaries_and_scales") and value is not None:
            found += [(f"{key}.{step}", step) for step in value if not float(step).is_integer()]
        items = value if isinstance(value, list | tuple) else ()
        for number, item in enumerate(items):
            if hasattr(item, "fraction"):
                found.append((f"{key}.{number}.{item.fraction[0]}", item.fraction[1]))
            elif isinstance(item, Mapping):  # of sgdr_schedule
                found += [
                    (f"{key}.{number}.{name}", count)
                    for name, count in item.items()
                    if name.endswith("_steps") and not float(count).is_integer()
                ]
    if found:
        schedule.fraction = found[0]  # type: ignore[attr-defined]
    return schedule


def refuse(given: Mapping[str, Any]) -> None:
    """Refuse a schedule that counts fractions of steps among the parameters of an optimizer.

    Raises:
        ConfigError: at `optimizer.<parameter>.<count>`.
    """
    for key, value in given.items():
        if hasattr(value, "fraction"):
            name, count = value.fraction
            raise ConfigError(
                f"optimizer.{key}.{name}",
                f"found {count}, but steps are counted here, so an integer is expected; epochs have fractions: "
                f"{key}=component('in_epochs', schedule=component(…))",
            )


def whole_or_not(of_steps: Callable[..., Any], of_epochs: Callable[..., Any]) -> Callable[..., Any]:
    """Return the schedule that asks the second where epochs are counted, and else the first."""
    return lambda count: (of_epochs if clock().in_epochs else of_steps)(count)

"""What a group's epochs measure: the names of its scores, and of what is recorded besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mlgym_jax.components.graph import Components
from mlgym_jax.components.registry import registrations
from mlgym_jax.core.record import Record
from mlgym_jax.core.scoring import interval_of
from mlgym_jax.events.ranking import default_mode
from mlgym_jax.study.checks import check_monitor


class Measured(NamedTuple):
    """What is measured on splits, by names such as `val/accuracy`.

    Attributes:
        names: the scores.
        intervals: every how many epochs each of them is computed.
        records: what is recorded besides: every how many epochs, None for those that are kept and the last.
    """

    names: tuple[str, ...]
    intervals: Mapping[str, int]
    records: Mapping[str, int | None]


_CHOOSES = ("checkpointing", "early_stopping", "search", "validation", "refit")


def odd_modes(study: Mapping[str, Any], search: Any) -> tuple[str, ...]:
    """Say where a plain config takes the highest loss or error for the best, or the lowest of a built-in metric.

    And where it chooses by scores of the split `test`.
    """
    said = []
    of_search = {name: getattr(search, name, None) for name in ("monitor", "mode")}
    metrics = {"metrics": study.get("metrics")}  # alone: what these sections say is what is looked at
    for section in _CHOOSES:
        own = of_search if section == "search" else study.get(section)
        monitor, mode = (own.get("monitor"), own.get("mode")) if isinstance(own, Mapping) else (None, None)
        if isinstance(monitor, str) and monitor.startswith("test/"):
            said.append(
                f"config.{section}.monitor is {monitor!r}: what is chosen by the split 'test' fits it, so that its "
                "scores there are better than those of new data; choose by 'val/…'"
            )
        if not isinstance(monitor, str) or mode not in ("min", "max") or mode == default_mode(monitor, metrics):
            continue
        _, _, metric = monitor.partition("/")
        component = (study.get("metrics") or {}).get(metric) or {}
        known = {entry.name for entry in registrations("metric") if entry.is_built_in}
        if mode == "max" and metric == "loss":
            better = "lower"
        elif isinstance(component, Mapping) and component.get("component") in known:
            better = "lower" if mode == "max" else "higher"
        else:
            continue
        said.append(
            f"config.{section}.mode is {mode!r}, and {monitor} is better the {better} it is, so that the worst is "
            f"taken for the best. If that is not meant, write mode={'min' if mode == 'max' else 'max'!r}"
        )
    return tuple(said)


def measured(
    components: Components, search: Any, splits: Sequence[str], scores: Iterable[str], records: Mapping[str, Record]
) -> Measured:
    """Name what is measured of a group, and check that whatever monitors a score has one.

    Args:
        scores, records: by name on a split, as tracing found them.

    Raises:
        ConfigError: something monitors what is no score.
    """
    names = tuple(f"{split}/{score}" for split in splits for score in scores)
    metrics = components.get("metrics", {})
    intervals = {name: interval_of(metrics.get(name.split("/")[1])) for name in names}
    every = {name: getattr(metrics.get(name.split("/")[0]), "every", None) for name in records}
    kinds = {f"{split}/{name}": record.kind for split in splits for name, record in records.items()}
    for section in ("early_stopping", "checkpointing", "validation"):
        check_monitor(section, components.get(section), names, kinds)
    check_monitor("search", search, names, kinds)
    return Measured(names, intervals, {name: every[name.partition("/")[2]] for name in kinds})

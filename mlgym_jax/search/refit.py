"""Refit: what was selected over the folds trains once more, on all of the training split. Pure functions of the log.

Nothing is held out of a refit, so no score of it says how well it does: that is what the folds were for.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from mlgym_jax.components.registry import register
from mlgym_jax.components.tree import resolved
from mlgym_jax.config.words import canonical_json
from mlgym_jax.errors import ConfigError, described, listed, nearest
from mlgym_jax.events import ExperimentView, default_monitor
from mlgym_jax.events.selection import cross_validated, without_seed
from mlgym_jax.search.strategy import Assignment

Length = Mapping[str, int | None]
_FOLDED = ("cross_validation", "nested_cross_validation", "time_series")


@dataclasses.dataclass(frozen=True)
class Refit:
    """What a refit trains for how long; None stands for what the folds say."""

    num_epochs: int | None
    num_steps: int | None
    monitor: str | None
    mode: Literal["min", "max"] | None


@register("refit", "selected")
def selected(
    *,
    num_epochs: int | None = None,
    num_steps: int | None = None,
    monitor: str | None = None,
    mode: Literal["min", "max"] | None = None,
) -> Refit:
    """Train the hyperparameters that the folds selected once more, on all of the training split.

    After `cross_validation` or `time_series`, they are those with the best mean of `monitor` over the folds. After
    `nested_cross_validation`, whose outer scores are made by then, they are those with the best mean over the inner
    folds of all outer folds. The dataset's own other splits, such as `test`, stay untrained. Each seed of the selected
    hyperparameters is refitted. As nothing is held out, there is no early stopping, and the last epoch is what is kept.

    Args:
        num_epochs: by default the median of the epochs that were best on each fold (of two in the middle, the later).
        num_steps: training steps in place of epochs; the same by default where the folds are evaluated by steps.
        monitor, mode: by default what `report` ranks by: the monitor of checkpointing or early stopping, else the first
            validation metric. A nested run selects by its own.

    Raises:
        ConfigError: less than 1 epoch or step, both of them, or a monitor without its mode.
    """
    for name, number in (("num_epochs", num_epochs), ("num_steps", num_steps)):
        if number is not None and number < 1:
            raise ConfigError(
                f"refit.{name}", f"found {number}; at least 1 is needed, or leave it out: the folds say how many"
            )
    if num_epochs is not None and num_steps is not None:
        raise ConfigError("refit.num_steps", f"found {num_steps} beside num_epochs={num_epochs}; leave one of them out")
    if monitor is not None and mode is None:
        raise ConfigError("refit.mode", f"missing; say which {monitor} is better: write mode='max' or mode='min'")
    if mode is not None and monitor is None:
        raise ConfigError("refit.monitor", f"missing; mode={mode!r} goes with it: write monitor='val/…', or leave both")
    return Refit(num_epochs, num_steps, monitor, mode)


def rule(refit: Refit, config: Mapping[str, Any], names: Sequence[str]) -> tuple[str, str]:
    """Return by which score a refit selects, (monitor, mode), given the names of all scores.

    Raises:
        ConfigError: nothing can be selected: there are no folds, or there is no such validation score.
    """
    validation = config["validation"]
    kind = validation.get("component")
    short = kind.removeprefix("validation/") if isinstance(kind, str) else None
    if short not in _FOLDED:
        found = described(kind) if kind is not None else "a sweep"
        raise ConfigError(
            "refit",
            f"it needs folds to select over, and config.validation is {found}; write config.validation = "
            f"component('cross_validation', folds=5), or leave config.refit out. With folds: {listed(_FOLDED)}",
        )
    monitor, mode = refit.monitor, refit.mode
    if short == "nested_cross_validation":
        own = validation["monitor"], validation["mode"]
        if monitor is not None and (monitor, mode) != own:
            raise ConfigError(
                "refit.monitor",
                f"found {monitor!r}, mode {mode!r}, but a nested run selects by config.validation.monitor, {own[0]!r}, "
                f"mode {own[1]!r}; leave monitor and mode out of config.refit",
            )
        return own
    if monitor is None or mode is None:
        monitor, mode = default_monitor(names, config)
    validated = [name for name in names if name.startswith("val/")]
    if monitor not in validated:
        what = "no such score will exist" if monitor not in names else "selection reads a validation score of the folds"
        raise ConfigError(
            "refit.monitor",
            f"found {monitor!r}; {what}{nearest(str(monitor), validated)} Write monitor='val/…', mode='…'. "
            f"Scores: {listed(validated, 40)}",
        )
    return monitor, mode


def choose(
    refit: Refit, experiments: Iterable[ExperimentView], monitor: str, mode: str
) -> tuple[dict[str, Any], Length] | None:
    """Select what to refit from all that trained on the folds.

    Returns:
        ({"monitor", "mode", "experiments": the ids of all trainings of what was selected}, for how long it trains);
        None where nothing has a finite score on every fold.
    """
    views = list(experiments)
    found = cross_validated(views, monitor, mode)
    if found is None:
        return None
    key = canonical_json(found["selected"])
    members = [view for view in views if canonical_json(without_seed(view.hyperparameters)) == key]
    best = [(view, scored[0]) for view in members if (scored := view.best(monitor, mode)) is not None]
    origin = {"monitor": monitor, "mode": mode, "experiments": [view.experiment_id for view in members]}
    if refit.num_epochs or refit.num_steps:
        return origin, {"num_epochs": refit.num_epochs, "num_steps": refit.num_steps}
    if any(length_of(view.config or {})[by] for view, _ in best for by in ("num_steps", "evaluate_every_steps")):
        steps = [view.epoch_steps[view.epoch_numbers.index(epoch)] or 0 for view, epoch in best]
        return origin, {"num_epochs": None, "num_steps": statistics.median_high(steps)}
    return origin, {"num_epochs": statistics.median_high(epoch for _, epoch in best), "num_steps": None}


def length_of(config: Mapping[str, Any]) -> Length:
    """Return what of a config says how long a training is, and when it is evaluated; None for what it does not say."""
    return {name: config.get(name) for name in ("num_epochs", "num_steps", "evaluate_every_steps")}


def assignments(trained: Sequence[Assignment], length: Length) -> list[Assignment]:
    """Return what a refit trains, one a seed, given the assignments of all trainings of what was selected."""
    seeds = {item.config["seed"]: Assignment(item.hyperparameters, _refitted(item.config, length)) for item in trained}
    return list(seeds.values())


def _refitted(config: Mapping[str, Any], length: Length) -> dict[str, Any]:
    """Return a config that trains on all of the training split for so long, and keeps the last."""
    left = ("early_stopping", "refit", *length)
    kept = {name: value for name, value in config.items() if name not in left}
    return resolved(
        {
            **kept,
            **{name: number for name, number in length.items() if number is not None},
            "validation": {"component": "holdout", "val": 0.0},
            "checkpointing": {"component": "last"},
        }
    )

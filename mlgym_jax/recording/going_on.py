"""What a run that goes on may change of its config: how long it trains, and how often it writes checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlgym_jax.config.words import is_sweep
from mlgym_jax.errors import ConfigError, described
from mlgym_jax.search.refit import length_of
from mlgym_jax.study.job import Job


def change(
    config: Any, num_epochs: int | None, num_steps: int | None, checkpoint_interval_seconds: float | None
) -> None:
    """Change a run's recorded config in place; None changes nothing.

    Raises:
        ConfigError: the run sweeps the field, counts its length otherwise, or is longer already.
    """
    longer = {"num_epochs": num_epochs, "num_steps": num_steps}
    for name, value in {**longer, "checkpoint_interval_seconds": checkpoint_interval_seconds}.items():
        if value is None or value == config.get(name):
            continue
        if config.get(name) is None:
            other = next(other for other in longer if other != name)
            raise ConfigError(
                name, f"the run's length is {other}={config[other]}, so {other} alone can be more when it goes on"
            )
        if is_sweep(config[name]) or is_sweep(value):
            raise ConfigError(name, "it is swept, which would make other experiments; a resumed run cannot change it")
        if name in longer and not isinstance(value, int):
            raise ConfigError(name, f"found {described(value)}, an integer is expected")
        if name in longer and value < config[name]:
            raise ConfigError(name, f"the run has {config[name]} already, {value} is fewer")
        config[name] = value


def check_goes_on(job: Job, before: Mapping[str, Any]) -> None:
    """Refuse to go on behind a last evaluation that came after fewer steps than all others.

    Args:
        before: the length that the run had.
    """
    now = length_of(job.group.config)
    if job.is_refit or any(is_sweep(value) for value in before.values()) or now == {**before}:
        return
    was = job.cadence.of_length(num_epochs=before["num_epochs"], num_steps=before["num_steps"])
    if was.ends_early:
        name = "num_steps" if before["num_steps"] is not None else "num_epochs"
        raise ConfigError(
            name,
            f"the run's {max(was.totals)} steps end with {max(was.totals) % was.stretch} after an evaluation, and one "
            f"comes every {was.stretch}; what would come next is not what a longer run does. Start a new one, with "
            "component('experiment', …) as its warm_start to go on from this one's parameters",
        )

"""What a search is: which experiments to try, and which of them train no further. Pure functions, one Protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

from mlgym_jax.components.registry import adapts
from mlgym_jax.search.contest import Contender, History


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One point of the sweep: the swept values, flat by dotted path, and the resolved config with them in place."""

    hyperparameters: Mapping[str, Any]
    config: Mapping[str, Any]


# What has trained so far: how each experiment competes, and its scores.
Finished = Sequence[tuple[Contender, History]]


@runtime_checkable
class Strategy(Protocol):
    """What a section `search` builds. Who inherits from it has to say only what it proposes.

    Attributes:
        monitor: the score that it reads, so that a study without that score is refused; None for none.
        is_adaptive: whether it proposes more from what has trained. What such a one proposed is read from the log when
            a run is resumed; any other is asked again.
    """

    monitor: str | None
    is_adaptive: bool

    def propose(self, study: Mapping[str, Any], finished: Finished) -> list[Assignment]:
        """Return what to try next, given a resolved study without its section `search` and all that has trained.

        Returns:
            [] after the last.
        """
        ...

    def stopped(self, contenders: Sequence[Contender], histories: Sequence[History], epoch: int) -> dict[int, str]:
        """Return which of the experiments that trained just to `epoch` train no further, and why.

        It is a function of the histories alone, so that a resumed or repeated run drops the same ones.
        """
        return {}

    def check(self, intervals: Sequence[Mapping[str, int]], num_epochs: int) -> None:
        """Refuse a study that it cannot search: of each group, every how many epochs each score is computed.

        Raises:
            ConfigError: at `search.…`.
        """


@dataclasses.dataclass(frozen=True)
class Once(Strategy):
    """Try at once what a function of the study lists, each to its end."""

    monitor, is_adaptive = None, False
    listed: Callable[[Mapping[str, Any]], list[Assignment]]

    def propose(self, study: Mapping[str, Any], finished: Finished) -> list[Assignment]:
        return [] if finished else self.listed(study)


@adapts("search")
def as_strategy(built: Any) -> Any:
    """Let a plain function `(study) -> assignments` be a strategy."""
    if callable(built) and not {"propose", "stopped"} & {*dir(built)}:
        return Once(cast(Callable[..., Any], built))
    return built

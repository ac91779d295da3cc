"""Successive halving: of each rung's experiments only the best train on. Pure functions of histories.

Synopsis:

    >>> from mlgym_jax.search.halving import Contender, successive_halving
    >>> halving = successive_halving(min_epochs=1, monitor="val/loss", mode="min")
    >>> contenders = [Contender(0, name) for name in "abc"]
    >>> halving.stopped(contenders, [[{"val/loss": 0.3}], [{"val/loss": 0.1}], [{"val/loss": 0.2}]], epoch=1)
    {0: 'successive halving: 3rd of 3 at epoch 1', 2: 'successive halving: 2nd of 3 at epoch 1'}
"""

from __future__ import annotations

import dataclasses
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError
from mlgym_jax.search.contest import Contender, History
from mlgym_jax.search.strategy import Assignment, Finished, Strategy
from mlgym_jax.search.sweep import WHOLE_GRID

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SuccessiveHalving(Strategy):
    """Asks another search for the experiments, and says at each rung which of them train no further."""

    eta: int
    min_epochs: int
    monitor: str
    mode: str
    search: Strategy
    is_adaptive = False

    def propose(self, study: Mapping[str, Any], finished: Finished) -> list[Assignment]:
        try:
            return [] if finished else self.search.propose(study, finished)
        except ConfigError as error:
            raise error.moved("search", "search.search") from error

    def check(self, intervals: Sequence[Mapping[str, int]], num_epochs: int) -> None:
        """Refuse to halve by a score that is not there in time; warn where nothing will ever be halved."""
        every = max(every[self.monitor] for every in intervals)
        if every > self.min_epochs:
            raise ConfigError(
                "search.min_epochs", f"found {self.min_epochs}, but {self.monitor} is computed every {every} epochs"
            )
        if num_epochs <= self.min_epochs:
            _LOG.warning(
                "config.search.min_epochs is %d and num_epochs %d: nothing will be halved", self.min_epochs, num_epochs
            )

    def rung_before(self, epoch: int) -> int | None:
        """Return the rung below the one at `epoch`, 0 below the first; None where `epoch` is no rung."""
        before, rung = 0, self.min_epochs
        while rung < epoch:
            before, rung = rung, rung * self.eta
        return before if rung == epoch else None

    def stopped(self, contenders: Sequence[Contender], histories: Sequence[History], epoch: int) -> dict[int, str]:
        """Return which of the experiments that trained just to `epoch` stop there, and why.

        A candidate's score is the mean of its experiments' best scores up to the rung; the worst, if one has none. Of
        the n candidates that trained past the rung before, the ceil(n / eta) best go on.
        """
        before = self.rung_before(epoch)
        if before is None:
            return {}
        members: dict[Contender, list[int]] = {}
        for number, contender in enumerate(contenders):
            members.setdefault(contender, []).append(number)
        reasons: dict[int, str] = {}
        for contest in sorted({contender.contest for contender in contenders}):
            pool = {
                contender: statistics.fmean(self._best(histories[number], epoch) for number in numbers)
                for contender, numbers in members.items()
                if contender.contest == contest and max(len(histories[number]) for number in numbers) > before
            }
            ranking = sorted(pool, key=lambda contender: -pool[contender])
            for place, contender in enumerate(
                ranking[math.ceil(len(pool) / self.eta) :], math.ceil(len(pool) / self.eta)
            ):
                why = f"successive halving: {_ordinal(place + 1)} of {len(pool)} at epoch {epoch}"
                reasons.update({n: why for n in members[contender] if len(histories[n]) == epoch})
        return dict(sorted(reasons.items()))

    def _best(self, history: History, epoch: int) -> float:
        """Return the best score up to an epoch so that larger is better; minus infinity for none."""
        sign = 1 if self.mode == "max" else -1
        scores = [sign * scores[self.monitor] for scores in history[:epoch] if self.monitor in scores]
        return max((score for score in scores if math.isfinite(score)), default=-math.inf)


@register("search", "successive_halving")
def successive_halving(
    *,
    eta: int = 3,
    min_epochs: int,
    monitor: str,
    mode: Literal["min", "max"],
    search: Strategy | None = None,
) -> SuccessiveHalving:
    """Train all experiments for `min_epochs`, the best 1/eta of them to eta times as many, and so on.

    What stops leaves its share of the devices to the others (Jamieson and Talwalkar, 2016). Folds and seeds of the same
    hyperparameters are averaged, and stay or stop together. Groups train one after the other: a later one's experiments
    also compete with all that the earlier ones' reached at the same rung (as in ASHA, Li et al., 2020).

    Args:
        search: which experiments to try: by default the product of all grids; or `component("random",
            num_experiments=27)`.

    Raises:
        ConfigError: eta below 2, or min_epochs below 1.
    """
    if eta < 2:
        raise ConfigError("search.eta", f"found {eta}; of eta experiments one goes on, so at least 2 is needed")
    if min_epochs < 1:
        raise ConfigError("search.min_epochs", f"found {min_epochs}; at least 1 epoch is needed to compare anything")
    return SuccessiveHalving(eta, min_epochs, monitor, mode, search or WHOLE_GRID)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"

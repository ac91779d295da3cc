"""When a training is evaluated: after each epoch, or after every so many steps, which then take an epoch's place.

Synopsis:

    >>> cadence = Cadence(steps_per_epoch=(10, 9), totals=(25, 25), every=4)
    >>> cadence.num_evaluations, [cadence.steps_after(number, fold=1) for number in (1, 6, 7)]
    (7, [4, 24, 25])
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from mlgym_jax.core.state import Batch


@dataclasses.dataclass(frozen=True)
class Cadence:
    """How many steps trainings have, and when they are evaluated.

    Attributes:
        steps_per_epoch: of each fold.
        totals: steps of each fold's whole training.
        every: steps between evaluations; None for an epoch, whose steps may differ between folds.
    """

    steps_per_epoch: tuple[int, ...]
    totals: tuple[int, ...]
    every: int | None = None

    @property
    def num_evaluations(self) -> int:
        """How often a training is evaluated; the last time may come after fewer steps than the others."""
        if self.every is None:
            return self.totals[0] // self.steps_per_epoch[0]
        return -(-max(self.totals) // self.every)

    def steps_after(self, number: int, fold: int) -> int:
        """Return the steps that a training on this fold has done at an evaluation, counted from 1."""
        return min(number * (self.every or self.steps_per_epoch[fold]), self.totals[fold])

    @property
    def stretch(self) -> int:
        """Steps from one evaluation to the next, those of the largest fold."""
        return max(self.steps_per_epoch) if self.every is None else min(self.every, max(self.totals))

    @property
    def has_rests(self) -> bool:
        """Whether some fold has fewer steps than others before an evaluation."""
        return self.every is not None and any(total % self.stretch or total < max(self.totals) for total in self.totals)

    @property
    def ends_early(self) -> bool:
        """Whether some fold's last evaluation comes after fewer steps than the others."""
        return self.every is not None and any(total % self.every for total in self.totals)

    def of_length(self, *, num_epochs: int | None, num_steps: int | None) -> Cadence:
        """Return the same for trainings of another length."""
        return cadence_of(self.steps_per_epoch, num_epochs=num_epochs, num_steps=num_steps, every=self.every)

    @property
    def epochs_at_once(self) -> int:
        """Of how many epochs there are steps between two evaluations, at most."""
        return max(_touched(self.stretch, steps) for steps in {*self.steps_per_epoch})


def _touched(stretch: int, steps: int) -> int:
    """Return how many epochs of `steps` meet one of the stretches that follow each other from the first step on."""
    if steps % stretch == 0:
        return 1
    return stretch // steps if stretch % steps == 0 else (stretch + steps - 2) // steps + 1


def cadence_of(
    steps_per_epoch: Sequence[int], *, num_epochs: int | None, num_steps: int | None, every: int | None
) -> Cadence:
    """Return the cadence of trainings that last `num_epochs` or `num_steps`, evaluated each epoch or `every` steps.

    What ends with an epoch wherever it is evaluated is counted in epochs, however it was written.
    """
    steps = tuple(steps_per_epoch)
    totals = tuple((num_epochs or 0) * own for own in steps) if num_steps is None else (num_steps,) * len(steps)
    if every is None and num_steps is not None:
        every = max(steps)
    whole = all(own == every for own in steps) and all(
        total % own == 0 for total, own in zip(totals, steps, strict=True)
    )
    return Cadence(steps, totals, None if whole else every)


def stretch_order(
    cadence: Cadence, order_of_epoch: Callable[[jax.Array], Batch], fold: jax.Array, number: jax.Array
) -> Batch:
    """Return the batches before evaluation `number`, an array with the axis of steps, of the epochs that they are of.

    Args:
        order_of_epoch: (epoch, counted from 1) -> {"indices": int32[steps, batch], "mask": bool[steps, batch]}.
        fold: int32[]; number: int32[], counted from 1.
    """

    def own(values: tuple[int, ...]) -> jax.Array:
        return jnp.asarray(values, jnp.int32)[fold if len({*values}) > 1 else 0]

    an_epoch, total = own(cadence.steps_per_epoch), own(cadence.totals)
    first = (number - 1) * (cadence.every or 0)
    before, most = first // an_epoch, cadence.epochs_at_once
    steps = first + jnp.arange(cadence.stretch, dtype=jnp.int32)
    orders = jax.lax.map(order_of_epoch, before + jnp.arange(1, most + 1, dtype=jnp.int32))
    # Behind the last step there is nothing to train; what stands there is masked out.
    at = jnp.minimum(steps // an_epoch - before, most - 1), steps % an_epoch
    return {"indices": orders["indices"][at], "mask": orders["mask"][at] & (steps < total)[:, None]}

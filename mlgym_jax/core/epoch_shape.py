"""How the splits of folds of all sizes are cut into batches: the static sizes that an epoch is compiled for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from mlgym_jax.core.buckets import Buckets
from mlgym_jax.core.cadence import Cadence


@dataclasses.dataclass(frozen=True)
class Cut:
    """How a split is cut into batches, for folds of all sizes.

    Attributes:
        number: batches of `size` rows, those of the largest fold.
        size: rows of a batch; masks tell padding from examples.
        tails: rows of a fold's last, smaller batch, which runs in its true size: all that occur, in ascending order, 0
            for a fold without one; () where padding and masks serve.
        may_skip: whether a smaller fold can have fewer batches of examples than `number`.
    """

    number: int
    size: int
    tails: tuple[int, ...] = ()
    may_skip: bool = False

    @property
    def num_rows(self) -> int:
        """Rows that the batches of an epoch hold, padding included."""
        return self.number * self.size + max(self.tails, default=0)


def padded(sizes: Sequence[int], batch_size: int) -> Cut:
    """Cut splits of these sizes into padded batches."""
    number = -(-max(sizes) // batch_size)
    return Cut(number, batch_size, may_skip=-(-min(sizes) // batch_size) < number)


def full_and_rest(sizes: Sequence[int], batch_size: int) -> Cut:
    """Cut splits of these sizes into full batches and one last, smaller batch, none of which is padded."""
    rests = tuple(sorted({size % batch_size for size in sizes}))
    number = max(sizes) // batch_size
    return Cut(number, batch_size, rests if any(rests) else (), min(sizes) // batch_size < number)


@dataclasses.dataclass(frozen=True)
class EpochShape:
    """The sizes that a compiled epoch is built for.

    Attributes:
        train: how the training part is cut into steps.
        num_steps: training steps an epoch, those of the largest fold.
        eval_batches: split -> how it is cut for the evaluation.
        cadence: where evaluations come after other steps than an epoch's, when; `train` holds those between them.
        true_sizes: rows of the smaller batches that run in their true size wherever among these steps they come.
        buckets: the lengths that batches of sequences are cut to; None where all have the whole one.
    """

    train: Cut
    num_steps: int
    eval_batches: Mapping[str, Cut]
    shuffle: bool
    cadence: Cadence | None = None
    true_sizes: tuple[int, ...] = ()
    buckets: Buckets | None = None

    @property
    def batch_size(self) -> int:
        """Examples a step."""
        return self.train.size

    @property
    def steps_at_once(self) -> int:
        """Training steps from one evaluation to the next, those of the largest fold."""
        return self.num_steps if self.cadence is None else self.train.number


def epoch_shape(
    sizes: Mapping[str, tuple[int, ...]],
    *,
    batch_size: int,
    eval_batch_size: int,
    shuffle: bool,
    drop_last: bool,
    evaluated: tuple[str, ...],
    sees_padding: Callable[[bool], bool],
) -> EpochShape:
    """Derive the static sizes from the folds' sizes.

    Args:
        sees_padding: whether training (True) or evaluation (False) is of batches, not of single examples, as batch
            statistics and contrastive losses are: what they compute would change with padding, so that the last batch
            of each fold runs in its true size. It is asked where there would be padding alone.
    """
    found = sizes["train"]
    if drop_last:
        train = Cut(min(found) // batch_size, batch_size)
    else:
        train = padded(found, batch_size)
        if any(size % batch_size for size in found) and sees_padding(True):
            train = full_and_rest(found, batch_size)
    even = {split: _even(sizes[split], eval_batch_size) for split in evaluated}
    one_batch = all(cut.number == 1 and {*sizes[split]} == {cut.size} for split, cut in even.items())
    if not one_batch and sees_padding(False):
        even = {
            split: cut if {*sizes[split]} == {cut.size} else full_and_rest(sizes[split], eval_batch_size)
            for split, cut in even.items()
        }
    steps = train.number if drop_last else -(-max(found) // batch_size)
    return EpochShape(train=train, num_steps=steps, eval_batches=even, shuffle=shuffle)


def evaluated_by(shape: EpochShape, cadence: Cadence) -> EpochShape:
    """Return the sizes that are compiled for where evaluations come by a cadence; else an epoch's."""
    if cadence.every is None:
        return shape
    train = Cut(cadence.stretch, shape.train.size, may_skip=cadence.has_rests)
    sizes = tuple(size for size in shape.train.tails if size)
    return dataclasses.replace(shape, train=train, cadence=cadence, true_sizes=sizes)


def streamed(shape: EpochShape, cadence: Cadence) -> EpochShape:
    """Return the sizes for batches that come from outside: every batch is one of a stretch, tails among them."""
    uneven = cadence.every is None and len({*cadence.steps_per_epoch}) > 1
    train = Cut(cadence.stretch, shape.train.size, may_skip=uneven or cadence.has_rests)
    sizes = tuple(size for size in (*shape.train.tails, *shape.true_sizes) if size)
    evaluated = {
        split: Cut(cut.number + any(cut.tails), cut.size, cut.tails, cut.may_skip)
        for split, cut in shape.eval_batches.items()
    }
    return dataclasses.replace(shape, train=train, cadence=cadence, true_sizes=sizes, eval_batches=evaluated)


def rows_evaluated(sizes: Sequence[int], batch_size: int) -> int:
    """Return how many rows a batch has in which a split is evaluated, unless it would see its padding."""
    return _even(sizes, batch_size).size


def _even(sizes: Sequence[int], batch_size: int) -> Cut:
    """Cut splits of these sizes into batches of one size, which hardly have padding."""
    number = -(-max(sizes) // batch_size)
    return Cut(number, -(-max(sizes) // number))

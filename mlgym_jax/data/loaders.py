"""Loader components: how examples become batches."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from mlgym_jax.components.registry import register
from mlgym_jax.errors import ConfigError, described, listed

if TYPE_CHECKING:
    from mlgym_jax.core.buckets import Buckets  # which imports JAX, as reading data does not

_LARGEST = 1 << 24


@dataclasses.dataclass(frozen=True)
class Stream:
    """How batches are read.

    Attributes:
        num_workers: threads or processes that read; prefetch: calls whose batches are read before they are needed.
        skips: leave examples out that cannot be read; processes: read in processes, not in threads.
    """

    num_workers: int = 2
    prefetch: int = 2
    skips: bool = False
    processes: bool = False


@dataclasses.dataclass(frozen=True)
class Loader:
    """How a table in memory is cut into batches.

    Attributes:
        batch_size: examples a training step.
        eval_batch_size: examples an evaluation step; None lets the engine choose.
        shuffle: draw a new order each epoch (a pure function of seed and epoch).
        drop_last: leave out a last, smaller batch of an epoch; folds then train as many steps as the smallest has.
        microbatches: parts of a batch, of which one at a time is in memory; see `core.microbatches`.
        stream: how batches are read while training goes on; None where the table is in memory.
        buckets: the lengths that batches of sequences are cut to; None where all have the whole one.
    """

    batch_size: int = 32
    eval_batch_size: int | None = None
    shuffle: bool = True
    drop_last: bool = False
    microbatches: int = 1
    stream: Stream | None = None
    buckets: Buckets | None = None

    def num_steps(self, num_examples: int) -> int:
        """Return the number of training steps an epoch over `num_examples` takes.

        Raises:
            ConfigError: at `loader.batch_size`, if `drop_last` leaves no batch at all.
        """
        if self.drop_last:
            if 0 < num_examples < self.batch_size:
                raise ConfigError(
                    "loader.batch_size",
                    f"found {self.batch_size}, but there are only {num_examples} training examples and drop_last=True "
                    f"drops the one batch; set batch_size to at most {num_examples} or drop_last=False",
                )
            return num_examples // self.batch_size
        return -(-num_examples // self.batch_size)


@register("loader", "in_memory")
def in_memory(
    *,
    batch_size: int = 32,
    eval_batch_size: int | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    microbatches: int = 1,
) -> Loader:
    """Keep the whole table in the device's memory and gather batches from it by index.

    Args:
        batch_size: examples a training step, at least 1.
        eval_batch_size: examples an evaluation step; by default the engine chooses.
        shuffle: draw a new order each epoch.
        drop_last: leave out a last, smaller batch of an epoch; folds then train as many steps as the smallest has.
        microbatches: parts of a batch whose gradients are added up inside of a step, for less memory: the numbers are
            those of the whole batch, to rounding, but for what a model draws, such as dropout, of which each part has
            its own. It divides batch_size.

    Raises:
        ConfigError: at `loader.batch_size` or `loader.eval_batch_size`, if below 1; at `loader.microbatches`, if it
            does not divide batch_size.
    """
    check_sizes(batch_size, eval_batch_size)
    check_microbatches(microbatches, batch_size)
    return Loader(batch_size, eval_batch_size, shuffle, drop_last, microbatches)


@register("loader", "streaming")
def streaming(
    *,
    batch_size: int = 32,
    eval_batch_size: int | None = None,
    num_workers: int = 2,
    shuffle: bool = True,
    prefetch: int = 2,
    on_bad_record: Literal["error", "skip"] = "error",
    drop_last: bool = False,
    microbatches: int = 1,
    workers: Literal["threads", "processes"] = "threads",
) -> Loader:
    """Read batches while training goes on, from arrays, memory-mapped ones too, or any source with random access.

    Data may be larger than memory. A batch is read once and trains all experiments of a group that have its fold. The
    order of an epoch is drawn from the split seed, fold and epoch, not from an experiment's own seed. Encodings
    read all training data once before, and once more for each further step of a `chain` that learns something; medians
    (`impute`) three times. Samplers read the fields that they weigh by once, too, and draw by the split seed and fold.

    Args:
        batch_size: examples a training step, at least 1.
        eval_batch_size: examples an evaluation step; by default the engine chooses.
        num_workers: threads, or processes, that read and decode.
        shuffle: draw a new order each epoch, of all examples, without holding it in memory. Row groups of Parquet files
            are drawn as a whole, and mixed in windows.
        prefetch: how many calls of the compiled program are read ahead.
        on_bad_record: what is done about an example that cannot be read, or holds NaN, an infinity, or a class that
            there is not: `error` ends the experiments with its number, `skip` leaves it out, masked, and says so.
        drop_last: leave out a last, smaller batch of an epoch; folds then train as many steps as the smallest has.
        microbatches: parts of a batch whose gradients are added up inside of a step, as for `in_memory`.
        workers: `processes` read where decoding is Python's own work, of which threads do one at a time. They hand
            over what they read, which records of one size are not worth: `threads` read these at the disk's pace. The
            numbers are the same. A process that ends is told with the record that it read.

    Raises:
        ConfigError: at `loader.workers`: the dataset cannot be sent to processes; at the parameter, if a number is
            below 1, or microbatches do not divide batch_size.
    """
    check_sizes(batch_size, eval_batch_size)
    check_microbatches(microbatches, batch_size)
    for name, number in (("num_workers", num_workers), ("prefetch", prefetch)):
        if number < 1:
            raise ConfigError(f"loader.{name}", f"found {number}; at least 1 is expected")
    stream = Stream(num_workers, prefetch, on_bad_record == "skip", workers == "processes")
    return Loader(batch_size, eval_batch_size, shuffle, drop_last, microbatches, stream)


def check_sizes(batch_size: int, eval_batch_size: int | None) -> None:
    """Refuse batches of no example, or of very many.

    Raises:
        ConfigError: at `loader.batch_size` or `loader.eval_batch_size`.
    """
    for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
        if size is not None and size < 1:
            raise ConfigError(f"loader.{name}", f"found {size}; a batch has at least 1 example")
    if batch_size > _LARGEST:  # a batch takes the memory of all its rows, also of those that are padding
        raise ConfigError(
            "loader.batch_size", f"found {described(batch_size, 40)}; a batch has at most {_LARGEST:,} examples"
        )


def check_microbatches(microbatches: int, batch_size: int) -> None:
    """Refuse a number of parts that does not divide a batch.

    Raises:
        ConfigError: at `loader.microbatches`.
    """
    if microbatches < 1 or batch_size % microbatches:
        divisors = [number for number in range(1, min(batch_size, 4096) + 1) if batch_size % number == 0]
        near = min(divisors, key=lambda number: abs(number - microbatches))
        raise ConfigError(
            "loader.microbatches",
            f"found {described(microbatches, 40)}, which does not divide batch_size={batch_size} into equal parts; the "
            f"nearest that does is {near}. Allowed: {listed(divisors, 20)}",
        )

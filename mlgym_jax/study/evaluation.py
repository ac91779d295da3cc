"""A job that trains nothing and evaluates one split: what runs a job's epochs computes its scores as in training."""

from __future__ import annotations

import dataclasses

import numpy as np

from mlgym_jax.core.epoch_shape import Cut, EpochShape, streamed
from mlgym_jax.data.bucketed import by_length
from mlgym_jax.data.dataset import Table
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.errors import MlgymError, listed, nearest
from mlgym_jax.study.batches import shape_of
from mlgym_jax.study.encoding import encoded
from mlgym_jax.study.job import Job

# The name that the split has in such a job: what an epoch evaluates as "train" is not measured in its steps.
SPLIT = "train"


def evaluating(job: Job, split: str, table: Table | None = None) -> Job:
    """Return a job of no steps whose only split, `SPLIT`, holds the examples of a split.

    What the folds know of their training parts (encodings, class counts) stays.

    Args:
        table: other data, all rows of which every fold takes; by default the job's own split.

    Raises:
        MlgymError: the job has no split of that name.
    """
    if table is None:
        if split not in job.folds.indices:
            known = [*job.folds.indices]
            raise MlgymError(
                f"split: there is no split {split!r}{nearest(split, known)} Splits: {listed(known)}. Write "
                f"--split={known[-1]}, in Python split={known[-1]!r}"
            )
        indices, mask, sizes = job.folds.indices[split], job.folds.mask[split], job.folds.sizes[split]
    else:
        number = len(next(iter(table.arrays.values())))
        indices = np.tile(np.arange(number, dtype=np.int32), (job.folds.num_folds, 1))
        mask, sizes = np.ones(indices.shape, bool), (number,) * job.folds.num_folds
    folds = dataclasses.replace(job.folds, indices={SPLIT: indices}, mask={SPLIT: mask}, sizes={SPLIT: sizes})
    cut = job.shape.eval_batches.get(split) if table is None else None
    buckets = job.shape.buckets
    if cut is None:
        found = _shape(job, sizes, table or job.table)
        cut, buckets = found.eval_batches[SPLIT], found.buckets
    shape = dataclasses.replace(
        job.shape,
        train=Cut(0, job.shape.batch_size),
        num_steps=1,
        eval_batches={SPLIT: cut},
        cadence=None,
        true_sizes=(),
        buckets=buckets,
    )
    scores = dict.fromkeys(name.partition("/")[2] for name in job.names)
    tables = {**job.fold_tables, "indices": folds.indices, "mask": folds.mask}
    if shape.buckets is not None:
        tables = by_length(shape.buckets, (table or job.table).arrays, tables)
    return dataclasses.replace(
        job,
        table=table or job.table,
        folds=folds,
        fold_tables=tables,
        shape=shape,
        names=tuple(f"{SPLIT}/{name}" for name in scores),
        records={},
    )


def _shape(job: Job, sizes: tuple[int, ...], table: Table) -> EpochShape:
    """Cut a split that is not evaluated in training as those that are."""
    elements = sum(int(np.prod(np.shape(leaf)[1:])) for field, leaf in table.arrays.items())
    shape = shape_of(
        job.program,
        job.abstract,
        job.components["loader"],
        table.arrays,
        lambda batch: encoded(job.components, job.fold_tables, 0, batch),
        {SPLIT: sizes},
        cadence=job.cadence,
        evaluated=(SPLIT,),
        elements=max(1, elements),
    )
    return streamed(shape, job.cadence) if isinstance(table, StreamedTable) else shape

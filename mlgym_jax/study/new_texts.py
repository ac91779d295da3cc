"""Texts that were not there in training, for a model whose encoding reads a column of texts by its vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mlgym_jax.data.by_column import knowing
from mlgym_jax.data.fold_tables import fold_tables
from mlgym_jax.study.job import Job


def knowing_texts(job: Job, more: Mapping[str, Sequence[str]]) -> Job:
    """Return a job whose encoding knows more texts of some columns, by the codes that follow those of training.

    Vocabulary and weights stay those of each fold's training part, which are found again from the job's own data.

    Args:
        more: column -> its new texts, each once.
    """
    if not any(more.values()):
        return job
    encoding = knowing(job.components["encoding"], more)
    found = fold_tables(job.components["dataset"], job.table, job.folds, encoding)
    return dataclasses.replace(job, fold_tables={**job.fold_tables, "fitted": found["fitted"]})

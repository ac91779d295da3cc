"""What a study learns from, data, tokenizers and teachers: written into the run's record, and compared by a resume."""

from __future__ import annotations

from typing import Any

from mlgym_jax.config.words import config_hash
from mlgym_jax.data import one_pass
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.run_folder import tokenizers
from mlgym_jax.study.expand import Study


def record_learnt_from(run_dir: str, record: dict[str, Any], study: Study) -> None:
    """Write the fingerprints of a study's data and the checksums of its teachers.

    The tokenizers of its texts, and what encodings have learnt in one pass, are kept.
    """
    for job in study.jobs:
        tokenizers.write(run_dir, job.group.config["dataset"], job.components["dataset"])
        if isinstance(job.table, StreamedTable) and "encoding" in job.components:
            one_pass.keep(run_dir, config_hash(job.group.config["encoding"]), job.table, job.folds)
    record["data_fingerprint"] = study.fingerprints()
    if teachers := study.teachers():
        record["teachers"] = {**record.get("teachers", {}), **teachers}
    run_folder.write_record(run_dir, record)


def check_learnt_from(run_dir: str, study: Study) -> None:
    """Refuse to go on with other data, or another teacher, than a run has trained with.

    Raises:
        MlgymError: see there.
    """
    record = run_folder.read_record(run_dir)
    recorded = record.get("data_fingerprint") or {}
    for job in study.jobs:
        if recorded.get(layout.group_name(job.group.index)) not in (None, job.table.fingerprint):
            raise MlgymError(
                f"{run_dir}: the data is not what experiment {job.group.ids[0]} was trained on (its fingerprint in "
                f"{layout.RECORD} differs), so going on would mix results; restore the data, or start a new run"
            )
    now, before = study.teachers(), record.get("teachers") or {}
    for place in {*now} & {*before}:
        found, was = now[place], before[place]
        if found["checksum"] != was["checksum"]:
            raise MlgymError(
                f"{run_dir}: the teacher is not the one that was learnt from: of {place} it is epoch {found['epoch']} "
                f"of experiment {found['experiment_id']} in {found['run_dir']}, and was epoch {was['epoch']} of "
                f"experiment {was['experiment_id']} (its checksum in {layout.RECORD} differs), so going on would mix "
                "results; restore that run, or start a new one"
            )

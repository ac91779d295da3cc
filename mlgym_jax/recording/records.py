"""What metrics record besides scores, as events: which of it is due, what it says on the wire, images as files."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlgym_jax.core.record import Curve, Histogram, Image, Matrix, Record, Table, Text
from mlgym_jax.errors import DiskError
from mlgym_jax.events import layout, schema
from mlgym_jax.events.files import write_whole
from mlgym_jax.execution.engine import EpochReport
from mlgym_jax.execution.found import read_records
from mlgym_jax.recording.group_checkpoints import Event, GroupTraining, wanted_epochs
from mlgym_jax.recording.recorder import Recorder


def record_events(training: GroupTraining, report: EpochReport) -> dict[int, list[Event]]:
    """Return the events of what is recorded after an epoch, by row; what the log holds already is not said again.

    What a metric records every so many epochs is due in these; all else in the epochs that are kept, as the strategy
    decides then, and in an experiment's last.
    """
    job, recorder, epoch = training.job, training.recorder, report.epoch
    if not job.records:
        return {}
    is_last = epoch == job.cadence.num_evaluations
    by_choice = any(every is None for every in job.records.values())
    wanted: dict[int, list[str]] = {}
    for row in report.scores:
        number = training.ids[row]
        keeps = by_choice and (is_last or row in report.ended or epoch in wanted_epochs(training, row))
        due = [name for name, every in job.records.items() if (keeps if every is None else epoch % every == 0)]
        wanted[row] = [name for name in due if (number, epoch, name) not in recorder.logged.recorded]
    found = {}
    for row, records in read_records(report.found, {row: names for row, names in wanted.items() if names}).items():
        step = job.cadence.steps_after(epoch, int(job.fold_of_row[row]))
        found[row] = events_of(recorder, training.ids[row], epoch, step, records)
    return found


def events_of(
    recorder: Recorder, experiment_id: int, epoch: int, step: int | None, records: Mapping[str, Record], **of_other: Any
) -> list[Event]:
    """Return the events that say what was recorded of an experiment after an epoch; images are written before.

    Args:
        records: by names such as `val/roc`, of numpy arrays.
        of_other: `dataset`, where they are of other data.

    Raises:
        DiskError: an image cannot be written.
    """
    told = {"experiment_id": experiment_id, "epoch": epoch, "step": step}
    curves, others = [], []
    for key, record in records.items():
        split, _, name = key.partition("/")
        if isinstance(record, Curve | Matrix):
            curves += [{"metric": name, "split": split, **one} for one in drawn(record)]
        else:
            folder = os.path.join(str(recorder.log.path.parent), str(experiment_id))
            fields = {"name": name, "split": split, "kind": record.kind, **_said(record, folder)}
            others.append(recorder.event(schema.recorded, **told, **fields))
    if curves:
        others.insert(0, recorder.event(schema.evaluation_curves, **told, curves=curves, **of_other))
    return others


def drawn(record: Curve | Matrix) -> list[dict[str, Any]]:
    """Return what is drawn of a record, as `evaluation_curves` says it: a matrix, or the lines of curves.

    Of a line, points that are not numbers are left out, and so are those at the place of the point before.
    """
    named = {"x_name": record.x_name, "y_name": record.y_name}
    if isinstance(record, Matrix):
        values = np.asarray(record.values)
        classes = None if record.classes is None else list(record.classes)
        return [{"kind": "matrix", "values": [*map(_numbers, values)], **named, "classes": classes}]
    lines = []
    for number, (x, y) in enumerate(zip(np.asarray(record.x), np.asarray(record.y), strict=True)):
        kept = ~(np.isnan(x) | np.isnan(y))
        at = np.flatnonzero(kept)
        moved = np.append(True, (np.diff(x[at]) != 0) | (np.diff(y[at]) != 0))[: len(at)]
        at = at[moved]
        line = {"kind": "curve", "label": None if record.labels is None else record.labels[number]}
        line |= {"x": _numbers(x[at]), "y": _numbers(y[at]), **named}
        thresholds = record.thresholds
        line["thresholds"] = None if thresholds is None else _numbers(np.asarray(thresholds, np.float32)[at])
        lines.append(line)
    return lines


def _said(record: Record, folder: str) -> dict[str, Any]:
    """Return what a record says on the wire; an image's file is written into an experiment's folder."""
    if isinstance(record, Histogram):
        return {"counts": _numbers(record.counts), "edges": list(record.edges)}
    if isinstance(record, Table):
        rows = np.asarray(record.mask)
        return {"columns": {name: _numbers(np.asarray(column)[rows]) for name, column in record.columns.items()}}
    if isinstance(record, Text):
        values = {name: _plain(np.asarray(value)) for name, value in record.values.items()}
        return {"text": record.template.format(**values)}
    assert isinstance(record, Image)
    pixels = np.asarray(record.pixels)
    name = f"{layout.MEDIA}/{_written(pixels, os.path.join(folder, layout.MEDIA))}"
    return {"file": name, "width": pixels.shape[1], "height": pixels.shape[0]}


def _written(pixels: np.ndarray, folder: str) -> str:
    """Write uint8[height, width, channels] as a PNG file that is named by what it holds; return the name.

    Raises:
        DiskError: the disk refuses.
    """
    data = io.BytesIO()
    from PIL import Image as Pillow  # here, as most runs record no image

    Pillow.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(data, "PNG")
    name = f"{hashlib.sha256(data.getvalue()).hexdigest()}.png"
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        try:
            write_whole(path, data.getvalue(), fsync=False)
        except OSError as error:
            raise DiskError(f"{path}: cannot be written: {error.strerror}") from error
    return name


def _numbers(values: Any) -> list[Any]:
    """Return plain numbers; of float32 the shortest that read back as the same."""
    array = np.asarray(values)
    if array.dtype == np.float32:
        return [float(text) for text in array.astype(str)]
    return array.tolist() if array.dtype.kind in "biu" else [*map(float, array)]


def _plain(value: np.ndarray) -> Any:
    found = _numbers(value.reshape(-1))
    return found[0] if value.ndim == 0 else found if value.ndim == 1 else value.tolist()

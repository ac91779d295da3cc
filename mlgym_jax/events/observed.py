"""The events of what is observed beside scores: curves, media, the machine, messages. `events.schema` builds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from mlgym_jax.events.payload import Number, Payload


class EvaluationCurves(Payload, kw_only=True):
    """The curves and matrices that metrics brought after `epoch`, each of one split.

    Attributes:
        step: training steps done.
        curves: {"metric", "split", "kind": "curve", "label", "x", "y", "x_name", "y_name", "thresholds"}, a line each,
            whose `label` is null where a metric has one line; or {"metric", "split", "kind": "matrix", "values",
            "x_name", "y_name", "classes"}, where `values` are rows, which `y_name` names.
        dataset: the config section of other data, evaluated after training; no field of the run's own data.
    """

    experiment_id: int
    epoch: int
    step: int | None
    curves: Sequence[Mapping[str, Any]]
    dataset: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Recorded(Payload, kw_only=True):
    """What a metric recorded of a split after `epoch` by `mg.record`: a histogram, an image, a table or a text.

    Attributes:
        name: the metric's, and after a slash its part's.
        counts, edges: of a histogram; edges are one more than counts.
        file, width, height: of an image: a PNG file in the experiment's folder, `media/<SHA-256>.png`, and its size.
        columns: of a table: name -> values; text: of a text.
    """

    experiment_id: int
    epoch: int
    step: int | None
    name: str
    split: str
    kind: Literal["histogram", "image", "table", "text"]
    counts: Sequence[int] | msgspec.UnsetType = msgspec.UNSET
    edges: Sequence[Number] | msgspec.UnsetType = msgspec.UNSET
    file: str | msgspec.UnsetType = msgspec.UNSET
    width: int | msgspec.UnsetType = msgspec.UNSET
    height: int | msgspec.UnsetType = msgspec.UNSET
    columns: Mapping[str, Sequence[Number]] | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET


class System(Payload, kw_only=True):
    """What the machine did since the sample before, or since the launch began; null for what is not known.

    Attributes:
        host: the machine's name; seconds: the time that is told of.
        process_cores: processor cores that this process and its finished children kept busy, on average.
        machine_cores, machine_busy: how many cores there are, and how many were busy with anything.
        process_bytes: the process's resident memory; memory_total, memory_available: the machine's, in bytes.
        disk_free: bytes free where the run's folder is; disk_total: its size.
        gpus: {"index", "name", "utilisation": 0 to 1, "memory_used", "memory_total", "watts", "celsius"} of each GPU.
    """

    host: str
    seconds: Number
    process_cores: Number | None
    machine_cores: int | None
    machine_busy: Number | None
    process_bytes: int | None
    memory_total: int | None
    memory_available: int | None
    disk_free: int | None
    disk_total: int | None
    gpus: Sequence[Mapping[str, Any]] = ()


class Message(Payload, kw_only=True):
    """What the run said in words; `source` is the logger that said it, or the warning's category."""

    level: Literal["info", "warning", "error"]
    source: str
    text: str

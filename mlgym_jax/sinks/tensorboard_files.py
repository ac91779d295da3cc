"""TensorBoard: a folder an experiment, with one event file that only grows.

The scores are tensors of one 32-bit number each, as TensorFlow 2 writes its scalars: the loader that TensorBoard
starts with by default takes no others, and shows nothing of doubles. Beside it, in the same tensor, stands the double,
which TensorBoard passes over and our import reads, so that no digit is lost. A torn end, of a process that was killed,
is cut off when the file is opened again.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

from tensorboard.plugins.hparams import metadata, summary_v2
from tensorboard.plugins.scalar.metadata import create_summary_metadata
from tensorboard.plugins.text.metadata import create_summary_metadata as text_metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from mlgym_jax.events.views import ExperimentView, RunView
from mlgym_jax.sinks import facts, messages
from mlgym_jax.sinks.record_files import OUR_TEXT, records

_ENDING = ".mlgym_jax"


class TensorBoardFiles:
    """The sink of one run; `folder` holds a folder an experiment."""

    def __init__(self, run_id: str, folder: str):
        self._run_id, self._folder = run_id, os.path.join(folder, run_id)
        self.place = f"{self._folder}; look at it with: tensorboard --logdir={folder}"
        self._files: dict[int, _File] = {}

    def write(self, run: RunView, experiment: ExperimentView, *, is_over: bool) -> int:
        number = experiment.experiment_id
        file = self._files.get(number)
        if file is None:
            began = facts.began_ms(run, experiment) / 1000
            file = self._files[number] = _File(os.path.join(self._folder, str(number)), began)
        written = 0
        with file:  # open while it is written to: thousands of experiments are more than a process may have open
            if not file.has_hyperparameters:
                began, title = facts.began_ms(run, experiment) / 1000, facts.key(self._run_id, experiment)
                file.add(began, summary_v2.hparams_pb(facts.hyperparameters(experiment), title, began).value)
                file.has_hyperparameters = True
            for epoch in facts.epochs(experiment, file.last_epoch):
                values = [_scalar(name, score) for name, score in facts.scores_with_steps(epoch).items()]
                file.add(epoch.time_ms / 1000, values, epoch.number)
                file.last_epoch = epoch.number
                written += 1
            about = facts.tags(run, self._run_id, experiment)
            if experiment.status in ("DONE", "FAILED") and about != file.about:
                ended = facts.ended_ms(experiment) / 1000
                file.add(ended, [_ending(experiment.status == "FAILED", ended), _text(about)])
                file.about = about
        return written

    def close(self) -> None:
        """Nothing is held back."""


def _scalar(tag: str, number: float) -> Any:
    tensor = messages.tensor.TensorProto(dtype=messages.types.DT_FLOAT, float_val=[number], double_val=[number])
    return messages.summary.Summary.Value(tag=tag, tensor=tensor, metadata=create_summary_metadata("", ""))


def _ending(failed: bool, ended: float) -> Any:
    """Say how an experiment ended, for the page of hyperparameters; the function that makes it needs TensorFlow."""
    status = messages.hparams_api.STATUS_FAILURE if failed else messages.hparams_api.STATUS_SUCCESS
    ending = messages.hparams.SessionEndInfo(status=status, end_time_secs=ended)
    told = metadata.create_summary_metadata(messages.hparams.HParamsPluginData(session_end_info=ending))
    tag, empty = metadata.SESSION_END_INFO_TAG, metadata.NULL_TENSOR
    return messages.summary.Summary.Value(tag=tag, tensor=empty, metadata=told)


def _text(about: dict[str, str]) -> Any:
    told = json.dumps(about, ensure_ascii=False, indent=1).encode()
    tensor = messages.tensor.TensorProto(dtype=messages.types.DT_STRING, string_val=[told])
    return messages.summary.Summary.Value(tag=OUR_TEXT, tensor=tensor, metadata=text_metadata("", ""))


class _File:
    """An experiment's event file, and what it holds already; what another process adds to it is read when it is opened.

    `with file:` is for one process at a time.
    """

    def __init__(self, folder: str, began: float):
        os.makedirs(folder, exist_ok=True)
        there = sorted(glob.glob(os.path.join(glob.escape(folder), f"*{_ENDING}")))
        self._path = there[0] if there else os.path.join(folder, f"events.out.tfevents.{int(began):010d}{_ENDING}")
        self._began, self._size = began, 0
        self._out: BinaryIO | None = None
        self.last_epoch: int | None = None
        self.has_hyperparameters = False
        self.about: dict[str, str] = {}

    def _read(self) -> int:
        """Take note of what is there, cut off a torn end, and return the number of whole records.

        A file of doubles alone, as versions before this one wrote, which TensorBoard does not show, counts as nothing.
        """
        number = end = 0
        self.last_epoch, self.has_hyperparameters, self.about = None, False, {}
        with open(self._path, "r+b") as file:
            for event, behind in records(file):
                number, end = number + 1, behind
                for value in event.summary.value:
                    if value.tag == OUR_TEXT:
                        self.about = json.loads(value.tensor.string_val[0])
                    elif value.metadata.plugin_data.plugin_name == "scalars":
                        if value.tensor.dtype == messages.types.DT_DOUBLE:
                            self.last_epoch, self.has_hyperparameters, self.about = None, False, {}
                            file.truncate(0)
                            return 0
                        self.last_epoch = event.step
                    elif value.tag.startswith("_hparams_/session_start"):
                        self.has_hyperparameters = True
            file.truncate(end)
        return number

    def add(self, wall_time: float, values: Sequence[Any], step: int = 0) -> None:
        """Append one record; the file is open."""
        told = messages.summary.Summary(value=values)
        self._write(messages.event.Event(wall_time=wall_time, step=step, summary=told))

    def _write(self, event: Any) -> None:
        RecordWriter(self._out).write(event.SerializeToString())

    def __enter__(self) -> None:
        out = self._out = open(self._path, "ab")
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(out, fcntl.LOCK_EX)
            size = os.fstat(out.fileno()).st_size
            if not (size == self._size > 0) and not (size and self._read()):
                source = messages.event.SourceMetadata(writer="mlgym_jax")
                began = self._began
                self._write(messages.event.Event(wall_time=began, file_version="brain.Event:2", source_metadata=source))
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        out, self._out = self._out, None
        if out is not None:
            try:
                out.flush()
                self._size = os.fstat(out.fileno()).st_size
            finally:
                out.close()


def open_sink(run_id: str, out: str) -> TensorBoardFiles:
    """Make the sink of a run, in the folder `tensorboard` of `out`."""
    return TensorBoardFiles(run_id, os.path.join(out, "tensorboard"))

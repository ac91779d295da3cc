"""TensorBoard's event files: each folder that has some is an experiment.

Several files in one folder are one experiment that was gone on with, if each goes on where the one before was, or has
other scores; a file that begins anew is another experiment. Folders `train` and `validation`, as Keras writes them, are
one experiment's splits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from tensorboard.util import tensor_util

from mlgym_jax.errors import listed
from mlgym_jax.imports.columns import Column, Imported, by_number, split_of
from mlgym_jax.sinks import messages
from mlgym_jax.sinks.record_files import OUR_TEXT, records

_FLOATS = (1, 2, 3, 9)  # DT_FLOAT, DT_DOUBLE, DT_INT32, DT_INT64
_HPARAMS = "_hparams_/"
_FAILURE = 2  # Status.STATUS_FAILURE


def read(root: str) -> Iterator[Imported]:
    """Yield the experiments below a folder, in the order of their paths."""
    splits: dict[str, Imported] = {}
    for folder, folders, files in os.walk(root):
        folders.sort(key=by_number)
        names = sorted(name for name in files if "tfevents" in name)
        if not names:
            continue
        where = os.path.relpath(folder, root)
        parent, split = os.path.dirname(folder), split_of(os.path.basename(folder))
        found = _of_folder([os.path.join(folder, name) for name in names], where)
        if split is None or folder == root or len(found) > 1:
            yield from found
        else:
            whole = splits.setdefault(parent, Imported(os.path.relpath(parent, root)))
            _take_split(whole, found[0], split)
    yield from splits.values()


def _take_split(whole: Imported, part: Imported, split: str) -> None:
    for tag, column in part.scores.items():
        whole.scores[f"{split}/{tag.removeprefix('epoch_')}"] = column
    whole.hyperparameters.update(part.hyperparameters)
    whole.left_out += part.left_out
    whole.failed |= part.failed


def _of_folder(paths: list[str], name: str) -> list[Imported]:
    found: list[Imported] = []
    for path in paths:
        own = _read_file(path, name)
        if found and _begins_anew(found[-1], own):
            own.name = os.path.join(name, os.path.basename(path))
            found.append(own)
        elif found:
            _go_on(found[-1], own)
        else:
            found.append(own)
    return found


def _begins_anew(before: Imported, own: Imported) -> bool:
    """Tell whether a later file has a score that the ones before have, from the same first step on."""
    shared = [(before.scores[tag], column) for tag, column in own.scores.items() if tag in before.scores]
    return any(column.steps[0] <= earlier.steps[0] for earlier, column in shared)


def _go_on(before: Imported, own: Imported) -> None:
    for tag, column in own.scores.items():
        before.scores.setdefault(tag, Column()).extend(column)
    before.hyperparameters.update(own.hyperparameters)
    before.left_out += own.left_out
    before.failed = own.failed


def _read_file(path: str, name: str) -> Imported:
    found, others, end = Imported(name), set(), 0
    with open(path, "rb") as file:
        for event, behind in records(file):
            end = behind
            time_ms = round(event.wall_time * 1000)
            for value in event.summary.value:
                if value.tag.startswith(_HPARAMS):
                    _take_hyperparameters(found, value.metadata.plugin_data.content)
                    continue
                if value.tag == OUR_TEXT:
                    continue
                number = _number(value)
                if number is None:
                    others.add(value.tag)
                else:
                    found.scores.setdefault(value.tag, Column()).add(event.step, number, time_ms)
        rest = os.fstat(file.fileno()).st_size - end
    if rest:
        found.left_out.append(f"{path}: the last {rest:,} bytes, which are torn or damaged")
    if others:
        found.left_out.append(f"{path}: tags that are no numbers: {listed(sorted(others), 5)}")
    return found


def _number(value: Any) -> float | None:
    """Return a value of a summary, if it is a single number."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return value.simple_value
    tensor = value.tensor
    if kind != "tensor" or tensor.dtype not in _FLOATS or any(size.size != 1 for size in tensor.tensor_shape.dim):
        return None
    if tensor.double_val:
        return tensor.double_val[0]
    return float(tensor_util.make_ndarray(tensor).reshape(-1)[0])


def _take_hyperparameters(found: Imported, content: bytes) -> None:
    data = messages.hparams.HParamsPluginData.FromString(content)
    for name, value in data.session_start_info.hparams.items():
        kind = value.WhichOneof("kind")
        told = getattr(value, kind) if kind and kind != "null_value" else None
        if isinstance(told, float) and told.is_integer() and abs(told) < 2**53:
            told = int(told)
        found.hyperparameters[name] = told
    if data.HasField("session_end_info"):
        found.failed = data.session_end_info.status == _FAILURE

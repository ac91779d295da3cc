"""Outputs for inputs that a user brings: checked against what the model was trained on, computed in batches."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.components.tree import Node
from mlgym_jax.core.inputs import INPUTS, fields_of
from mlgym_jax.core.state import TrainState
from mlgym_jax.data.bag_of_words import text_columns
from mlgym_jax.data.columns import is_frame, of_arrow
from mlgym_jax.data.table_forms import is_missing
from mlgym_jax.errors import MlgymError, described, listed
from mlgym_jax.reading.frames import columns_of, to_frame
from mlgym_jax.reading.meaning import Meaning, meaning_of
from mlgym_jax.study.job import Job
from mlgym_jax.study.new_texts import knowing_texts


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A trained model that takes what a user brings.

    Attributes:
        job: what it was trained by; experiment_id, epoch: which it is.
        state: its parameters and all else that it predicts with.
    """

    job: Job
    experiment_id: int
    epoch: int
    state: TrainState

    def outputs_of(self, state: TrainState, batch: Any) -> Any:
        """Return what it predicts for a raw batch with this state in the place of its own; pure."""
        return self.job.program.predict(state, self.job.encoder_of(self.experiment_id)(batch))

    @functools.cached_property
    def compiled(self) -> Callable[[Any], Any]:
        """What it predicts for a raw batch, compiled once for each size."""
        return jax.jit(lambda batch: self.outputs_of(self.state, batch))

    @functools.cached_property
    def meaning(self) -> Meaning:
        """What its outputs say."""
        return meaning_of(self.job, self.state)

    def predict(self, inputs: Any, *, batch_size: int = 1024, as_frame: bool = False) -> Any:
        """Return the outputs for inputs, or an iterator of such; see `ExperimentResult.predict`.

        Raises:
            MlgymError: see there.
        """

        def again(new_texts: Mapping[str, Sequence[str]]) -> Callable[[Any], Any]:
            return dataclasses.replace(self, job=knowing_texts(self.job, new_texts)).compiled

        return predicted(self.job, self.compiled, lambda: self.meaning, inputs, batch_size, as_frame, again)


def raw_fields(job: Job) -> dict[str, Any]:
    """Return what a prediction takes, an array or its shape a field."""
    return fields_of(job.raw_inputs if job.fields_read else {"inputs": job.raw_inputs})


def predicted(
    job: Job,
    compiled: Callable[[Any], Any],
    meaning: Callable[[], Meaning],
    inputs: Any,
    batch_size: int,
    as_frame: bool,
    again: Callable[[Mapping[str, Sequence[str]]], Callable[[Any], Any]],
) -> Any:
    """Return outputs for inputs, or an iterator of such for an iterator.

    Args:
        job: of which the inputs are; compiled: raw batch -> outputs; meaning: what these say.
        again: column -> texts that were not there in training -> `compiled` with an encoding that knows them.

    Raises:
        MlgymError: inputs that cannot be right, or outputs that make no frame.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise MlgymError(f"batch_size: an integer of at least 1 is expected, found {described(batch_size)}")
    trained_on, dataset = job.raw_inputs, job.components["dataset"]
    said = meaning() if as_frame else None

    def one(part: Any) -> Any:
        fills_in = functools.partial(may_miss, job)
        new_texts: dict[str, list[str]] = {name: [] for name in text_columns(job.components.get("encoding"))}
        part = _one_column(of_arrow(part), dataset, new_texts)
        given = columns_of(part, dataset, trained_on, fills_in, new_texts) if is_frame(part) else part
        arrays = as_trained_on(given, trained_on, is_encoded="encoding" in job.components)
        run = again(new_texts) if any(new_texts.values()) else compiled
        outputs = in_batches(run, job.raw_batch, arrays, batch_size, trained_on)
        return to_frame(outputs, said, dataset, getattr(part, "index", None)) if said else outputs

    return map(one, inputs) if isinstance(inputs, Iterator) else one(inputs)


@dataclasses.dataclass(frozen=True)
class _Texts:
    """A frame of one column of texts."""

    columns: tuple[str]
    values: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.values), 1

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values


def _one_column(part: Any, dataset: Any, texts: Mapping[str, Any]) -> Any:
    """Return texts that are given by themselves, [n] or [n, 1], as a frame where that is all that the model reads."""
    names = [*map(str, dataset.feature_names or ())]
    if is_frame(part) or len(names) != 1 or names[0] not in texts:
        return part
    try:
        values = np.asarray(part)
    except ValueError:
        return part
    of_words = values.dtype.kind in "UT" or (
        values.dtype == object and all(isinstance(value, str) or is_missing(value) for value in values.reshape(-1))
    )
    if not of_words or values.shape not in ((len(values),), (len(values), 1)):
        return part
    return _Texts((names[0],), values.reshape(-1))


def may_miss(job: Job, place: int) -> bool:
    """Tell whether a value may be missing in a column of a job's table: some were, or the encoding imputes.

    A one-hot encoding has zeros for what it does not know, which is not to fill it in.
    """
    section = job.group.config.get("encoding")
    nodes = (section, *section.inside) if isinstance(section, Node) else ()
    column = np.asarray(job.table.arrays[INPUTS])[:, place]
    if not np.isnan(column).any() and not any(node.entry.name == "impute" for node in nodes):
        return False
    row = np.array(job.table.arrays[INPUTS][:1], np.float64)
    row[:, place] = np.nan
    batch = job.encoder_of(job.group.ids[0])(job.raw_batch(row))
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(batch[INPUTS]))


def as_trained_on(inputs: Any, trained_on: Any, *, is_encoded: bool) -> Any:
    """Return inputs as arrays of the kind that a model was trained on.

    Args:
        trained_on: the inputs of the data set, an array or a tree of such.
        is_encoded: whether an encoding was fitted to them, which fits no other shape. Without one it is for the model
            to say: one that averages over positions takes images of any size.

    Raises:
        MlgymError: no numbers, no leading axis of examples, a different one in each array, or a shape that cannot be
            right.
    """
    if isinstance(trained_on, tuple) and isinstance(inputs, list):
        inputs = tuple(inputs)
    try:
        arrays = jax.tree.map(lambda wanted, given: _array(given, wanted), trained_on, inputs)
    except ValueError as error:
        found = f"a dict of {listed(inputs)}" if isinstance(inputs, Mapping) else described(inputs)
        raise MlgymError(f"inputs: expected {_shapes(trained_on)}, found {found}") from error
    for given, wanted in zip(jax.tree.leaves(arrays), jax.tree.leaves(trained_on), strict=True):
        if given.ndim != wanted.ndim or (is_encoded and given.shape[1:] != wanted.shape[1:]):
            raise _unfit(arrays, trained_on)
    if len({len(leaf) for leaf in jax.tree.leaves(arrays)}) > 1:
        found = jax.tree.map(lambda leaf: [*leaf.shape], arrays)
        raise MlgymError(f"inputs: as many examples are expected in each, found {found}")
    return arrays


def _array(given: Any, wanted: np.ndarray) -> np.ndarray:
    """Make an array of lists and numbers; whole numbers are floats where the model was trained on these."""
    try:
        array = np.asarray(given)
    except ValueError:  # lists of different lengths
        raise MlgymError(f"inputs: expected {_shape(wanted)}, found rows of different lengths") from None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        if array.size == 0 and array.dtype == object:
            return array.astype(wanted.dtype)
        raise MlgymError(f"inputs: numbers are expected ({wanted.dtype}), found {array.dtype}: {described(given)}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    floats = np.issubdtype(wanted.dtype, np.floating)
    return array.astype(wanted.dtype) if floats and array.dtype.kind in "biu" else array


def _shape(array: Any) -> str:
    return f"[{', '.join(['n', *map(str, array.shape[1:])])}]"


def _shapes(arrays: Any) -> str:
    leaves = jax.tree.leaves(arrays)
    return _shape(leaves[0]) if len(leaves) == 1 else str(jax.tree.map(_shape, arrays))


def _unfit(arrays: Any, trained_on: Any) -> MlgymError:
    leaves, wanted = jax.tree.leaves(arrays), jax.tree.leaves(trained_on)
    found = [[*array.shape] for array in leaves]
    one = all(given.shape == array.shape[1:] for given, array in zip(leaves, wanted, strict=True))
    hint = "; for one example write inputs[None]" if one else ""
    return MlgymError(f"inputs: expected {_shapes(trained_on)}, found {found if len(found) > 1 else found[0]}{hint}")


def in_batches(
    predict: Callable[[Any], Any], batch_of: Callable[[Any], Any], inputs: Any, batch_size: int, trained_on: Any
) -> Any:
    """Return `predict` of inputs, at most `batch_size` at a time, as numpy arrays; of none, arrays of no example.

    An output without an axis of examples, such as a temperature, becomes an array of one number a batch.

    Args:
        predict: batch -> outputs, compiled; batch_of: some of the inputs -> the batch.

    Raises:
        MlgymError: the model does not take inputs of another shape than it was trained on.
    """
    size = len(jax.tree.leaves(inputs)[0])
    same = all(
        given.shape[1:] == wanted.shape[1:]
        for given, wanted in zip(jax.tree.leaves(inputs), jax.tree.leaves(trained_on), strict=True)
    )
    if size == 0 or not same:
        try:
            one = jax.tree.map(lambda array: np.zeros((1, *array.shape[1:]), array.dtype), inputs)
            shapes = jax.eval_shape(predict, batch_of(one))
        except Exception as error:
            if same:
                raise
            raise _unfit(inputs, trained_on) from error
        if size == 0:
            return jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape[1:]), leaf.dtype), shapes)
    parts = []
    for start in range(0, size, batch_size):
        part = jax.tree.map(lambda array, start=start: array[start : start + batch_size], inputs)
        parts.append(jax.device_get(predict(batch_of(part))))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves) if np.ndim(leaves[0]) else np.stack(leaves), *parts)

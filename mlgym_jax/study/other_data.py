"""Another data set in the place of the one that a job trained on: columns, words and classes as the model knows them.

Numbers that stand for words are no two data sets' own: a column's categories and the classes of a target are matched by
their names, and columns by theirs, in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.components.graph import build_components
from mlgym_jax.components.tree import resolved
from mlgym_jax.config.words import is_component
from mlgym_jax.core.inputs import is_input
from mlgym_jax.core.program import make_program
from mlgym_jax.data.bag_of_words import text_columns
from mlgym_jax.data.dataset import INPUTS_REST, Dataset, Table, array_type, rest_of, split_arrays, to_arrays
from mlgym_jax.data.fold_tables import check_filled
from mlgym_jax.errors import ConfigError, described, listed, nearest
from mlgym_jax.study.encoding import encoded, fields_unread
from mlgym_jax.study.job import Job
from mlgym_jax.study.new_texts import knowing_texts
from mlgym_jax.study.tracing import check_targets


def other_table(job: Job, section: Mapping[str, Any], split: str | None = None) -> tuple[Job, Table, str]:
    """Return one split of another data set as a table of that name, and the name; with the job that knows its texts.

    Args:
        section: the config's section `dataset`, plain.
        split: by default "test", or the only one that there is.

    Raises:
        ConfigError: at `dataset`: it cannot be built, lacks the split, or is of another kind than the model knows.
    """
    if not is_component(section):
        raise ConfigError(
            "dataset", f"a component is expected, such as component('csv', path=…, …); found {described(dict(section))}"
        )
    dataset = build_components(resolved({"dataset": dict(section)}))["dataset"]
    names = [*dataset.splits]
    if split is None:
        split = "test" if "test" in names else names[0] if len(names) == 1 else None
    if split is None or split not in names:
        wanted = "say which split" if split is None else f"there is no split {split!r}{nearest(split, names)}"
        raise ConfigError("dataset", f"{wanted}; write --split={'|'.join(names)}")
    known: Dataset = job.components["dataset"]
    part = Dataset({"train": dataset.splits[split]}, dataset.num_classes, dataset.feature_names)
    encoding = job.components.get("encoding")
    arrays = dict(to_arrays(part, missing=encoding is not None).arrays)
    arrays = _with_rests(job.table, arrays, part)
    new_texts: dict[str, list[str]] = {name: [] for name in text_columns(encoding)}
    arrays = _columns(known, dataset, arrays, new_texts)
    targets = arrays.get("targets")
    if targets is not None and known.num_classes is not None and targets.dtype.kind in "iu":
        arrays["targets"] = _classes(known, dataset, targets)
    number = len(next(iter(arrays.values())))
    found = {field: _as_known(job, field, array, arrays, number) for field, array in job.table.arrays.items()}
    table, knowing = Table(found, {split: (0, number)}, known.num_classes), knowing_texts(job, new_texts)
    if encoding is not None:
        check_filled(known, table, encoding, jax.tree.map(lambda leaf: leaf[0], knowing.fold_tables["fitted"]))
    _check_values(knowing, table)
    return knowing, table, split


def _check_values(job: Job, table: Table) -> None:
    """Let losses and metrics see the targets and weights of all rows, as a study's own are seen before it trains.

    Raises:
        ConfigError: at `dataset`: values that what reads them cannot read rightly.
    """
    fields = {field: array for field, array in table.arrays.items() if not is_input(field) and field in job.sample}
    few = encoded(job.components, job.fold_tables, 0, {field: array[:32] for field, array in table.arrays.items()})

    def is_encoded(field: str, array: np.ndarray) -> bool:
        return not np.array_equal(few[field], array[:32], equal_nan=array.dtype.kind == "f")

    if fields and not any(is_encoded(field, array) for field, array in fields.items()):
        program = make_program(job.components, unmatched=lambda pattern: None)
        try:
            check_targets(program, job.abstract, job.sample, fields)
        except ConfigError as error:
            raise ConfigError("dataset", error.message) from error


def _with_rests(table: Table, arrays: dict[str, np.ndarray], part: Dataset) -> dict[str, np.ndarray]:
    """Return arrays with what float32 leaves of inputs, where the model was given that."""
    raw = split_arrays(part.splits["train"])
    found = {field: array for field, array in arrays.items() if not field.startswith(INPUTS_REST)}
    for field in [field for field in found if rest_of(field) in table.arrays]:
        exact = np.asarray(raw[field], np.float64)
        found[rest_of(field)] = (exact - exact.astype(np.float32)).astype(np.float32)
    return found


def _columns(
    known: Dataset, given: Dataset, arrays: dict[str, np.ndarray], new_texts: Mapping[str, list[str]]
) -> dict[str, np.ndarray]:
    """Return arrays whose columns are in the known order, and their words numbered as is known.

    Args:
        new_texts: takes, of each of its columns, the texts that are not known; their numbers follow.
    """
    if not known.feature_names or not given.feature_names or "inputs" not in arrays:
        return arrays
    names, there = [*map(str, known.feature_names)], [*map(str, given.feature_names)]
    missing, extra = [n for n in names if n not in there], [n for n in there if n not in names]
    if missing or extra:
        said = f"it has no column {listed(map(repr, missing))}" if missing else ""
        said += " and " * bool(missing and extra)
        said += f"the model was not trained on the column {listed(map(repr, extra))}" if extra else ""
        raise ConfigError("dataset", f"{said}. Columns of the model: {listed(names, 40)}")
    order = [there.index(name) for name in names]
    found = {
        field: array[:, order] if field in ("inputs", INPUTS_REST) and array.ndim == 2 else array
        for field, array in arrays.items()
    }
    for place, name in enumerate(names):
        words, own = (known.categories or {}).get(name), (given.categories or {}).get(name)
        if (words is None) != (own is None):
            kinds = ("numbers", "words") if words is None else ("words", "numbers")
            raise ConfigError(
                "dataset", f"the column {name!r} was of {kinds[0]} in training, and is of {kinds[1]} here"
            )
        if words is not None and own is not None and [*words] != [*own]:
            if name in new_texts:
                known_words = {*words}
                new_texts[name].extend(word for word in own if word not in known_words)
                words = [*words, *new_texts[name]]
            numbers = _numbers_of(own, words, f"the column {name!r}")
            found["inputs"] = found["inputs"].copy()
            there = ~np.isnan(found["inputs"][:, place])
            found["inputs"][there, place] = numbers[found["inputs"][there, place].astype(int)]
    return found


def _numbers_of(own: Sequence[str], known: Sequence[str], what: str) -> np.ndarray:
    """Return the known number of each of a data set's own words.

    Raises:
        ConfigError: a word that was not there in training.
    """
    numbers = {word: number for number, word in enumerate(known)}
    new = [word for word in own if word not in numbers]
    if new:
        raise ConfigError(
            "dataset", f"{what} holds {listed(map(repr, new))}, which was not there in training. Known: {listed(known)}"
        )
    return np.array([numbers[word] for word in own])


def _classes(known: Dataset, given: Dataset, targets: np.ndarray) -> np.ndarray:
    number = known.num_classes or 0
    names, own = ([*map(str, one.class_names or ())] for one in (known, given))
    # Classes 0 … k - 1 have no names. Where there are others in one data set alone, theirs are the numbers themselves.
    if not names and own:
        names = [*map(str, range(number))]
    if not own and names and all(map(str.isdecimal, names)):
        own = [*map(str, range(int(targets.max(initial=-1)) + 1))]
        there = set(np.unique(targets).tolist())
        own = [name if place in there else names[0] for place, name in enumerate(own)]
    if names and own and names != own:
        targets = _numbers_of(own, names, "the target")[targets].astype(targets.dtype)
    if targets.size and not 0 <= targets.min() <= targets.max() < number:
        wrong = targets[(targets < 0) | (targets >= number)]
        raise ConfigError(
            "dataset", f"{len(wrong)} targets such as {wrong[0]} are no class of the model's 0 … {number - 1}"
        )
    return targets


def _as_known(job: Job, field: str, known: np.ndarray, arrays: Mapping[str, np.ndarray], number: int) -> np.ndarray:
    """Return a field in the shape and type that the model knows; zeros of one that nothing reads, as of groups.

    Raises:
        ConfigError: it is not there, or of others.
    """
    array = arrays.get(field)
    whole = array is not None and array.dtype.kind in "biu" and known.dtype.kind == "f" and is_input(field)
    alike = array is not None and array.shape[1:] == known.shape[1:]
    if array is not None and alike and (whole or np.can_cast(array.dtype, known.dtype, "same_kind")):
        return np.ascontiguousarray(array, known.dtype)
    if not is_input(field) and not field.startswith(INPUTS_REST) and field != "targets":
        step, of = job.program.eval_step, job.components
        if field in fields_unread(step, job.abstract, of, job.fold_tables, job.table.arrays):
            return np.zeros((number, *known.shape[1:]), known.dtype)
    if array is None:
        raise ConfigError("dataset", f"it has no field {field!r}; it has {listed(arrays)}")
    raise ConfigError("dataset", f"field {field!r} is {array_type(array)}, and the model knows {array_type(known)}")

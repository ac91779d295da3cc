"""What an encoding learns of data that are read while it trains: sums of one part after another, in one pass.

An encoding that can has a third pure method besides `fit` and `apply` (`data.encodings`), `in_one_pass() -> OnePass`,
or `in_passes() -> Passes`, where a pass needs what those before it have learnt. They return None where it cannot.

Synopsis:

    >>> import numpy as np
    >>> columns = np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    >>> sums = merged_moments(moments(columns[:1]), moments(columns[1:]))
    >>> sums["mean"].tolist(), (sums["squares"] / sums["count"]).round(3).tolist(), sums["largest"].tolist()
    ([3.0, 5.0], [4.667, 0.0], [6.0, 5.0])
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
import functools
import hashlib
import io
import operator
import os
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mlgym_jax.core.inputs import nested
from mlgym_jax.data.folds import Folds
from mlgym_jax.data.processes import Processes
from mlgym_jax.data.streams import StreamedTable, UnreadableRecord
from mlgym_jax.errors import ConfigError, DiskError
from mlgym_jax.events.files import write_whole
from mlgym_jax.events.layout import ENCODINGS

_SUMMED_BYTES = 2**20  # of those that are float64 at once


class OnePass(NamedTuple):
    """How an encoding learns from sums.

    Attributes:
        summed: the arrays of some examples, as `fit` is given them -> their sums, of any form.
        merged: (sums, sums of more examples) -> the sums of all of them.
        fitted: the sums of a fold's whole training part -> what `fit` returns of it, but for rounding.
        prepared: the arrays of some examples, of the fold or not -> what `summed` is given those of the fold of.
    """

    summed: Callable[[Any], Any]
    merged: Callable[[Any, Any], Any]
    fitted: Callable[[Any], Any]
    prepared: Callable[[Mapping[str, Any]], Any] = dict


class Passes(NamedTuple):
    """How an encoding learns in several passes.

    Attributes:
        number: of passes, at least one.
        next: what those before have found -> the next one, whose `fitted` returns what it found.
        fitted: what all have found -> what `fit` returns.
    """

    number: int
    next: Callable[[Sequence[Any]], OnePass]
    fitted: Callable[[Sequence[Any]], dict[str, Any]]


def moments(columns: np.ndarray) -> dict[str, Any]:
    """Return of each column of float64[n, columns] the count, mean, sum of squared differences from it, and ends.

    What is NaN counts nothing; of no number the mean is 0 and the ends are NaN.
    """
    there = ~np.isnan(columns)
    if there.all():
        count = np.full(columns.shape[1], len(columns))
        mean, least, largest = columns.mean(axis=0), columns.min(axis=0), columns.max(axis=0)
        return {
            "count": count,
            "mean": mean,
            "squares": np.square(columns - mean).sum(axis=0),
            "least": least,
            "largest": largest,
        }
    count = there.sum(axis=0)
    mean = np.where(there, columns, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.square(np.where(there, columns - mean, 0.0)).sum(axis=0)
    least, largest = np.fmin.reduce(columns, axis=0), np.fmax.reduce(columns, axis=0)
    return {"count": count, "mean": mean, "squares": squares, "least": least, "largest": largest}


def merged_moments(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Merge what `moments` returns of two parts (Chan, Golub and LeVeque, 1983)."""
    count, apart = one["count"] + other["count"], other["mean"] - one["mean"]
    share = other["count"] / np.maximum(count, 1)
    return {
        "count": count,
        "mean": one["mean"] + apart * share,
        "squares": one["squares"] + other["squares"] + np.square(apart) * (one["count"] * share),
        "least": np.fmin(one["least"], other["least"]),
        "largest": np.fmax(one["largest"], other["largest"]),
    }


def together(parts: Mapping[str, tuple[Any, Callable[[Mapping[str, Any]], Any]]]) -> Passes | None:
    """Return how several encodings learn side by side, each from its own part of the arrays; None where one cannot.

    Args:
        parts: the key of what is fitted -> an encoding, and the arrays -> those that it is given.
    """
    found = {key: passes_of(encoding) for key, (encoding, _) in parts.items()}
    passes = {key: one for key, one in found.items() if one is not None}
    if len(passes) < len(found):
        return None

    def next_of(before: Sequence[Any]) -> OnePass:
        own = {
            key: one.next([results[key] for results in before])
            for key, one in passes.items()
            if one.number > len(before)
        }
        return OnePass(
            lambda given: {key: one.summed(given[key]) for key, one in own.items()},
            lambda sums, more: {key: one.merged(sums[key], more[key]) for key, one in own.items()},
            lambda sums: {key: one.fitted(sums[key]) for key, one in own.items()},
            lambda arrays: {key: one.prepared(parts[key][1](arrays)) for key, one in own.items()},
        )

    return Passes(
        max((one.number for one in passes.values()), default=1),
        next_of,
        lambda results: {key: one.fitted([each[key] for each in results[: one.number]]) for key, one in passes.items()},
    )


def passes_of(encoding: Any) -> Passes | None:
    """Return how an encoding learns from what is read part by part, None if it cannot."""
    if hasattr(encoding, "in_passes"):
        return encoding.in_passes()
    one = encoding.in_one_pass() if hasattr(encoding, "in_one_pass") else None
    return None if one is None else Passes(1, lambda _: one, lambda results: results[0])


def filled_by(encoding: Any, width: int) -> frozenset[int]:
    """Return the columns of a table so wide whose values may be missing, as an encoding fills them in."""
    return encoding.fills(width) if hasattr(encoding, "fills") else frozenset()


def fit_in_one_pass(
    encoding: Any, table: StreamedTable, folds: Folds, name: str, between: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Read the rows that any fold trains on once a pass, in their order; return what an encoding learns of each fold.

    The same rows give the same bits, however many threads or processes read. Records that cannot be read are left out
    where they are left out of training. What was learnt before in this process, or in a run (`kept_in`), is known.

    Args:
        name: tells the encoding from others.
        between: called every now and then.

    Raises:
        ConfigError: at `encoding`: "train" has no end; at `dataset`: a record cannot be read.
    """
    if table.is_endless:
        raise ConfigError(
            "encoding",
            "it is fitted on all training examples, and the dataset's split 'train' has no end; encode its examples "
            "where they are made, or give the split an end (__len__)",
        )
    passes = passes_of(encoding)
    assert passes is not None, "study.checks refuses it"
    key = _key(name, table, folds)
    found = _LEARNT[key] if key in _LEARNT else _read(key)
    if found is None:
        rows, trains = folds.rows(("train",)), np.zeros((folds.num_folds, table.num_examples), bool)
        for fold, (indices, mask) in enumerate(zip(folds.indices["train"], folds.mask["train"], strict=True)):
            trains[fold, indices[mask]] = True
        results: list[list[Any]] = [[] for _ in trains]
        for _ in range(passes.number):
            learns, sums = [passes.next(before) for before in results], [None] * len(trains)
            for part in _summed(learns, table, rows, trains):
                between()
                sums = _each(learns, sums, part)
            if any(own is None for own in sums):
                raise ConfigError("dataset", "none of the records that a fold trains on can be read")
            for before, one, own in zip(results, learns, sums, strict=True):
                before.append(one.fitted(own))
        found = [passes.fitted(own) for own in results]
    _LEARNT[key] = found
    return found


_LEARNT: dict[str, list[dict[str, Any]]] = {}
_FOLDER: contextvars.ContextVar[str | None] = contextvars.ContextVar("folder", default=None)


@contextlib.contextmanager
def kept_in(run_dir: str) -> Iterator[None]:
    """Know what a run has kept of what its encodings learnt."""
    token = _FOLDER.set(os.path.join(run_dir, ENCODINGS))
    try:
        yield
    finally:
        _FOLDER.reset(token)


def keep(run_dir: str, name: str, table: StreamedTable, folds: Folds) -> None:
    """Write what was learnt by `fit_in_one_pass` into a run's folder, unless it is there.

    Raises:
        DiskError: the disk refuses.
    """
    key = _key(name, table, folds)
    path = os.path.join(run_dir, ENCODINGS, f"{key}.npz")
    if key not in _LEARNT or os.path.exists(path):
        return
    buffer, numbered = io.BytesIO(), {str(fold): fitted for fold, fitted in enumerate(_LEARNT[key])}
    leaves: dict[str, Any] = dict(_leaves(numbered))
    np.savez(buffer, **leaves)
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise DiskError(f"{path}: cannot be written: {error.strerror}") from error


def _read(key: str) -> list[dict[str, Any]] | None:
    """Return what a run has kept, None if it has not, or it cannot be read: all is read again then."""
    folds: dict[str, Any] = {}
    try:
        with np.load(os.path.join(_FOLDER.get() or "", f"{key}.npz"), allow_pickle=False) as file:
            for name, array in file.items():
                *places, last = name.split("/")
                functools.reduce(lambda tree, place: tree.setdefault(place, {}), places, folds)[last] = array
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    return [folds[number] for number in sorted(folds, key=int)]


def _leaves(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}/")
        else:
            yield before + name, np.asarray(value)


def _each(learns: Sequence[OnePass], sums: Sequence[Any], more: Sequence[Any]) -> list[Any]:
    """Merge the sums of each fold, None of no example."""
    return [
        new if own is None else own if new is None else one.merged(own, new)
        for one, own, new in zip(learns, sums, more, strict=True)
    ]


def _key(name: str, table: StreamedTable, folds: Folds) -> str:
    digest = hashlib.sha256(f"{name} {table.fingerprint} {table.stream.skips}".encode())
    for indices, size in zip(folds.indices["train"], folds.sizes["train"], strict=True):
        digest.update(np.ascontiguousarray(indices[:size]).data)
    return digest.hexdigest()[:32]


def _summed(
    learns: Sequence[OnePass], table: StreamedTable, rows: np.ndarray, trains: np.ndarray
) -> Iterator[list[Any]]:
    """Iterate over the sums of each fold, None of no example, of one part of the rows after the other."""
    size, stream = table.rows_at_once, table.stream
    processes = Processes(table, stream.num_workers) if stream.processes else None
    pool = concurrent.futures.ThreadPoolExecutor(stream.num_workers, "reading")
    coming: deque[concurrent.futures.Future[list[Any]]] = deque()
    try:
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            coming.append(pool.submit(_of_part, learns, processes or table, part, trains, stream.skips))
            if len(coming) > stream.num_workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        if processes is not None:
            processes.close()


def _of_part(learns: Sequence[OnePass], reader: Any, rows: np.ndarray, trains: np.ndarray, skips: bool) -> list[Any]:
    found: dict[str, np.ndarray] = {}
    while rows.size:
        try:
            found = reader.read(rows)
            break
        except UnreadableRecord as error:
            if not skips:
                raise ConfigError("dataset", str(error)) from error
            rows = rows[~np.isin(rows, error.rows)]
    numbers = max(1, sum(int(np.prod(array.shape[1:])) for array in found.values()))
    size = max(1, _SUMMED_BYTES // (8 * numbers))
    sums: list[Any] = [None] * len(trains)
    for start in range(0, len(rows), size):
        piece = nested({field: array[start : start + size] for field, array in found.items()})
        new: list[Any] = [None] * len(trains)
        for fold, mine in enumerate(trains[:, rows[start : start + size]]):
            if mine.any():
                given = jax.tree.map(operator.itemgetter(mine), learns[fold].prepared(piece))
                new[fold] = learns[fold].summed(given)
        sums = _each(learns, sums, new)
    return sums

"""The loader `bucketed`: batches of sequences of similar length, cut to few lengths, so that little is padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.core.buckets import MOST_BUCKETS, Buckets, chosen_sizes
from mlgym_jax.core.inputs import is_input
from mlgym_jax.data.dataset import Dataset, split_arrays
from mlgym_jax.data.loaders import Loader, check_microbatches, check_sizes
from mlgym_jax.errors import ConfigError, listed, nearest

Arrays = Mapping[str, np.ndarray]
_KNOWN_AS = ("lengths", "inputs.lengths", "where", "inputs.where")


@register("loader", "bucketed", needs=("dataset",))
def bucketed(
    dataset: Dataset,
    *,
    batch_size: int = 32,
    num_buckets: int = 4,
    sizes: tuple[int, ...] | None = None,
    lengths: str | None = None,
    fields: tuple[str, ...] | None = None,
    eval_batch_size: int | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    microbatches: int = 1,
) -> Loader:
    """Put padded sequences of similar length into a batch, and cut that to the least of a few lengths that holds them.

    For data padded to one length, such as `component("text", sequences="lines")`. An epoch has the same number of
    batches as with `in_memory`, each example is in one of them, and what is evaluated is the whole split. The order is
    a function of seed and epoch: examples of one bucket in random order, batches in random order. All lengths are
    branches of one compiled program, which takes longer to compile the more there are; experiments of a group train
    one after the other in it.

    Args:
        batch_size: examples a training step, at least 1.
        num_buckets: lengths at most, from 1 to 16; those by which the split "train" has the least padding.
        sizes: the lengths, in their place: in ascending order; the length that the data are padded to is added.
        lengths: the field that tells how long each example is: int[n], or a mask of positions, [n, length]; by default
            `lengths` or else `where`, beside the inputs or among them.
        fields: the fields that are cut, [n, length, …]; by default all whose second axis is as long as the inputs'.
        eval_batch_size: examples an evaluation step; by default the engine chooses.
        shuffle: draw a new order each epoch; else batches go from short to long ones.
        drop_last: leave out a last, smaller batch of an epoch, whose examples are short or long ones.
        microbatches: parts of a batch whose gradients are added up inside of a step, as for `in_memory`.

    Raises:
        ConfigError: a number out of its range, no such field, data without lengths, or with targets of each position
            and no field `where`, so that padding would count.
    """
    check_sizes(batch_size, eval_batch_size)
    check_microbatches(microbatches, batch_size)
    if not 1 <= num_buckets <= MOST_BUCKETS:
        raise ConfigError("loader.num_buckets", f"found {num_buckets}; from 1 to {MOST_BUCKETS} are possible")
    arrays = split_arrays(dataset.splits["train"])
    for name in fields or ():
        if name not in arrays:
            raise ConfigError(
                "loader.fields", f"the data have no field {name!r}{nearest(name, arrays)} Fields: {listed(arrays)}"
            )
    source = _source(arrays, lengths)
    whole = _whole(arrays, source, fields)
    cut = _fields(arrays, whole, fields)
    masks = [name for name in cut if arrays[name].dtype.kind == "b" or name == "where"]
    if "targets" in cut and not masks:
        raise ConfigError(
            "loader",
            "the targets have a value a position, and there is no field 'where' of positions that says which of them "
            "count; padding would, and differently in each batch. Give the data where, bool[n, length]",
        )
    known = Buckets((whole,), cut, source).lengths({source: np.asarray(arrays[source])})
    _check_lengths(known, whole, source)
    chosen = chosen_sizes(known, whole, num_buckets) if sizes is None else _given(sizes, whole)
    return Loader(
        batch_size,
        eval_batch_size,
        shuffle,
        drop_last,
        microbatches,
        buckets=Buckets(chosen, cut, source),
    )


def _source(arrays: Arrays, lengths: str | None) -> str:
    if lengths is None:
        found = next((name for name in _KNOWN_AS if name in arrays and _tells(name, arrays[name])), None)
        if found is None:
            raise ConfigError(
                "loader.lengths",
                f"nothing tells how long the examples are; name a field, lengths='…'. Fields: {listed(arrays)}. Or "
                "give the data one, lengths int[n] or where bool[n, length]",
            )
        return found
    for name in (lengths, f"inputs.{lengths}"):
        if name in arrays:
            if arrays[name].ndim > 2 or (arrays[name].ndim == 1 and arrays[name].dtype.kind not in "iu"):
                raise ConfigError(
                    "loader.lengths",
                    f"the field {lengths!r} is {_form(arrays[name])}; int[n] or a mask [n, length] is expected",
                )
            return name
    raise ConfigError(
        "loader.lengths", f"the data have no field {lengths!r}{nearest(lengths, arrays)} Fields: {listed(arrays)}"
    )


def _tells(name: str, array: np.ndarray) -> bool:
    """Tell lengths, and masks of positions, from what weighs whole examples."""
    return array.ndim == 2 or (array.ndim == 1 and array.dtype.kind in "iu" and name.endswith("lengths"))


def _whole(arrays: Arrays, source: str, fields: Sequence[str] | None) -> int:
    """Return the length that the data are padded to."""
    if arrays[source].ndim == 2:
        return arrays[source].shape[1]
    names = [name for name in (fields or arrays) if name in arrays and (fields or is_input(name))]
    own = {arrays[name].shape[1] for name in names if arrays[name].ndim > 1}
    if len(own) != 1:
        shapes = ", ".join(f"{name} {_form(arrays[name])}" for name in names)
        raise ConfigError(
            "loader.fields", f"it is not clear which axis is that of positions ({shapes}); name the fields, fields=(…)"
        )
    return own.pop()


def _fields(arrays: Arrays, whole: int, fields: Sequence[str] | None) -> tuple[str, ...]:
    if fields is None:
        return tuple(name for name, array in arrays.items() if array.ndim > 1 and array.shape[1] == whole)
    for name in fields:
        if arrays[name].ndim < 2 or arrays[name].shape[1] != whole:
            raise ConfigError(
                "loader.fields", f"the field {name!r} is {_form(arrays[name])}; [n, {whole}, …] is expected"
            )
    return tuple(fields)


def _check_lengths(known: np.ndarray, whole: int, source: str) -> None:
    wrong = known[(known < 0) | (known > whole)]
    if len(wrong):
        raise ConfigError(
            "loader.lengths", f"the field {source!r} holds {wrong[0]}; lengths from 0 to {whole} are expected"
        )


def _given(sizes: Sequence[int], whole: int) -> tuple[int, ...]:
    """Return the lengths that a user named, and the whole one."""
    if not all(isinstance(size, int) and size >= 1 for size in sizes) or list(sizes) != sorted({*sizes}):
        raise ConfigError("loader.sizes", f"found {tuple(sizes)}; lengths from 1 are expected, in ascending order")
    found = tuple({**dict.fromkeys(size for size in sizes if size < whole), whole: None})
    if len(found) > MOST_BUCKETS:
        raise ConfigError("loader.sizes", f"found {len(found)} lengths; at most {MOST_BUCKETS} are possible")
    return found


def _form(array: np.ndarray) -> str:
    return f"{array.dtype.name}[{', '.join(['n', *map(str, array.shape[1:])])}]"


def by_length(buckets: Buckets, arrays: Arrays, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fold tables with the rows of each split from short to long, so that evaluation has little padding.

    Args:
        tables: `indices` and `mask`, split -> [num_folds, n], among others.
    """
    lengths = buckets.lengths({buckets.source: np.asarray(arrays[buckets.source])})
    found: dict[str, np.ndarray] = {}
    for split, indices in tables["indices"].items():
        own = np.array(indices)
        for rows, mask in zip(own, tables["mask"][split], strict=True):
            real = rows[mask]
            if len(real):
                ordered = real[np.argsort(lengths[real], kind="stable")]
                rows[mask], rows[~mask] = ordered, ordered[0]
        found[split] = own
    return {**tables, "indices": found}


def padding(buckets: Buckets, arrays: Arrays, rows: np.ndarray) -> tuple[float, float]:
    """Return the share of positions that are padding in batches of one bucket each, and in batches of whole length."""
    lengths = np.clip(buckets.lengths({buckets.source: np.asarray(arrays[buckets.source])[rows]}), 0, buckets.sizes[-1])
    sizes = np.asarray(buckets.sizes)
    taken = sizes[np.searchsorted(sizes, lengths)]
    return 1 - lengths.sum() / max(1, taken.sum()), 1 - lengths.sum() / (len(lengths) * buckets.sizes[-1])

"""What is known of the data before anything compiles, as losses and metrics see it; see `core.targets`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.components.graph import Components
from mlgym_jax.core.dead_code import reads
from mlgym_jax.core.inputs import INPUTS, is_input
from mlgym_jax.core.scoring import taken_by
from mlgym_jax.core.targets import KNOWN_INPUTS, wrong_weights
from mlgym_jax.core.trees import path_name
from mlgym_jax.data.dataset import Table
from mlgym_jax.data.folds import Folds
from mlgym_jax.data.streams import StreamedTable
from mlgym_jax.errors import ConfigError, listed
from mlgym_jax.study.encoding import encoded

# So many rows of a stream are read to see what fits.
_MAX_READ = 256
# Numbers beyond have no square among 32-bit floats.
_LEAST_ROOT, _GREATEST_ROOT = (float(np.sqrt(getattr(np.finfo(np.float32), end))) for end in ("tiny", "max"))
# So many rows are encoded to see what an encoding makes of the targets.
_MAX_ENCODED = 8192


def known_fields(
    components: Components,
    table: Table,
    folds: Folds,
    tables: Mapping[str, Any],
    splits: Sequence[str],
    sample: Mapping[str, np.ndarray],
    indices: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return all fields but the inputs as losses and metrics see them, of the rows that they see.

    Of inputs that are one array some that the first fold trains on are among them, `core.targets.KNOWN_INPUTS`, if the
    loss looks at these; others may lie beyond what an encoding learnt.
    """
    rows = folds.rows(splits)
    if isinstance(table, StreamedTable):  # each example is seen again when it is read
        rows = table.readable(rows[:: -(-len(rows) // _MAX_READ)])
    names = [field for field in table.arrays if not is_input(field) and field in sample]
    looks = KNOWN_INPUTS in taken_by(components["loss"]) and INPUTS in table.arrays
    as_stored = all(np.array_equal(sample[field], table.arrays[field][indices], equal_nan=False) for field in names)
    found = {field: table.arrays[field][rows] for field in names} if as_stored else {}

    def some(rows: np.ndarray) -> dict[str, Any]:
        own = rows[:_MAX_ENCODED]
        return encoded(components, tables, 0, {field: array[own] for field, array in table.arrays.items()})

    if not as_stored:
        batch = some(rows)
        found = {field: np.asarray(batch[field]) for field in names}
    if looks:
        trained = folds.indices["train"][0][folds.mask["train"][0]]
        if isinstance(table, StreamedTable):
            trained = table.readable(trained[:_MAX_READ])
        found[KNOWN_INPUTS] = np.asarray(some(trained)[INPUTS])
    return found


def odd_targets(
    training: Any,
    state_and_batch: tuple[Any, Mapping[str, Any]],
    table: Table,
    folds: Folds,
    fields: Mapping[str, np.ndarray],
) -> tuple[str, ...]:
    """Say that the numbers that are trained on are all one, or have no squares in 32 bits, if training reads them.

    Args:
        training: the jaxpr of a training step of `state_and_batch`, shapes of a state and a batch.
        fields: what `known_fields` returns.
    """
    targets = None if isinstance(table, StreamedTable) else table.arrays.get("targets")
    if targets is None or targets.dtype.kind not in "fiu" or (table.num_classes or 0) > 1:
        return ()
    found = [*_constant(targets, folds), *_without_squares(fields.get("targets", targets))]
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(state_and_batch)]
    if not found or "1/targets" not in names:
        return ()
    learnt = [name.startswith("0/params") for name in names]
    learnt = (learnt + [False] * len(training.outvars))[: len(training.outvars)]
    return tuple(found) if reads(training, names.index("1/targets"), learnt) else ()


def _constant(targets: np.ndarray, folds: Folds) -> Iterator[str]:
    same = []
    for fold, (indices, mask) in enumerate(zip(folds.indices["train"], folds.mask["train"], strict=True)):
        own = indices[mask]
        if len(own) > 1 and (targets[own[:2]] == targets[own[0]]).all() and (targets[own] == targets[own[0]]).all():
            same.append((fold, len(own), targets[own[0]]))
    if same:
        fold, number, value = same[0]
        shown = f"{value:.6g}" if value.ndim == 0 else "the same"
        yield (
            f"config.dataset: fold {fold}: all of the {number} targets that it trains on are {shown} ({len(same)} such "
            "folds), so that a model learns this alone of them, and scores that divide by their spread, such as r2, "
            "say nothing. If that is not meant, look whether the targets are what they should be"
        )


def _without_squares(targets: np.ndarray) -> Iterator[str]:
    known = targets[np.isfinite(targets)].astype(np.float64)
    size, spread = (float(np.abs(known).max()), float(np.ptp(known))) if known.size else (0.0, 0.0)
    for is_so, words, factor in (
        (0 < spread < _LEAST_ROOT, f"differ by {spread:.3g} at most, whose square is 0", "multiply"),
        (size > _GREATEST_ROOT, f"reach {size:.3g}, whose square is infinite", "divide"),
    ):
        if is_so:
            yield (
                f"config.dataset: the targets {words} in numbers of 32 bits, so that squared errors, mse and r2 say "
                f"nothing; {factor} them by a constant"
            )


def check_weights(
    table: Table, folds: Folds, splits: Sequence[str], readers: Mapping[str, Collection[str]]
) -> tuple[Table, tuple[str, ...]]:
    """Check the weights of all rows; of a stream those of each row are checked when it is read.

    Args:
        splits: those that are evaluated; readers: the fields that are weights, with the paths of what reads them.

    Returns:
        the table, which of a stream knows its weights, and the parts in which nothing counts, in words.

    Raises:
        ConfigError: at `dataset`: some are below 0 or not finite; at `loss`: those that it trains with are all 0.
    """
    if isinstance(table, StreamedTable):
        return dataclasses.replace(table, weights=frozenset(readers)), ()
    said = []
    for field, paths in readers.items():
        array = table.arrays[field]
        if array.dtype.kind != "b" and (wrong := np.argwhere(wrong_weights(array))).size:
            row, *place = wrong[0].tolist()
            split, (start, _) = next(span for span in table.offsets.items() if row < span[1][1])
            raise ConfigError(
                "dataset",
                f"split {split!r}, row {row - start}: the field {field!r}, by which examples count, holds "
                f"{array[row, *place]}; weights are finite, at least 0",
            )
        counts = (array != 0).reshape(len(array), -1).any(axis=1)
        for split in dict.fromkeys(("train", *splits)):
            for fold, (indices, mask) in enumerate(zip(folds.indices[split], folds.mask[split], strict=True)):
                if counts[indices[mask]].any():
                    continue
                nothing = (
                    f"fold {fold}, split {split!r}: of its {mask.sum()} examples none counts by the field {field!r}"
                )
                if split == "train" and "loss" in paths:
                    raise ConfigError("loss", f"{nothing}, which is 0 in all of them, so that nothing would be learnt")
                said.append(f"{nothing}, so there is no score there of {listed(f'config.{p}' for p in sorted(paths))}")
    return table, tuple(said)

"""Rows that belong together, such as those of a patient: parts of whole groups. Pure.

Synopsis:

    >>> import numpy as np
    >>> patients = np.array([0, 0, 0, 1, 1, 2, 3])
    >>> cut_groups(patients, 2, np.arange(4)).tolist()
    [0, 0, 0, 1, 1, 1, 0]
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mlgym_jax.data.dataset import Dataset, Table
from mlgym_jax.data.row_fields import field_of
from mlgym_jax.errors import ConfigError


def group_indices(dataset: Dataset, name: str) -> np.ndarray:
    """Return int64[n], the training examples' groups, those of equal values of a field, numbered from 0 without gaps.

    Raises:
        ConfigError: at `validation.groups`; see `field_of`.
    """
    return np.unique(field_of(dataset, name, "validation.groups"), return_inverse=True)[1].reshape(-1)


def check_number(groups: np.ndarray, name: str, parts: int, wanted: str) -> None:
    """Refuse fewer groups than parts.

    Args:
        groups: int[n]; name: the field; wanted: what asks for so many parts, as one writes it.

    Raises:
        ConfigError: at `validation.groups`.
    """
    number = len(np.unique(groups))
    if number < parts:
        only = f"{number} different values" if number > 1 else "one value"
        raise ConfigError(
            "validation.groups",
            f"the field {name!r} has {only} in the {len(groups)} rows that are cut, and {wanted} needs {parts} groups; "
            "ask for fewer parts, or name another field",
        )


def hold_out_groups(
    groups: np.ndarray, fractions: Mapping[str, float], random: np.ndarray, classes: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Hold out `ceil(f * number of groups)` groups for each part of fraction `f`, drawn at random; the rest trains.

    So scikit-learn's GroupShuffleSplit counts. With classes, fractions are of the examples of each class, as near as
    whole groups come, at least one a part. A part of fraction 0 is left out.

    Args:
        groups: int[n], numbered from 0 without gaps; random: uint64[groups]; classes: int[n], numbered from 0.

    Returns:
        part, "train" first, -> the rows of it, ascending; none where nothing is left.
    """
    sizes = {name: math.ceil(fraction * len(random)) for name, fraction in fractions.items() if fraction}
    sizes["train"] = max(0, len(random) - sum(sizes.values()))
    if classes is None:
        part = np.empty(len(random), np.int8)
        part[np.argsort(random, kind="stable")] = np.repeat(np.arange(len(sizes), dtype=np.int8), [*sizes.values()])[
            : len(random)
        ]
        of_rows = part[groups]
    else:
        shares = [fraction for fraction in fractions.values() if fraction]
        of_rows = cut_groups(groups, len(sizes), random, classes, [*shares, 1 - sum(shares)])
    order = {name: number for number, name in enumerate(sizes)}
    return {
        name: np.flatnonzero(of_rows == order[name]).astype(np.int32)
        for name in ("train", *(name for name in sizes if name != "train"))
    }


def cut_groups(
    groups: np.ndarray,
    number: int,
    random: np.ndarray,
    classes: np.ndarray | None = None,
    shares: Sequence[float] | None = None,
) -> np.ndarray:
    """Cut rows into parts of about one size, each of whole groups.

    The largest group that is left goes to the smallest part, as in scikit-learn's GroupKFold, so that the sizes are
    those. With classes, the group whose classes are the least even goes where the shares of each class then differ
    least among the parts, as in its StratifiedGroupKFold.

    Args:
        groups: int[n], numbered from 0 without gaps.
        random: number[groups]; of equal groups the one of the lowest is first.
        classes: int[n], numbered from 0.
        shares: with classes, how much of each goes to which part, summing to 1; each part gets a group then.

    Returns:
        int16[n], the number of each row's part.
    """
    part = np.empty(len(random), np.int16)
    if classes is None:
        counts = np.bincount(groups)
        smallest = [(0, index) for index in range(number)]
        for group in np.lexsort((random, -counts)).tolist():
            size, index = smallest[0]
            part[group] = index
            heapq.heapreplace(smallest, (size + int(counts[group]), index))
        return part[groups]
    width = int(classes.max()) + 1
    counts = np.bincount(groups * width + classes, minlength=len(random) * width).reshape(-1, width)
    counts = counts[:, counts.any(axis=0)]
    totals, held, alone = counts.sum(axis=0), np.zeros((number, counts.shape[1])), np.eye(number)[:, :, None]
    due = totals if shares is None else totals * np.array(shares)[:, None]
    order = np.lexsort((random, -counts.std(axis=1))).tolist()
    for place, group in enumerate(order):
        tried = (held + alone * counts[group]) / due  # [part that gets it, part, class]
        spread = tried.std(axis=1).mean(axis=1)
        empty = ~held.any(axis=1)
        if shares is not None and len(order) - place <= empty.sum():
            spread[~empty] = np.inf
        # What rounding alone tells apart is equal, or other machines would cut otherwise.
        equal = np.flatnonzero(np.isclose(spread, spread.min()))
        part[group] = equal[held[equal].sum(axis=1).argmin()]
        held[part[group]] += counts[group]
    return part[groups]


def shared_groups(table: Table, name: str, splits: Iterable[str]) -> list[str]:
    """Describe the dataset's own splits that have groups of its training split, whose scores are too good then.

    Args:
        table: of data that are read while they train, nothing is told.
        name: the field of groups; splits: those of the dataset that are evaluated.
    """
    values, found = table.arrays.get(name), []
    if not isinstance(values, np.ndarray):
        return found
    start, stop = table.offsets["train"]
    train = np.unique(values[start:stop])
    for split in splits:
        first, last = table.offsets[split]
        own = np.unique(values[first:last])
        both = np.isin(own, train).sum()
        if both:
            found.append(
                f"config.dataset: {both} of {len(own)} groups of the split {split!r}, by the field {name!r}, are in "
                "the training split, too, so that its scores may be too good"
            )
    return found

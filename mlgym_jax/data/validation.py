"""Validation components: pure functions of (dataset, seed) to folds, which are index arrays into the split "train".

Synopsis:

    >>> import numpy as np
    >>> from mlgym_jax.data.dataset import Dataset
    >>> from mlgym_jax.data.validation import holdout
    >>> dataset = Dataset(splits={"train": {"inputs": np.zeros((10, 3)), "targets": np.arange(10) % 2}}, num_classes=2)
    >>> [fold] = holdout(val=0.2)(dataset, 0)
    >>> {split: len(indices) for split, indices in fold.items()}
    {'train': 8, 'val': 2}
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mlgym_jax.components.registry import adapts, register
from mlgym_jax.data.dataset import Dataset, split_arrays, split_length
from mlgym_jax.data.grouped import check_number, group_indices, hold_out_groups
from mlgym_jax.data.row_fields import in_order
from mlgym_jax.data.split_names import split_meant
from mlgym_jax.errors import ConfigError

Fold = dict[str, np.ndarray]
_DEFAULT_VAL = 0.2


@runtime_checkable
class Validation(Protocol):
    """What a section `validation` builds: a pure function of (dataset, seed) to folds.

    Attributes:
        monitor: the score that selection over its folds reads, so that a study without it is refused; None for none.
    """

    monitor: str | None

    def __call__(self, dataset: Dataset, seed: int) -> Any: ...

    def outer_of(self, fold: int) -> int:
        """Return the contest of a fold number: folds of different ones take no part in each other's selection."""
        return 0


@dataclasses.dataclass(frozen=True)
class OfFunction(Validation):
    """Folds that a plain function makes, which all belong to one contest."""

    make: Callable[[Dataset, int], Any]
    monitor = None

    def __call__(self, dataset: Dataset, seed: int) -> Any:
        return self.make(dataset, seed)


@adapts("validation")
def as_validation(built: Any) -> Any:
    """Let a plain function `(dataset, seed) -> folds` be a validation."""
    return OfFunction(built) if callable(built) and not isinstance(built, Validation) else built


@register("validation", "holdout")
def holdout(
    *,
    val: float | None = None,
    test: float = 0.0,
    stratified: bool = False,
    groups: str | None = None,
    ordered: bool = False,
    by: str | None = None,
) -> Callable[[Dataset, int], list[Fold]]:
    """Hold out a random part of the training split for validation, and one for testing.

    A held-out part of fraction `f` of `n` examples has `ceil(f * n)` of them, as in scikit-learn; the rest trains.
    Stratified, each part gets its share of every class, rounded by largest remainder (ties are drawn). A fraction of 0
    leaves the part out, so that a split of the dataset's own is used under that name, if there is one.

    Args:
        val: fraction of the examples to validate on, in [0, 1); by default the dataset's own split "val" is used, and
            0.2 where it has none.
        test: fraction to test on, in [0, 1).
        stratified: keep the class proportions; needs integer targets.
        groups: the field of the dataset, one number an example, by which examples belong together, such as those of a
            patient: those of equal values are in one part. The fractions are then of the groups; stratified, too, of
            the examples of each class, as near as whole groups come.
        ordered: hold out the last examples in place of random ones: what trains is before what validates, and that is
            before what tests.
        by: the field of the dataset, one number an example, that says which is before which, where the rows do not
            stand in this order; of equal ones they do. It goes with `ordered`.

    Returns:
        a pure callable `(dataset, seed) -> [{"train": int32[…], "val": int32[…], "test": int32[…]}]`; indices ascend.

    Raises:
        ConfigError: at `validation.…`: fractions outside [0, 1) or that leave nothing to train on; stratified without
            integer targets, with a class too small for the parts, or a part smaller than the number of classes; a
            field that there is not, too few groups, or `ordered` beside `stratified` or `groups`.
    """
    _checked_fractions(0.0 if val is None else val, test)
    if by is not None and not ordered:
        raise ConfigError("validation.by", f"found {by!r}, which says an order; write ordered=True beside it")
    if ordered and (stratified or groups is not None):
        other = "stratified=True" if stratified else f"groups={groups!r}"
        raise ConfigError(
            "validation.ordered",
            f"the last examples are held out, whichever they are; leave {other} or ordered=True out",
        )

    def split(dataset: Dataset, seed: int) -> list[Fold]:
        train = dataset.splits["train"]
        num_examples = split_length(train)
        own = any(split_meant(name, dataset.splits) == "val" for name in dataset.splits)
        fractions = _checked_fractions(val if val is not None else 0.0 if own else _DEFAULT_VAL, test)
        if groups is not None:
            return [_of_groups(dataset, groups, fractions, seed, stratified)]
        sizes = {name: math.ceil(fraction * num_examples) for name, fraction in fractions.items() if fraction}
        sizes["train"] = num_examples - sum(sizes.values())
        if sizes["train"] < 1:
            raise ConfigError(
                "validation.val",
                f"of {num_examples} examples, val={fractions['val']} and test={test} leave none to train on; lower one",
            )
        order = {name: number for number, name in enumerate(sizes)}
        names = ["train", *(name for name in sizes if name != "train")]
        if ordered:
            ends = np.cumsum([sizes[name] for name in names])[:-1]
            parts = np.split(in_order(dataset, by), ends)
            return [{name: np.sort(rows) for name, rows in zip(names, parts, strict=True)}]
        if len(sizes) == 1 and not stratified:
            return [{"train": np.arange(num_examples, dtype=np.int32)}]
        random = random_numbers(num_examples, seed)
        if stratified:
            classes = class_indices(dataset, "validation.stratified")
            counts = np.bincount(classes)
            _check_stratifiable(counts, sizes, dataset)
            part = assign_stratified(classes, sizes, random, random_numbers(len(counts), seed, stream=1))
        else:
            part = parts_by_rank(random, [*sizes.values()])
        return [{name: np.flatnonzero(part == order[name]).astype(np.int32) for name in names}]

    return split


def parts_by_rank(random: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return int8[n], the part of each number: the smallest are the first part, and so on; of equal ones the first.

    Nothing is sorted, which takes a second for ten million, but where a part ends between two equal ones.
    """
    ends = np.cumsum(sizes)[:-1]
    bounds = np.partition(random, ends)[ends]
    part = np.zeros(len(random), np.int8)
    for bound in bounds:
        part += random >= bound
    if np.bincount(part, minlength=len(sizes)).tolist() != [*sizes]:
        part[np.argsort(random, kind="stable")] = np.repeat(np.arange(len(sizes), dtype=np.int8), sizes)
    return part


def _of_groups(dataset: Dataset, name: str, fractions: Mapping[str, float], seed: int, stratified: bool) -> Fold:
    groups = group_indices(dataset, name)
    wanted = {part: fraction for part, fraction in fractions.items() if fraction}
    said = " and ".join(f"{part}={fraction}" for part, fraction in wanted.items()) or "training"
    check_number(groups, name, len(wanted) + 1, said)
    number = int(groups.max()) + 1
    if sum(math.ceil(fraction * number) for fraction in wanted.values()) >= number:
        raise ConfigError(
            "validation.groups", f"of {number} groups of the field {name!r}, {said} leave none to train on; lower one"
        )
    classes = class_indices(dataset, "validation.stratified") if stratified else None
    return hold_out_groups(groups, fractions, random_numbers(number, seed), classes)


def _checked_fractions(val: float, test: float) -> dict[str, float]:
    for name, fraction in (("val", val), ("test", test)):
        if not 0 <= fraction < 1:
            raise ConfigError(
                f"validation.{name}", f"found {fraction}; it is a fraction of the training split, in [0, 1)"
            )
    if val + test >= 1:
        raise ConfigError("validation.val", f"val={val} and test={test} leave nothing to train on; lower one")
    return {"val": val, "test": test}


def random_numbers(count: int, seed: int, *, stream: int = 0) -> np.ndarray:
    """Return uint64[count], a pure function of (seed, stream).

    Raw Philox output: NumPy promises that it never changes, which it does not of `Generator.permutation`.
    """
    return np.random.Philox(key=np.array([seed % 2**64, stream], np.uint64)).random_raw(count)


def class_indices(dataset: Dataset, path: str) -> np.ndarray:
    """Return int64[n], the training examples' classes numbered from 0 without gaps.

    Raises:
        ConfigError: at `path`, if there is no field `targets` of one integer an example.
    """
    train = dataset.splits["train"]
    if isinstance(train, Mapping):  # of one that is read while it trains, the targets alone
        train = {field: values for field, values in train.items() if field == "targets"}
    targets = split_arrays(train).get("targets") if train else None
    fix = "set stratified=False"
    if targets is None:
        raise ConfigError(path, f"stratification needs a field 'targets', which the dataset does not have; {fix}")
    if targets.dtype.kind not in "iub" or targets.ndim != 1:
        shape = ", ".join(["n", *map(str, targets.shape[1:])])
        raise ConfigError(
            path, f"stratification needs one integer class an example; targets are {targets.dtype}[{shape}]; {fix}"
        )
    return np.unique(targets, return_inverse=True)[1].reshape(-1)


def assign_stratified(
    classes: np.ndarray, sizes: Mapping[str, int], random: np.ndarray, tie_breakers: np.ndarray
) -> np.ndarray:
    """Assign each example to a part, so that every part gets its share of each class.

    Args:
        classes: int[n], numbered from 0.
        sizes: part -> its number of examples; they sum to n.
        random: uint64[n]; who of a class goes where.
        tie_breakers: uint64[classes]; which class of equal remainders gets the odd example.

    Returns:
        int16[n], the number of the part in the order of `sizes`.
    """
    left = np.bincount(classes)
    quotas = np.empty((len(sizes), len(left)), np.int64)
    for number, size in enumerate(sizes.values()):
        quotas[number] = _largest_remainder(left, size, tie_breakers)
        left = left - quotas[number]
    # Sorted by class, and within a class at random, the parts follow each other in blocks of their quotas.
    order = np.lexsort((random, classes))
    part = np.empty(len(classes), np.int16)
    part[order] = np.repeat(np.tile(np.arange(len(sizes), dtype=np.int16), len(quotas[0])), quotas.T.reshape(-1))
    return part


def _largest_remainder(counts: np.ndarray, size: int, tie_breakers: np.ndarray) -> np.ndarray:
    """Share `size` among classes in proportion to `counts`, in exact integers; int64[classes], summing to `size`."""
    total = int(counts.sum())
    shares, remainders = np.divmod(counts.astype(np.int64) * size, total)
    odd = size - int(shares.sum())
    shares[np.lexsort((tie_breakers, -remainders))[:odd]] += 1
    return shares


def _check_stratifiable(counts: np.ndarray, sizes: Mapping[str, int], dataset: Dataset) -> None:
    fix = "hold out another fraction, add examples, or set stratified=False"
    if counts.min() < len(sizes):
        values = np.unique(split_arrays(dataset.splits["train"])["targets"])
        raise ConfigError(
            "validation.stratified",
            f"class {values[counts.argmin()]} has {counts.min()} examples, fewer than the parts ({len(sizes)}: "
            f"{', '.join(sizes)}); {fix}",
        )
    for name, size in sizes.items():
        if size < len(counts):
            raise ConfigError(
                "validation.stratified",
                f"part {name!r} would have {size} examples, fewer than the classes ({len(counts)}); {fix}",
            )

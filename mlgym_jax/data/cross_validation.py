"""Cross validation and nested cross validation: pure functions of (dataset, seed) to folds of index arrays.

Synopsis:

    >>> import numpy as np
    >>> from mlgym_jax.data.cross_validation import cross_validation
    >>> from mlgym_jax.data.dataset import Dataset
    >>> dataset = Dataset(splits={"train": {"inputs": np.zeros((10, 3)), "targets": np.arange(10) % 2}}, num_classes=2)
    >>> [len(fold["val"]) for fold in cross_validation(folds=3)(dataset, 0)]
    [4, 3, 3]
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.data.dataset import Dataset, split_arrays, split_length
from mlgym_jax.data.grouped import check_number, cut_groups, group_indices
from mlgym_jax.data.validation import Fold, Validation, assign_stratified, class_indices, random_numbers
from mlgym_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class CrossValidation(Validation):
    """Each of `folds` parts of the training split validates once, what is left trains."""

    folds: int
    stratified: bool
    groups: str | None = None
    monitor = None

    def __call__(self, dataset: Dataset, seed: int) -> list[Fold]:
        rows = np.arange(split_length(dataset.splits["train"]))
        parts = _parts(dataset, rows, self.folds, self.stratified, self.groups, seed, "folds", stream=0)
        return [{"train": np.setdiff1d(rows, part), "val": part} for part in parts]


@dataclasses.dataclass(frozen=True)
class NestedCrossValidation(Validation):
    """Each of `outer_folds` parts tests once; the rest is cut into `inner_folds` parts, each of which validates once.

    Fold number `outer * inner_folds + inner` trains on what neither tests nor validates.

    Attributes:
        monitor, mode: the validation score by which hyperparameters are selected for each outer fold.
    """

    outer_folds: int
    inner_folds: int
    stratified: bool
    monitor: str
    mode: Literal["min", "max"]
    groups: str | None = None

    def __call__(self, dataset: Dataset, seed: int) -> list[Fold]:
        rows = np.arange(split_length(dataset.splits["train"]))
        found = []
        how = self.stratified, self.groups, seed
        outer = _parts(dataset, rows, self.outer_folds, *how, "outer_folds", stream=0)
        for number, test in enumerate(outer):
            rest = np.setdiff1d(rows, test)
            inner = _parts(dataset, rest, self.inner_folds, *how, "inner_folds", stream=number + 1)
            found += [{"train": np.setdiff1d(rest, val), "val": val, "test": test} for val in inner]
        return found

    def outer_of(self, fold: int) -> int:
        """Return the outer fold of a fold number."""
        return fold // self.inner_folds


@register("validation", "cross_validation")
def cross_validation(*, folds: int = 5, stratified: bool = False, groups: str | None = None) -> CrossValidation:
    """Train once for each of `folds` parts of the training split, which validates, on all others (Stone, 1974).

    The parts differ in size by one at most. Stratified, each has its share of every class, rounded by largest
    remainder.

    With groups, the largest group that is left goes to the smallest part; stratified, too, to the part where the shares
    of each class then differ least: the greedy ways of scikit-learn's GroupKFold and StratifiedGroupKFold.

    Args:
        groups: the field of the dataset, one number an example, by which examples belong together, such as those of a
            patient: those of equal values are in one part.

    Raises:
        ConfigError: fewer than 2 folds, more than examples or groups, or, stratified, a class with fewer examples than
            folds.
    """
    _at_least_two("folds", folds)
    return CrossValidation(folds, stratified, groups)


@register("validation", "nested_cross_validation")
def nested_cross_validation(
    *,
    outer_folds: int = 5,
    inner_folds: int = 3,
    stratified: bool = False,
    monitor: str,
    mode: Literal["min", "max"],
    groups: str | None = None,
) -> NestedCrossValidation:
    """Select hyperparameters on inner folds, and score the selected ones on outer parts that took no part in it.

    For each outer fold, the hyperparameters with the best mean of `monitor` over the inner folds are selected (each
    fold's own best epoch); the outer score is the mean over these trainings of the same score on the outer part,
    `test/…`, after the same epochs. Selection never sees the outer part, so the score is unbiased (Varma and Simon,
    2006, doi 10.1186/1471-2105-7-91).

    Args:
        monitor: a score of the split val, such as `val/accuracy`.
        groups: as of `cross_validation`: no group is in more than one of what trains, validates and tests.

    Raises:
        ConfigError: fewer than 2 folds, more than examples or groups, or a monitor that is no validation score.
    """
    _at_least_two("outer_folds", outer_folds)
    _at_least_two("inner_folds", inner_folds)
    if not monitor.startswith("val/"):
        raise ConfigError("validation.monitor", f"found {monitor!r}; selection reads a score of the inner folds, val/…")
    return NestedCrossValidation(outer_folds, inner_folds, stratified, monitor, mode, groups)


def _at_least_two(name: str, number: int) -> None:
    if number < 2:
        raise ConfigError(f"validation.{name}", f"found {number}; at least 2 parts are needed, one of them to train on")


def _parts(
    dataset: Dataset,
    rows: np.ndarray,
    number: int,
    stratified: bool,
    groups: str | None,
    seed: int,
    name: str,
    *,
    stream: int,
) -> list[np.ndarray]:
    """Cut rows of the training split into `number` parts at random, each int32[…], ascending.

    Raises:
        ConfigError: at `validation.<name>`, `validation.stratified` or `validation.groups`.
    """
    if len(rows) < number:
        raise ConfigError(f"validation.{name}", f"found {number}; there are only {len(rows)} examples to cut")
    sizes = {str(part): len(rows) // number + (part < len(rows) % number) for part in range(number)}
    random = random_numbers(len(rows), seed, stream=2 * stream)
    classes = None
    if stratified:
        classes = class_indices(dataset, "validation.stratified")[rows]
        counts = np.bincount(classes)
        if counts[counts > 0].min() < number:
            rarest = int(np.where(counts > 0, counts, len(rows) + 1).argmin())
            value = np.unique(split_arrays(dataset.splits["train"])["targets"])[rarest]
            raise ConfigError(
                "validation.stratified",
                f"class {value} has {counts[rarest]} examples to cut into {name}={number}; use fewer folds, add "
                "examples, or set stratified=False",
            )
    if groups is not None:
        of_rows = group_indices(dataset, groups)[rows]
        check_number(of_rows, groups, number, f"{name}={number}")
        of_rows = np.unique(of_rows, return_inverse=True)[1].reshape(-1)
        part = cut_groups(of_rows, number, random[: int(of_rows.max()) + 1], classes)
    elif classes is not None:
        tie_breakers = random_numbers(int(classes.max()) + 1, seed, stream=2 * stream + 1)
        part = assign_stratified(classes, sizes, random, tie_breakers)
    else:
        part = np.empty(len(rows), np.int16)
        part[np.argsort(random, kind="stable")] = np.repeat(np.arange(number), [*sizes.values()])
    return [rows[part == index].astype(np.int32) for index in range(number)]

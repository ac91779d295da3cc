"""Check the values of targets against what reads them, wherever they are known as numbers.

In a compiled program they are not. So before anything compiles, the steps are traced once more with the real targets
of all rows as NumPy arrays and everything else abstract (`study.tracing.check_targets`); losses and metrics call the
functions of this module with the batch that they see, and those do nothing unless it holds NumPy arrays.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mlgym_jax.errors import MlgymError

KNOWN_INPUTS = "_known_inputs"  # a field of inputs that are known; a loss that looks at it says so in its `takes`
_TOLERANCE = 1e-3  # of the sum of a distribution in float32, with as many classes as a vocabulary has


class UnfitTargets(MlgymError):
    """Targets hold values that what reads them cannot read rightly."""


_place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="")
_weights: contextvars.ContextVar[list[tuple[str, np.ndarray]] | None] = contextvars.ContextVar("weights", default=None)


@contextlib.contextmanager
def read_at(path: str) -> Iterator[None]:
    """Know what reads while the context lasts, by its config path."""
    token = _place.set(path)
    try:
        yield
    finally:
        _place.reset(token)


@contextlib.contextmanager
def weights_read() -> Iterator[list[tuple[str, np.ndarray]]]:
    """List what is read as weights while the context lasts, if it is known: the path of what reads it, the array."""
    found: list[tuple[str, np.ndarray]] = []
    token = _weights.set(found)
    try:
        yield found
    finally:
        _weights.reset(token)


def check_weights(what: str, weights: Any) -> None:
    """Refuse weights that are known, if some are below 0 or not finite; bool says what counts, and is as it is.

    Raises:
        UnfitTargets: there are some.
    """
    if not isinstance(weights, np.ndarray):
        return
    if (reading := _weights.get()) is not None:
        reading.append((_place.get(), weights))
    wrong = wrong_weights(weights)
    if wrong.any():
        raise UnfitTargets(f"{what} holds {weights[wrong][0]} ({_share(wrong)}); weights are finite, at least 0")


def wrong_weights(weights: np.ndarray) -> np.ndarray:
    """Return bool[…], which of these are no weights: numbers below 0, NaN, infinities."""
    if weights.dtype.kind == "f":
        return ~(np.isfinite(weights) & (weights >= 0))
    return weights < 0 if weights.dtype.kind == "i" else np.zeros(weights.shape, bool)


def known(batch: Mapping[str, Any], field: str = "targets") -> np.ndarray | None:
    """Return the values of a field that count, [n, …] or, with a field `where`, [positions, …]; None in a trace."""
    values, mask, where = batch.get(field), batch.get("mask"), batch.get("where")
    if not isinstance(values, np.ndarray) or not values.ndim or values.dtype.kind not in "biuf":
        return None
    if mask is None:
        mask = np.ones(len(values), bool)
    if not isinstance(mask, np.ndarray) or not isinstance(where, np.ndarray | None):
        return None
    if where is not None and where.shape == values.shape[: where.ndim]:
        mask = mask.reshape(-1, *(1 for _ in where.shape[1:])) & where.astype(bool)
    found = values[mask]
    return found if len(found) else None


def check_numbers(name: str, targets: np.ndarray | None) -> None:
    """Refuse NaN and infinities.

    Raises:
        UnfitTargets: there are some.
    """
    if targets is not None and targets.dtype.kind == "f":
        wrong = ~np.isfinite(targets)
        if wrong.any():
            raise UnfitTargets(
                f"{name}: the targets hold {targets[wrong][0]} ({_share(wrong)}), of which nothing can be computed; "
                "leave such examples out, or such positions by a field 'where'"
            )


def check_classes(name: str, targets: np.ndarray | None, num_classes: int, ignore: int | None = None) -> None:
    """Refuse what is no class number from 0 to `num_classes` - 1.

    Raises:
        UnfitTargets: numbers that are none, or classes that the model has no output for.
    """
    if targets is None:
        return
    if ignore is not None:
        targets = targets[targets != ignore]
        if not len(targets):
            return
    _check_whole(name, targets)
    low, high = int(targets.min()), int(targets.max())
    if low < 0:
        raise UnfitTargets(
            f"{name}: the targets hold {low} ({_share(targets < 0)}); classes are counted from 0. Leave out positions "
            "that have none by a field 'where', or number the classes anew with component('map_labels', …)"
        )
    if high >= num_classes:
        outputs = f"{num_classes} output{'' if num_classes == 1 else 's'}"
        raise UnfitTargets(
            f"{name}: the model has {outputs} an example, for the classes 0 … {num_classes - 1}, but the targets hold "
            f"{high} ({_share(targets >= num_classes)}). Write num_classes={high + 1} in the Dataset, which models "
            f"take their number of outputs from, or num_outputs={high + 1} in the model"
        )


def check_two(name: str, targets: np.ndarray | None) -> None:
    """Refuse what is not one of two classes, 0 and 1 or -1 and 1.

    Raises:
        UnfitTargets: other numbers.
    """
    if targets is None:
        return
    check_numbers(name, targets)
    if not np.isin(targets, (0, 1)).all() and not np.isin(targets, (-1, 1)).all():
        other = targets[~np.isin(targets, (-1, 0, 1))]
        found = f"{other[0]:.6g}" if len(other) else "-1, 0 and 1"
        classes = int(targets.max()) + 1
        several = targets.dtype.kind != "f" and targets.min() >= 0
        raise UnfitTargets(
            f"{name}: it reads two classes, targets 0 and 1 or -1 and 1, but the targets hold {found}. "
            + (
                f"For {classes} classes give the model num_outputs={classes}, or the Dataset num_classes={classes}, "
                "and take a loss of several classes, such as softmax_cross_entropy"
                if several
                else "Change the targets, or take losses and metrics of numbers, such as squared_error and mse"
            )
        )


def check_shares(name: str, targets: np.ndarray | None) -> None:
    """Refuse what is no probability.

    Raises:
        UnfitTargets: numbers outside of [0, 1].
    """
    if targets is None:
        return
    check_numbers(name, targets)
    low, high = targets.min(), targets.max()
    if low < 0 or high > 1:
        fix = (
            "write 0 for -1, or take a loss of signs, such as hinge_loss"
            if low == -1 and high <= 1
            else "take a loss of classes, such as softmax_cross_entropy, or of numbers, such as squared_error"
        )
        raise UnfitTargets(
            f"{name}: it takes targets from 0 to 1, the probability of a yes; found {low:.6g} … {high:.6g}; {fix}"
        )


def check_distributions(name: str, targets: np.ndarray | None, axis: int = -1) -> None:
    """Refuse what is no distribution over classes; a row of zeros, which costs nothing, is let through.

    Raises:
        UnfitTargets: numbers below 0, or sums that are not 1.
    """
    if targets is None or targets.ndim < 2:  # where single elements are left out, there is nothing to add up
        return
    check_numbers(name, targets)
    sums = targets.astype(np.float64).sum(axis=axis)
    wrong = ~((np.abs(sums - 1) <= _TOLERANCE) | (sums == 0))
    if (targets < 0).any() or wrong.any():
        found = "numbers below 0" if (targets < 0).any() else f"rows with the sum {sums[wrong].reshape(-1)[0]:.6g}"
        raise UnfitTargets(
            f"{name}: targets of the outputs' shape are one-hot or a distribution, the sum of a row 1, but there are "
            f"{found} ({_share(wrong)}). For several labels an example (multi-hot) take the loss "
            "sigmoid_binary_cross_entropy, and metrics with multilabel=True"
        )


def check_labels(name: str, targets: np.ndarray | None) -> None:
    """Refuse what is not 0 or 1 for each label.

    Raises:
        UnfitTargets: other numbers.
    """
    if targets is not None and not np.isin(targets, (0, 1)).all():
        other = targets[~np.isin(targets, (0, 1))]
        raise UnfitTargets(f"{name}: multilabel=True takes targets 0 or 1 for each label, found {other[0]:.6g}")


def check_rank(name: str, k: int, num_classes: int, whole: bool, outputs: Any, batch: Mapping[str, Any]) -> None:
    """Refuse a study that asks whether the target is among the first `k` of so few classes that it always is.

    Args:
        whole: whether `k` may be the number of classes.

    Raises:
        UnfitTargets: at least `k` classes are needed, or more of them.
    """
    from jax.core import Tracer  # reading data, which looks at weights here, imports no JAX

    most = num_classes if whole else num_classes - 1
    if k > most and isinstance(outputs, Tracer) and known(batch) is not None:
        raise UnfitTargets(
            f"{name}: found k={k}, but there are {num_classes} classes, so the target is always among the first k; "
            f"write k={most}" + (" or less" if most > 1 else "")
        )


def _check_whole(name: str, targets: np.ndarray) -> None:
    check_numbers(name, targets)
    if targets.dtype.kind == "f" and (wrong := targets != np.round(targets)).any():
        raise UnfitTargets(
            f"{name}: it reads class numbers, but the targets hold {targets[wrong][0]:.6g} ({_share(wrong)}). Take "
            "losses and metrics of numbers, such as squared_error and mse, or give the dataset classes"
        )


def _share(wrong: np.ndarray) -> str:
    return f"{int(wrong.sum())} of {wrong.size}"

"""Find a learning rate: one short training for each of many rates, all in one compiled program; nothing is kept.

Synopsis:

    found = mg.find_learning_rate("configs/gs.py")
    print(found)
    found.suggestion  # such as 0.01; None where no rate lowers the loss
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlgym_jax.components.tree import unresolved
from mlgym_jax.config.file import as_config, source_file
from mlgym_jax.config.html_table import html_line, html_table
from mlgym_jax.config.traversal import replaced, walk
from mlgym_jax.config.words import dotted, grid, is_component, validated
from mlgym_jax.data import given
from mlgym_jax.errors import ConfigError, MlgymError, described, listed, nearest
from mlgym_jax.recording.launch import run
from mlgym_jax.run_folder.own_code import register_beside
from mlgym_jax.search.sweep import expand, swept_paths

_FIELD = "optimizer.learning_rate"
_EVALUATIONS = 20  # so many parts a curve has, if there are as many steps
# Of the greatest fall of the loss: rates whose loss is higher than the best by less are as good.
_TOLERANCE = 0.05
# What of a study has no part in a short training.
_LEFT_OUT = ("search", "refit", "early_stopping", "checkpointing", "metrics", "post_processors", "num_epochs")


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """What short trainings with many learning rates found.

    Attributes:
        field: the dotted path of the rate in the config.
        rates: float[n], ascending.
        curves: float[n, parts], the mean training loss of each part of the steps; not finite where it diverged.
        steps: training steps done by the end of each part.
        losses: float[n], the mean over the last quarter of the parts.
        suggestion: the middle of the rates around the best whose loss is as good; None where no rate lowers the loss.
        as_good: (lowest, highest) of these rates; None likewise.
    """

    field: str
    rates: np.ndarray
    curves: np.ndarray
    steps: tuple[int, ...]
    losses: np.ndarray
    suggestion: float | None
    as_good: tuple[float, float] | None

    def __str__(self) -> str:
        heads, rows = self._table()
        lines = [f"{'learning rate':>13}  " + "  ".join(f"{head:>12}" for head in heads)]
        for rate, *cells, mark in rows:
            lines.append(f"{rate:>13}  {'  '.join(f'{cell:>12}' for cell in cells)}{mark and f'  <- {mark}'}")
        return "\n".join([*lines, *self._words()])

    def _repr_html_(self) -> str:
        heads, rows = self._table()
        return html_table("", ("learning rate", *heads, ""), rows) + "".join(map(html_line, self._words()))

    def _table(self) -> tuple[list[str], list[tuple[str, ...]]]:
        """Return the heads of the columns of losses, and rows of rate, losses and what is suggested."""
        shown = sorted({len(self.steps) // 4 - 1, len(self.steps) // 2 - 1} - {-1})
        heads = [*(f"step {self.steps[part]}" for part in shown), f"last {_last(len(self.steps))} parts"]
        return heads, [
            (f"{rate:.3g}", *map(_shown, (*curve[shown], loss)), "suggested" if rate == self.suggestion else "")
            for rate, curve, loss in zip(self.rates, self.curves, self.losses, strict=True)
        ]

    def _words(self) -> list[str]:
        if self.suggestion is None or self.as_good is None:
            return ["No learning rate lowered the loss; try more steps, or rates of another size."]
        low, high = self.as_good
        words = [
            f"{self.field} = {self.suggestion:.3g}, the middle of those from {low:.3g} to {high:.3g}, whose loss is "
            f"within {_TOLERANCE:.0%} of the greatest fall from the best one. To train with it: "
            f"--config.{self.field}={self.suggestion:.3g}"
        ]
        for end, where in ((self.rates[0], "lower"), (self.rates[-1], "higher")):
            if end in self.as_good:
                words.append(f"{end:.3g} is the end of what was tried; {where} rates may be as good.")
        return words


def find_learning_rate(
    config: Any,
    *,
    data: Any = None,
    field: str | None = None,
    low: float = 1e-6,
    high: float = 10.0,
    num: int = 29,
    num_steps: int = 200,
    plan: str = "auto",
    devices: int | None = None,
    trust: bool = False,
) -> LearningRates:
    """Train for a few steps with each of many learning rates, and suggest one.

    Where the range test of Smith (2017, arXiv 1506.01186) raises the rate within one training, each rate has a training
    of its own here, from the same seed on the same batches; all of them are one compiled program where the field may be
    swept in one. Of the rates around the best one whose loss is within 5 % of the greatest fall of it the middle one
    is suggested: the best one itself is often near to where training diverges. Of a sweep the first experiment counts;
    search, early stopping, metrics and checkpoints are left out, and nothing is written.

    Args:
        config: an `ml_collections.ConfigDict`, or the path that `load_config` takes.
        data: in place of `config.dataset`, as for `mg.run`.
        field: the dotted path of the rate; by default `optimizer.learning_rate`, or the only `learning_rate` there is.
        low, high: the lowest and the highest rate; num: how many, evenly spaced in their logarithms, at least 3.
        num_steps: training steps with each of them, at least 4.
        plan, devices, trust: as for `mg.run`.

    Raises:
        ConfigError: the config cannot be run, or the field holds no number, such as a schedule. MlgymError: a range
            that is none.
    """
    _check_range(low, high, num, num_steps)
    with given.at_hand(data) as own_data:
        found = given.config_of(as_config(config), own_data)
        return _found(found, field, (low, high, num), num_steps, plan=plan, devices=devices, trust=trust)


def _found(
    config: Any, field: str | None, of: tuple[float, float, int], num_steps: int, **launch: Any
) -> LearningRates:
    (low, high, num), trust = of, launch["trust"]
    register_beside(source_file(config), trust=trust)
    swept = validated(config)
    if not swept_paths(swept):
        swept.pop("search", None)  # an override may have left it nothing to search
    study = unresolved(expand(swept)[0].config)
    path = _path(study, field)
    every = max(1, num_steps // _EVALUATIONS)
    rates = [float(f"{rate:.3g}") for rate in np.geomspace(low, high, num)]
    short = {name: value for name, value in study.items() if name not in _LEFT_OUT}
    short |= {"num_steps": num_steps // every * every, "evaluate_every_steps": every, "evaluation_splits": ()}
    if study["validation"]["component"] != "holdout":  # folds would be trainings of their own
        short["validation"] = {"component": "holdout", "val": 0.0}
    short["checkpoint_interval_seconds"] = 1e6
    with tempfile.TemporaryDirectory(prefix="mlgym_jax_learning_rates_") as folder:
        result = run(replaced(short, path, grid(*rates)), folder, keep_data=False, progress=False, **launch)
        failed = [item.error for item in result.experiments if item.error and not item.error.startswith("diverged")]
        if failed:
            raise MlgymError(f"a training failed: {failed[0].splitlines()[0]}")
        steps = tuple(range(every, num_steps // every * every + 1, every))
        curves = np.full((num, len(steps)), np.nan)
        for curve, item in zip(curves, result.experiments, strict=True):
            found = item.history["train/loss"]
            curve[: len(found)] = found
    return _judged(dotted(path), np.array(rates), curves, steps)


def _check_range(low: Any, high: Any, num: Any, num_steps: Any) -> None:
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise MlgymError(f"{name}: a finite number above 0 is expected, found {described(value)}")
    if not low < high:
        raise MlgymError(f"low: a number below high is expected, found {low:.6g} and {high:.6g}")
    for name, value, least, most in (("num", num, 3, 1000), ("num_steps", num_steps, 4, 2**31 - 1)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise MlgymError(f"{name}: an integer from {least} to {most} is expected, found {described(value)}")


def _path(study: Mapping[str, Any], field: str | None) -> tuple[str, ...]:
    """Return the path of the learning rate, where a number stands."""
    sections = {name: study[name] for name in ("optimizer", "training_step") if name in study}
    numbers = {
        dotted(path): path
        for path, value in walk(sections)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    there = {dotted(path): value for path, value in walk(study)}
    if field is None:
        rates = [dotted(path) for path, _ in walk(sections) if path and path[-1] == "learning_rate"]
        field = _FIELD if _FIELD in rates else rates[0] if len(rates) == 1 else None
        if field is None:
            found = f"there are {listed(rates)}" if rates else f"there is none; numbers: {listed(numbers, 20)}"
            raise MlgymError(f"field: say which learning rate is meant; {found}. Write field='…', or type --field=…")
    if field in numbers:
        return numbers[field]
    if field not in there:
        raise ConfigError(
            field, f"the config holds no such field{nearest(field, numbers)} Numbers: {listed(numbers, 20)}"
        )
    if is_component(there[field]):
        inside = [name for name in numbers if name.startswith(f"{field}.")]
        raise ConfigError(
            field,
            f"found a component, {there[field]['component']!r}, no number: find a constant rate, --config.{field}=0.1, "
            f"and let it be the schedule's highest one; or name a number inside of it, field={listed(inside[:1])!r}",
        )
    raise ConfigError(field, f"a number is expected, found {described(there[field])}")


def _last(parts: int) -> int:
    return max(1, parts // 4)


def _shown(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "diverged"


def _judged(field: str, rates: np.ndarray, curves: np.ndarray, steps: Sequence[int]) -> LearningRates:
    """Suggest a rate; see `find_learning_rate`."""
    losses = curves[:, -_last(len(steps)) :].mean(axis=1)
    # The lowest rate has moved least by the end of its first part.
    start = curves[0, 0]
    finite = np.where(np.isfinite(losses), losses, np.inf)
    best = int(np.argmin(finite))
    fall = start - finite[best]
    suggestion, as_good = None, None
    if math.isfinite(fall) and fall > 0:
        good = finite <= finite[best] + _TOLERANCE * fall
        first = last = best
        while first > 0 and good[first - 1]:
            first -= 1
        while last + 1 < len(rates) and good[last + 1]:
            last += 1
        suggestion, as_good = float(rates[(first + last) // 2]), (float(rates[first]), float(rates[last]))
    return LearningRates(field, rates, curves, tuple(steps), losses, suggestion, as_good)

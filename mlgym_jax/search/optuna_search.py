"""Ask/tell bridge to Optuna (optional extra): it proposes a whole group at a time; samplers and pruners are its own."""

from __future__ import annotations

import importlib
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mlgym_jax.components.registry import register
from mlgym_jax.config.words import MAX_EXPERIMENTS, Path, dotted
from mlgym_jax.errors import ConfigError, listed, nearest
from mlgym_jax.search.contest import Contender, History, candidate_of
from mlgym_jax.search.strategy import Assignment, Finished, Strategy
from mlgym_jax.search.sweep import assigned, product, swept_paths, value_at, variants


@register("search", "optuna")
class OptunaSearch(Strategy):
    """Let a sampler of Optuna propose `num_parallel` trials at a time, which train as one group, `num_trials` in all.

    A trial's value is the mean over its folds and seeds (grids of the field `seed` belong to every trial) of each
    experiment's best score. What is proposed is a function of the config and the recorded scores alone, so a resumed
    run goes on as an undisturbed one would.

    Args:
        sampler: a class of `optuna.samplers`; `sampler_parameters` are its arguments, to which `seed` is added.
        pruner: a class of `optuna.pruners`, asked after every epoch, with `pruner_parameters`; by default none. It sees
            the means of trials whose experiments all have a score of that epoch.

    Raises:
        ConfigError: Optuna is not installed, it has no such sampler or pruner, or there is nothing to propose.
    """

    is_adaptive = True
    monitor: str  # of a search that proposes from scores, not None

    def __init__(
        self,
        *,
        num_trials: int,
        num_parallel: int = 16,
        monitor: str,
        mode: Literal["min", "max"],
        sampler: str = "TPESampler",
        sampler_parameters: Mapping[str, Any] | None = None,
        pruner: str | None = None,
        pruner_parameters: Mapping[str, Any] | None = None,
        seed: int = 0,
    ):
        for name, value in (("num_trials", num_trials), ("num_parallel", num_parallel)):
            if not 1 <= value <= MAX_EXPERIMENTS:
                raise ConfigError(f"search.{name}", f"found {value}; 1 to {MAX_EXPERIMENTS:,} are allowed")
        try:
            self._optuna = importlib.import_module("optuna")
        except ImportError:
            raise ConfigError("search", 'Optuna is not installed; type: pip install "mlgym-jax[optuna]"') from None
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self.num_trials, self.num_parallel, self.monitor, self.mode = num_trials, num_parallel, monitor, mode
        self._sampler = ("sampler", sampler, {"seed": seed, **(sampler_parameters or {})})
        self._pruner = ("pruner", pruner or "NopPruner", dict(pruner_parameters or {}))
        self._new_study()  # what is wrong is found now

    def propose(self, study: Mapping[str, Any], finished: Finished) -> list[Assignment]:
        """Return the next trials' assignments, [] after the last, given all experiments that have trained.

        The trials up to here are asked for and told again, so that the sampler is in the state that it would be in.
        """
        values: dict[str, list[float]] = {}
        for contender, history in finished:
            values.setdefault(contender.candidate, []).append(self._best(history))
        paths = [path for path in swept_paths(study) if path != ("seed",)]
        if not paths:
            raise ConfigError(
                "search", "there is nothing to propose; write uniform(low, high), grid(…), … in some field"
            )
        space = {dotted(path): self._distribution(study, path) for path in paths}
        trials = self._new_study()
        for start in range(0, self.num_trials, self.num_parallel):
            asked = [trials.ask(space) for _ in range(min(self.num_parallel, self.num_trials - start))]
            new: dict[str, list[Assignment]] = {}
            for trial in asked:
                assignments = _assignments(study, paths, trial.params)
                candidate = candidate_of(assignments[0].hyperparameters)
                if candidate not in values:
                    new.setdefault(candidate, assignments)
            if new and len(values) < self.num_trials:
                return [assignment for assignments in new.values() for assignment in assignments]
            for trial in asked:
                candidate = candidate_of(_assignments(study, paths, trial.params)[0].hyperparameters)
                if not self._told(trials, trial, statistics.fmean(values.get(candidate, [math.nan]))):
                    return []
        return []

    def _told(self, trials: Any, trial: Any, value: float) -> bool:
        """Tell a trial's value, of which NaN is a failure; False if the sampler has nothing more to try."""
        try:
            if math.isfinite(value):
                trials.tell(trial, value)
            else:
                trials.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        except RuntimeError as error:
            if "Study.stop" not in str(
                error
            ):  # how a sampler such as GridSampler says so, which ask/tell has no place for
                raise
            return False
        return True

    def stopped(self, contenders: Sequence[Contender], histories: Sequence[History], epoch: int) -> dict[int, str]:
        """Return which of the experiments that trained just to `epoch` the pruner ends.

        Trials of which none trained to `epoch` count as completed; the others' epochs are reported again, in order.
        """
        if self._pruner[1] == "NopPruner":
            return {}
        members: dict[Contender, list[int]] = {}
        for number, contender in enumerate(contenders):
            members.setdefault(contender, []).append(number)
        trials, state = self._new_study(), self._optuna.trial.TrialState.COMPLETE
        running: dict[Contender, Any] = {}
        for contender, numbers in members.items():
            if (
                any(len(histories[number]) == epoch for number in numbers)
                and self._mean(histories, numbers, epoch) is not None
            ):
                running[contender] = trials.ask()
                continue
            scores = {
                e: self._mean(histories, numbers, e) for e in range(1, 1 + min(len(histories[n]) for n in numbers))
            }
            told = {e: score for e, score in scores.items() if score is not None}
            if told:
                best = max if self.mode == "max" else min
                done = self._optuna.trial.create_trial(state=state, value=best(told.values()), intermediate_values=told)
                trials.add_trial(done)
        pruned: dict[int, str] = {}
        for number in range(1, epoch + 1):
            for contender, trial in running.items():
                score = self._mean(histories, members[contender], number)
                if score is None:
                    continue
                trial.report(score, number)
                if trial.should_prune() and number == epoch:
                    pruned.update({n: f"pruned by Optuna's {self._pruner[1]}" for n in members[contender]})
        return {number: why for number, why in sorted(pruned.items()) if len(histories[number]) == epoch}

    def _mean(self, histories: Sequence[History], numbers: Sequence[int], epoch: int) -> float | None:
        """Return a trial's mean score after an epoch; None unless all of its experiments have a finite one."""
        scores = [
            histories[number][epoch - 1].get(self.monitor, math.nan) if len(histories[number]) >= epoch else math.nan
            for number in numbers
        ]
        return statistics.fmean(scores) if all(map(math.isfinite, scores)) else None

    def _best(self, history: History) -> float:
        scores = [scores[self.monitor] for scores in history if math.isfinite(scores.get(self.monitor, math.nan))]
        return (max if self.mode == "max" else min)(scores, default=math.nan)

    def _new_study(self) -> Any:
        direction = "maximize" if self.mode == "max" else "minimize"
        sampler, pruner = self._made(*self._sampler), self._made(*self._pruner)
        return self._optuna.create_study(direction=direction, sampler=sampler, pruner=pruner)

    def _made(self, kind: str, name: str, parameters: Mapping[str, Any]) -> Any:
        module = getattr(self._optuna, f"{kind}s")
        known = [key for key in dir(module) if key.endswith(kind.capitalize()) and not key.startswith("Base")]
        if name not in known:
            raise ConfigError(
                f"search.{kind}", f"Optuna has no {name!r}{nearest(name, known)} It has: {listed(known, 20)}"
            )
        try:
            return getattr(module, name)(**parameters)
        except Exception as error:
            raise ConfigError(f"search.{kind}_parameters", f"optuna.{kind}s.{name}: {error}") from error

    def _distribution(self, study: Mapping[str, Any], path: Path) -> Any:
        marker, kinds = value_at(study, path), self._optuna.distributions
        if marker["sweep"] == "absolute":  # by number: a choice may be anything, such as a component
            return kinds.CategoricalDistribution(range(len(variants(marker, path))))
        if marker["sweep"] == "int_uniform":
            return kinds.IntDistribution(marker["low"], marker["high"])
        return kinds.FloatDistribution(marker["low"], marker["high"], log=marker["sweep"] == "log_uniform")


def _assignments(study: Mapping[str, Any], paths: Sequence[Path], params: Mapping[str, Any]) -> list[Assignment]:
    """Return what Optuna proposed, once for each seed."""
    chosen = []
    for path in paths:
        marker, value = value_at(study, path), params[dotted(path)]
        chosen.append(
            (path, variants(marker, path)[value] if marker["sweep"] == "absolute" else ({dotted(path): value}, value))
        )
    found = assigned(study, chosen)
    seeds = product(found.config, [(path,) for path in swept_paths(found.config)])
    return [Assignment({**found.hyperparameters, **seed.hyperparameters}, seed.config) for seed in seeds]

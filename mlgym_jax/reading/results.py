"""What a run left behind: experiments, their histories, checkpoints restored as states that predict."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlgym_jax.data import given
from mlgym_jax.errors import MlgymError, listed, path_of
from mlgym_jax.events import default_mode, layout, project_log
from mlgym_jax.events.ranking import is_guess
from mlgym_jax.events.selection import selected
from mlgym_jax.events.verdict import verdict
from mlgym_jax.events.views import ExperimentView, RunView
from mlgym_jax.reading.examinable import Examinable
from mlgym_jax.reading.html import ExperimentInHtml, RunInHtml
from mlgym_jax.reading.plots import Plotted
from mlgym_jax.reading.trained import Trained
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.run_folder import tokenizers

if TYPE_CHECKING:
    from mlgym_jax.core.state import TrainState
    from mlgym_jax.data.tokenizers import Tokenizer
    from mlgym_jax.reading.ensemble import Ensemble
    from mlgym_jax.reading.prediction import Predictor


_LOG = logging.getLogger(__name__)


def as_configured(value: Any) -> Any:
    """Return a value of the log with tuples where a config has them: it has no lists, JSON has nothing else."""
    if isinstance(value, Mapping):
        return {name: as_configured(item) for name, item in value.items()}
    return tuple(map(as_configured, value)) if isinstance(value, list | tuple) else value


class ExperimentResult(ExperimentInHtml, Examinable):
    """One experiment of a run, read from its log.

    Attributes:
        experiment_id, hyperparameters, fold, status, error, stop_reason: as the log says.
        config: the experiment's own resolved config.
        selected_by: of a refit, {"monitor", "mode", "experiments"}: the score that it was selected by, and the
            experiments that it was selected from; else None.
        history: score name -> one float an epoch; where evaluations come by steps, one an evaluation, here and below.
        steps: training steps done by the end of each of them; None in old logs.
        planned_epochs: how many there were to be; None where nothing says.
        best_epoch: the best epoch by the monitor it was chosen by, else None.
    """

    def __init__(
        self, run: RunResult, view: ExperimentView, best_epoch: int | None = None, chosen_by: str | None = None
    ):
        self._run, self._view, self._chosen_by = run, view, chosen_by
        self.experiment_id: int = view.experiment_id
        self.hyperparameters: dict[str, Any] = as_configured(view.hyperparameters)
        self.config: Mapping[str, Any] | None = view.config
        self.fold: int | None = view.fold
        self.selected_by: Mapping[str, Any] | None = view.refit
        self.status = view.status
        self.error: str | None = view.error
        self.stop_reason: str | None = view.stop_reason
        self.history: dict[str, list[float]] = dict(view.history)
        self.num_epochs: int = view.epochs
        self.planned_epochs: int | None = view.planned
        self.steps: list[int | None] = list(view.epoch_steps)
        self.best_epoch = best_epoch

    def __repr__(self) -> str:
        return (
            f"ExperimentResult({self.experiment_id}, {self.hyperparameters}, {self.status}, {self.num_epochs} epochs)"
        )

    @property
    def last(self) -> dict[str, float]:
        """The scores of the last epoch."""
        return self._view.last

    def best_score(self, monitor: str, mode: str | None = None) -> tuple[int, float] | None:
        """Return (epoch, score) of the best epoch; None without a finite score. For `mode` see `RunResult.best`."""
        return self._view.best(monitor, mode or default_mode(monitor, self._run.view.config))

    @property
    def checkpoints(self) -> list[int]:
        """The epochs that can be restored."""
        store = self._run._trained.store_of(self.experiment_id)
        return [] if store is None else store.epochs(self.experiment_id)

    def restore(self, epoch: int | None = None) -> TrainState:
        """Return the state after `epoch`.

        By default the best epoch if this experiment came from `result.best(…)` and that epoch was kept, else the
        newest that was; a best one that was not kept is told. No code of the run is executed: where a component of it
        is not registered in this process, the optimizer's state comes as nested dicts and lists, the rest as ever.

        Raises:
            MlgymError: no such checkpoint.
        """
        epoch = self._epoch(epoch)
        trained = self._run._trained
        return trained.state_of(self.experiment_id, epoch, trained.known_job_of(self.experiment_id))

    def _epoch(self, epoch: int | None) -> int:
        """Return the epoch that is restored.

        Raises:
            MlgymError: there is none.
        """
        available = self.checkpoints
        if not available:
            raise MlgymError(f"experiment {self.experiment_id} has no checkpoint in {self._run.run_dir}")
        if epoch is not None:
            return epoch
        if self.best_epoch in (None, *available):
            return available[-1] if self.best_epoch is None else self.best_epoch
        _LOG.warning(
            "experiment %d: epoch %d, the best by %s, was not kept; this is epoch %d. To keep it, train with "
            "config.checkpointing = component('best', monitor=%r, mode=…)",
            *(self.experiment_id, self.best_epoch, self._chosen_by, available[-1], self._chosen_by),
        )
        return available[-1]

    @property
    def tokenizer(self) -> Tokenizer:
        """What encoded the text that this experiment was trained on: `encode(text)`, `decode(tokens)`.

        Raises:
            MlgymError: it was trained on none, or the package of the tokenizer is missing.
        """
        return tokenizers.read(self._run.run_dir, (self.config or {}).get("dataset", {}))

    def save_safetensors(self, path: str | os.PathLike[str], epoch: int | None = None) -> None:
        """Write the parameters and other variables of `epoch`, as in `restore`, to a safetensors file.

        Averaged parameters, where there are such: those that the scores are of.

        Raises:
            MlgymError: no such checkpoint, or the file cannot be written.
        """
        from mlgym_jax.checkpoint.evaluated_arrays import write_safetensors

        metadata = {"run_id": self._run.run_id, "experiment_id": str(self.experiment_id)}
        write_safetensors(self.restore(epoch), path_of(path, "the file to write"), metadata)

    def export(self, folder: str | os.PathLike[str], epoch: int | None = None) -> None:
        """Write a folder that predicts without this package: program, weights, description, `predict.py`.

        The state is `restore(epoch)`; what is in the folder says `reading.exported`. As `predict`, this executes what
        the run recorded of its own components.

        Raises:
            MlgymError: as for `predict`; the folder is there already, or the model cannot be exported.
        """
        from mlgym_jax.reading.exported import write_exported

        write_exported(
            path_of(folder, "the folder to write"), self._run.run_dir, self._run.view, [self._predictor(epoch)]
        )

    def predict(self, inputs: Any, *, epoch: int | None = None, batch_size: int = 1024, as_frame: bool = False) -> Any:
        """Return the model's outputs for `inputs`, n examples that are not encoded yet, as numpy arrays.

        A classifier of `inputs` array[n, features] returns float[n, classes], a model of several outputs a dict or
        tuple of array[n, …]. `inputs` are an array[n, …], a dict or tuple of arrays where the model takes several
        (where it reads further fields of the batch, a dict of all, {"inputs": …, "lengths": …}), or a pandas frame
        whose columns have the data set's names, in any order, words and numbers as they stood in its file. An iterator
        or generator of such gives an iterator of outputs, one for each, computed when it is asked for.

        With `as_frame` it returns a pandas frame, a row an example: of classes the column `prediction`, the name of the
        most probable, and a column of probabilities for each; of numbers `prediction`; and what post-processors add.

        This executes what the run recorded of its own components (`config.py`, `sources/`). Of a run that somebody else
        made nothing is executed without `load_run(…, trust=True)`: where what this process has registered does not
        suffice, that is said. The state is `restore(epoch)`. Inputs go through in batches of at most `batch_size`.

        Raises:
            MlgymError: no such checkpoint, inputs that the model cannot take (expected and found shapes or columns are
            said), code of somebody else's that is not trusted, or outputs that make no frame.
        """
        return self._predictor(epoch).predict(inputs, batch_size=batch_size, as_frame=as_frame)

    def _predictor(self, epoch: int | None = None) -> Predictor:
        """Return the model after `epoch`, as in `restore`, ready to predict.

        Raises:
            MlgymError: no such checkpoint, or code of somebody else's that is not trusted.
        """
        from mlgym_jax.reading.prediction import Predictor

        trained = self._run._trained
        job = trained.job_of(self.experiment_id)  # first, as it says whether the run's code may be executed
        epoch = self._epoch(epoch)
        return Predictor(job, self.experiment_id, epoch, trained.state_of(self.experiment_id, epoch, job))


class RunResult(RunInHtml, Plotted):
    """A run: its experiments in the order of their ids, and the refit of what they selected.

    Attributes:
        run_id, run_dir: the run and its folder.
        experiments: list of ExperimentResult: all but the refit, so that nothing selects or counts it.
        refit: list of ExperimentResult, one a seed: what was selected over the folds, trained once more on all of the
            training split; empty without `config.refit`, or until all folds have trained.
        status: RUNNING, DONE, FAILED or INTERRUPTED, as the log says.
        mismatches: where a resumed run computed other numbers than the log holds (empty, or something is wrong).
    """

    def __init__(
        self, run_dir: str, view: RunView, damaged_lines: Sequence[int] = (), *, trust: bool = False, data: Any = None
    ):
        self.run_dir: str = run_dir
        self._trained = Trained(run_dir, view, trust=trust, data=data)
        self.run_id: str = os.path.basename(run_dir)
        self.name: str | None = view.name
        self.status = view.status
        self.is_lost: bool = view.status in ("INIT", "RUNNING") and run_folder.is_left(run_dir)  # as it was read
        self.mismatches: list[Mapping[str, Any]] = list(view.mismatches)
        self.damaged_lines: list[int] = list(damaged_lines)
        self.view = view
        self.experiments: list[ExperimentResult] = [ExperimentResult(self, item) for item in view.candidates]
        self.refit: list[ExperimentResult] = [ExperimentResult(self, item) for item in view.refits]

    def __repr__(self) -> str:
        number, headline = len(self.experiments), self.verdict()["headline"]
        return f"RunResult({self.run_id!r}, {self.status}, {number} experiments: {headline})"

    @property
    def scores(self) -> list[str]:
        """The names of the scores that were recorded."""
        return self.view.scores

    def verdict(self, monitor: str | None = None, mode: str | None = None) -> dict[str, Any]:
        """Return what the run has come to, in words (`headline`, `sentences`) and as data; see `events.verdict`.

        Args:
            monitor, mode: the score to judge by, and which is better; by default as everywhere.

        Raises:
            MlgymError: an unknown monitor or mode.
        """
        return verdict(self.view, monitor, mode, lost=self.is_lost, name=run_folder.shortest_name(self.run_dir))

    def experiment(self, experiment_id: int) -> ExperimentResult:
        """Return an experiment by its id, a refit, too.

        Raises:
            MlgymError: there is none.
        """
        views = self.view.experiments
        if experiment_id not in views:
            raise MlgymError(f"{self.run_id} has no experiment {experiment_id}. Experiments: {listed(views, 20)}")
        return ExperimentResult(self, views[experiment_id])

    def best(self, monitor: str, mode: str | None = None) -> ExperimentResult:
        """Return the experiment with the best score over all its epochs; ties go to the smaller id.

        Args:
            mode: `max` or `min`; by default what the config says where it monitors this score; else lower is better for
                losses and errors, as `report` and the board have it.

        Raises:
            MlgymError: an unknown monitor or mode, or no finite score.
        """
        view, epoch = self.view.best(monitor, mode)
        if mode is None and is_guess(monitor, self.view.config):
            _LOG.warning("%s: nothing says which is better, so the largest is the best; write mode='min' else", monitor)
        return ExperimentResult(self, view, best_epoch=epoch, chosen_by=monitor)

    def ensemble(self, rule: str) -> Ensemble:
        """Return the experiments that a rule chooses as one model, whose outputs are their mean.

        Of classes the mean is of probabilities, of numbers of the numbers; see `reading.ensemble`. A state is the one
        after the epoch that the rule means, or the newest where that was not kept, which is told.

        Args:
            rule: `top 5 by val/loss`, in the words of the board's selections (`search.rule`).

        Raises:
            MlgymError: a rule that cannot be read or chooses nothing, members without checkpoints, of other data or
                other outputs, or code of somebody else's that is not trusted.
        """
        from mlgym_jax.reading.ensemble import Ensemble
        from mlgym_jax.search.rule import read_rule
        from mlgym_jax.search.ruled import chosen

        read = read_rule(rule)
        found = [
            ExperimentResult(self, member.view, best_epoch=member.epoch, chosen_by=read.by)
            for member in chosen(read, self.view)
        ]
        return Ensemble(rule, found, [item._predictor() for item in found], self.run_dir, self.view)

    def selection(
        self, monitor: str | None = None, mode: str | None = None
    ) -> tuple[str, dict[str, Any] | None] | None:
        """Return what was selected over the folds of a cross-validated run; see `events.selection.selected`."""
        kind, found = selected(self.view, monitor, mode) or (None, None)
        if kind is None or found is None:
            return None if kind is None else (kind, None)
        of_folds = isinstance(found["selected"], list)  # one an outer fold
        chosen = [as_configured(item) for item in found["selected"]] if of_folds else as_configured(found["selected"])
        return kind, {**found, "selected": chosen}

    def estimate(self, monitor: str | None = None, mode: str | None = None) -> dict[str, Any] | None:
        """Return how well what is selected does on data that it has not seen, as `selection` found over the folds.

        Returns:
            {"score", "mean", "std", "num_folds"}; None where there is no selection.
        """
        kind, found = self.selection(monitor, mode) or ("", None)
        if found is None:
            return None
        name = "test/" + found["monitor"].removeprefix("val/") if kind.startswith("nested") else found["monitor"]
        return {"score": name, "mean": found["mean"], "std": found["std"], "num_folds": len(found["scores"])}

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame, one row an experiment and epoch: hyperparameters, fold, status, epoch, scores.

        Values can be hashed: a swept component is its name, and what differs inside of components of one name has a
        column of its own, such as `optimizer.learning_rate`.

        Raises:
            MlgymError: pandas is not installed.
        """
        from mlgym_jax.reading.score_frame import score_frame

        return score_frame(self.experiments)

    @property
    def _study(self) -> Any:
        return self._trained.study


def load_run(run_dir: str | os.PathLike[str], *, trust: bool = False, data: Any = None) -> RunResult:
    """Open a run's folder, finished or still being written; what is read is the log.

    Args:
        trust: let `predict` execute the code of a run that somebody else made; everything else executes nothing.
        data: what the run was given as `data=`, which `predict` needs, where the run has not kept it.

    Raises:
        MlgymError: there is no run.
    """
    folder = run_folder.require(run_dir)
    return RunResult(folder, *project_log(os.path.join(folder, layout.LOG)), trust=trust, data=given.taken(data))

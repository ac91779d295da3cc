"""What a run left behind: experiments, their histories, checkpoints restored as states that predict."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlgym_jax.errors import MlgymError
from mlgym_jax.events import default_monitor, layout, project_log
from mlgym_jax.events.views import ExperimentView, RunView
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.search.selection import cross_validated, nested_cross_validated

if TYPE_CHECKING:
    from mlgym_jax.core.state import TrainState


class ExperimentResult:
    """One experiment of a run, read from its log.

    Attributes:
        experiment_id, hyperparameters, fold, status, error, stop_reason: as the log says.
        config: the experiment's own resolved config.
        selected_by: of a refit, {"monitor", "mode", "experiments"}: the score that it was selected by, and the
            experiments that it was selected from; else None.
        history: score name -> one float an epoch.
        best_epoch: the best epoch by the monitor it was chosen by, else None.
    """

    def __init__(self, run: RunResult, view: ExperimentView, best_epoch: int | None = None):
        self._run, self._view = run, view
        self.experiment_id: int = view.experiment_id
        self.hyperparameters: dict[str, Any] = dict(view.hyperparameters)
        self.config: Mapping[str, Any] | None = view.config
        self.fold: int | None = view.fold
        self.selected_by: Mapping[str, Any] | None = view.refit
        self.status = view.status
        self.error: str | None = view.error
        self.stop_reason: str | None = view.stop_reason
        self.history: dict[str, list[float]] = dict(view.history)
        self.num_epochs: int = view.epochs
        self.best_epoch = best_epoch

    def __repr__(self) -> str:
        return (
            f"ExperimentResult({self.experiment_id}, {self.hyperparameters}, {self.status}, {self.num_epochs} epochs)"
        )

    @property
    def last(self) -> dict[str, float]:
        """The scores of the last epoch."""
        return self._view.last

    def best_score(self, monitor: str, mode: str = "max") -> tuple[int, float] | None:
        """Return (epoch, score) of the best epoch; None without a finite score."""
        return self._view.best(monitor, mode)

    @property
    def checkpoints(self) -> list[int]:
        """The epochs that can be restored."""
        return self._run._store_of(self.experiment_id).epochs(self.experiment_id)

    def restore(self, epoch: int | None = None) -> TrainState:
        """Return the state after `epoch`.

        By default the best epoch if this experiment came from `result.best(…)` and that epoch was kept, else the
        newest.

        Raises:
            MlgymError: no such checkpoint.
        """
        available = self.checkpoints
        if epoch is None:
            if not available:
                raise MlgymError(f"experiment {self.experiment_id} has no checkpoint in {self._run.run_dir}")
            epoch = self.best_epoch if self.best_epoch in available else available[-1]
        return self._run._store_of(self.experiment_id).restore_row(self.experiment_id, epoch)

    def save_safetensors(self, path: str | os.PathLike[str], epoch: int | None = None) -> None:
        """Write the parameters and other variables after `epoch` (as in `restore`) to a safetensors file.

        Raises:
            MlgymError: no such checkpoint, or the file cannot be written.
        """
        from mlgym_jax.checkpoint.safetensors_files import write_safetensors

        metadata = {"run_id": self._run.run_id, "experiment_id": str(self.experiment_id)}
        write_safetensors(self.restore(epoch), os.fspath(path), metadata)

    def predict(self, inputs: Any, *, epoch: int | None = None, batch_size: int = 1024) -> Any:
        """Return the model's outputs for `inputs` (a leading axis of examples, not encoded yet), as numpy arrays.

        The state is `restore(epoch)`. Inputs go through in batches of at most `batch_size`.
        """
        import jax
        import numpy as np

        job = self._run._job_of(self.experiment_id)
        state, encode = self.restore(epoch), job.encoder_of(self.experiment_id)
        predict = jax.jit(lambda state, batch: job.program.predict(state, encode(batch)))
        size = len(jax.tree.leaves(inputs)[0])
        parts = []
        for start in range(0, max(size, 1), batch_size):
            part = jax.tree.map(lambda array, start=start: np.asarray(array)[start : start + batch_size], inputs)
            parts.append(jax.device_get(predict(state, job.raw_batch(part))))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


class RunResult:
    """A run: its experiments in the order of their ids, and the refit of what they selected.

    Attributes:
        run_id, run_dir: the run and its folder.
        experiments: list of ExperimentResult: all but the refit, so that nothing selects or counts it.
        refit: list of ExperimentResult, one a seed: what was selected over the folds, trained once more on all of the
            training split; empty without `config.refit`, or until all folds have trained.
        status: RUNNING, DONE, FAILED or INTERRUPTED, as the log says.
        mismatches: where a resumed run computed other numbers than the log holds (empty, or something is wrong).
    """

    def __init__(self, run_dir: str, view: RunView, damaged_lines: Sequence[int] = ()):
        self.run_dir = run_dir
        self.run_id: str = os.path.basename(run_dir)
        self.name: str | None = view.name
        self.status = view.status
        self.mismatches: list[Mapping[str, Any]] = list(view.mismatches)
        self.damaged_lines: list[int] = list(damaged_lines)
        self.view = view
        self.experiments: list[ExperimentResult] = [ExperimentResult(self, item) for item in view.candidates]
        self.refit: list[ExperimentResult] = [ExperimentResult(self, item) for item in view.refits]

    def __repr__(self) -> str:
        return f"RunResult({self.run_id!r}, {self.status}, {len(self.experiments)} experiments)"

    @property
    def scores(self) -> list[str]:
        """The names of the scores that were recorded."""
        return self.view.scores

    def best(self, monitor: str, mode: str = "max") -> ExperimentResult:
        """Return the experiment with the best score over all its epochs; ties go to the smaller id.

        Raises:
            MlgymError: an unknown monitor or mode, or no finite score.
        """
        view, epoch = self.view.best(monitor, mode)
        return ExperimentResult(self, view, best_epoch=epoch)

    def selection(self, monitor: str | None = None, mode: str = "max") -> tuple[str, dict[str, Any] | None] | None:
        """Return what was selected over the folds of a cross-validated run; see `search.selection`.

        Args:
            monitor, mode: the score; by default what `events.default_monitor` chooses. A nested run selects by
                what its config says, whatever is given here.

        Returns:
            (`cross_validation` or `nested_cross_validation`, the selection, None until every fold has a score); None
            for a run without folds.
        """
        validation = (self.view.config or {}).get("validation", {})
        kind = validation.get("component", "").removeprefix("validation/")
        views = self.view.candidates
        if kind == "nested_cross_validation":
            inner_folds = validation.get("inner_folds", 3)
            chosen = validation["monitor"], validation["mode"]
            return kind, nested_cross_validated(views, lambda fold: fold // inner_folds, *chosen)
        if kind != "cross_validation":
            return None
        name, mode = (monitor, mode) if monitor else default_monitor(self.scores, self.view.config)
        return kind, cross_validated(views, name, mode) if name else None

    def estimate(self, monitor: str | None = None, mode: str = "max") -> dict[str, Any] | None:
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

        Raises:
            MlgymError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise MlgymError('to_dataframe needs pandas; type: pip install "mlgym-jax[pandas]"') from None
        rows = []
        for item in self.experiments:
            for epoch, scores in zip(item._view.epoch_numbers, item._view.rows(), strict=True):
                values = {"experiment_id": item.experiment_id, "fold": item.fold, "status": item.status}
                rows.append({**values, **item.hyperparameters, "epoch": epoch, **scores})
        return pandas.DataFrame(rows)

    @functools.cached_property
    def _study(self) -> Any:
        from mlgym_jax.study.expand import prepare

        return prepare(run_folder.read_config(self.run_dir), self.view)

    def _job_of(self, experiment_id: int) -> Any:
        return next(job for job in self._study.jobs if experiment_id in job.group.ids)

    @functools.cached_property
    def _stores(self) -> dict[int, Any]:
        return {}

    def _store_of(self, experiment_id: int) -> Any:
        from mlgym_jax.checkpoint.store import CheckpointStore

        job = self._job_of(experiment_id)
        if job.group.index not in self._stores:
            folder = os.path.join(self.run_dir, layout.CHECKPOINTS, layout.group_name(job.group.index))
            store = self._stores[job.group.index] = CheckpointStore(folder, job.abstract)
            store.load()
        return self._stores[job.group.index]


def load_run(run_dir: str | os.PathLike[str]) -> RunResult:
    """Open a run's folder, finished or still being written; what is read is the log.

    Raises:
        MlgymError: there is no run.
    """
    folder = run_folder.require(run_dir)
    return RunResult(folder, *project_log(os.path.join(folder, layout.LOG)))

"""What a run trained, made again of its folder: its study, its jobs, and the states of its kept checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mlgym_jax.components.registry import as_cells_have_it
from mlgym_jax.data import given
from mlgym_jax.errors import MlgymError
from mlgym_jax.events import layout
from mlgym_jax.events.views import RunView
from mlgym_jax.run_folder import folder as run_folder
from mlgym_jax.run_folder.own_code import read_config
from mlgym_jax.run_folder.trust import foreign_because

if TYPE_CHECKING:
    from mlgym_jax.core.state import TrainState


class Trained:
    """The study and the checkpoints of a run, each read when it is first asked for.

    Args:
        view: what the run's log says.
        trust: execute the code of a run that somebody else made.
        data: what the run was given as `data=`, where it has not kept it.
    """

    def __init__(self, run_dir: str, view: RunView, *, trust: bool = False, data: Any = None):
        self.run_dir = run_dir
        self._view = view
        self._trust, self._data = trust, data
        self._jobs: list[Any] = []
        self._known_jobs: list[Any] = []

    @functools.cached_property
    def study(self) -> Any:
        """The study, with the components of the user's own: this executes what the run recorded of their code.

        Of a run that is not trusted nothing is executed, and the components of this process have to do.
        """
        return self._prepared(traced=True)

    def study_of(self, experiment_id: int) -> Any:
        """Return the study with one job, that which trained an experiment; other groups are not traced."""
        study = self.study if "study" in vars(self) else self._laid_out
        return dataclasses.replace(study, jobs=(self.job_of(experiment_id),))

    def job_of(self, experiment_id: int) -> Any:
        """Return the job that trained an experiment; other groups are not traced."""
        if "study" in vars(self):
            return _among(self.study.jobs, experiment_id)
        if (job := _among(self._jobs, experiment_id)) is None:
            job = self._made(self._laid_out, experiment_id) or _among(self.study.jobs, experiment_id)
            self._jobs.append(job)
        return job

    def known_job_of(self, experiment_id: int) -> Any:
        """Return that job by what this process has registered; None where it does not suffice. Nothing is executed."""
        if "study" in vars(self) or "_laid_out" in vars(self):
            return self.job_of(experiment_id)
        if (job := _among(self._known_jobs, experiment_id)) is None and self._known is not None:
            try:
                job = self._made(self._known, experiment_id)
            except MlgymError:
                return None
            whole = self._prepared_as_known(traced=True) if job is None else None
            self._known_jobs += [job] if job is not None else whole.jobs if whole is not None else []
        return _among(self._known_jobs, experiment_id)

    @functools.cached_property
    def _laid_out(self) -> Any:
        return self._prepared(traced=False)

    @functools.cached_property
    def _known(self) -> Any:
        return self._prepared_as_known(traced=False)

    def _prepared(self, *, traced: bool) -> Any:
        from mlgym_jax.data.one_pass import kept_in
        from mlgym_jax.study.expand import prepare

        foreign = not self._trust and foreign_because(self.run_dir, run_folder.read_record(self.run_dir)) is not None
        known = self._prepared_as_known(traced=traced) if foreign else None
        if known is not None:
            return known
        with given.at_hand(self._data), as_cells_have_it():
            config = read_config(self.run_dir, trust=self._trust)
            with _told_already(), kept_in(self.run_dir):
                return prepare(config, self._view, traced=traced)

    def _prepared_as_known(self, *, traced: bool) -> Any:
        from mlgym_jax.data.one_pass import kept_in
        from mlgym_jax.study.expand import prepare

        try:
            with given.at_hand(self._data), _told_already(), kept_in(self.run_dir):
                return prepare(run_folder.read_resolved(self.run_dir), self._view, traced=traced)
        except MlgymError:
            return None

    def _made(self, study: Any, experiment_id: int) -> Any:
        """Return a job of a study that was laid out; None if only tracing all of it tells which are of one group."""
        from mlgym_jax.data.one_pass import kept_in
        from mlgym_jax.study.expand import job_of
        from mlgym_jax.study.tracing import NotTraceable

        try:
            with given.at_hand(self._data), as_cells_have_it(), _told_already(), kept_in(self.run_dir):
                job = job_of(study, experiment_id)
        except NotTraceable:
            return None
        logged = [group["experiments"] for group in self._view.groups if experiment_id in group["experiments"]]
        return job if not logged or sorted(logged[-1]) == sorted(job.group.ids) else None

    @functools.cached_property
    def _stores(self) -> list[Any]:
        """The checkpoints of each group, read as named arrays."""
        from mlgym_jax.checkpoint.store import CheckpointStore

        folder = os.path.join(self.run_dir, layout.CHECKPOINTS)
        names = (
            [name for name in os.listdir(folder) if layout.group_index(name) is not None]
            if os.path.isdir(folder)
            else []
        )
        stores = [CheckpointStore(os.path.join(folder, name)) for name in names]
        for store in stores:
            store.load()
        return stores

    def store_of(self, experiment_id: int) -> Any:
        """Return the checkpoints that an experiment's are among; None where it has none."""
        newest = [(store, store.newest()) for store in self._stores]
        return next((store for store, step in newest if step and experiment_id in step.experiments), None)

    def state_of(self, experiment_id: int, epoch: int, job: Any, *, must_fit: bool = False) -> TrainState:
        """Read a state in the form that its job's program has, else, where that is None, as nested dicts.

        Raises:
            MlgymError: no such checkpoint, or a damaged one; or it has another form, and `must_fit`.
        """
        from mlgym_jax.checkpoint.store import CheckpointStore

        store = self.store_of(experiment_id)
        if job is not None:
            formed = CheckpointStore(store.folder, job.abstract)
            formed.load()
            try:
                return formed.restore_row(experiment_id, epoch)
            except MlgymError as error:  # another component has this name here; or it is damaged, which is said below
                unfit = error
            if must_fit:
                store.restore_row(experiment_id, epoch)
                raise MlgymError(
                    f"{self.run_dir}: what its config makes here is not what experiment {experiment_id} trained "
                    f"({unfit}). Give {layout.CONFIG} and {layout.CONFIG_SOURCE}, and the components that they name, "
                    "as they were"
                ) from unfit
        return store.restore_row(experiment_id, epoch)


def _among(jobs: Iterable[Any], experiment_id: int) -> Any:
    return next((job for job in jobs if experiment_id in job.group.ids), None)


@contextlib.contextmanager
def _told_already() -> Iterator[None]:
    """Say nothing of a study that was said when it was launched."""
    logger = logging.getLogger("mlgym_jax")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

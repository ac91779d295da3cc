"""Read the kept checkpoints of a run as named arrays, from its folder alone: neither its config nor its code is run.

Synopsis:

    kept = KeptCheckpoints("event_storage/2026-11-23--17-59-10")
    kept.list()  # [{"experiment_id": 0, "epoch": 7, "checkpoints": ["model", …]}, …]
    kept.arrays(0, 7, "model")  # {"params/Dense_0/kernel": float32[64, 128], …}
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from mlgym_jax.checkpoint.store import CheckpointStore
from mlgym_jax.errors import MlgymError, listed
from mlgym_jax.events import layout
from mlgym_jax.events.layout import RESOURCES as RESOURCES


class KeptCheckpoints:
    """The checkpoints of a run, finished or still being written."""

    def __init__(self, run_dir: str | os.PathLike[str]):
        self._folder = os.path.join(os.path.abspath(os.fspath(run_dir)), layout.CHECKPOINTS)
        self._stores: list[CheckpointStore] = []
        self.load()

    def load(self) -> None:
        """Look anew at what is there."""
        names = os.listdir(self._folder) if os.path.isdir(self._folder) else []
        numbers = sorted(number for name in names if (number := layout.group_index(name)) is not None)
        self._stores = [CheckpointStore(os.path.join(self._folder, layout.group_name(number))) for number in numbers]
        for store in self._stores:
            store.load()

    def list(self, experiment_id: int | None = None) -> list[dict[str, Any]]:
        """List what is kept, of one experiment or of all, by experiment and epoch."""
        found = []
        for store in self._stores:
            newest = store.newest()
            for number in newest.experiments if newest else ():
                if experiment_id in (None, number):
                    found += [(number, epoch) for epoch in store.epochs(number)]
        return [
            {"experiment_id": number, "epoch": epoch, "checkpoints": [*RESOURCES]} for number, epoch in sorted(found)
        ]

    def newest_epoch(self, experiment_id: int) -> int:
        """Return the newest kept epoch of an experiment.

        Raises:
            MlgymError: it has none.
        """
        epochs = [entry["epoch"] for entry in self.list(experiment_id)]
        if not epochs:
            raise self._missing(experiment_id)
        return epochs[-1]

    def arrays(self, experiment_id: int, epoch: int, resource: str) -> dict[str, np.ndarray]:
        """Return the arrays of a resource by their names; the random key is two unsigned integers.

        Raises:
            MlgymError: that epoch is not kept, or is damaged.
        """
        try:
            arrays = self._store_of(experiment_id).arrays_of(experiment_id, epoch)
        except MlgymError:
            self.load()  # a run that goes on moves its kept rows to newer steps, and deletes the old ones
            arrays = self._store_of(experiment_id).arrays_of(experiment_id, epoch)
        return {name: array for name, array in arrays.items() if name.partition("/")[0] in RESOURCES[resource]}

    def _store_of(self, experiment_id: int) -> CheckpointStore:
        for store in self._stores:
            newest = store.newest()
            if newest is not None and experiment_id in newest.experiments:
                return store
        raise self._missing(experiment_id)

    def _missing(self, experiment_id: int) -> MlgymError:
        others = sorted({entry["experiment_id"] for entry in self.list()})
        return MlgymError(
            f"experiment {experiment_id} has no checkpoint in {self._folder}; experiments that have: "
            f"{listed(others, 20)}"
        )

"""What an experiment's kept models can be asked: confusion, curves and the worst examples of a split."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mlgym_jax.events import layout
from mlgym_jax.events.codec import decode
from mlgym_jax.events.log import read_lines

if TYPE_CHECKING:
    from mlgym_jax.core.record import Curve, Matrix

_RECORDS = tuple(b'{"event_type":"%s",' % kind for kind in (b"evaluation_curves", b"recorded"))
_PLACE = ("grid_search_id", "experiment_id", "epoch", "split", "metric", "name")


class Examinable:
    """An experiment whose kept models can be looked at. `epoch` is as for `restore`, `split` one of the run's own."""

    experiment_id: int
    _run: Any
    _epoch: Any

    def confusion(self, split: str = "val", *, epoch: int | None = None, **parameters: Any) -> Matrix:
        """Return the confusion matrix of a kept model: `values`, int[classes, classes], rows are targets.

        Several labels have a matrix each, in a dict by name.

        Args:
            parameters: of the metric `confusion_matrix`; by default as the config, or the model's outputs, have it.

        Raises:
            MlgymError: no such checkpoint or split, outputs that are no classes, or code that is not trusted.
        """
        return self._examined(split, epoch).record("confusion", **parameters)

    def roc(self, split: str = "val", *, epoch: int | None = None, **parameters: Any) -> Curve:
        """Return the receiver operating characteristic: `x` and `y`, float[lines, points], a line a class.

        The parameters and errors are those of `confusion`, of the metric `roc_curve`.
        """
        return self._examined(split, epoch).record("roc", **parameters)

    def precision_recall(self, split: str = "val", *, epoch: int | None = None, **parameters: Any) -> Curve:
        """Return precision over recall, as `roc` does, of the metric `precision_recall_curve`."""
        return self._examined(split, epoch).record("precision_recall", **parameters)

    def calibration(self, split: str = "val", *, epoch: int | None = None, **parameters: Any) -> Curve:
        """Return the reliability diagram, as `roc` does, of the metric `calibration_curve`."""
        return self._examined(split, epoch).record("calibration", **parameters)

    def errors(self, split: str = "val", k: int = 20, *, epoch: int | None = None) -> list[dict[str, Any]]:
        """Return the k examples of the greatest loss, the worst first: `pandas.DataFrame(best.errors("val"))`.

        Each is {"index", "of", "target", "prediction", "probability", "loss"}: `index` is its row in the split `of` of
        the data set. See `reading.examined`.

        Raises:
            MlgymError: k below 1, no such checkpoint or split, a loss that is not of single examples, or code that is
                not trusted.
        """
        return self._examined(split, epoch).worst(k)

    def recorded(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return what was recorded of the experiment besides scores, in the order of the log.

        Args:
            name: of one metric on one split, such as `val/roc`; by default of all.

        Returns:
            Dicts of "name", "epoch", "kind" and what the events `evaluation_curves` and `recorded` say of each; of an
            image also "path".

        Raises:
            MlgymError: the log cannot be read.
        """
        found = []
        for _, line in read_lines(os.path.join(self._run.run_dir, layout.LOG)):
            if not line.startswith(_RECORDS):
                continue
            payload = decode(line)["payload"]
            if payload["experiment_id"] != self.experiment_id:
                continue
            for one in payload.get("curves", [payload]):
                where = {"name": f"{one['split']}/{one.get('metric', one.get('name'))}", "epoch": payload["epoch"]}
                told = {key: value for key, value in one.items() if key not in _PLACE}
                if "file" in told:
                    told["path"] = os.path.join(self._run.run_dir, str(self.experiment_id), told["file"])
                if name in (None, where["name"]):
                    found.append({**where, **told})
        return found

    def _examined(self, split: str, epoch: int | None) -> Any:
        from mlgym_jax.reading.examined import Examined

        trained = self._run._trained
        job = trained.job_of(self.experiment_id)  # first, as it says whether the run's code may be executed
        state = trained.state_of(self.experiment_id, self._epoch(epoch), job)
        return Examined(job, self.experiment_id, state, split)

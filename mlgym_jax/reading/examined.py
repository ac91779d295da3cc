"""Kept models looked at closely: confusion, curves and the worst examples of a split, computed when they are asked for.

Synopsis:

    best = mg.load_run("event_storage/RUN_ID").best("val/accuracy")
    best.confusion("val").values  # int[classes, classes], rows are targets
    best.roc("test").y
    best.errors("val", k=20)  # the worst first
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from mlgym_jax.components.graph import build_components
from mlgym_jax.config.words import plain
from mlgym_jax.core.outputs import parts
from mlgym_jax.core.program import make_program
from mlgym_jax.core.record import Record
from mlgym_jax.core.state import TrainState
from mlgym_jax.errors import MlgymError, described, listed, nearest
from mlgym_jax.reading.meaning import Meaning, meaning_of
from mlgym_jax.study.job import Job

# What can be asked for: the metric that computes it.
KINDS = {
    "confusion": "confusion_matrix",
    "roc": "roc_curve",
    "precision_recall": "precision_recall_curve",
    "calibration": "calibration_curve",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Examined:
    """A trained model and the examples that it is looked at on.

    Attributes:
        job: what it was trained by, or a job of other data (`study.evaluation`); experiment_id: which it is.
        state: of the model; split: one of the job's.
    """

    job: Job
    experiment_id: int
    state: TrainState
    split: str

    def record(self, what: str, **parameters: Any) -> Record | dict[str, Record]:
        """Return what was asked for, of numpy arrays; several labels have a confusion matrix each, in a dict by name.

        Args:
            what: one of `KINDS`; parameters: of that metric. By default those that the config gives such a metric,
                else what the model's outputs are read by everywhere (`reading.meaning`).

        Raises:
            MlgymError: nothing of that name, a split that there is not, or outputs of which it cannot be computed.
        """
        if what not in KINDS:
            raise MlgymError(f"there is no {what!r}{nearest(what, KINDS)} There are: {listed(KINDS)}")
        config = {**self.job.group.config, "metrics": {what: plain(self._component(KINDS[what], parameters))}}
        components = build_components(config, reuse=self.job.components).opened(self.job.components.hyperparams)
        program = make_program(components, unmatched=lambda pattern: None)
        encode = self.job.encoder_of(self.experiment_id)
        measured = jax.jit(lambda state, raw: program.eval_step(state, encode(raw)))
        found: Any = None
        for _, raw in self._batches():
            one = measured(self.state, raw)
            found = one if found is None else program.merge(found, one)
        records = jax.device_get(program.compute(found))
        several = {name.partition("/")[2]: one for name, one in records.items() if name.startswith(f"{what}/")}
        return several or records[what]

    def worst(self, k: int) -> list[dict[str, Any]]:
        """Return the k examples of the greatest loss, the worst first, as dicts.

        `index` is the example's row in the split `of` of the data set, `target` and `prediction` are classes by their
        names, or numbers; `probability` is the prediction's; `loss` is the example's own. What is no number is worst.

        Raises:
            MlgymError: k below 1, a split that there is not, or a loss that is not of single examples.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise MlgymError(f"k: how many examples, at least 1, is expected; found {described(k)}")
        encode, meaning = self.job.encoder_of(self.experiment_id), self._meaning
        target = str((self.job.group.config.get("loss") or {}).get("target") or "targets")

        @jax.jit
        def values(state: TrainState, raw: Any) -> Any:
            batch = encode(raw)
            losses, (processed, _) = self.job.program.values(state, batch, False)
            return losses["loss"], meaning.main(processed), batch.get(target)

        rows, losses, outputs, targets = [], [], [], []
        for chosen, raw in self._batches():
            terms, output, own = jax.device_get(values(self.state, raw))
            rows.append(chosen)
            losses.append(sum(_of_examples(sums, weights, len(chosen)) for sums, weights in terms))
            outputs.append(None if parts(output) else output)
            targets.append(own)
        loss, at = np.concatenate(losses), np.concatenate(rows)
        order = np.argsort(-np.where(np.isnan(loss), math.inf, loss), kind="stable")[:k]
        there = all(one is not None for one in outputs)
        predicted = self._predictions(np.concatenate(outputs)[order], meaning) if there else [{}] * len(order)
        named = [{}] * len(order)
        if all(one is not None for one in targets):
            named = [{"target": self._said(one, meaning)} for one in np.concatenate(targets)[order]]
        return [
            {**self._place(int(at[number])), **own, **guess, "loss": float(loss[number])}
            for number, own, guess in zip(order, named, predicted, strict=True)
        ]

    @property
    def _meaning(self) -> Meaning:
        return meaning_of(self.job, self.state)

    def _component(self, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metric's section of a config."""
        for own in (self.job.group.config.get("metrics") or {}).values():
            if own.get("component", "").removeprefix("metric/") == name and not own.get("as_scores"):
                return {**plain(own), **parameters}
        meaning = self._meaning
        found: dict[str, Any] = {"component": name}
        loss = self.job.group.config.get("loss") or {}
        if meaning.kind == "numbers" and not parameters:
            raise MlgymError(f"{name}: it is of classes, and the model's outputs are read as numbers")
        if meaning.output is not None:
            found["output"] = meaning.output
        if loss.get("target"):
            found["target"] = loss["target"]
        if meaning.kind == "labels":
            found |= {"multilabel": True, "num_classes": meaning.main(self.job.outputs).shape[-1]}
        elif meaning.kind == "two classes":
            found["num_classes"] = 2
        if not meaning.from_logits and meaning.kind != "numbers":
            found |= {"threshold": 0.5} if name == "confusion_matrix" else {"from_logits": False}
        return {**found, **parameters}

    def _batches(self) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Yield rows of the table, and the raw batch of them."""
        folds, table = self.job.folds, self.job.table
        if self.split not in folds.indices:
            raise MlgymError(
                f"there is no split {self.split!r}{nearest(self.split, folds.indices)} Splits: {listed(folds.indices)}"
            )
        fold = int(self.job.fold_of_row[self.job.group.ids.index(self.experiment_id)])
        rows = np.asarray(folds.indices[self.split][fold][folds.mask[self.split][fold]])
        size = max(1, max((cut.size for cut in self.job.shape.eval_batches.values()), default=1))
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            yield chosen, {field: array[chosen] for field, array in table.arrays.items()}

    def _place(self, row: int) -> dict[str, Any]:
        for name, (start, stop) in self.job.table.offsets.items():
            if start <= row < stop:
                return {"index": row - start, "of": name}
        return {"index": row, "of": self.split}

    def _predictions(self, outputs: np.ndarray, meaning: Meaning) -> list[dict[str, Any]]:
        told = np.asarray(meaning.probabilities(outputs))
        if meaning.kind == "two classes":
            told = told.reshape(len(told))
            told = np.stack([1 - told, told], axis=1)
        if meaning.kind == "labels":
            return [{"prediction": [None if np.isnan(value) else bool(value > 0.5) for value in row]} for row in told]
        if meaning.kind == "numbers" or told.ndim != 2:
            return [{"prediction": np.squeeze(row).tolist()} for row in outputs]
        best = told.argmax(axis=1)
        return [
            {
                "prediction": None if np.isnan(row).any() else self._said(place, meaning),
                "probability": float(row[place]),
            }
            for place, row in zip(best, told, strict=True)
        ]

    def _said(self, value: Any, meaning: Meaning) -> Any:
        """Return a target as a class's name where it has one."""
        array = np.squeeze(np.asarray(value))
        if array.ndim == 1 and meaning.kind == "classes":  # one-hot, or shares of classes
            array = array.argmax()
        names = self.job.components["dataset"].class_names
        if array.ndim == 0 and names and meaning.kind in ("classes", "two classes") and 0 <= int(array) < len(names):
            return str(names[int(array)])
        return array.tolist()


def _of_examples(sums: np.ndarray, weights: np.ndarray | None, size: int) -> np.ndarray:
    """Return a loss of each example, of sums and weights."""
    if np.shape(sums) != (size,):
        raise MlgymError("errors: the loss is not of single examples, so that none of them is the worst")
    if weights is None:
        return np.asarray(sums, np.float64)
    return np.asarray(sums, np.float64) / np.where(weights > 0, weights, 1.0)

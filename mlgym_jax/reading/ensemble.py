"""Several trained models as one, whose outputs are the mean of theirs.

Of classes the mean is of probabilities: of logits what comes out are logits again, those of the mean probabilities, so
that losses, metrics and post-processors read them as they read a member's. Of numbers it is of the numbers. A model of
several outputs is reduced to the one that its loss reads (`output=`). Post-processors read the mean: `softmax` gives
the mean probabilities, `argmax` their largest.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.config.html_table import html_line, html_table
from mlgym_jax.config.spelling import spelled
from mlgym_jax.core.outputs import holds
from mlgym_jax.core.post_processing import process
from mlgym_jax.core.record import Record
from mlgym_jax.core.scoring import make_scoring, taken_by
from mlgym_jax.errors import MlgymError, listed
from mlgym_jax.events.views import RunView
from mlgym_jax.reading.meaning import Meaning
from mlgym_jax.reading.prediction import Predictor, predicted, raw_fields
from mlgym_jax.study.job import Job
from mlgym_jax.study.new_texts import knowing_texts


class Ensemble:
    """The members that a rule chose, and their mean.

    Attributes:
        rule: by which they were chosen; members: the experiments, best first.
    """

    def __init__(self, rule: str, members: Sequence[Any], models: Sequence[Predictor], run_dir: str, view: RunView):
        """Put them together; `RunResult.ensemble` is the way in.

        Raises:
            MlgymError: they are of other data, or their outputs of another kind or shape.
        """
        self.rule: str = rule
        self.members: list[Any] = list(members)
        self._models, self._run_dir, self._view = list(models), run_dir, view
        self._first = self._models[0]
        self._meaning: Meaning = self._first.meaning
        for other in self._models[1:]:
            _check_alike(self._first, other)

    def __repr__(self) -> str:
        return f"Ensemble({self.rule!r}, members {listed(member.experiment_id for member in self.members)})"

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for member in self.members for name in member.hyperparameters))
        rows = [
            (member.experiment_id, model.epoch, *(spelled(member.hyperparameters.get(name)) for name in names))
            for member, model in zip(self.members, self._models, strict=True)
        ]
        return html_line(f"the mean of {self.rule}") + html_table("", ("id", "epoch", *names), rows)

    @functools.cached_property
    def _parts(self) -> Any:
        """The first member's components, with its swept values in place."""
        job, given = self._first.job, self._first.state.hyperparams
        return job.components.bind(given) if given else job.components

    def _mean(self, outputs: Sequence[Any]) -> Any:
        """Return the mean of the members' outputs, without those of post-processors."""
        path = self._meaning.output
        if len(outputs) == 1:
            mean = self._meaning.main(outputs[0])
        else:
            mean = self._meaning.mean([self._meaning.main(one) for one in outputs])
        for name in reversed(path.split(".")) if path else ():
            mean = {name: mean}
        return mean

    def _processed(self, mean: Any) -> Any:
        """Return the mean with those post-processors that read it, or one of each other."""
        waiting = dict(self._parts.get("post_processors", {}))
        kept: dict[str, Any] = {}
        while True:
            source = {name: getattr(function, "output", None) for name, function in waiting.items()}
            ready = [
                name
                for name, path in source.items()
                if (path is None and self._meaning.output is None)
                or (path is not None and (holds(mean, path) or path.partition(".")[0] in kept))
            ]
            if not ready:
                return process(kept, mean)
            kept |= {name: waiting.pop(name) for name in ready}

    def _outputs(self, outputs: Sequence[Any]) -> Any:
        return self._processed(self._mean(outputs))

    @functools.cached_property
    def _compiled(self) -> Callable[[Any], Any]:
        return self._compiled_of(self._models)

    def _compiled_of(self, models: Sequence[Predictor]) -> Callable[[Any], Any]:
        return jax.jit(lambda batch: self._outputs([one.outputs_of(one.state, batch) for one in models]))

    def predict(self, inputs: Any, *, batch_size: int = 1024, as_frame: bool = False) -> Any:
        """Return the mean of the members' outputs, array[n, …], for `inputs` of n examples.

        These and all else are as in `ExperimentResult.predict`.

        Raises:
            MlgymError: see there.
        """

        def again(new_texts: Mapping[str, Sequence[str]]) -> Callable[[Any], Any]:
            jobs = {id(one.job): one.job for one in self._models}
            knowing = {number: knowing_texts(job, new_texts) for number, job in jobs.items()}
            return self._compiled_of([dataclasses.replace(one, job=knowing[id(one.job)]) for one in self._models])

        return predicted(self._first.job, self._compiled, lambda: self._meaning, inputs, batch_size, as_frame, again)

    def scores(self, split: str = "test") -> dict[str, Any]:
        """Return the loss and the metrics of the mean on a split, beside those of each member.

        Args:
            split: one that holds the same examples for all members, whatever their folds.

        Returns:
            {"ensemble": {"test/loss": …}, "members": {experiment_id: {"test/loss": …}}}

        Raises:
            MlgymError: no such split, one in which members differ, or a loss of more than outputs and targets.
        """
        rows = self._rows(split)
        loss = self._parts["loss"]
        if more := [name for name in taken_by(loss) if name in ("params", "state")]:
            raise MlgymError(f"ensemble: the loss takes {listed(more)} of a model, and a mean of several has none")
        members = {one.experiment_id: self._scored(split, rows, [one]) for one in self._models}
        return {"ensemble": self._scored(split, rows, self._models), "members": members}

    def _scored(self, split: str, rows: np.ndarray, models: Sequence[Predictor]) -> dict[str, float]:
        job, first = self._first.job, models[0]
        scoring = make_scoring(self._parts["loss"], self._parts.get("metrics", {}))

        @jax.jit
        def measured(raw: Mapping[str, Any]) -> Any:
            mean = self._mean([one.outputs_of(one.state, raw) for one in models])
            batch = first.job.encoder_of(first.experiment_id)(raw)
            given = {"key": first.state.key, "step": first.state.step, "train": False}
            return scoring.measure(self._parts["loss"], mean, self._processed(mean), batch, given)

        found, size = scoring.empty(), max(1, max(cut.size for cut in job.shape.eval_batches.values()))
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            batch = {field: array[chosen] for field, array in job.table.arrays.items()}
            found = scoring.merge(found, measured(batch)) if start else measured(batch)
        scores = {name: score for name, score in scoring.compute(found).items() if not isinstance(score, Record)}
        return {f"{split}/{name}": float(score) for name, score in scores.items()}

    def _rows(self, split: str) -> np.ndarray:
        """Return the rows of a split, the same for all members.

        Raises:
            MlgymError: there is no such split, or they differ.
        """
        wanted: np.ndarray | None = None
        for one in self._models:
            rows = rows_of(one.job, one.experiment_id, split)
            if wanted is not None and not np.array_equal(np.sort(wanted), np.sort(rows)):
                raise MlgymError(
                    f"ensemble: experiments {self._first.experiment_id} and {one.experiment_id} have other examples in "
                    f"the split {split!r} (other folds), so that some have trained on what others have not; choose "
                    "members of one fold, such as 'where fold = 0', or a split that all share"
                )
            wanted = rows if wanted is None else wanted
        assert wanted is not None
        return wanted

    def export(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder that predicts the mean without this package, with the weights of all members.

        Raises:
            MlgymError: as `ExperimentResult.export`.
        """
        from mlgym_jax.reading.exported import write_exported

        what = {"classes": "probabilities", "two classes": "probabilities", "labels": "probabilities"}
        mean = what.get(self._meaning.kind, "outputs")
        says = {"ensemble": {"rule": self.rule, "mean_of": mean, "from_logits": self._meaning.from_logits}}
        write_exported(os.fspath(folder), self._run_dir, self._view, self._models, self._outputs, says=says)


def rows_of(job: Job, experiment_id: int, split: str) -> np.ndarray:
    """Return the rows of the table that an experiment has in a split.

    Raises:
        MlgymError: there is no such split.
    """
    if split not in job.folds.indices:
        raise MlgymError(f"there is no split {split!r}. Splits: {listed(job.folds.indices)}")
    fold = int(job.fold_of_row[job.group.ids.index(experiment_id)])
    return job.folds.indices[split][fold][job.folds.mask[split][fold]]


def _check_alike(one: Predictor, other: Predictor) -> None:
    both = f"ensemble: experiments {one.experiment_id} and {other.experiment_id}"
    if one.job is other.job:
        return

    def shapes(model: Predictor) -> Any:
        return {name: (array.shape[1:], array.dtype.name) for name, array in raw_fields(model.job).items()}

    if shapes(one) != shapes(other) or one.job.table.fingerprint != other.job.table.fingerprint:
        raise MlgymError(f"{both} have other data; an ensemble is of one data set")
    if one.meaning != other.meaning:
        raise MlgymError(f"{both} have outputs of another kind, {one.meaning.kind} and {other.meaning.kind}")
    found = [jax.tree.map(lambda leaf: leaf.shape[1:], model.meaning.main(model.job.outputs)) for model in (one, other)]
    if found[0] != found[1]:
        raise MlgymError(f"{both} have outputs of other shapes, {found[0]} and {found[1]}")
    for section in ("post_processors", "loss", "metrics"):
        if section in one.job.group.config and one.job.group.config[section] != other.job.group.config.get(section):
            raise MlgymError(f"{both} differ in {section}; an ensemble has those of all its members")

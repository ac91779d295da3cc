"""What a model's outputs say: probabilities of classes, of labels, or numbers; and their mean over several models.

The conventions are those of metrics (`metrics.examples`): outputs `[n, classes]` are logits, of which softmax makes
probabilities; single outputs of two classes are logits of class 1, of which the logistic function does; outputs
`[n, labels]` of targets of that shape, with a sigmoid loss, are a logit each. What are probabilities already, as a
metric's `from_logits=False` or a `threshold` between 0 and 1 says, or as their sums of 1 show, is taken as it is; so
are outputs for which a loss of one's own is lowered, and that are all from 0 to 1.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.core.outputs import WHOLE, by_name, parts, paths, pick
from mlgym_jax.core.state import TrainState
from mlgym_jax.study.job import Job

Kind = Literal["classes", "two classes", "labels", "numbers"]


@dataclasses.dataclass(frozen=True)
class Meaning:
    """How a model's outputs are read.

    Attributes:
        kind: of what they are.
        from_logits: whether they are logits; otherwise they are probabilities, or numbers.
        output: the path of the output that the loss reads; None for all of what the model returns.
    """

    kind: Kind
    from_logits: bool
    output: str | None

    def main(self, outputs: Any) -> Any:
        """Return the output that says it, of what `predict` returns.

        Raises:
            MlgymError: it is not there.
        """
        if self.output is not None:
            return pick(outputs, self.output)
        return outputs[WHOLE] if isinstance(outputs, Mapping) and WHOLE in outputs else outputs

    def probabilities(self, array: Any) -> Any:
        """Return the probabilities that an output stands for; numbers as they are."""
        if not self.from_logits:
            return array
        array = jnp.asarray(array).astype(jnp.float32)
        return jax.nn.softmax(array, axis=-1) if self.kind == "classes" else jax.nn.sigmoid(array)

    def mean(self, arrays: Sequence[Any]) -> Any:
        """Return one output in the place of several models': the mean of probabilities, or of numbers.

        Of logits it is the logits of the mean probabilities, so that whatever reads logits reads it.
        """
        arrays = [jnp.asarray(array) for array in arrays]
        if not self.from_logits:
            return functools.reduce(jnp.add, arrays) / len(arrays)
        arrays = [array.astype(jnp.float32) for array in arrays]
        if self.kind == "classes":
            return _log_mean([jax.nn.log_softmax(array, axis=-1) for array in arrays])
        return _log_mean(map(jax.nn.log_sigmoid, arrays)) - _log_mean(jax.nn.log_sigmoid(-array) for array in arrays)


def _log_mean(logarithms: Iterable[jax.Array]) -> jax.Array:
    """Return the logarithm of the mean, of numbers so small that they are 0 themselves, too."""
    stacked = jnp.stack([*logarithms])
    return jax.nn.logsumexp(stacked, axis=0) - math.log(len(stacked))


def meaning_of(job: Job, state: TrainState) -> Meaning:
    """Return what the outputs of a job's model say, as its data, its loss and its metrics have it.

    Args:
        state: of a trained model, whose outputs for some training examples are looked at.
    """
    config = job.group.config
    loss = config.get("loss") or {}
    output = loss.get("output")
    if output is None:
        known = [path for path in paths(_of_model(job)) if path]
        output = known[0] if len(known) == 1 else None
    meaning = Meaning("numbers", False, output)
    found = meaning.main(job.outputs)
    num_classes, targets = job.components["dataset"].num_classes, job.sample.get(str(loss.get("target") or "targets"))
    sigmoid = "sigmoid" in str(loss.get("component"))
    if parts(found) or targets is None or not getattr(found, "shape", ()) or not (num_classes or sigmoid):
        return meaning
    shape, of_targets = found.shape[1:], np.shape(targets)[1:]
    single = shape in ((), (1,)) and of_targets in ((), (1,))
    if single:
        kind: Kind = "two classes"
    elif shape == of_targets and sigmoid:
        kind = "labels"
    elif shape and shape[-1] == num_classes and of_targets in (shape, shape[:-1], (*shape[:-1], 1)):
        kind = "classes"
    else:
        return meaning
    return Meaning(kind, not _are_probabilities(job, state, kind, meaning), output)


def _of_model(job: Job) -> Any:
    """Return the shapes of what the model itself returns."""
    names = {*job.components.get("post_processors", {})}
    if not names:
        return job.outputs
    own = {name: part for name, part in by_name(job.outputs).items() if name not in names}
    return own[WHOLE] if {*own} == {WHOLE} else own


def _are_probabilities(job: Job, state: TrainState, kind: Kind, meaning: Meaning) -> bool:
    whole = [one for one in (job.group.config.get("metrics") or {}).values() if one.get("output") is None]
    if any(one.get("from_logits") is False or 0 < (one.get("threshold") or 0) < 1 for one in whole):
        return True
    loss = job.components.config["loss"]
    if kind != "classes" and all(one.entry.is_built_in for one in (loss, *loss.inside)):
        return False  # they take logits
    found = np.asarray(meaning.main(job.program.predict(state, job.sample)), np.float32)
    sums = found.sum(axis=-1) if kind == "classes" else 1.0
    return bool((found >= 0).all() and (found <= 1 + 1e-3).all() and np.abs(sums - 1).max() < 1e-3)

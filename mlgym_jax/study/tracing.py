"""Trace the steps of a group before anything compiles: what does not fit is found here, with its config path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlgym_jax.components.graph import Components
from mlgym_jax.core.program import Program, make_program
from mlgym_jax.core.targets import UnfitTargets
from mlgym_jax.errors import ConfigError, MlgymError, in_words


class NotTraceable(Exception):
    """Swept values that a component needs as Python numbers; they split the sweep into groups instead."""

    def __init__(self, paths: Sequence[str], reason: str):
        self.paths, self.reason = tuple(paths), reason


def traced_steps(
    components: Components, program: Program, key: Any, batch: Any, row: Any
) -> tuple[Any, Any, list[str], Any]:
    """Trace a training and an evaluation step: every shape error shows here, with a config path.

    Returns:
        shapes of a TrainState, the jaxpr of a training step, the names of the scores, shapes of what `predict` returns.
    """
    try:
        abstract = jax.eval_shape(program.init, key, batch, row)
        traced = jax.make_jaxpr(program.train_step)(abstract, batch)
        scores = jax.eval_shape(lambda state, batch: program.compute(program.eval_step(state, batch)), abstract, batch)
        outputs = jax.eval_shape(program.predict, abstract, batch)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        # Whatever it says, such as a format string that an array does not know: it is the arrays' fault if the same
        # step can be traced with numbers in their place.
        if row and _traceable(components, key, batch, {}):
            blamed = [path for path in row if not _traceable(components, key, batch, {path: row[path]})]
            raise NotTraceable(blamed or list(row), reason) from error
        if isinstance(error, MlgymError):
            raise
        raise ConfigError("", f"the training step cannot be traced: {in_words(error)}") from error
    for name, score in scores.items():
        if score.shape != ():
            raise ConfigError(
                "loss" if name == "loss" else f"metrics.{name}",
                f"compute returns a scalar or {{name: scalar}}, found shape {score.shape}",
            )
    return abstract, traced.jaxpr, list(scores), outputs


def check_targets(program: Program, abstract: Any, sample: Mapping[str, Any], fields: Mapping[str, np.ndarray]) -> None:
    """Let losses and metrics see the values of all rows, before anything compiles; see `core.targets`.

    Args:
        sample: a batch, whose other fields are taken as shapes.
        fields: array[n, …] of what is known of all rows that are trained or evaluated on.

    Raises:
        ConfigError: targets that what reads them cannot read rightly.
    """
    size = len(next(iter(fields.values())))
    rows = {**fields, "mask": np.ones(size, bool)}
    rest = {
        field: jax.ShapeDtypeStruct(array.shape, array.dtype)
        if field == "class_counts"
        else jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), array)
        for field, array in sample.items()
        if field not in rows
    }
    try:
        jax.eval_shape(lambda state, rest: program.eval_step(state, {**rest, **rows}), abstract, rest)
    except ConfigError as error:
        if isinstance(error.__cause__, UnfitTargets):
            raise
    except Exception:  # a component of one's own that asks for JAX's arrays sees them in every other trace
        pass


def _traceable(components: Components, key: Any, batch: Any, row: Mapping[str, Any]) -> bool:
    program = make_program(components.opened({path: components.hyperparams[path] for path in row}))
    try:
        jax.make_jaxpr(program.train_step)(jax.eval_shape(program.init, key, batch, row), batch)
    except Exception:
        return False
    return True

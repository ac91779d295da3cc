"""Columns of texts in an exported model: their vectors are inputs of the program, so that texts may be new ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlgym_jax.data.bag_of_words import bags_of
from mlgym_jax.errors import MlgymError
from mlgym_jax.reading.prediction import Predictor
from mlgym_jax.reading.standalone_words import vectors


@dataclasses.dataclass(frozen=True)
class Texts:
    """A column of texts of one of several models.

    Attributes:
        field: of the program; member: the model's number; path: where in what its encoding learnt the vectors stand.
        says: for model.json, what makes vectors of texts.
        known: float32[texts, width], those of training.
    """

    field: str
    member: int
    path: tuple[str, ...]
    says: Mapping[str, Any]
    known: np.ndarray


def texts_of(members: Sequence[Predictor]) -> list[Texts]:
    """Return the columns of texts of some models.

    Raises:
        MlgymError: texts are not encoded as they stand, but after another step.
    """
    found: list[Texts] = []
    for number, member in enumerate(members):
        job = member.job
        fold = int(job.fold_of_row[job.group.ids.index(member.experiment_id)])
        rows = job.folds.indices["train"][fold][job.folds.mask["train"][fold]]
        for path, bag in bags_of(job.components.get("encoding")):
            column = [*map(str, job.components["dataset"].feature_names or ())].index(bag.name)
            codes = np.asarray(job.table.arrays["inputs"])[rows, column]
            field = f"texts.{len(found)}"
            says = {"field": field, "column": bag.name, **bag.learnt(codes)}
            known = np.asarray(_at(job.fold_tables["fitted"], path))[fold]
            if not np.allclose(vectors(bag.texts, says)[: len(known)], known, atol=1e-5):
                raise MlgymError(
                    f"the texts of {bag.name!r} cannot be exported, as another encoding changes them; write "
                    "component('bag_of_words') first of a chain"
                )
            found.append(Texts(field, number, path, says, known))
    return found


def knowing(member: Predictor, texts: Sequence[Texts], fields: Mapping[str, Any]) -> Predictor:
    """Return a model whose columns of texts have the vectors of these fields, in the order of their codes."""
    if not texts:
        return member
    job = member.job
    fold = int(job.fold_of_row[job.group.ids.index(member.experiment_id)])
    fitted = job.fold_tables["fitted"]
    for one in texts:
        array = jnp.asarray(fields[one.field])
        fitted = _put(fitted, one.path, jnp.broadcast_to(array[None], (fold + 1, *array.shape)))
    tables = {**job.fold_tables, "fitted": fitted}
    return dataclasses.replace(member, job=dataclasses.replace(job, fold_tables=tables))


def shapes(texts: Sequence[Texts], scope: jax.export.SymbolicScope) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the fields of the program, with any number of texts."""
    found = {}
    for one in texts:
        number, *_ = jax.export.symbolic_shape(one.field.replace(".", "_"), scope=scope)
        found[one.field] = jax.ShapeDtypeStruct((number, one.known.shape[1]), np.float32)
    return found


def _at(tree: Any, path: Sequence[str]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _put(tree: Any, path: Sequence[str], leaf: Any) -> Any:
    if not path:
        return leaf
    key, *rest = path
    return {**tree, key: _put(tree[key], rest, leaf)}

"""The encoding `by_input`: each of several inputs in its own way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlgym_jax.components.registry import register
from mlgym_jax.core.inputs import fields_of, is_input, nested
from mlgym_jax.data.dataset import INPUTS_REST, Dataset, rest_of
from mlgym_jax.data.encodings import Batch, Fitted
from mlgym_jax.data.one_pass import Passes, together
from mlgym_jax.data.sources import few_arrays
from mlgym_jax.errors import ConfigError, listed, nearest


@dataclasses.dataclass(frozen=True)
class ByInput:
    """What `by_input` builds: what encodes each of several inputs, by its field, such as `inputs.image`."""

    encodings: Mapping[str, Any]

    def fit(self, arrays: Mapping[str, np.ndarray]) -> Fitted:
        fields = fields_of(arrays)
        return {field: encoding.fit(_of_input(fields, field)) for field, encoding in self.encodings.items()}

    def in_passes(self) -> Passes | None:
        parts = {
            field: (encoding, lambda arrays, field=field: _of_input(fields_of(arrays), field))
            for field, encoding in self.encodings.items()
        }
        return together(parts)

    def apply(self, fitted: Fitted, batch: Mapping[str, Any]) -> Batch:
        fields = fields_of(batch)
        new = {
            field: encoding.apply(fitted[field], _of_input(fields, field))["inputs"]
            for field, encoding in self.encodings.items()
        }
        return nested({**fields, **new})


def _of_input(fields: Mapping[str, Any], field: str) -> Batch:
    """Return a batch whose inputs are one of several, with what float32 left of it."""
    own = {INPUTS_REST: fields[rest_of(field)]} if rest_of(field) in fields else {}
    others = {name: value for name, value in fields.items() if not (is_input(name) or name.startswith(INPUTS_REST))}
    return {**others, "inputs": fields[field], **own}


@register("encoding", "by_input", needs=("dataset",))
def by_input(dataset: Dataset, *, encodings: dict) -> ByInput:
    """Encode some of several inputs, each in its own way; the others stay as they are.

        encodings=dict(image=component("min_max"), age=component("standardise"))

    Args:
        encodings: the name of an input, or its path (`scan.left`, `0`), and what encodes it.

    Raises:
        ConfigError: an input that is not there, or something else than an encoding.
    """
    fields = [field for field in few_arrays(dataset.splits["train"]) if is_input(field) and field != "inputs"]
    names = [field.removeprefix("inputs.") for field in fields]
    for name, encoding in encodings.items():
        if name not in names:
            known = f"Inputs: {listed(names)}" if names else "The inputs are one array; use the encoding as it is"
            raise ConfigError("encoding.encodings", f"there is no input {name!r}{nearest(name, names)} {known}")
        if not hasattr(encoding, "fit"):
            raise ConfigError(f"encoding.encodings.{name}", "it is no encoding; write component('standardise')")
    return ByInput({f"inputs.{name}": encoding for name, encoding in encodings.items()})

"""Post-processors: pure functions of a model's outputs, whose results stand beside them by name.

Synopsis:

    >>> import jax.numpy as jnp
    >>> from mlgym_jax.core.post_processing import process
    >>> from mlgym_jax.models.post_processors import argmax, softmax
    >>> outputs = process({"probability": softmax(), "label": argmax()}, jnp.array([[0.0, 0.0, 1.0]]))
    >>> sorted(outputs), int(outputs["label"][0])
    (['label', 'outputs', 'probability'], 2)

In a config, `config.post_processors = dict(probability=component("softmax"), label=component("argmax"))`. What the
model returned is the output named `outputs`, or keeps its own names if it is a dict. A post-processor reads that, or
with `output="probability"` another output, or a part of one: `output="1.logits"` (`core.outputs`). Metrics and losses
name the one that they read in the same way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mlgym_jax.components.registry import shared_parameters
from mlgym_jax.core.blame import named
from mlgym_jax.core.outputs import SeveralOutputs, by_name, holds, parts, pick, say_which
from mlgym_jax.core.state import Outputs
from mlgym_jax.errors import ConfigError

PostProcessor = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Reading:
    """A post-processor that reads one named output."""

    function: PostProcessor
    output: str

    def __call__(self, outputs: Any) -> Any:
        return self.function(outputs)


@shared_parameters("post_processor")
def _reading(function: PostProcessor, *, output: str | None = None) -> PostProcessor:
    """Add `output`: the name of the output to read, the model's or another post-processor's."""
    return function if output is None else Reading(function, output)


def process(post_processors: Mapping[str, PostProcessor], outputs: Outputs) -> Outputs:
    """Return the outputs with those of the post-processors, each after the one that it reads.

    Raises:
        ConfigError: an output that does not exist, two of one name, or a circle.
    """
    if not post_processors:
        return outputs
    found = by_name(outputs)
    taken = sorted({*found, *parts(outputs)} & {*post_processors})
    if taken:
        raise ConfigError(f"post_processors.{taken[0]}", f"the model has an output {taken[0]!r} already; rename it")
    waiting = dict(post_processors)
    while waiting:
        source: dict[str, Any] = {name: getattr(function, "output", None) for name, function in waiting.items()}
        ready = [name for name in waiting if source[name] is None or holds(found, source[name])]
        for name in ready:
            with named(f"post_processors.{name}"):
                seen = pick(found, source[name]) if source[name] else outputs
                try:
                    found[name] = waiting.pop(name)(seen)
                except SeveralOutputs as error:
                    raise say_which(seen, source[name], error) from error
        if not ready:
            name = min(waiting)
            if source[name].split(".")[0] in waiting:
                raise ConfigError(f"post_processors.{name}", f"reads {source[name]!r}, which waits for it in turn")
            with named(f"post_processors.{name}"):
                pick(found, source[name])
    return found

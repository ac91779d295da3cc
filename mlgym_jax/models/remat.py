"""What of a forward pass is kept for the gradient, and what is computed again: `config.remat = component("blocks")`.

A factory of this kind returns a callable (model, adapt) -> `core.model.Model`: what the model's factory returned, and
what makes that pure functions. The numbers are those of a model that keeps everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import linen

from mlgym_jax.components.registry import register
from mlgym_jax.core.linen_blocks import linen_with_blocks
from mlgym_jax.core.model import Model, is_pair
from mlgym_jax.core.segments import keeping_products
from mlgym_jax.errors import ConfigError

Adapt = Callable[[Any], Model]


@register("remat", "blocks")
def blocks() -> Callable[[Any, Adapt], Model]:
    """Keep what goes into each block of the model, and compute what is inside of it again, one block at a time.

    A block is a module inside of a Flax module that has layers of its own and is there more than once, such as the
    layers of a transformer or the residual blocks of a ResNet; of blocks in blocks it is the outer one.

    Raises:
        ConfigError: at `remat`, a model that is a pair of functions; when traced, one without blocks.
    """
    return _with_blocks


def _with_blocks(model: Any, adapt: Adapt) -> Model:
    pure = adapt(model)  # which refuses what is no model at all
    if isinstance(model, linen.Module):
        return linen_with_blocks(type(model).__name__, pure)
    if is_pair(model):
        raise ConfigError(
            "remat",
            "the model is a pair of functions, whose blocks cannot be told; write jax.checkpoint around each of them "
            "in its own code, or config.remat = component('dots')",
        )
    from mlgym_jax.core.nnx_blocks import nnx_with_blocks  # NNX takes a while to import

    return adapt(nnx_with_blocks(model))


@register("remat", "dots")
def dots() -> Callable[[Any, Adapt], Model]:
    """Keep the results of matrix products and convolutions, and compute what is between them again."""
    return lambda model, adapt: _in_training(adapt(model), keeping_products)


@register("remat", "everything")
def everything() -> Callable[[Any, Adapt], Model]:
    """Keep nothing of the forward pass, and compute all of it again once the loss is known.

    That makes room while the loss is computed, such as one over a large vocabulary. The gradient then needs all of it
    at once, as without: a deep model takes `blocks` or `dots`.
    """
    return lambda model, adapt: _in_training(adapt(model), jax.checkpoint)


def _in_training(model: Model, keeping: Callable[..., Any]) -> Model:
    pure: Callable[..., Any] = model.apply

    def apply(params: Any, state: Any, inputs: Any, key: jax.Array, train: bool) -> tuple[Any, Any]:
        return keeping(lambda *given: pure(*given, train))(params, state, inputs, key)

    return Model(model.init, apply)

"""Learning rates that decay from a network's top to its bottom, as transformers are fine-tuned.

Synopsis, in a config:

    config.optimizer = component(
        "layerwise_decay", optimizer=component("adamw", learning_rate=1e-3, mask="kernel$"), decay=grid(0.65, 0.75)
    )
"""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mlgym_jax.components.registry import register
from mlgym_jax.core.evaluated import evaluates_others
from mlgym_jax.core.paths import Path, map_paths, named_leaves, note_pattern
from mlgym_jax.errors import ConfigError, MlgymError, listed
from mlgym_jax.optimizers.inside import check_transform, expression
from mlgym_jax.optimizers.signatures import by_optax_rules

# A part of a path that is a numbered block: blocks_3, layers/3, encoderblock_3, TransformerBlock_3, h/3, stage_2.
_BLOCK = re.compile(r"(?:^|/)(?:\w*?(?:block|layer|stage)s?|h)[_/]?(\d+)(?=/|$)", re.IGNORECASE)
_EMBEDDINGS = r"(?i)embed|patch|stem|(cls|class|mask|dist)_?token|(^|/)cls(/|$)"
_FIX = "write layers=((pattern, number), …), such as ((r'^stem', 0), (r'^body', 1)); what matches none is the top"


@register("optimizer", "layerwise_decay", dynamic=("decay",))
def layerwise_decay(
    *,
    optimizer: Any,
    decay: float = 0.75,
    layers: tuple[tuple[str, int], ...] | None = None,
    embeddings: str = _EMBEDDINGS,
) -> optax.GradientTransformationExtraArgs:
    """Scale an optimizer's updates by decay^(top - layer), so that lower layers learn more slowly.

    As for ELECTRA (Clark et al., 2020), and with the numbers of BEiT's code (Bao et al., 2021): of a network of n
    blocks the embeddings are layer 0, the blocks 1 to n, and all that is above them, such as the last norm and the
    head, is the top, n + 1, whose updates stay as they are. A parameter belongs to the block whose number stands in its
    path, as in `blocks_3`, `layers/3`, `encoderblock_3` or `TransformerBlock_3`, numbers counted in their order;
    without one to the embeddings, if `embeddings` is found in its path; else to the top. Weight decay inside of
    `optimizer` is scaled, too, as learning rates scale it.

    Args:
        optimizer: a component.
        decay: in (0, 1].
        layers: pairs (regular expression, number of its layer from 0), of which the first match counts, in place of
            these rules. What matches none is the top, one above the highest number.
        embeddings: a regular expression.

    Raises:
        ConfigError: a decay out of its range, an expression that is none, a negative number. When a training begins,
            MlgymError: paths without numbered blocks or with two of them, or an optimizer that evaluates other
            parameters than it steps with (`lookahead`, `contrib.schedule_free`), which belongs around this one.
    """
    check_transform("optimizer", optimizer, may_be_none=False)
    if isinstance(decay, int | float) and not 0 < decay <= 1:
        raise ConfigError("optimizer.decay", f"a number in (0, 1] is expected, found {decay}")
    of_embeddings = expression(embeddings, "optimizer.embeddings")
    pairs = []
    for number, (pattern, layer) in enumerate(layers or ()):
        pairs.append((expression(pattern, f"optimizer.layers.{number}.0"), layer))
        if layer < 0:
            raise ConfigError(f"optimizer.layers.{number}.1", f"at least 0 is expected, found {layer}")
    if layers == ():
        raise ConfigError("optimizer.layers", f"found none; leave it out, or {_FIX}")
    inner = optax.with_extra_args_support(optimizer)

    def depths(params: Any) -> Any:
        """Return a tree of how many layers each parameter is below the top."""
        if pairs:
            top = max(layer for _, layer in pairs) + 1
            return map_paths(lambda path, _: top - _layer_of(path, pairs, top), params)
        names = [*named_leaves(params)]
        numbers = sorted({number for name in names if (number := _block_of(name)) is not None})
        if not numbers:
            raise MlgymError(
                f"layerwise_decay: no path holds a numbered block, such as blocks_3; {_FIX}. Parameters: "
                f"{listed(names, 20)}"
            )
        top = len(numbers) + 1

        def below(path: Path, _: Any) -> int:
            number = _block_of(path.name)
            if number is not None:
                return top - 1 - numbers.index(number)
            return top if path.matches(of_embeddings) else 0

        return map_paths(below, params)

    def init(params: Any) -> Any:
        for pattern, _ in layers or ():
            note_pattern("layerwise_decay", "layers", pattern, params)
        depths(params)
        state = inner.init(params)
        if evaluates_others(state):
            raise MlgymError(
                "layerwise_decay: the optimizer inside of it evaluates other parameters than it steps with, which "
                "scaled steps would part; let it stand around: component('lookahead', fast_optimizer=component("
                "'layerwise_decay', optimizer=…), …)"
            )
        return state

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        updates, state = inner.update(updates, state, params, **extra)

        def scaled(below: int, leaf: jax.Array) -> jax.Array:
            return leaf * jnp.asarray(decay, leaf.dtype) ** below if below else leaf

        return jax.tree.map(scaled, depths(updates), updates), state

    return optax.GradientTransformationExtraArgs(by_optax_rules(init), by_optax_rules(update))


def _block_of(name: str) -> int | None:
    """Return the number of the block that a path stands in.

    Raises:
        MlgymError: there are two, of which none is the depth.
    """
    found = _BLOCK.findall(name)
    if len(found) > 1:
        raise MlgymError(
            f"layerwise_decay: {name!r} holds {len(found)} numbers of blocks, which are not one depth; {_FIX}"
        )
    return int(found[0]) if found else None


def _layer_of(path: Path, pairs: list[tuple[re.Pattern[str], int]], top: int) -> int:
    return next((layer for pattern, layer in pairs if path.matches(pattern)), top)

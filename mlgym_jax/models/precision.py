"""The precision that a model computes in: `config.precision = component("mixed")`.

A factory of this kind returns a callable (Model) -> Model, `core.model.Model`. Parameters, the optimizer's state,
losses and metrics stay what they are; prediction computes as evaluation does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mlgym_jax.components.registry import register
from mlgym_jax.core.model import Model
from mlgym_jax.errors import ConfigError, nearest

_COMPUTE = jnp.bfloat16


@register("precision", "mixed")
def mixed(*, compute: str = "bfloat16") -> Callable[[Model], Model]:
    """Let the model compute in bfloat16, forwards and backwards, and everything else in float32.

    Parameters and inputs are cast where the model is called, what it returns is cast back before post-processors,
    losses and metrics; gradients are float32. State, such as batch statistics, is handed to the model as it is and
    keeps its type. What a module itself makes or asks for in float32 (`dtype=jnp.float32`) stays so.

    Raises:
        ConfigError: another type than bfloat16. The gradients of float16 vanish below 6e-8 unless the loss is scaled.
    """
    if compute != "bfloat16":
        why = (
            "float16, whose gradients vanish below 6e-8 unless the loss is scaled, which is not built."
            if compute == "float16"
            else f"{compute!r}{nearest(compute, ['bfloat16'])}"
        )
        raise ConfigError(
            "precision.compute",
            f"found {why} Allowed: bfloat16, which has the range of float32; for float32 throughout write "
            "config.precision = None",
        )
    return _mixed


def _mixed(model: Model) -> Model:
    def apply(params: Any, state: Any, inputs: Any, key: jax.Array, train: bool) -> tuple[Any, Any]:
        # To mix types is what is asked for: Flax computes statistics in float32 of activations that are not.
        with jax.numpy_dtype_promotion("standard"):
            outputs, left = model.apply(_narrow(params), state, _narrow(inputs), key, train)
        before = dict(jax.tree_util.tree_leaves_with_path(state))

        def kept(path: Any, leaf: Any) -> Any:
            old = before.get(path)
            return _wide(leaf) if old is None or not _is_float(leaf) else leaf.astype(old.dtype)

        return jax.tree.map(_wide, outputs), jax.tree_util.tree_map_with_path(kept, left)

    return Model(model.init, apply)


def _is_float(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def _narrow(tree: Any) -> Any:
    def cast(leaf: Any) -> Any:
        return leaf.astype(_COMPUTE) if _is_float(leaf) and leaf.dtype.itemsize > 2 else leaf

    return jax.tree.map(cast, tree)


def _wide(leaf: Any) -> Any:
    return leaf.astype(jnp.float32) if _is_float(leaf) and leaf.dtype == _COMPUTE else leaf

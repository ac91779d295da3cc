"""Find losses and metrics of one's own that compare each output with all targets: [n, 1] beside [n] makes [n, n]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.extend.core
import numpy as np

from mlgym_jax.components.graph import Components
from mlgym_jax.components.tree import Node
from mlgym_jax.core.scoring import call_loss

_EXAMPLES = 61  # of a batch that is traced: no size that arrays have besides
_OF_OUTPUTS, _OF_TARGETS = "outputs", "targets"


def crossed(components: Components, outputs: Any, batch: Mapping[str, Any], abstract: Any) -> tuple[str, ...]:
    """Say which losses and metrics of one's own broadcast outputs and targets of one number an example each.

    Args:
        outputs: shapes of what the model returns, with those of post-processors; batch: of a training batch; abstract:
            of a state.
    """
    if isinstance(outputs, Mapping) and "outputs" in outputs and "post_processors" in components:
        outputs = outputs["outputs"]
    targets = batch.get("targets")
    shapes = {getattr(array, "shape", None) for array in (outputs, targets)}
    size = batch["mask"].shape[0] if "mask" in batch else None
    if size is None or shapes != {(size,), (size, 1)}:
        return ()

    def of_size(array: Any) -> Any:
        return jax.ShapeDtypeStruct((_EXAMPLES, *array.shape[1:]), array.dtype)

    example = {field: of_size(array) for field, array in batch.items() if np.shape(array)[:1] == (size,)}
    given = {"params": abstract.params, "state": abstract.model_state, "key": abstract.key, "step": abstract.step}
    found = []
    for path, call in _own(components, given):
        try:
            traced = jax.make_jaxpr(call)(of_size(outputs), example).jaxpr
        except Exception:  # it reads what is not here
            continue
        places = jax.tree_util.tree_leaves_with_path((of_size(outputs), example))
        sources = [
            _OF_OUTPUTS if place[0].idx == 0 else _OF_TARGETS if place[-1].key == "targets" else None
            for place, _ in places
        ]
        own = {var: frozenset([source] if source else []) for var, source in zip(traced.invars, sources, strict=True)}
        if _crosses(traced, own):
            column = "outputs" if (size, 1) == getattr(outputs, "shape", None) else "batch['targets']"
            found.append(
                f"config.{path}: outputs {_shown(outputs)} and targets {_shown(targets)} are broadcast to "
                "[batch, batch], so that each example is compared with all. If that is not meant, give both one shape, "
                f"such as {column}[:, 0]"
            )
    return tuple(found)


def _own(components: Components, given: Mapping[str, Any]) -> list[tuple[str, Callable[..., Any]]]:
    """Return what reads outputs and targets by code of one's own, by its path, as functions of them."""
    loss = components["loss"]
    found: list[tuple[str, Callable[..., Any]]] = []
    if _is_own(components.config["loss"]):
        found.append(("loss", lambda outputs, batch: jax.tree.leaves(call_loss(loss, outputs, batch, given))))
    for name, metric in components.get("metrics", {}).items():
        if _is_own(components.config["metrics"][name]) and getattr(metric, "output", None) is None:
            found.append((f"metrics.{name}", lambda outputs, batch, own=metric: own.update(own.init(), outputs, batch)))
    return found


def _is_own(node: Any) -> bool:
    return isinstance(node, Node) and any(not one.entry.is_built_in for one in (node, *node.inside))


def _crosses(jaxpr: Any, sources: dict[Any, frozenset[str]]) -> bool:
    """Tell whether what is made of outputs alone meets what is made of targets alone in an array [n, n].

    Args:
        sources: of each argument, what it is made of; those of all other variables are added.
    """
    spread: set[Any] = set()  # one of both axes is there twice: nothing was computed of pairs
    for equation in jaxpr.eqns:
        ins = [atom for atom in equation.invars if isinstance(atom, jax.extend.core.Var)]
        made_of = frozenset().union(*(sources.get(var, frozenset()) for var in ins))
        plain = [var for var in ins if not _is_paired(var) or var in spread]
        alone = {sources.get(var, frozenset()) for var in plain}
        if any(map(_is_paired, equation.outvars)):
            if {frozenset([_OF_OUTPUTS]), frozenset([_OF_TARGETS])} <= alone:
                return True
            if equation.primitive.name in ("broadcast_in_dim", "reshape", "convert_element_type") and plain:
                spread.update(equation.outvars)
        sources.update(dict.fromkeys(equation.outvars, made_of))
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            if len(inner.invars) == len(equation.invars):
                inside = {
                    var: sources.get(atom, frozenset()) if isinstance(atom, jax.extend.core.Var) else frozenset()
                    for var, atom in zip(inner.invars, equation.invars, strict=True)
                }
                if _crosses(inner, inside):
                    return True
    return False


def _is_paired(var: Any) -> bool:
    return tuple(getattr(var.aval, "shape", ())).count(_EXAMPLES) > 1


def _shown(array: Any) -> str:
    return f"{array.dtype.name}[{', '.join(['batch', *map(str, array.shape[1:])])}]"

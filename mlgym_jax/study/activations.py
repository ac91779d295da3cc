"""Find losses and metrics of logits that read probabilities, which a model or a post-processor has made already."""

from __future__ import annotations

from typing import Any

import jax
import jax.extend.core

from mlgym_jax.components.graph import Components
from mlgym_jax.components.tree import Node
from mlgym_jax.core.trees import path_name

# Built-in losses of logits: of several classes, and of each output by itself.
_OF_LOGITS = {
    **dict.fromkeys(
        (
            "poly_loss_cross_entropy",
            "safe_softmax_cross_entropy",
            "softmax_cross_entropy",
            "softmax_cross_entropy_with_integer_labels",
        ),
        "softmax",
    ),
    **dict.fromkeys(("sigmoid_binary_cross_entropy", "sigmoid_focal_loss"), "sigmoid"),
}
# They change neither what numbers are, nor that they are probabilities.
_PASSED = {"reshape", "squeeze", "slice", "convert_element_type", "transpose", "copy", "name", "broadcast_in_dim"}


def made_twice(components: Components, prediction: Any, outputs: Any) -> tuple[str, ...]:
    """Say which built-in losses and metrics make probabilities of probabilities, or ask 0.0 of them.

    Args:
        prediction: the jaxpr of `predict`, which returns `outputs`, shapes of the model's and the post-processors'.
    """
    made = dict(_made(prediction, outputs))
    if not made:
        return ()
    whole = "outputs" if "post_processors" in components else ""
    found = []
    loss = components.config["loss"]
    taken = _OF_LOGITS.get(loss.entry.name) if isinstance(loss, Node) and loss.entry.is_built_in else None
    if taken and (by := made.get(loss.get("output") or whole)):
        found.append(
            f"config.loss: {loss.entry.name!r} takes logits, of which it computes the {taken} itself, and what it "
            f"reads has been through {by} already: gradients are small, and no probability comes near to 0 or 1. If "
            "that is not meant, let the model return what it had before"
        )
    for name, metric in (components.config.get("metrics") or {}).items():
        if not isinstance(metric, Node) or not metric.entry.is_built_in:
            continue
        path = metric.get("output") or whole
        by, single = made.get(path), _is_single(outputs, path) or _value(metric, "multilabel") is True
        if by and _value(metric, "from_logits") is True:
            found.append(
                f"config.metrics.{name}: it makes probabilities of what it reads, which has been through {by} already; "
                "write from_logits=False"
            )
        if by and single and _value(metric, "threshold") == 0.0:
            found.append(
                f"config.metrics.{name}: outputs above threshold=0.0 are a yes, and what it reads has been through "
                f"{by}, so that all are; write threshold=0.5"
            )
    return tuple(found)


def _value(node: Node, parameter: str) -> Any:
    known = node.entry.parameters.get(parameter)
    return None if known is None else node.parameters.get(parameter, known.default)


def _is_single(outputs: Any, path: str) -> bool:
    shape = next((leaf.shape for place, leaf in _leaves(outputs) if place == path), ())
    return len(shape) == 1 or shape[1:] == (1,)


def _leaves(outputs: Any) -> list[tuple[str, Any]]:
    return [(path_name(path).replace("/", "."), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(outputs)]


def _made(jaxpr: Any, outputs: Any) -> list[tuple[str, str]]:
    """Return the paths of those outputs that end in a softmax or a sigmoid, and in which."""
    found = [(path, _last(jaxpr, out)) for (path, _), out in zip(_leaves(outputs), jaxpr.outvars, strict=True)]
    return [(path, by) for path, by in found if by]


def _last(jaxpr: Any, variable: Any) -> str:
    made = {out: equation for equation in jaxpr.eqns for out in equation.outvars}
    while isinstance(variable, jax.extend.core.Var) and variable in made:
        equation = made[variable]
        name, inner = equation.primitive.name, list(jax.extend.core.jaxprs_in_params(equation.params))
        if name == "logistic":
            return "sigmoid"
        if name == "div":
            return "softmax" if _is_softmax(made, *equation.invars) else ""
        if name in _PASSED:
            variable = equation.invars[0]
        elif len(inner) == 1 and len(inner[0].outvars) == len(equation.outvars):
            return _last(inner[0], inner[0].outvars[equation.outvars.index(variable)])
        else:
            return ""
    return ""


def _is_softmax(made: Any, part: Any, whole: Any) -> bool:
    """Tell whether exponentials are divided by their sums."""
    if isinstance(part, jax.extend.core.Literal) or isinstance(whole, jax.extend.core.Literal):
        return False
    of_part, of_whole = made.get(part), made.get(whole)
    while of_whole is not None and of_whole.primitive.name in _PASSED:
        of_whole = made.get(of_whole.invars[0])
    return (
        of_part is not None
        and of_whole is not None
        and of_part.primitive.name == "exp"
        and of_whole.primitive.name == "reduce_sum"
    )

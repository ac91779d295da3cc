"""Find losses and metrics that read other numbers than they take: probabilities for logits, or the other way round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.extend.core

from mlgym_jax.components.graph import Components
from mlgym_jax.components.tree import Node
from mlgym_jax.config.words import dotted
from mlgym_jax.core.trees import path_name

# Built-in losses of logits: of several classes, and of each output by itself.
_OF_LOGITS = {
    **dict.fromkeys(
        (
            "dice_loss",
            "multiclass_generalized_dice_loss",
            "poly_loss_cross_entropy",
            "ranking_softmax_loss",
            "safe_softmax_cross_entropy",
            "softmax_cross_entropy",
            "softmax_cross_entropy_with_integer_labels",
        ),
        "softmax",
    ),
    **dict.fromkeys(("binary_dice_loss", "sigmoid_binary_cross_entropy", "sigmoid_focal_loss"), "sigmoid"),
}
# Those of logarithms of probabilities.
_OF_LOGARITHMS = {
    "convex_kl_divergence",
    "generalized_kl_divergence",
    "kl_divergence",
    "kl_divergence_with_log_targets",
}
# Metrics that take probabilities where `from_logits` is False; those of an order take any scores.
_OF_PROBABILITIES = {
    "brier_score",
    "calibration_curve",
    "class_wise_calibration_error",
    "expected_calibration_error",
    "perplexity",
}
# They change neither what numbers are, nor that they are probabilities.
_PASSED = {"reshape", "squeeze", "slice", "convert_element_type", "transpose", "copy", "name", "broadcast_in_dim"}
_LINEAR = "a linear layer"
_PRODUCTS = {"dot_general", "conv_general_dilated"}


def misread(components: Components, prediction: Any, outputs: Any) -> tuple[str, ...]:
    """Say which built-in losses and metrics make probabilities of probabilities, or take logits for probabilities.

    Args:
        prediction: the jaxpr of `predict`, which returns `outputs`, shapes of the model's and the post-processors'.
    """
    made = dict(_made(prediction, outputs))
    whole = "outputs" if "post_processors" in components else ""
    losses = [(loss, made.get(path, "")) for loss, path in _losses(components.config["loss"], whole)]
    found = [words for loss, by in losses for words in _of_loss(loss, by)]
    found += [words for loss, _ in losses for words in _of_temperature(loss, prediction, outputs)]
    of_logits = any(loss.entry.name in _OF_LOGITS for loss, _ in losses)
    for name, metric in (components.config.get("metrics") or {}).items():
        if not isinstance(metric, Node) or not metric.entry.is_built_in:
            continue
        path = metric.get("output") or whole
        by, single = made.get(path, ""), _is_single(outputs, path) or _value(metric, "multilabel") is True
        place, threshold = f"config.metrics.{name}", _value(metric, "threshold")
        if by not in ("", _LINEAR) and _value(metric, "from_logits") is True:
            found.append(
                f"{place}: it makes probabilities of what it reads, which has been through {by} already; "
                "write from_logits=False"
            )
        if by == _LINEAR and metric.entry.name in _OF_PROBABILITIES and _value(metric, "from_logits") is False:
            found.append(
                f"{place}: it takes what it reads for probabilities, which come from {by} and may be any numbers; "
                "leave out from_logits=False"
            )
        if by not in ("", _LINEAR) and single and threshold == 0.0:
            found.append(
                f"{place}: outputs above threshold=0.0 are a yes, and what it reads has been through {by}, so that all "
                "are; write threshold=0.5"
            )
        if by == _LINEAR and single and of_logits and threshold == 0.5:
            found.append(
                f"{place}: outputs above threshold=0.5 are a yes, and what it reads are logits, which come from {by}: "
                "at 0.5 a probability is 0.62; write threshold=0.0"
            )
    return tuple(found)


def _losses(value: Any, path: str) -> Iterator[tuple[Node, str]]:
    """Return the built-in losses in a config's loss, each with the path of the output that it reads."""
    if isinstance(value, Node):
        path = value.get("output") or path
        if value.entry.kind == "loss" and value.entry.is_built_in:
            yield value, path
        value = value.parameters
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _losses(item, path)


def _of_loss(loss: Node, by: str) -> Iterator[str]:
    name, place = loss.entry.name, f"config.{dotted(loss.path)}"
    if name in _OF_LOGITS and by not in ("", _LINEAR):
        yield (
            f"{place}: {name!r} takes logits, of which it computes the {_OF_LOGITS[name]} itself, and what it "
            f"reads has been through {by} already: gradients are small, and no probability comes near to 0 or 1. If "
            "that is not meant, let the model return what it had before"
        )
    if name in _OF_LOGARITHMS and by:
        yield (
            f"{place}: {name!r} takes logarithms of probabilities, and what it reads comes from {by}, so that it is no "
            "divergence, and may be below 0; let the model end in jax.nn.log_softmax, or take softmax_cross_entropy, "
            "which takes logits and has the same gradient"
        )


def _of_temperature(loss: Node, prediction: Any, outputs: Any) -> Iterator[str]:
    """Say that a loss takes an exponential of what is one already."""
    for parameter, is_read_as in (("temperature", "the temperature"), ("logit_scale", "1 / temperature")):
        path = _value(loss, parameter)
        for (place, _), out in zip(_leaves(outputs), prediction.outvars, strict=True):
            if place == path and _is_exponential(prediction, out):
                yield (
                    f"config.{dotted((*loss.path, parameter))}: the output {path!r} is an exponential already, and "
                    f"{loss.entry.name!r} takes it for the logarithm of {is_read_as}, so that it computes the "
                    "exponential once more. Name an output that holds what the model had before it"
                )


def _is_exponential(jaxpr: Any, variable: Any) -> bool:
    """Tell whether an output is an exponential, perhaps held between bounds."""
    made = {out: equation for equation in jaxpr.eqns for out in equation.outvars}
    if isinstance(variable, jax.extend.core.Literal) or variable not in made:
        return False
    equation = made[variable]
    inner = list(jax.extend.core.jaxprs_in_params(equation.params))
    if len(inner) == 1 and len(inner[0].outvars) == len(equation.outvars):
        if equation.params.get("name") == "clip" and any(_is_exponential(jaxpr, one) for one in equation.invars):
            return True
        return _is_exponential(inner[0], inner[0].outvars[equation.outvars.index(variable)])
    if equation.primitive.name in _PASSED | {"max", "min", "clamp"}:
        return any(_is_exponential(jaxpr, one) for one in equation.invars)
    return equation.primitive.name == "exp"


def _value(node: Node, parameter: str) -> Any:
    known = node.entry.parameters.get(parameter)
    return None if known is None else node.parameters.get(parameter, known.default)


def _is_single(outputs: Any, path: str) -> bool:
    shape = next((leaf.shape for place, leaf in _leaves(outputs) if place == path), ())
    return len(shape) == 1 or shape[1:] == (1,)


def _leaves(outputs: Any) -> list[tuple[str, Any]]:
    return [(path_name(path).replace("/", "."), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(outputs)]


def _made(jaxpr: Any, outputs: Any) -> list[tuple[str, str]]:
    """Return the paths of those outputs that end in a softmax, a sigmoid or a linear layer, and in which."""
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
        if name in _PRODUCTS:
            return _LINEAR
        if name == "add":  # of a bias, which nothing here has computed
            first, second = (_source(made, one) for one in equation.invars)
            sums = {getattr(one, "primitive", None) and one.primitive.name for one in (first, second)}
            return _LINEAR if None in sums and sums & _PRODUCTS else ""
        if name in _PASSED:
            variable = equation.invars[0]
        elif len(inner) == 1 and len(inner[0].outvars) == len(equation.outvars):
            return _last(inner[0], inner[0].outvars[equation.outvars.index(variable)])
        else:
            return ""
    return ""


def _source(made: Any, variable: Any) -> Any:
    """Return the equation that a variable comes from but for its shape; None for what is handed in."""
    found = None if isinstance(variable, jax.extend.core.Literal) else made.get(variable)
    while found is not None and found.primitive.name in _PASSED:
        variable = found.invars[0]
        found = None if isinstance(variable, jax.extend.core.Literal) else made.get(variable)
    return found


def _is_softmax(made: Any, part: Any, whole: Any) -> bool:
    """Tell whether exponentials are divided by their sums."""
    if isinstance(part, jax.extend.core.Literal) or isinstance(whole, jax.extend.core.Literal):
        return False
    of_part, of_whole = made.get(part), _source(made, whole)
    return (
        of_part is not None
        and of_whole is not None
        and of_part.primitive.name == "exp"
        and of_whole.primitive.name == "reduce_sum"
    )

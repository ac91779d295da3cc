"""Label smoothing: which losses take it, by whose definition, and of which it is not defined, and why.

With a share a of C classes, y the class of an example:

- cross entropies and divergences compare with (1 - a) q + a / C in place of q (Szegedy et al., 2016), as Optax's
  `smooth_labels`; those of each output's yes and no with (1 - a) q + a / 2;
- losses of margins (`multiclass_hinge_loss`, `hinge_loss`, …) read classes and no distributions: theirs is
  (1 - a) l(y) + a / C sum_k l(k), which of a cross entropy is the same (Lukasik et al., 2020, arXiv 2003.02819);
- losses made of losses, such as `class_weighted`, have it of those; of contrastive ones it is not defined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mlgym_jax.errors import ConfigError
from mlgym_jax.optimizers.signatures import by_optax_rules

_DISTRIBUTIONS = frozenset(
    (
        "convex_kl_divergence",
        "kl_divergence",
        "poly_loss_cross_entropy",
        "safe_softmax_cross_entropy",
        "softmax_cross_entropy",
        "softmax_cross_entropy_with_integer_labels",
    )
)
_LOGARITHMS = frozenset(("kl_divergence_with_log_targets",))
_BINARY = frozenset(("sigmoid_binary_cross_entropy", "sigmoid_focal_loss"))
_MARGINS = frozenset(("multiclass_hinge_loss", "multiclass_perceptron_loss", "multiclass_sparsemax_loss"))
# name -> the other class of a target, in the form that Optax's function takes
_MARGINS_OF_TWO: dict[str, Callable[[jax.Array], jax.Array]] = {
    "hinge_loss": lambda signs: -signs,
    "perceptron_loss": lambda signs: -signs,
    "sparsemax_loss": lambda shares: 1 - shares,
}
SMOOTHED = _DISTRIBUTIONS | _LOGARITHMS | _BINARY | _MARGINS | _MARGINS_OF_TWO.keys()

_OVERLAP = (
    "it compares regions, whose overlap of shares has its least value elsewhere; smooth a cross entropy beside it"
)
# of Optax's losses over classes; the reason stands in their docstrings
NOT_SMOOTHED = {
    "binary_dice_loss": _OVERLAP,
    "ctc_loss": "no position has a label of its own, and what is called so differs: KL to the uniform one, or from it",
    "dice_loss": _OVERLAP,
    "generalized_kl_divergence": "its targets are amounts, which need not add up to 1",
    "multiclass_generalized_dice_loss": _OVERLAP,
    "ntxent": "classes say which examples belong together; they are not predicted",
    "ranking_softmax_loss": "its targets are relevances, which need not add up to 1",
}


def checked_smoothing(share: Any) -> Any:
    """Return how much of each target is spread over the classes, perhaps traced; None for nothing.

    Raises:
        ConfigError: at `loss.label_smoothing`, a number outside of [0, 1).
    """
    if not isinstance(share, int | float):
        return share
    if not 0 <= share < 1:
        raise ConfigError("loss.label_smoothing", f"a number in [0, 1) is expected, found {share}")
    return share or None


def smoothed(
    name: str, call: Callable[..., Any], labels: str, share: Any, one_hot: Callable[[jax.Array], jax.Array], axis: Any
) -> Callable[..., Any]:
    """Return the loss `call(outputs, **arrays, **settings)` with labels of which a share is spread over their classes.

    Args:
        name: of Optax's function; labels: the name of its labels; share: in [0, 1), perhaps traced.
        one_hot: class numbers -> distributions of the outputs' shape; axis: of the classes.
    """

    def loss(outputs: jax.Array, **given: Any) -> jax.Array:
        part, targets = jnp.asarray(share, outputs.dtype), given.pop(labels)
        of = lambda targets: call(outputs, **{labels: targets}, **given)  # noqa: E731
        if name in _MARGINS_OF_TWO:
            return (1 - part / 2) * of(targets) + part / 2 * of(_MARGINS_OF_TWO[name](targets))
        if name in _MARGINS:
            every = jax.vmap(lambda number: of(jnp.full_like(targets, number)))(jnp.arange(outputs.shape[-1]))
            return (1 - part) * of(targets) + part * every.mean(axis=0)
        if name in _BINARY:
            return of((1 - part) * targets + part / 2)
        if name in _LOGARITHMS:
            spread = jnp.log(part / outputs.shape[axis])
            return of(jnp.logaddexp(targets + jnp.log1p(-part), jnp.broadcast_to(spread, targets.shape)))
        if targets.ndim < outputs.ndim:
            targets = one_hot(targets)
        where = given.get("where")
        counted = where if where is not None and where.shape == targets.shape else None
        return of(by_optax_rules(optax.smooth_labels)(targets, part, axis=axis, where=counted))

    return loss

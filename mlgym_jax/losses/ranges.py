"""Which numbers a loss's parameters may be: with others it is raised where it is lowered, flat, or no number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlgym_jax.errors import ConfigError

_ABOVE_0, _AT_LEAST_0, _SHARE = "a number above 0", "at least 0", "a number in [0, 1]"
_RANGES = {
    "cosine_distance": {"epsilon": _AT_LEAST_0},
    "binary_dice_loss": {"smooth": _AT_LEAST_0},
    "dice_loss": {"smooth": _AT_LEAST_0, "alpha": _AT_LEAST_0, "beta": _AT_LEAST_0},
    "huber_loss": {"delta": _ABOVE_0},
    "lp": {"p": _ABOVE_0, "root": _ABOVE_0},
    "multiclass_generalized_dice_loss": {"smooth": _AT_LEAST_0},
    "ntxent": {"temperature": _ABOVE_0},
    "sigmoid_focal_loss": {"alpha": _SHARE, "gamma": _AT_LEAST_0},
    "triplet_margin_loss": {"norm_degree": _ABOVE_0, "eps": _AT_LEAST_0},
}


def check_ranges(name: str, given: Mapping[str, Any]) -> None:
    """Refuse numbers by which a loss says nothing, or the reverse; traced ones pass.

    Raises:
        ConfigError: at `loss.<parameter>`.
    """
    for key, wanted in _RANGES.get(name, {}).items():
        value = given.get(key)
        if not isinstance(value, int | float):
            continue
        if not (value > 0 if wanted == _ABOVE_0 else 0 <= value <= 1 if wanted == _SHARE else value >= 0):
            hint = (
                "; leave it out to weigh both classes alike" if (name, key) == ("sigmoid_focal_loss", "alpha") else ""
            )
            raise ConfigError(f"loss.{key}", f"{wanted} is expected, found {value}{hint}")


def check_class_weights(weights: Any) -> None:
    """Refuse weights of classes that are below 0 or not finite, or of which none is above 0.

    Raises:
        ConfigError: at `loss.weights.<class>`, or at `loss.weights`.
    """
    for number, weight in enumerate(weights):
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"loss.weights.{number}", f"found {weight}; weights are finite, at least 0")
    if not any(weights):
        raise ConfigError("loss.weights", "all of them are 0, so that nothing is learnt; give a class more")

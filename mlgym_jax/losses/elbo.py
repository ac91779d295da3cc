"""The loss of variational autoencoders: Kingma and Welling 2013, arXiv:1312.6114, appendix B."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax

from mlgym_jax.components.registry import register
from mlgym_jax.core.outputs import holds, pick
from mlgym_jax.core.outputs import paths as paths_of
from mlgym_jax.core.targets import KNOWN_INPUTS, UnfitTargets
from mlgym_jax.core.weighted import LossValues, kept_of, of_examples
from mlgym_jax.errors import ConfigError, MlgymError, listed, nearest


@register("loss", "negative_elbo", dynamic=("beta",))
def negative_elbo(
    *,
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
    beta: float = 1.0,
    target: str = "inputs",
    reconstruction: str = "reconstruction",
    mean: str = "mean",
    log_variance: str = "log_variance",
) -> Callable[[Any, Mapping[str, Any]], LossValues]:
    """Return the negative evidence lower bound of each example, in nats: what the reconstruction lacks, and beta KL.

    It reads the outputs `reconstruction`, `mean` and `log_variance`, as `vae` returns them. What the reconstruction
    lacks is added up over all numbers of an example: of `bernoulli` the cross entropy of logits and of inputs in
    [0, 1]; of `gaussian`, with variance 1, half the squared distance, without its constant. KL is the divergence from
    the standard normal distribution, (mean^2 + variance - 1 - log variance) / 2, added up. A field `where` of the
    reconstruction's positions says which numbers were observed, or how much each counts in what is added up; one of
    examples weighs these.

    Args:
        likelihood: `bernoulli`, reconstructions are logits; or `gaussian`, they are means.
        beta: weight of the divergence: 1 for the bound itself, others as in beta-VAE, Higgins et al. 2017.
        target: the field of the batch that is reconstructed.
        reconstruction: path of the output that is the reconstruction, such as `0` of a tuple; mean, log_variance: of
            those that are the code's.

    Raises:
        ConfigError: a beta below 0.
        MlgymError: when called, outputs or a field that are not there, or are of other shapes.
    """
    if isinstance(beta, int | float) and not beta >= 0:
        raise ConfigError("loss.beta", f"a number of at least 0 is expected, found {beta}")

    paths = {"reconstruction": reconstruction, "mean": mean, "log_variance": log_variance}

    def loss(outputs: Any, batch: Mapping[str, Any]) -> LossValues:
        found = paths_of(outputs)
        for name, path in paths.items():
            if not found or not holds(outputs, path):
                others = ", ".join(f"{own}={other!r}" for own, other in zip(paths, found, strict=False))
                fix = (
                    f"say which they are, component('negative_elbo', {others})"
                    if len(found) > 2
                    else "component('vae') has it"
                )
                raise MlgymError(
                    f"loss 'negative_elbo' needs the output {path!r}, its {name}{nearest(path, found)} Outputs: "
                    f"{listed(found) or 'one without a name'}; {fix}"
                )
        if target not in batch:
            raise MlgymError(f"no field {target!r} in the data{nearest(target, batch)} Fields: {listed(batch)}")
        of_inputs = batch[target]
        made, centre, log_of_variance = (jnp.asarray(pick(outputs, path), jnp.float32) for path in paths.values())
        if isinstance(of_inputs, Mapping | tuple) or of_inputs.shape != made.shape:
            shape = "several arrays" if isinstance(of_inputs, Mapping | tuple) else list(of_inputs.shape)
            raise MlgymError(
                f"loss 'negative_elbo': the reconstruction {list(made.shape)} and {target!r} {shape} do not match; "
                "name the field that is reconstructed, target='…'"
            )
        if likelihood == "bernoulli":
            _check_shares(batch.get(KNOWN_INPUTS, of_inputs) if target == "inputs" else of_inputs, target)
        inputs = jnp.asarray(of_inputs, jnp.float32)
        axes = tuple(range(1, made.ndim))
        lacking = (
            optax.sigmoid_binary_cross_entropy(made, inputs)
            if likelihood == "bernoulli"
            else jnp.square(made - inputs) / 2
        )
        divergence = (jnp.square(centre) + jnp.exp(log_of_variance) - 1 - log_of_variance) / 2
        of_latent = beta * divergence.reshape(len(centre), -1).sum(axis=1)
        if batch.get("where") is None or jnp.ndim(batch["where"]) == 1:
            return of_examples(lacking.sum(axis=axes) + of_latent, batch)
        kept = kept_of(batch["where"], lacking)
        if kept is not None:
            lacking = jnp.where(kept.astype(jnp.bool_), lacking, 0.0) * kept.astype(jnp.float32)
        return lacking.sum(axis=axes) + of_latent

    loss.takes = (KNOWN_INPUTS,)
    return loss


def _check_shares(values: Any, field: str) -> None:
    """Refuse values that no Bernoulli distribution has as its mean, wherever they are known."""
    if isinstance(values, np.ndarray) and values.size and not (values.min() >= 0 and values.max() <= 1):
        raise UnfitTargets(
            f"loss 'negative_elbo': likelihood='bernoulli' takes values in [0, 1], {field!r} hold {values.min():.6g} … "
            f"{values.max():.6g}; write config.encoding = component('min_max'), or likelihood='gaussian'"
        )

"""Autoencoders, plain and variational: Kingma and Welling 2013, arXiv:1312.6114."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mlgym_jax.components.registry import register
from mlgym_jax.models.inputs import as_float, at_least, dropped
from mlgym_jax.models.mlp import Activation, checked_rate, one_input


class Layers(nn.Module):
    """Dense layers, each with an activation and dropout, such as those of an encoder or of a decoder."""

    features: tuple[int, ...]
    activation: str
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for width in self.features:
            x = dropped(getattr(nn, self.activation)(nn.Dense(width)(x)), self.dropout_rate, train)
        return x


class Autoencoder(nn.Module):
    """An encoder to a few numbers, and a decoder from them back to the shape of the inputs."""

    features: tuple[int, ...]
    latent_size: int
    activation: str
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> dict[str, jax.Array]:
        x = as_float(jnp.asarray(one_input("autoencoder", x)))
        encoder = Layers(self.features, self.activation, self.dropout_rate, name="encoder")
        decoder = Layers(self.features[::-1], self.activation, self.dropout_rate, name="decoder")
        flat = x.reshape(x.shape[0], -1)
        latent = nn.Dense(self.latent_size, name="latent")(encoder(flat, train))
        found = nn.Dense(flat.shape[1], name="reconstruction")(decoder(latent, train))
        return {"reconstruction": found.reshape(x.shape), "latent": latent}


class Vae(nn.Module):
    """An encoder to the mean and logarithmic variance of a few numbers, and a decoder from a draw of them."""

    features: tuple[int, ...]
    latent_size: int
    activation: str
    draws_in_evaluation: bool = False
    dropout_rate: Any = 0.0

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> dict[str, jax.Array]:
        x = as_float(jnp.asarray(one_input("vae", x)))
        encoder = Layers(self.features, self.activation, self.dropout_rate, name="encoder")
        decoder = Layers(self.features[::-1], self.activation, self.dropout_rate, name="decoder")
        flat = x.reshape(x.shape[0], -1)
        encoded = encoder(flat, train)
        mean = latent = nn.Dense(self.latent_size, name="mean")(encoded)
        log_variance = nn.Dense(self.latent_size, name="log_variance")(encoded)
        if train or self.draws_in_evaluation:
            noise = jax.random.normal(self.make_rng("latent"), mean.shape)  # in float32: the same in any precision
            latent = mean + jnp.exp(log_variance / 2) * noise.astype(mean.dtype)
        found = nn.Dense(flat.shape[1], name="reconstruction")(decoder(latent, train))
        return {"reconstruction": found.reshape(x.shape), "mean": mean, "log_variance": log_variance}


@register("model", "autoencoder", needs=("dataset",), dynamic=("dropout_rate",))
def autoencoder(
    dataset: Any,
    *,
    features: tuple[int, ...] = (128,),
    latent_size: int = 16,
    activation: Activation = "relu",
    dropout_rate: float = 0.0,
) -> nn.Module:
    """Build an autoencoder of dense layers for inputs of any shape; outputs are `reconstruction` and `latent`.

    Its loss compares `reconstruction` with the inputs: component("squared_error", output="reconstruction",
    target="inputs").

    Args:
        dataset: as for other models; nothing is taken from it.
        features: widths of the encoder, which the decoder has the other way round.
        latent_size: how many numbers an example becomes.
        activation: of the layers in between; dropout_rate: after each of them, in [0, 1).

    Raises:
        ConfigError: sizes below 1.
    """
    at_least(1, features=features, latent_size=latent_size)
    return Autoencoder(features, latent_size, activation, checked_rate(dropout_rate))


@register("model", "vae", needs=("dataset",), dynamic=("dropout_rate",))
def vae(
    dataset: Any,
    *,
    features: tuple[int, ...] = (400,),
    latent_size: int = 20,
    activation: Activation = "relu",
    draws_in_evaluation: bool = False,
    dropout_rate: float = 0.0,
) -> nn.Module:
    """Build a variational autoencoder of dense layers; outputs are `reconstruction`, `mean` and `log_variance`.

    Its loss is component("negative_elbo"). `reconstruction` is of the inputs' shape: logits or means, as that loss
    says. Training decodes a draw, from the step's own key. Evaluation and prediction decode the mean, so that they give
    the same each time; a loss of that is a little lower than the bound, whose estimate takes a draw.

    Args:
        dataset: as for other models; nothing is taken from it.
        features: widths of the encoder, which the decoder has the other way round.
        latent_size: how many numbers an example becomes.
        activation: of the layers in between; dropout_rate: after each of them, in [0, 1).
        draws_in_evaluation: whether evaluation and prediction decode a draw, too.

    Raises:
        ConfigError: sizes below 1.
    """
    at_least(1, features=features, latent_size=latent_size)
    return Vae(features, latent_size, activation, draws_in_evaluation, checked_rate(dropout_rate))

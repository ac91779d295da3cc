"""Registered Flax modules, one family a file, and what is done to their outputs afterwards.

How a module becomes pure functions is in `core.modules`.
"""

from mlgym_jax.models import (
    autoencoder,
    cnn,
    convnext,
    gnn,
    mlp,
    mlp_mixer,
    recurrent,
    resnet,
    transformer,
    unet,
    vit,
    wide_resnet,
)

__all__ = [
    "autoencoder",
    "cnn",
    "convnext",
    "gnn",
    "mlp",
    "mlp_mixer",
    "recurrent",
    "resnet",
    "transformer",
    "unet",
    "vit",
    "wide_resnet",
]

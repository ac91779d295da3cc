"""Registered Flax modules, one family a file."""

from mlgym_jax.models import cnn, mlp

__all__ = ["cnn", "mlp"]

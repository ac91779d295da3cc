"""Registered Flax modules, one family a file, and what is done to their outputs afterwards.

How a module becomes pure functions is in `core.modules`.
"""

from mlgym_jax.models import cnn, mlp

__all__ = ["cnn", "mlp"]

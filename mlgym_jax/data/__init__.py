"""Data: datasets as named splits of arrays, folds as index arrays into one table, loaders. NumPy only, never jax."""

from mlgym_jax.data.dataset import Dataset

__all__ = ["Dataset"]

"""Data: datasets as named splits of arrays, folds as index arrays into one table, loaders, encodings, samplers.

NumPy only; but encodings and samplers, which run on the device, import jax.
"""

from mlgym_jax.data.dataset import Dataset

__all__ = ["Dataset"]

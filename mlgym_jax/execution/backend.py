"""Whether JAX has begun to use its devices, after which the number of a CPU's devices cannot be chosen any more.

Wraps `jax._src.xla_bridge.backends_are_initialized`, relied on since JAX 0.10: every public way to ask starts them.
"""

from __future__ import annotations


def is_started() -> bool:
    """Tell whether JAX has started its backends, without starting them."""
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()

"""What JAX tells nobody: whether it has begun to use its devices, and what of its settings holds in a thread alone.

Wraps `jax._src.xla_bridge.backends_are_initialized` and `jax._src.config.trace_context`, relied on since JAX 0.10. Once
devices are in use, the number of a CPU's cannot be chosen any more, and every public way to ask starts them.
"""

from __future__ import annotations


def is_started() -> bool:
    """Tell whether JAX has started its backends, without starting them."""
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()


def tracing_context() -> object:
    """Return what of this thread's settings the same function would be traced otherwise by; equal where that is."""
    from jax._src import config

    return config.trace_context()

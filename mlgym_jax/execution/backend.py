"""What JAX tells nobody: whether it has begun to use its devices, and what of its settings holds in a thread alone.

Wraps `jax._src.xla_bridge.backends_are_initialized` and `jax._src.config.trace_context`, relied on since JAX 0.10. Once
devices are in use, the number of a CPU's cannot be chosen any more, and every public way to ask starts them.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

_LOG = logging.getLogger(__name__)


def is_started() -> bool:
    """Tell whether JAX has started its backends, without starting them."""
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()


def tracing_context() -> object:
    """Return what of this thread's settings the same function would be traced otherwise by; equal where that is."""
    from jax._src import config

    return config.trace_context()


@contextlib.contextmanager
def with_all_numbers() -> Iterator[None]:
    """Let programs of many experiments return NaN of one of them, which JAX_DEBUG_NANS would end all for; it is told.

    What has diverged is seen in each experiment's own train/loss.
    """
    import jax

    for name in ("jax_debug_nans", "jax_debug_infs"):
        if getattr(jax.config, name):
            _LOG.warning(
                "%s does not hold while experiments train: it would end all that are computed together at a number of "
                "one of them. An experiment whose train/loss is not finite ends as failed by itself",
                name.upper(),
            )
    with jax.debug_nans(False), jax.debug_infs(False):
        yield

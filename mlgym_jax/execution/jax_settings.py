"""Settings of JAX that are not for training: those that forbid it, and those that hold only where nothing trains."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import jax

from mlgym_jax.errors import MlgymError

_LOG = logging.getLogger(__name__)

# Settings of JAX with which nothing can be trained, the values that forbid it, and why they do.
_COPIES = ("disallow", "disallow_explicit"), "data and scores are copied to the devices and back, which that forbids"
_FORBIDDING = {
    "jax_disable_jit": ((True,), "programs are compiled before training begins, which that forbids"),
    "jax_no_tracing": ((True,), "programs are traced before training begins, which that forbids"),
    "jax_no_execution": ((True,), "nothing may be computed, and training computes"),
    "jax_debug_key_reuse": ((True,), "an experiment that rests keeps its key, which that takes for a second use"),
    "jax_error_checking_behavior_nan": (("raise",), "several experiments are one program, which its checks refuse"),
    "jax_transfer_guard_host_to_device": _COPIES,
    "jax_transfer_guard_device_to_host": _COPIES,
    "jax_transfer_guard_device_to_device": _COPIES,
}
_INSTEAD = {
    "jax_disable_jit": "; values inside of a step are seen with jax.debug.print('{}', x)",
    "jax_error_checking_behavior_nan": "; an experiment whose train/loss is not finite ends as failed by itself",
}


def check_settings() -> None:
    """Refuse to begin with a setting of JAX that forbids to train, wherever it was set.

    Raises:
        MlgymError: see there.
    """
    for name, (values, why) in _FORBIDDING.items():
        value = getattr(jax.config, name, None)
        if value in values:
            shown = name.upper() if value is True else f"{name.upper()}={value}"
            raise MlgymError(f"{shown}, or what sets it in Python: {why}. Leave it out{_INSTEAD.get(name, '')}")


@contextlib.contextmanager
def with_all_numbers() -> Iterator[None]:
    """Let programs of many experiments return NaN of one of them, which JAX_DEBUG_NANS would end all for; it is told.

    What has diverged is seen in each experiment's own train/loss.
    """
    for name in ("jax_debug_nans", "jax_debug_infs"):
        if getattr(jax.config, name):
            _LOG.warning(
                "%s does not hold while experiments train: it would end all that are computed together at a number of "
                "one of them. An experiment whose train/loss is not finite ends as failed by itself",
                name.upper(),
            )
    with jax.debug_nans(False), jax.debug_infs(False):
        yield

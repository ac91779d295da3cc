"""How much memory a device has, how much a compiled program needs, and what says that there was too little."""

from __future__ import annotations

import os
from typing import Any

import jax

from mlgym_jax.errors import MlgymError

VARIABLE = "MLGYM_JAX_DEVICE_MEMORY"


def memory_limit(device: Any) -> int | None:
    """Return the bytes that one device may use; None if it does not tell.

    The environment variable `MLGYM_JAX_DEVICE_MEMORY` sets it. A host device's share of the machine's memory is the
    same for each of them.

    Raises:
        MlgymError: the variable is no number of bytes.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        if not given.isdigit() or not int(given):
            raise MlgymError(f"{VARIABLE}={given}: a number of bytes is expected, such as {8 * 2**30}")
        return int(given)
    if device.platform == "cpu":
        if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
            return None
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(jax.local_devices())
    return (device.memory_stats() or {}).get("bytes_limit")


def memory_needed(compiled: Any) -> int:
    """Return the bytes that one call of a compiled program takes on a device: arguments, results and between."""
    stats = compiled.memory_analysis()
    if stats is None:
        return 0
    sizes = (stats.argument_size_in_bytes, stats.output_size_in_bytes, stats.temp_size_in_bytes)
    return sum(sizes) - stats.alias_size_in_bytes


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a program failed for want of memory."""
    # A call that is not made asynchronously says INTERNAL instead of RESOURCE_EXHAUSTED, with the same words behind.
    words = ("RESOURCE_EXHAUSTED", "Out of memory")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error) for word in words)


def beyond_memory(device: Any, needed: int) -> str:
    """Say that what a call needs is more than a device has; "" where it is not, or the device does not tell."""
    limit = memory_limit(device)
    if not limit or needed <= limit:
        return ""
    return f"a call needs {needed:,} bytes of the {limit:,} that a device has, so memory may run out"


def too_little_memory(device: Any, num_experiments: int, state_bytes: int, program_bytes: int, instead: str) -> str:
    """Say what a group keeps on its devices, whatever the size of a call, and what its programs need there.

    Args:
        state_bytes: of one experiment's state; program_bytes: of a call on a device, 0 of what never compiled.
        instead: what to write in its config.
    """
    limit, needed = memory_limit(device), num_experiments * state_bytes
    calls = f"a call of its programs needs {program_bytes:,} bytes on a device, and " if program_bytes else ""
    have = "" if limit is None else f"; a device has {limit:,}"
    fewer = "fewer experiments in a run, " if num_experiments > 1 else ""
    return (
        f"memory ran out: {calls}states of {num_experiments} experiment{'s' * (num_experiments > 1)} take {needed:,} "
        f"bytes, twice while an epoch trains that does not overwrite them{have}. Less is needed by {fewer}{instead}"
    )

"""The devices as a mesh with the axis `experiment`, and host devices for a CPU's cores."""

from __future__ import annotations

import os

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mlgym_jax.errors import MlgymError
from mlgym_jax.execution import backend

EXPERIMENT = "experiment"
_PLATFORMS = {"cuda": "CUDA", "gpu": "GPU", "rocm": "ROCm", "tpu": "TPU", "METAL": "Metal"}


def use_devices(number: int | None) -> list[jax.Device]:
    """Return the local devices to train on; on a CPU, before JAX has started, the cores become as many devices.

    Raises:
        MlgymError: fewer devices than asked for, none of the platform that is asked for, or nothing may be compiled.
    """
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        raise MlgymError(
            "JAX_DISABLE_JIT, or jax.disable_jit(): programs are compiled before training begins, which that forbids. "
            "Leave it out; values inside of a step are seen with jax.debug.print('{}', x)"
        )
    if number is not None and number < 1:
        raise MlgymError(f"--devices={number}: at least 1 is expected")
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not (chosen or backend.is_started() or jax.config.values["jax_num_cpu_devices"] > 0):
        jax.config.update("jax_num_cpu_devices", number or _usable_cores())
    devices = _local_devices()
    if number is not None and number > len(devices):
        raise MlgymError(f"--devices={number}: this process has {len(devices)} ({devices[0].platform})")
    return devices[:number]


def _local_devices() -> list[jax.Device]:
    try:
        return jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # the latter is how JAX says that the one platform asked for failed
        asked = jax.config.values["jax_platforms"]
        known = _PLATFORMS.get(str(asked).split(",")[0], str(asked))
        reason = " ".join(str(error).split())[:200]
        raise MlgymError(
            f"JAX_PLATFORMS={asked}: no {known} device{f' ({reason})' if reason else ''}; devices here: cpu. Leave "
            "JAX_PLATFORMS out, so that JAX takes what there is, or write JAX_PLATFORMS=cpu"
        ) from error


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def experiment_mesh(devices: list[jax.Device]) -> Mesh:
    """Return a mesh of `devices` whose one axis shards experiments."""
    return Mesh(devices, (EXPERIMENT,), axis_types=(AxisType.Auto,))


def by_experiment(mesh: Mesh) -> NamedSharding:
    """Shard the leading axis, one of experiments."""
    return NamedSharding(mesh, PartitionSpec(EXPERIMENT))


def on_all(mesh: Mesh) -> NamedSharding:
    """Keep a whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())
